"""Points of the source, of the target and generated ones, side by side."""

from pathlib import Path

import numpy as np

from figures import style
from figures.geometry import bounding_limits, density_line
from figures.stage import Stage
from figures.subject import Subject


def draw(out: Path, subject: Subject):
    paths = subject.generated.paths
    about = {"names": subject.names, "labels": subject.labels}
    about |= {"classes": subject.classes, "target_classes": subject.target_classes}
    plot_samples(out, paths[0], subject.target, paths[-1], subject.run.flow, **about)


def plot_samples(
    out,
    source: np.ndarray,
    target: np.ndarray,
    generated: np.ndarray,
    title: str,
    names=("source", "target"),
    labels=None,
    shown: int = 2048,
    classes: style.Classes | None = None,
    target_classes: style.Classes | None = None,
):
    """Source, target and generated samples on one scale, the last within the target's outline.

    Args:
        source, target, generated: (N, D) each, with its own N. D = 1 is drawn as densities, D > 2
            shows the first two dimensions, and says so.
        names: of source and target.
        labels: names of the D dimensions; x1, x2, … if None.
        shown: how many points of each are drawn; densities are of all.
        classes, target_classes: of the generated points and of those of the target, if they have
            some: dots have their colours then, and there is a density of each.
    """
    dim = source.shape[1]
    samples = {
        f"source: {style.literal(names[0], 25)}": (source, style.SOURCE),
        f"target: {style.literal(names[1], 25)}": (target, style.TARGET_DOTS),
        "generated": (generated, style.GENERATED),
    }
    with style.drawing(out, **style.panels(1, 3, 2.6, 2.6)) as figure:
        grid = style.shared_axes(figure, 1, 3)[0]
        show = _as_densities if dim == 1 else _as_dots
        show(grid, [*samples.values()], labels, shown, [None, target_classes, classes])
        if classes:
            style.class_legend(figure, classes.names)
        for axes, name in zip(grid, samples, strict=True):
            axes.set_title(name, fontsize=9)
            axes.label_outer()
        style.set_title(figure, title, dim)


def _as_densities(grid, samples, labels, _, classes):
    limits = bounding_limits(*(points for points, _ in samples))
    for axes, (points, colour), told in zip(grid, samples, classes, strict=True):
        for k, hue in enumerate([colour] if told is None else told.colours):
            some = points if told is None else points[told.labels == k]
            x, density = density_line(some.ravel(), limits) if len(some) else ([], [])
            share = len(some) / len(points)
            axes.fill_between(x, share * np.asarray(density), fc=hue, alpha=0.7, lw=0)
        axes.set(xlim=limits, xlabel=style.axis_labels(labels, 1)[0], ylabel="density")
    grid[2].plot(*density_line(samples[1][0].ravel(), limits), color=style.INK, lw=0.8)
    grid[0].set_ylim(0, None)


def _as_dots(grid, samples, labels, shown, classes):
    source, target, generated = (points for points, _ in samples)
    stage = Stage([source, generated], target, labels)
    for axes, (points, colour), told in zip(grid, samples, classes, strict=True):
        hue = colour if told is None else told.hues[:shown]
        axes.scatter(*points[:shown, :2].T, s=2.5, color=hue, **style.DOTS)
        stage.set_up(axes)
    stage.draw_target(grid[2], scale=0.5)
