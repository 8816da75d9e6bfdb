"""The density that a flow has learned, beside the true one."""

from pathlib import Path

import mlx.core as mx
import numpy as np

from figures import style
from figures.geometry import bounding_box, bounding_limits, density_grid, density_line, middles
from figures.subject import TARGET_POINTS, Subject
from lab.densities import log_density, no_log_density
from lab.run import Run
from machine.keys import evaluation_keys

CELLS = 160  # a side
PART = 8_192  # cells in one solve
MARGIN = 0.2  # of the box around the target


def refusal(run) -> str | None:
    if run.target.dim > 2:
        return f"'density' is drawn in one and two dimensions, and the flow has {run.target.dim}."
    why = no_log_density(run)
    return why and f"{why}."


def draw(out: Path, subject: Subject):
    run = subject.run
    plot_density(out, *densities(run, subject.field), title=run.flow, labels=subject.labels)


def densities(run: Run, field):
    """The flow's density on a grid around the target, and the target's, or a sample of it.

    By the exact divergence: the exponential of an estimate would be too large on average.

    Returns:
        (box, learned, true): box as (x0, x1, y0, y1), or (x0, x1) in one dimension; learned at
        the middles of `CELLS` cells a side, rows along y; true likewise, or (M, D) samples.
    """
    sample = run.target.sample_exactly(TARGET_POINTS, evaluation_keys(run.config.seed)[1])
    around = bounding_limits if run.target.dim == 1 else bounding_box
    box = around(sample, margin=MARGIN)
    sides = [middles(limits, CELLS) for limits in np.reshape(box, (-1, 2))]
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    places = grid.reshape(-1, run.target.dim)
    parts = np.array_split(places, max(1, len(places) // PART))
    learned = np.exp(np.concatenate([log_density(run, field, part) for part in parts]))
    if run.target.log_prob is None:
        return box, learned.reshape(grid.shape[:-1]), sample
    true = np.exp(np.array(run.target.log_prob(mx.array(places, mx.float32))))
    return box, learned.reshape(grid.shape[:-1]), true.reshape(grid.shape[:-1])


def plot_density(out, box, learned: np.ndarray, true: np.ndarray, title: str, labels=None):
    """A learned density beside the true one, on one scale.

    Args:
        box: (x0, x1, y0, y1) of the grid, or (x0, x1) in one dimension.
        learned: density at the middles of the grid's cells, (C, C) with rows along y, or (C,).
        true: likewise; or (M, D) samples, of which a smooth estimate is drawn.
        labels: names of the D dimensions; x1, x2, … if None.
    """
    sampled = true.shape != learned.shape
    if sampled:
        true = _estimate(true, box, len(learned))
    names = "learned", "target, estimated from its points" if sampled else "target"
    draw = _on_a_line if learned.ndim == 1 else _in_the_plane
    draw(out, box, (learned, true), names, title, style.axis_labels(labels, learned.ndim))


def _estimate(points, box, cells):
    """The density of points (M, D) on a grid, of mass 1 in the box."""
    if len(box) == 2:
        return density_line(points.ravel(), box, cells)[1]
    density = density_grid(points, box, cells)
    area = (box[1] - box[0]) * (box[3] - box[2]) / cells**2
    return density / (density.sum() * area)


def _on_a_line(out, box, densities, names, title, labels):
    learned, true = densities
    x = middles(box, len(learned))
    with style.drawing(out, 5.2, 3.6) as figure:
        axes = figure.subplots()
        axes.fill_between(x, true, fc=style.TARGET, ec=style.INK, lw=0.6, label=names[1])
        axes.plot(x, learned, color=style.GENERATED, lw=1.4, label=names[0])
        axes.set(xlim=box, ylim=(0, None), xlabel=labels[0], ylabel="density")
        figure.legend(loc="outside lower center", ncols=2)
        style.set_title(figure, title)


def _in_the_plane(out, box, densities, names, title, labels):
    # Nearly all cells with much density are below; the few above have the last colour.
    tops = [np.quantile(some[some > 0.01 * some.max()], 0.99) for some in densities]
    look = {"cmap": style.DENSITY, "vmin": 0, "vmax": 1.05 * max(tops)}
    beyond = np.max(densities) > look["vmax"]
    with style.drawing(out, 8.2, 4.2) as figure:
        grid = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, values, name in zip(grid, densities, names, strict=True):
            image = style.show_grid(axes, values, box, **look)
            axes.set(title=name, xlabel=labels[0], ylabel=labels[1])
            axes.label_outer()
        extend = "max" if beyond else "neither"
        figure.colorbar(image, ax=grid, shrink=0.85, label="density", extend=extend)
        style.set_title(figure, title)
