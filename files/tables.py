"""A user's table of numbers, a point in each row, read from a .csv, .npy or .npz file.

Whatever is wrong with a file is said in one sentence, with its place.
"""

import csv
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np

from files.cells import classes_of, is_number, listed, shown, to_number
from files.ordinary import why_not

SUFFIXES = (".csv", ".npy", ".npz")
SEPARATORS = (";", "\t", ",", " ")  # the likelier first: a comma may be a decimal one
LOOKED_AT = 100  # lines from which the separator is told
LARGEST_FILE = 500_000_000  # bytes, unpacked
LARGEST_TEXT = 50_000_000  # bytes of a .csv, whose cells take many times as much while it is read
LARGEST_NUMBER = 1e18  # its square is still a float32
LEAST_SPREAD = 1e-18  # so is the square of a spread
ROUNDING = 10 * np.finfo(np.float64).eps  # relative spread that is no more than rounding


class ColumnError(ValueError):
    """A choice of columns that a table does not have, or one that has to be made."""


class LabelError(ValueError):
    """A column that a table does not have, or that tells no classes."""


def read_table(path, columns: Sequence | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The points of a file, (M, D) float64, and the names of their D columns.

    A file .csv is separated by semicolons, tabs, commas or spaces, in UTF-8, UTF-16 or Latin-1.
    Lines that begin with # are comments. The names stand in a first line without numbers, or in
    the last comment before the numbers if it has as many words as there are columns; otherwise
    they are x1, x2, …. Where commas do not separate they are decimal commas. A file .npy, or .npz
    with one array, holds a table (M, D) or a single column (M,). Pickles are not read.

    Args:
        path: file to read.
        columns: names of columns or their numbers, counted from 1, in the order wanted; all if
            None. The others may hold anything.

    Raises:
        ValueError: for a file that is missing, too large or ragged, for columns that it has not or
            that do not hold numbers, and for points that are fewer than two, not finite, too
            large, or alike in a column.
    """
    return read_labelled(path, columns)[:2]


def read_labelled(path, columns: Sequence | None = None, label=None) -> tuple:
    """What `read_table` reads, and the classes that a further column tells.

    Args:
        path, columns: as of `read_table`; with None, all columns but the label.
        label: name or number, from 1, of the column of words or whole numbers; none if None.

    Returns:
        The points and the names of their columns; the class of every point, (M,) places in the
        last; and what the classes are called, in order. Without a label the latter are None and ().

    Raises:
        LabelError: for a label that is missing or no whole number where all
            are numbers, that is the same everywhere, or of more than `MOST_CLASSES` kinds.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"'{path}' must end in one of {', '.join(SUFFIXES)}")
    if why := why_not(path):
        raise ValueError(f"'{path}' cannot be read: {why}")
    read = _read_csv if path.suffix.lower() == ".csv" else _read_numpy
    try:
        _check_size(path)
        points, names, place, words = read(path, columns, label)
    except OSError as error:
        raise ValueError(f"'{path}' cannot be read: {error.strerror or error}") from None
    _check(points, names, place, path)
    if label is None:
        return points, names, None, ()
    column = f"column {shown(label)} of '{path}', the label,"
    try:
        return points, names, *classes_of(words, place, column)
    except ValueError as error:
        raise LabelError(str(error)) from None


def _check_size(path: Path):
    """Raise a ValueError for what is too large to be read, once unpacked."""
    size, is_text = path.stat().st_size, path.suffix.lower() == ".csv"
    most = LARGEST_TEXT if is_text else LARGEST_FILE
    if size <= most and not is_text and is_zipfile(path):
        with suppress(Exception), ZipFile(path) as parts:  # what is wrong, numpy will say
            size = sum(part.file_size for part in parts.infolist())
    if size > most:
        hint = "; numpy.save makes a smaller one, an .npy" if is_text else ""
        raise ValueError(
            f"'{path}' has {size / 1e6:,.0f} MB, more than the {most / 1e6:,.0f} MB that are "
            f"read{hint}"
        )


def _check(points: np.ndarray, names: tuple[str, ...], place: Callable, path: Path):
    if len(points) < 2:
        number = "1 point" if len(points) else "0 points"
        raise ValueError(f"'{path}' holds {number}; at least 2 are needed")
    for bad, fault in (
        (~np.isfinite(points), "a number that is missing or not finite"),
        (np.abs(points) > LARGEST_NUMBER, f"a number beyond ±{LARGEST_NUMBER:g}"),
    ):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(
                f"'{path}' has {fault} in {place(row)}, column {shown(names[column])}; rows must "
                "be whole"
            )
    spread, largest = points.std(axis=0), np.abs(points).max(axis=0)
    for column, name in enumerate(map(shown, names)):
        if np.ptp(points[:, column]) == 0:
            raise ValueError(f"'{path}' has the same number everywhere in column {name}")
        if spread[column] <= max(LEAST_SPREAD, ROUNDING * largest[column]):
            raise ValueError(
                f"'{path}' has numbers up to {largest[column]:g} in column {name} that vary by "
                f"{spread[column]:.1g} only, too little to compute with"
            )


def _read_numpy(path: Path, columns: Sequence | None, label=None):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files by Python 2, which are read, and of damage
            loaded = np.load(path, allow_pickle=False)
            arrays = dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except OSError:
        raise
    except Exception as error:  # of many kinds: numpy's, those of zip files and of memory
        about = shown(error) or type(error).__name__
        raise ValueError(f"'{path}' is not a file of numbers that numpy reads: {about}") from None
    if len(arrays) != 1:
        raise ValueError(f"'{path}' must hold one array; it holds {listed(arrays) or 'none'}")
    (array,) = arrays.values()
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        kind = array.dtype if isinstance(array, np.ndarray) else "something else"
        raise ValueError(f"'{path}' must hold numbers, not {shown(kind)}")
    table = array[:, None] if array.ndim == 1 else array
    if table.ndim != 2 or not table.size:
        raise ValueError(f"'{path}' must hold a table (points, dimensions), not {table.shape}")
    names = _names([""] * table.shape[1])
    chosen, of_label = _chosen(names, columns, label, path)
    points = np.ascontiguousarray(table[:, chosen], np.float64)
    words = [] if of_label is None else list(map(str, table[:, of_label].tolist()))
    return points, tuple(names[c] for c in chosen), lambda row: f"row {row + 1}", words


def _read_csv(path: Path, columns: Sequence | None, label=None):
    comments, lines = _lines(path)
    separator = _separator(list(lines.values())[:LOOKED_AT])
    rows = _split(lines, separator, path)
    heading = comments[-1] if comments else ""
    first = next(iter(rows), None)
    has_header = first is not None and not any(map(is_number, rows[first]))
    if has_header:
        heading = lines[first]
        named = len(rows.pop(first))
    if not rows:
        return np.empty((0, 1)), ("x1",), None, []
    rows = _without_trailing_separators(rows)
    numbers = list(rows)
    width = len(rows[numbers[0]])
    for line, row in rows.items():
        if len(row) != width:
            raise ValueError(
                f"'{path}' is ragged: the number of columns is {width} in line {numbers[0]} and "
                f"{len(row)} in line {line}"
            )
    words = _words(heading, separator, width)
    if has_header and named > 1 and not any(words):  # a single word may be a title
        raise ValueError(
            f"'{path}' has a header in line {first} that does not name its {width} columns"
        )
    names = _names(words)
    chosen, of_label = _chosen(names, columns, label, path)
    points = np.empty((len(rows), len(chosen)))
    for r, (line, row) in enumerate(rows.items()):
        for c, column in enumerate(chosen):
            try:
                points[r, c] = to_number(row[column])
            except ValueError:
                kind, hint = ValueError, ""
                if columns is None and width > 1:
                    kind, hint = ColumnError, "; choose columns of numbers"
                raise kind(
                    f"'{path}' has '{shown(row[column])}', which is no number, in line {line}, "
                    f"column {shown(names[column])}{hint}"
                ) from None
    letters = set(chain.from_iterable(row[c] for row in rows.values() for c in chosen))
    if separator != "," and {",", "."} <= letters:
        raise ValueError(f"'{path}' has decimal commas as well as decimal points")
    words = [] if of_label is None else [row[of_label] for row in rows.values()]
    return points, tuple(names[c] for c in chosen), lambda row: f"line {numbers[row]}", words


def _lines(path: Path) -> tuple[list[str], dict[int, str]]:
    """Comments before the first other line; and all other lines, by their number, from 1."""
    data, text = path.read_bytes(), None
    of_two_bytes = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ["utf-16"] if of_two_bytes else ["utf-8-sig", "latin-1"]:
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    if text is None or "\0" in text:
        raise ValueError(f"'{path}' is not a text file in UTF-8, UTF-16 or Latin-1")
    comments, lines = [], {}
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        if line.lstrip().startswith("#"):
            if not lines:
                comments.append(line.lstrip(" #"))
        elif line.strip():
            lines[number] = line.strip(" ")
    return comments, lines


def _separator(lines: list[str]) -> str:
    """The mark that parts numbers in most lines."""

    def parted(mark):
        return sum(
            mark in line and any(is_number(cell.strip(' "')) for cell in line.split(mark))
            for line in lines
        )

    return max(SEPARATORS, key=parted)  # of several, the first


def _split(lines: dict[int, str], separator: str, path: Path) -> dict[int, list[str]]:
    # the empty line at the end is lost in the last row if that has a quotation mark alone
    reader = csv.reader([*lines.values(), ""], delimiter=separator, skipinitialspace=True)
    numbers, rows, done = list(lines), {}, 0
    try:
        for row in islice(reader, len(lines)):
            rows[numbers[done]] = [cell.strip() for cell in row]
            if reader.line_num > done + 1:
                raise ValueError(f"'{path}' has a quotation mark in line {numbers[done]} alone")
            done = reader.line_num
    except csv.Error as error:
        raise ValueError(f"'{path}' is no table in line {numbers[done]}: {error}") from None
    return rows


def _without_trailing_separators(rows: dict[int, list[str]]) -> dict[int, list[str]]:
    if any(row[-1] or len(row) == 1 for row in rows.values()):
        return rows
    return {line: row[:-1] for line, row in rows.items()}


def _words(heading: str, separator: str, width: int) -> list[str]:
    """As many words of a heading as there are columns; if it has more or fewer, empty ones."""
    heading = heading[: csv.field_size_limit()]
    (by_separator,) = csv.reader([heading], delimiter=separator, skipinitialspace=True)
    for words in (by_separator, re.split(r"[\s,;]+", heading)):
        words = [word.strip() for word in words]
        words = words[:width] if words[width:] == [""] else words
        if len(words) == width and not any(map(is_number, words)):
            return words
    return [""] * width


def _names(words: list[str]) -> list[str]:
    return [word or f"x{number}" for number, word in enumerate(words, 1)]


def _chosen(names: list[str], columns: Sequence | None, label, path: Path) -> tuple:
    """The places of the columns asked for, and that of the label, None if there is none."""
    of_label = None if label is None else _place(names, str(label), path, LabelError)
    if columns is None:
        chosen = [place for place in range(len(names)) if place != of_label]
    else:
        chosen = [_place(names, column, path) for column in map(str, columns)]
    for number, place in enumerate(chosen):
        if place in chosen[:number]:
            raise ColumnError(f"column '{shown(columns[number])}' of '{path}' is chosen twice")
        if place == of_label:
            raise ColumnError(
                f"column '{shown(columns[number])}' of '{path}' is the label, and so no coordinate"
            )
    if not chosen:
        raise ColumnError(f"no column of '{path}' is chosen; it has {listed(names)}")
    return chosen, of_label


def _place(names: list[str], column: str, path: Path, error: type = ColumnError) -> int:
    """Where a column is, given by its name or by its number, from 1."""
    numbers = {str(number): number - 1 for number in range(1, len(names) + 1)}
    if names.count(column) > 1:
        raise error(f"'{path}' has several columns '{shown(column)}'; choose one by its number")
    place = names.index(column) if column in names else numbers.get(column)
    if place is None:
        raise error(
            f"'{path}' has no column '{shown(column)}'; it has {listed(names)}, which are "
            f"numbered from 1 to {len(names)}"
        )
    return place
