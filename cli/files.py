"""Whether what a command will write can be written, and may be: decided before any work is done.

A command writes over nothing that it reads, and over no file but those that it was told to write,
or says that it writes.
"""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import click

from datasets import Points
from files.whole import place_of
from lab import store
from lab.run import Run

SIDES = "source", "target"


def require_writable(
    *paths: Path,
    inputs: Iterable[Path] = (),
    unnamed: dict[Path, Callable[[Path], bool]] | None = None,
    option: str = "--out",
):
    """Raise a usage error unless all these files can be written. Missing folders would be made.

    Found out by trying, since permissions alone do not tell; nothing is left behind.

    Args:
        paths: to write.
        inputs: files that the command reads.
        unnamed: more files to write, which go beside those and were not named by the user. Each
            has a test of whether a file there is of this program's own making.
        option: what the user can change.
    """
    unnamed = unnamed or {}
    for path in (*paths, *unnamed):
        for read in inputs:
            if _is_same(path, read):
                _refuse(option, f"'{path}' would be written over '{read}', which is read here.")
        try:
            _try(path)
            foreign = path in unnamed and path.exists() and not unnamed[path](path)
        except OSError as error:
            _refuse(option, f"'{path}' cannot be written: {error.strerror}.")
        if foreign:
            _refuse(
                option, f"the table '{path}' would be written over a file that is no such table."
            )


def require_runs(*runs: Run):
    """Raise a usage error unless the checkpoints of these runs can be written."""
    for run in runs:
        whole, partial = store.checkpoint_path(run), store.checkpoint_path(run, 0)
        # the name of a partial one is longer, and grows with the number of steps
        partial = partial.with_stem(f"{partial.stem[:-1]}{run.config.steps}")
        require_writable(whole, partial, option="the folder 'runs'")


def inputs_of(*runs: Run) -> list[Path]:
    """The files that hold the points of these runs."""
    sides = [(getattr(run.config, side), getattr(run, side)) for run in runs for side in SIDES]
    return [Path(file) for file, points in sides if isinstance(points, Points)]


def _refuse(option: str, why: str):
    raise click.UsageError(f"Invalid value for {option}: {why}")


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there
        return False


def _try(path: Path):
    """Raise an OSError unless a file can be written there."""
    place = place_of(path)
    folder = place.parent
    while not folder.exists():
        folder = folder.parent
    for name in place.relative_to(folder).parts:  # any may be too long for a name
        with suppress(FileNotFoundError):
            (folder / name).lstat()
    if place.exists():
        place.open("ab").close()
    tempfile.TemporaryFile(dir=folder).close()
