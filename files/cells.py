"""What the cells of a table say: a number, or of which class a point is.

Also how a sentence about a file repeats what the file holds.
"""

import math
from collections.abc import Callable

import numpy as np

MISSING = ("", "na", "n/a", "nan", "none", "null", "?")  # cells without a number
MOST_CLASSES = 64  # that are told apart; a column with more of them holds something else
ECHOED = 40  # letters of a file that are repeated in a sentence about it
LISTED = 12  # names of columns, likewise


def to_number(cell: str) -> float:
    """The number in a cell, NaN where it is missing."""
    if cell.lower() in MISSING:
        return math.nan
    if "_" in cell:  # which Python's numbers may have
        raise ValueError
    return float(cell.replace(",", "."))


def is_number(cell: str) -> bool:
    try:
        return bool(cell.strip()) and to_number(cell.strip()) is not None
    except ValueError:
        return False


def shown(text) -> str:
    """What a file holds as a sentence repeats it: on one line, cut where it is long."""
    text = " ".join(str(text).split())
    return text if len(text) <= ECHOED else f"{text[:ECHOED]}…"


def listed(names) -> str:
    """Names, of very many the first ones."""
    names = [shown(name) for name in names]
    return ", ".join(names if len(names) <= LISTED else [*names[:LISTED], "…"])


def classes_of(words: list[str], place: Callable, column: str) -> tuple[np.ndarray, tuple]:
    """The class of every row, (M,), and what the classes are called: words, or numbers by size.

    Args:
        words: the cells of the label.
        place: row → where it is in the file, in words.
        column: what the sentence about a fault calls the label.

    Raises:
        ValueError: for a cell that is missing or no whole number where all are numbers, and for one
            class, or more than `MOST_CLASSES`.
    """
    for row, word in enumerate(words):
        if word.lower() in MISSING:
            raise ValueError(f"{column} is missing in {place(row)}")
    if all(map(is_number, words)):
        for row, word in enumerate(words):
            if not to_number(word).is_integer():
                raise ValueError(
                    f"{column} has {shown(word)} in {place(row)}; classes are words or whole "
                    "numbers"
                )
        words = [int(to_number(word)) for word in words]
    classes, labels = np.unique(words, return_inverse=True)
    if len(classes) > MOST_CLASSES:
        raise ValueError(f"{column} has {len(classes):,} classes; there may be {MOST_CLASSES}")
    if len(classes) == 1:
        raise ValueError(f"{column} has {shown(classes[0])} everywhere; two classes are needed")
    return labels, tuple(map(str, classes))
