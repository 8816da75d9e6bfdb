"""What `compare` shows of the flows that it has followed: `COMPARISONS`, an entry each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from figures.subject import target_sample
from lab import budget, by_class, tables

HISTOGRAMS = "divergence of histograms, nats"


@dataclass(frozen=True)
class Comparison:
    """An entry of `COMPARISONS`.

    Attributes:
        file: the name of its figure, without its ending, unless another is given.
        markdown: cells → the table.
        draw: (cells, planned runs, file) draws the figure.
        measure: what is measured of a flow, see `lab.comparison.compare`; None for the usual.
    """

    file: str
    markdown: Callable
    draw: Callable
    measure: Callable | None = None


def draw_budget(cells, planned, out: Path):
    """Quality against the number of evaluations."""
    from figures.budget import plot_budget

    panels = []
    for name, what in (("w2_squared", "$W_2^2$ to the target"), ("divergence", HISTOGRAMS)):
        if curves := budget.curves(cells, name):
            known = [c.numbers[f"{name}_of_true_samples"] for c in cells if c.numbers]
            panels.append((what, sum(known) / len(known), curves))
    run = planned[0][0]
    plot_budget(out, panels, f"{run.source.name} to {run.target.name}{_of_seeds(cells)}")


def _of_seeds(cells) -> str:
    seeds = len({cell.run.config.seed for cell in cells})
    return f", {seeds} seeds: mean, least and greatest" if seeds > 1 else ""


def draw_paths(cells, planned, out: Path):
    """Flows down and solvers across."""
    rows = {}
    for runs in planned:
        rows.setdefault(runs[0].label, runs[0].title)
    drawn = {
        (cell.run.label, cell.run.config.solver): (cell, cell.caption)
        for cell in _of_first_seed(cells, planned)
    }
    _draw_grid(cells, planned, out, drawn, list(rows.items()), _solvers(planned))


def draw_classes(cells, planned, out: Path):
    """Flows across and solvers down."""
    runs = [runs[0] for runs in planned]
    one_method = len({run.config.method for run in runs}) == 1
    titles = {run.label: run.method.coupling.title if one_method else run.label for run in runs}
    drawn = {
        (cell.run.config.solver, titles[cell.run.label]): (cell, by_class.caption(cell))
        for cell in _of_first_seed(cells, planned)
    }
    rows = [(solver, solver) for solver in _solvers(planned)]
    _draw_grid(cells, planned, out, drawn, rows, [*titles.values()])


def _solvers(planned) -> list[str]:
    return list(dict.fromkeys(run.config.solver for runs in planned for run in runs))


def _of_first_seed(cells, planned) -> list:
    """The cells that are drawn."""
    seed = planned[0][0].config.seed
    return [cell for cell in cells if cell.run.config.seed == seed and not cell.failure]


def _draw_grid(cells, planned, out: Path, drawn: dict, rows: list, columns: list):
    """A panel for each of (row, column) → (cell, caption)."""
    from figures.comparison import plot_comparison
    from figures.style import Classes

    first, flows = planned[0][0], {runs[0].label for runs in planned}
    told = {
        place: Classes(cell.run.classes, cell.labels)
        for place, (cell, _) in drawn.items()
        if cell.labels is not None
    }
    guidance = first.config.guidance
    plot_comparison(
        out,
        {place: (cell.paths, caption) for place, (cell, caption) in drawn.items()},
        rows=rows,
        columns=columns,
        targets=target_sample(first),
        title=f"{first.source.name} to {first.target.name}"
        + (f", guidance {guidance:g}" if guidance != 1 else ""),
        names=(first.source.name, first.target.name),
        labels=first.target.columns,
        seed=first.config.seed,
        seeds=len(planned) // len(flows),
        best=next(c.numbers["w2_squared_of_true_samples"] for c in cells if c.numbers),
        classes=told,
    )


COMPARISONS = {
    "paths": Comparison("compare", tables.markdown, draw_paths),
    "budget": Comparison("budget", budget.markdown, draw_budget, budget.measured),
    "classes": Comparison("classes", by_class.markdown, draw_classes, by_class.measured),
}
