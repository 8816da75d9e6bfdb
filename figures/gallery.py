"""All datasets beside one another, on one scale."""

import numpy as np

from figures import style
from figures.geometry import bounding_box


def plot_gallery(out, samples: dict[str, np.ndarray], columns: int = 4, classes=None):
    """One panel for every sample (N, D), D ≥ 2, of which the first two dimensions are shown.

    `classes` are those of a sample's points, (N,), of every name that has some.
    """
    rows = -(-len(samples) // columns)
    box = bounding_box(*samples.values(), margin=0.02)
    with style.drawing(out, **style.panels(rows, columns, 2.0, 2.1)) as figure:
        grid = style.shared_axes(figure, rows, columns)
        for k, (axes, (name, points)) in enumerate(zip(grid.flat, samples.items(), strict=False)):
            x, y = style.axis_labels(None, points.shape[1])[:2]
            colours = style.SOURCE
            if classes and name in classes:
                colours = style.class_colours(classes[name].max() + 1)[classes[name]]
            axes.scatter(*points[:, :2].T, s=1.2, c=colours, **style.DOTS)
            axes.set(xlim=box[:2], ylim=box[2:], aspect="equal", title=style.literal(name))
            if points.shape[1] > 2:
                place = {"transform": axes.transAxes, "ha": "right", "fontsize": 8}
                axes.text(0.97, 0.03, f"{x} and {y} of {points.shape[1]}", **place)
            if k % columns == 0:
                axes.set_ylabel(y)
            if k + columns >= len(samples):  # the lowest of its column
                axes.set_xlabel(x)
                axes.tick_params(labelbottom=True)
        for axes in grid.flat[len(samples) :]:
            axes.set_visible(False)
