"""The files that trained networks are kept in: arrays, and words about them.

A checkpoint is one safetensors file, a tree of named arrays with a few strings as metadata.
Nothing in it is ever executed. What the arrays mean, those say who keep them: `training.py` for
networks and their training, `lab/store.py` for runs.
"""

from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from files.whole import whole

FORMAT, VERSION = "flow-matching-checkpoint", "5"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this program, or not a whole one."""


def write_checkpoint(path, trees: dict, words: dict[str, str]):
    """Write named trees of arrays, and words about them. The file appears whole or not at all."""
    with whole(path) as part:
        mx.save_safetensors(
            str(part), dict(tree_flatten(trees)), words | {"format": FORMAT, "version": VERSION}
        )


def read_checkpoint(path) -> tuple[dict, dict[str, str]]:
    """The trees and the words that `write_checkpoint` wrote.

    Raises:
        CheckpointError: for a file that is missing, damaged, of another version, or no checkpoint.
    """
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise CheckpointError(f"'{path}' cannot be read: it {what}")
    try:
        arrays, words = mx.load(str(path), format="safetensors", return_metadata=True)
    except (RuntimeError, ValueError, OSError):
        raise CheckpointError(
            f"'{path}' cannot be read: it is no safetensors file, or not a whole one"
        ) from None
    if words.get("format") != FORMAT:
        raise CheckpointError(f"'{path}' is not a checkpoint of this program")
    if words.get("version") != VERSION:
        raise CheckpointError(
            f"'{path}' was written by another version of this program: its format is "
            f"{words.get('version', 'unknown')}, and this one reads {VERSION}"
        )
    return tree_unflatten(list(arrays.items())), words
