"""Tables of points that are written as they come, so that they need not fit into memory."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from files.whole import whole


def write_rows(path: Path, parts: Iterable[np.ndarray], count: int, names: list[str], digits: int):
    """Write a table of `count` rows, which come as arrays (n, D).

    The file appears whole or not at all.

    Args:
        path: file to write, .npy or .csv.
        names: of the D columns, the header of a .csv.
        digits: that numbers have in a .csv.
    """
    with whole(path) as part:
        if path.suffix.lower() == ".npy":
            _write_npy(part, parts, count)
        else:
            _write_csv(part, parts, names, digits)


def _write_npy(path: Path, parts: Iterable[np.ndarray], count: int):
    with path.open("wb") as file:
        for rows in parts:
            if not file.tell():
                kind, shape = np.lib.format.dtype_to_descr(rows.dtype), (count, *rows.shape[1:])
                header = {"descr": kind, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(rows.tobytes())


def _write_csv(path: Path, parts: Iterable[np.ndarray], names: list[str], digits: int):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(names)
        for rows in parts:
            np.savetxt(file, rows, fmt=f"%.{digits}g", delimiter=",")
