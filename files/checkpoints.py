"""The files that trained networks are kept in: arrays, and words about them.

A checkpoint is one safetensors file, a tree of named arrays with a few strings as metadata. One of
these is a checksum of the whole file, so that one that has changed in any bit is refused. Nothing
in it is ever executed. What the arrays mean, those say who keep them: `training.py` for networks
and their training, `lab/store.py` for runs.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from files.ordinary import why_not
from files.whole import whole

FORMAT, VERSION = "flow-matching-checkpoint", "6"
CHECKSUM = "sha256"  # the name of the word with the checksum
MARK = f'"{CHECKSUM}":"'.encode()  # what stands before it; inside of a JSON string it cannot
BLANK = "0" * 64  # what stands in its place while it is computed
LARGEST_HEADER = 10_000_000  # bytes of names, shapes and words
LONGEST_LIST = 10_000  # arrays whose names differ in a number only
ECHOED = 150  # letters of what is wrong in a file that are repeated to whoever gave it


class CheckpointError(ValueError):
    """A file that is no checkpoint of this program, or not a whole one."""

    @classmethod
    def damaged(cls, path, error: Exception) -> "CheckpointError":
        """The error of a file whose content led to another one."""
        about = " ".join(f"{type(error).__name__} {error}".split())
        if isinstance(error, ValueError):  # whose message is a sentence of ours
            about = " ".join(str(error).split())
        return cls(f"'{path}' is damaged: {about[:ECHOED]}{'…' * (len(about) > ECHOED)}")


def write_checkpoint(path, trees: dict, words: dict[str, str]):
    """Write named trees of arrays, and words about them. The file appears whole or not at all.

    Raises:
        OSError: where it cannot be written.
    """
    words = words | {"format": FORMAT, "version": VERSION, CHECKSUM: BLANK}
    file = io.BytesIO()
    mx.save_safetensors(file, dict(tree_flatten(trees)), words)
    content = file.getvalue()
    before, mark, after = content.partition(MARK + BLANK.encode())
    checksum = hashlib.sha256(content).hexdigest()
    with whole(path) as part:
        part.write_bytes(before + mark[: -len(BLANK)] + checksum.encode() + after)


def read_checkpoint(path) -> tuple[dict, dict[str, str]]:
    """The trees and the words that `write_checkpoint` wrote.

    Raises:
        CheckpointError: for a file that is missing, damaged, of another version, or no checkpoint.
    """
    if why := why_not(path):
        raise CheckpointError(f"'{path}' cannot be read: {why}")
    with _answered(path):
        words, is_whole = _checked(path)
    if CHECKSUM in words and not is_whole:
        raise CheckpointError(f"'{path}' is damaged: by its checksum, it is not as it was written")
    if words.get("format") != FORMAT:
        raise CheckpointError(f"'{path}' is not a checkpoint of this program")
    if words.get("version") != VERSION:
        raise CheckpointError(
            f"'{path}' was written by another version of this program: its format is "
            f"{words.get('version', 'unknown')[:20]}, and this one reads {VERSION}"
        )
    if not is_whole:
        raise CheckpointError(f"'{path}' is damaged: its checksum is missing")
    with _answered(path):
        arrays = mx.load(str(path), format="safetensors")
        _check_lists(arrays)
        return tree_unflatten(list(arrays.items())), words


@contextmanager
def _answered(path) -> Iterator[None]:
    """Say in one sentence whatever is wrong with a file."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}") from None
    except Exception:  # of many kinds: MLX's, those of JSON, of memory, of words nested too deep
        raise CheckpointError(
            f"'{path}' cannot be read: it is no safetensors file, or not a whole one"
        ) from None


def _checked(path) -> tuple[dict[str, str], bool]:
    """The words of a file, and whether its checksum is right. Takes the memory of its header."""
    with Path(path).open("rb") as file:
        size = file.read(8)
        length = int.from_bytes(size, "little")
        header = file.read(min(length, LARGEST_HEADER))
        if len(size) < 8 or len(header) < length:
            raise ValueError("the header is cut off, or too long")
        words = json.loads(header).get("__metadata__") or {}
        if not all(isinstance(word, str) for word in words.values()):
            raise ValueError("the words are no words")
        before, mark, after = header.partition(MARK)
        checksum, after = after[: len(BLANK)], after[len(BLANK) :]
        digest = hashlib.sha256(size + before + mark + BLANK.encode() + after)
        while part := file.read(2**20):
            digest.update(part)
    return words, checksum == digest.hexdigest().encode()


def _check_lists(names):
    """Raise a ValueError where names ask for a list of unreasonable length."""
    for name in names:
        if any(part.isdecimal() and int(part) > LONGEST_LIST for part in name.split(".")):
            raise ValueError(f"there cannot be an array {name}")
