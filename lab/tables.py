"""The tables of a comparison: for people, for programs, and for spreadsheets."""

import csv
from pathlib import Path

import machine  # noqa: F401  before MLX, which it makes fast

import numpy as np

from files.whole import whole
from lab.comparison import Cell
from metrics import quoted

NAMED = ("method", "solver", "seed", "source", "target")  # what a row of a .csv begins with

# heading → (number, digits in print)
COLUMNS = {
    "NFE": ("nfe", ".0f"),
    "W2²": ("w2_squared", ".3g"),
    "normalized path energy": ("normalized_path_energy", ".3g"),
    "straightness": ("straightness", ".3g"),
    "excess loss": ("excess_loss", ".3g"),
    "NLL": ("nll", ".3f"),
    "training, s": ("training_seconds", ".1f"),
    "sampling, s": ("sampling_seconds", ".2f"),
}


def summary(cells: list[Cell], columns=COLUMNS) -> dict[tuple[str, str], dict[str, list]]:
    """(method, solver) → the numbers of every seed, in the order of the cells."""
    found: dict = {}
    names = [name for name, _ in columns.values()]
    names += [f"{name}_error" for name in names if name.endswith("w2_squared")]
    for cell in cells:
        numbers = found.setdefault((cell.run.label, cell.run.config.solver), {})
        for name in names:
            value = cell.numbers.get(name)
            numbers.setdefault(name, []).extend([] if value is None else [value])
    return found


def heading(cells: list[Cell]) -> str:
    """What was compared, in a sentence: source, target, seeds, two true samples' distance."""
    run = cells[0].run
    seeds = sorted({cell.run.config.seed for cell in cells})
    of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    best = [c.numbers["w2_squared_of_true_samples"] for c in cells if c.numbers]
    apart = f"; W2² between two true samples is {np.mean(best):.2g}" if best else ""
    noise = max(cell.run.config.diffusion for cell in cells)
    apart += f"; stochastic solvers with diffusion {noise:g}" if noise else ""
    spread = "standard error" if len(seeds) == 1 else "standard deviation over seeds"
    return f"{run.source.name} to {run.target.name}, {of_seeds}{apart}. ± is the {spread}."


def markdown(cells: list[Cell], columns=COLUMNS) -> str:
    """The table, with mean ± standard deviation over seeds; of one, W2² ± its standard error.

    Where some seeds failed, the number of the others stands behind.
    """
    seeds = len({cell.run.config.seed for cell in cells})
    lines = [heading(cells), ""]
    lines += [f"| method | solver | {' | '.join(columns)} |", "|---" * (len(columns) + 2) + "|"]
    for (method, solver), numbers in summary(cells, columns).items():
        row = [_in_words(numbers, seeds, *column) for column in columns.values()]
        lines.append(f"| {method} | {solver} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _in_words(numbers: dict[str, list], seeds: int, name: str, how: str) -> str:
    values = numbers[name]
    if not values:
        return "–"
    error = np.std(values, ddof=1) if len(values) > 1 else 0.0
    if seeds == 1:
        error = sum(numbers.get(f"{name}_error", []))
    shown = f"{np.mean(values):{how}}"
    if error:  # of seconds, which vary with the machine, the digits are always the same
        seconds = name.endswith("_seconds")
        shown = f"{shown} ± {error:{how}}" if seconds else quoted(np.mean(values), error)
    return shown + ("" if len(values) == seeds else f" ({len(values)})")


def is_table(path: Path) -> bool:
    """Whether a file was written by `write_markdown` or `write_csv`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = [file.readline(500) for _ in range(6)]  # a heading may stand before it
    begin = ",".join(NAMED) if path.suffix == ".csv" else "| method | solver |"
    return any(line.startswith(begin) for line in lines)


def write_markdown(path: Path, table: str):
    """Keep the table in a file."""
    with whole(path) as part:
        part.write_text(table, encoding="utf-8")


def write_csv(path: Path, cells: list[Cell]):
    """Keep every number of every cell in a file, a row each."""
    rows = _rows(cells)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def as_json(cells: list[Cell]) -> dict:
    """What was compared, and all rows."""
    config = cells[0].run.config
    return {"source": config.source, "target": config.target, "rows": _rows(cells)}


def _rows(cells: list[Cell]) -> list[dict]:
    """Every number of every cell by its name, and why there are none where it failed."""
    rows = []
    for cell in cells:
        config = cell.run.config
        row = {name: getattr(config, name) for name in NAMED} | {"method": cell.run.label}
        row |= cell.numbers
        rows.append(row | ({"failure": cell.failure} if cell.failure else {}))
    return rows
