"""Files of points: a table of numbers, a point a row, as .csv, .npy or .npz.

Whatever is wrong with a file is said in one sentence, with its place. What the points are for is
the business of others.
"""

import csv
from pathlib import Path

import numpy as np

SUFFIXES = (".csv", ".npy", ".npz")
LARGEST_FILE = 500_000_000  # bytes
LARGEST_NUMBER = 1e18


def read_points(path) -> np.ndarray:
    """The points of a file, (M, D) float64; a single column or a flat array has D = 1.

    Args:
        path: .csv (separated by commas, semicolons, tabs or spaces; a first row that is not
            numbers is a header), .npy, or .npz with one array. Pickles are not read.

    Raises:
        ValueError: for a file that is missing, too large, empty, ragged or not of numbers, and
            for points that are fewer than two, not finite, too large, or alike in a column.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"'{path}' must end in one of {', '.join(SUFFIXES)}")
    read = _read_csv if path.suffix.lower() == ".csv" else _read_numpy
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(
                f"'{path}' has {path.stat().st_size / 1e6:,.0f} MB, more than the "
                f"{LARGEST_FILE / 1e6:,.0f} MB that are read"
            )
        points = read(path)
    except OSError as error:
        raise ValueError(f"'{path}' cannot be read: {error.strerror or error}") from None
    return _checked(points, path)


def _checked(points: np.ndarray, path: Path) -> np.ndarray:
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or not points.shape[1]:
        raise ValueError(f"'{path}' must hold a table (points, dimensions), not {points.shape}")
    if len(points) < 2:
        number = "1 point" if len(points) else "0 points"
        raise ValueError(f"'{path}' holds {number}; at least 2 are needed")
    for bad, fault in (
        (~np.isfinite(points), "a number that is missing or not finite"),
        (np.abs(points) > LARGEST_NUMBER, f"a number beyond ±{LARGEST_NUMBER:g}"),
    ):
        if bad.any():
            row, column = np.argwhere(bad)[0] + 1
            raise ValueError(f"'{path}' has {fault} in point {row}, column {column}")
    spread = points.std(axis=0) <= 1e-12 * np.abs(points).max(axis=0)
    if spread.any():
        column = np.argmax(spread) + 1
        raise ValueError(f"'{path}' has the same number everywhere in column {column}")
    return points


def _read_numpy(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except (ValueError, EOFError, KeyError) as error:
        raise ValueError(f"'{path}' is not a file of numbers that numpy reads: {error}") from None
    if len(arrays) != 1:
        names = ", ".join(arrays) or "none"
        raise ValueError(f"'{path}' must hold one array; it holds {names}")
    (array,) = arrays.values()
    if array.dtype.kind not in "fiu":
        raise ValueError(f"'{path}' must hold numbers, not {array.dtype}")
    return array.astype(np.float64)


def _read_csv(path: Path) -> np.ndarray:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"'{path}' is not a text file") from None
    lines = [line for line in text.splitlines() if line.strip()]
    separator = next((mark for mark in ",;\t" if lines and mark in lines[0]), None)
    rows = list(csv.reader(lines, delimiter=separator)) if separator else map(str.split, lines)
    rows = [[cell.strip() for cell in row] for row in rows]
    if rows and not any(map(_is_number, rows[0])):
        rows = rows[1:]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"'{path}' is ragged: point {number} has {len(row)} numbers, "
                f"the first has {len(rows[0])}"
            )
        for cell in row:
            if cell and not _is_number(cell):
                raise ValueError(f"'{path}' has '{cell}', which is no number, in point {number}")
    if not rows:
        return np.empty((0, 1))
    return np.array([[float(cell) if cell else np.nan for cell in row] for row in rows])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
