"""Figures, each a function of arrays that writes a file.

The suffix of its name (.png, .pdf or .svg) decides the format. Figures of many panels on one
scale are in `panels.py`, the look of all in `style.py`; what is computed for a figure is computed
elsewhere.
"""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np

from figures.style import (
    CYCLE,
    DENSITY,
    DOTS,
    GENERATED,
    MARKERS,
    PATHS,
    SOURCE,
    STYLE,
    TARGET_FILL,
    aspect,
    bounding_box,
    bounding_limits,
    density_grid,
    draw_paths,
    is_square,
    few_points,
    legend,
    save,
    say_first_two,
)

__all__ = [
    "GENERATED",
    "PATHS",
    "SOURCE",
    "STYLE",
    "bounding_box",
    "bounding_limits",
    "density_grid",
    "is_square",
    "plot_density",
    "plot_gallery",
    "plot_loss",
    "plot_trajectories",
    "plot_work_precision",
    "save",
]


def plot_trajectories(
    out, paths: np.ndarray, target: np.ndarray, title: str, names=("source", "target"), shown=200
):
    """Source points, the paths they take, and where they arrive, over the target's density.

    Args:
        out: file to write.
        paths: (T, N, D), the states of N points at T times evenly from 0 to 1. D = 1 is drawn
            over time; D > 2 shows the first two, and says so.
        target: (M, D), a sample of the target.
        title: above the figure.
        names: of source and target, for the legend.
        shown: how many of the paths are drawn; of the points, ten times as many.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 5.5), layout="constrained")
        draw_paths(axes, paths[:, : 10 * shown], target, shown)
        axes.set_title(title)
        say_first_two(axes, paths.shape[2])
        crosses = few_points(target) is not None
        legend(figure, names, f"{min(shown, paths.shape[1])} paths", crosses=crosses)
        save(figure, out)


def plot_loss(out, losses, excess, title: str):
    """The training loss, and the least loss that any network could have.

    Args:
        losses: (step, loss) pairs, each a mean over the steps since the last.
        excess: a `metrics.ExcessLoss`, or None where the least loss is not known.
    """
    steps, values = np.array(losses).T
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        axes.plot(steps, values, color=SOURCE, lw=0.8, alpha=0.4, label="loss, 100 steps")
        if len(values) > 20:
            window = np.ones(10) / 10
            smooth = np.convolve(values, window, "valid")
            axes.plot(steps[5 : 5 + len(smooth)], smooth, color=SOURCE, lw=1.4, label="1,000 steps")
        if excess:
            axes.axhline(excess.floor, color=GENERATED, lw=1.2, ls="--", label="least possible")
            error = [excess.floor - excess.floor_error, excess.floor + excess.floor_error]
            axes.axhspan(*error, color=GENERATED, alpha=0.2, lw=0)
        settled = values[len(values) // 10 :]
        low = min(settled.min(), excess.floor if excess else np.inf)
        high = np.quantile(settled, 0.98)
        room = (high - low) or 1.0
        axes.set_ylim(low - 0.15 * room, high + 0.35 * room)
        axes.set(xlim=(0, steps[-1]), xlabel="step", ylabel="flow-matching loss", title=title)
        axes.legend(loc="upper right")
        save(figure, out)


def plot_density(out, box, learned: np.ndarray, true: np.ndarray, title: str):
    """A learned density beside the true one, on one scale.

    Args:
        box: (x0, x1, y0, y1) of the grid, or (x0, x1) in one dimension.
        learned: density at the middles of the grid's cells, (C, C) with rows along y, or (C,).
        true: likewise; or (M, D) samples, of which a histogram is drawn.
    """
    cells = len(learned)
    if true.shape != learned.shape:
        ranges = [box[2:], box[:2]] if learned.ndim == 2 else [box]
        true, _ = np.histogramdd(true[:, ::-1], bins=cells, range=ranges, density=True)
    with plt.rc_context(STYLE):
        if learned.ndim == 1:
            figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
            places = box[0] + (box[1] - box[0]) * (np.arange(cells) + 0.5) / cells
            axes.fill_between(places, true, color=TARGET_FILL, lw=0, label="target")
            axes.plot(places, learned, color=GENERATED, lw=1.4, label="learned")
            axes.set(xlim=box, ylim=(0, None), xlabel="$x$", ylabel="density", title=title)
            axes.legend()
        else:
            figure, panels = plt.subplots(
                1, 2, figsize=(8.2, 4.2), layout="constrained", sharex=True, sharey=True
            )
            tops = [np.quantile(some[some > 0.01 * some.max()], 0.99) for some in (learned, true)]
            top = 1.05 * max(tops)
            for axes, values, name in zip(
                panels, (learned, true), ("learned", "target"), strict=True
            ):
                image = axes.imshow(
                    values,
                    extent=box,
                    origin="lower",
                    cmap=DENSITY,
                    vmin=0,
                    vmax=top,
                    aspect=aspect(box),
                )
                axes.set(title=name, xlabel="$x_1$")
            panels[0].set_ylabel("$x_2$")
            figure.colorbar(image, ax=panels, shrink=0.85, label="density", extend="max")
            figure.suptitle(title, fontsize=10)
        save(figure, out)


def plot_gallery(out, samples: dict[str, np.ndarray], columns: int = 4):
    """One panel for every sample (N, D), D ≥ 2, of which the first two dimensions are shown."""
    rows = -(-len(samples) // columns)
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            rows, columns, figsize=(2 * columns, 2.15 * rows), layout="constrained"
        )
        for axes in panels.flat[len(samples) :]:
            axes.set_visible(False)
        for axes, (name, points) in zip(panels.flat, samples.items(), strict=False):
            box = bounding_box(points)
            axes.scatter(*points[:, :2].T, s=1.2, color=SOURCE, rasterized=True, **DOTS)
            axes.set(xlim=box[:2], ylim=box[2:], aspect="equal", title=name)
            say_first_two(axes, points.shape[1])
            axes.tick_params(labelsize=6)
        save(figure, out)


def plot_work_precision(out, curves: dict, title: str, adaptive=frozenset()):
    """Error against work, a curve for each solver: solid where adaptive, dashed where fixed.

    Args:
        curves: solver -> list of (NFE, error); errors of 0 have no place on the axes.
        adaptive: names of the adaptive solvers.
    """
    looks = dict(zip(curves, zip(cycle(CYCLE), cycle(MARKERS), strict=False), strict=False))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.8, 3.8), layout="constrained")
        groups = {"adaptive": [], "fixed steps": []}
        for name, points in curves.items():
            nfe, error = np.array(sorted(points), float).reshape(-1, 2).T
            colour, marker = looks[name]
            group, line = ("adaptive", "-") if name in adaptive else ("fixed steps", "--")
            look = {"color": colour, "marker": marker, "ls": line, "lw": 1, "ms": 4}
            groups[group] += axes.plot(nfe, np.where(error > 0, error, np.nan), **look, label=name)
        axes.set(xscale="log", yscale="log", xlabel="NFE: evaluations of the velocity", title=title)
        axes.set_ylabel("error: root mean squared distance\nfrom a reference solve")
        axes.grid(which="major", color="#E5E5E5", lw=0.5)
        heads = {group: plt.Line2D([], [], ls="", label=group) for group in groups}
        marks = [
            mark for group in groups if groups[group] for mark in (heads[group], *groups[group])
        ]
        figure.legend(handles=marks, loc="outside right center", handlelength=3)
        save(figure, out)
