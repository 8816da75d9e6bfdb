"""Files that are there whole or not at all."""

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
    """
    path = Path(path).resolve()  # a link stays a link, and the file that it leads to is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{token_hex(8)}{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
