"""Files that are there whole or not at all."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def whole(path) -> Iterator[Path]:
    """A new path to write to, which takes the place of `path` once all is written.

    It lies in the same folder, which is made where there is none, and ends in the same suffix.
    Where an error or Ctrl-C interrupts the writing, it is removed, and a file that was at `path`
    before is as it was.

    Raises:
        OSError: where what is at `path` is no file, see `place_of`.
    """
    path = place_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{token_hex(8)}{path.suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:  # a full disk does not say which file it has no room for
        if error.errno and not error.filename:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def place_of(path) -> Path:
    """Where the file lies that is written under a path: where that leads to, if it is a link.

    Raises:
        OSError: where something lies there that is no file, a folder or a device, which a new file
            must not take the place of; and for a link to itself.
    """
    path = Path(path)
    if path.is_symlink():  # others are not made absolute, so that no folder above matters
        path = Path(os.path.realpath(path))
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return path
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "It is no file but a device or a pipe", str(path))
    return path
