"""Methods beside solvers: the flow of every method followed by every solver, on one scale."""

import numpy as np

from figures import style
from figures.stage import Stage, reach
from metrics import quoted

ABOVE = 0.45  # inches, for the second line of the title, and the names of the columns
NARROWEST = 4.4  # inches, in which the legend takes no more than two lines


def plot_comparison(
    out,
    cells: dict,
    rows,
    columns,
    targets: np.ndarray,
    title: str,
    names=("source", "target"),
    labels=None,
    seed: int | None = None,
    seeds: int = 1,
    best: float | None = None,
    classes: dict | None = None,
):
    """The paths of every method by every solver: methods down, solvers across.

    Args:
        cells: (row key, column) -> (paths, caption), paths (T, N, D) as for `plot_trajectories`.
            Where one is missing, its panel says "not run". A caption may have $mathematics$.
        rows: (key, printed title) pairs.
        columns: names.
        targets: (M, D), a sample of the target.
        names: of source and target, for the legend.
        labels: names of the D dimensions; x1, x2, … if None.
        seed: of the flows that are drawn, for the title.
        seeds: how many there are, of which only this one is drawn.
        best: W2² of two true samples, for the title.
        classes: likewise -> the `style.Classes` of the points, whose colours they have then.
    """
    count = len(rows) * len(columns)
    shown = int(np.clip(900 // count, 30, 100))
    classes = classes or {}
    cells = {key: (paths[:, : 8 * shown], caption) for key, (paths, caption) in cells.items()}
    clouds = [cloud for paths, _ in cells.values() for cloud in reach(paths, shown)]
    stage = Stage(clouds, targets, labels)
    side = min(2.4, 8.8 / len(columns))
    size = style.panels(len(rows), len(columns), side, side + 0.08)
    size |= {"width": max(size["width"], NARROWEST), "height": size["height"] + ABOVE}
    with style.drawing(out, **size, **{"savefig.dpi": 200 if count <= 6 else 150}) as figure:
        grid = style.shared_axes(figure, len(rows), len(columns))
        for line, (key, row_title) in zip(grid, rows, strict=True):
            for axes, name in zip(line, columns, strict=True):
                told = classes.get((key, name))
                _draw_cell(axes, stage, cells.get((key, name)), shown, side / 5, told)
            line[0].set_ylabel(f"{style.wrapped(row_title, 11 * side)}\n{line[0].get_ylabel()}")
        for axes, name in zip(grid[0], columns, strict=True):
            above = {"xytext": (0, 17), "textcoords": "offset points", "ha": "center"}
            axes.annotate(
                style.literal(name), (0.5, 1), xycoords="axes fraction", fontsize=10, **above
            )
        which = "" if seed is None else f", seed {seed}"
        which += f", the first of {seeds}" if seeds > 1 else ""
        above = "" if best is None else f"\nW₂² of two true samples {quoted(best, digits=2)}"
        style.set_title(figure, f"{title}{which}{above}", stage.dim)
        most = max((paths.shape[1] for paths, _ in cells.values()), default=0)
        told = next(iter(classes.values()), None)
        style.legend(figure, names, f"{min(shown, most)} paths in each", stage.crosses, told)


def _draw_cell(axes, stage: Stage, cell, shown: int, scale: float, classes):
    if cell:
        paths, caption = cell
        stage.draw_flow(axes, paths, shown, scale, classes)
        axes.set_title(caption, fontsize=8, pad=4.5)
    else:
        stage.set_up(axes)
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "not run", color=style.TARGET_DOTS, **place)
    axes.label_outer()
