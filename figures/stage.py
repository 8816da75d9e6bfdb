"""The stage on which flows are drawn: a box, axes, and the target in it.

The target is its density in light grey behind everything and, above everything, a black line
around the densest nine tenths of it, so that it is seen under any number of dots; of few points,
each is a cross. In one dimension time runs to the right, and a density stands on its side.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np
from matplotlib.collections import LineCollection

from figures import style
from figures.geometry import (
    bounding_box,
    bounding_limits,
    density_grid,
    density_line,
    level_around,
    rarity,
)

OUTLINED = 0.9  # of the target's mass
FEW = 64  # points of a target that is drawn as points
PIECES = 20  # of a path, each in the colour of its time
TALLEST, UNSEEN = 0.25, 0.001  # of the densities on a line, in units of t


class Stage:
    """Where one or more flows to a target are drawn, all on one scale.

    Attributes:
        box: of the axes: (x0, x1, y0, y1), or (x0, x1) in one dimension.
        crosses: whether the target is a few points, each drawn as a cross.
    """

    def __init__(self, clouds, target: np.ndarray | None = None, labels=None):
        """To hold nearly all points of clouds, each (N, D), and of the target (M, D)."""
        clouds = [*clouds] if target is None else [*clouds, target]
        self.dim = clouds[0].shape[1]
        self.box = (bounding_limits if self.dim == 1 else bounding_box)(*clouds)
        self.labels = style.axis_labels(labels, self.dim)
        self.target = target
        self.points = None if target is None or self.dim == 1 else _few_points(target)
        self.crosses = self.points is not None

    @cached_property
    def density(self) -> np.ndarray:
        """Of the target, on a grid; smooth, since an outline shows more noise than a shade does."""
        bandwidth = 0.025 * rarity(self.target[:, 0]) ** (1 / 4)
        return density_grid(self.target, self.box, bandwidth=bandwidth)

    def set_up(self, axes):
        """Give axes their limits and labels."""
        if self.dim == 1:
            axes.set(xlim=(-0.3, 1.3), ylim=self.box, xlabel="$t$", ylabel=self.labels[0])
            axes.set_xticks([0, 0.5, 1])
            return
        x, y = self.labels[:2]
        axes.set(xlim=self.box[:2], ylim=self.box[2:], xlabel=x, ylabel=y)
        axes.set_aspect(style.aspect(self.box))

    def draw_target(self, axes, scale: float = 1.0) -> list:
        """The target in the plane; gives those of its marks that belong above all else."""
        if self.target is None or self.dim == 1:
            return []
        if self.crosses:
            look = {"color": style.INK, "linewidths": 0.8, "zorder": 2.3}
            return [axes.scatter(*self.points.T, marker="+", s=30 * scale, **look)]
        # 2.2, for a grey that is light also where the density is greatest
        look = {"cmap": "Greys", "vmin": 0, "vmax": 2.2, "interpolation": "bilinear", "zorder": 0}
        style.show_grid(axes, self.density, self.box, **look)
        look = {"colors": style.INK, "linewidths": 0.9 * scale**0.5, "alpha": 0.8, "zorder": 2.3}
        level = [level_around(self.density, OUTLINED)]
        return [axes.contour(self.density, level, extent=self.box, origin="lower", **look)]

    def draw_flow(self, axes, paths: np.ndarray, shown: int, scale: float = 1.0, classes=None):
        """A flow's source points, the ways that so many of them take, and where all arrive.

        `scale` is that of dots and lines, 1 for axes five inches wide. With `style.Classes` ways
        and arrivals have the colours of these.
        """
        hues = None if classes is None else classes.hues[: paths.shape[1]]
        ways = paths[..., :2]
        if self.dim == 1:
            times = np.linspace(0, 1, len(paths))[:, None, None]
            ways = np.concatenate([np.broadcast_to(times, paths.shape), paths], axis=2)
            self._draw_ends(axes, paths)
        lines = coloured(ways[:, :shown], 0.6 * scale**0.5, None if hues is None else hues[:shown])
        axes.add_collection(lines)
        if self.dim > 1:
            dots = {**style.DOTS, "s": 3 * scale, "alpha": 0.5}
            axes.scatter(*ways[0].T, color=style.SOURCE, **dots, zorder=2.1)
            ends = style.GENERATED if hues is None else hues
            axes.scatter(*ways[-1].T, color=ends, **dots, zorder=2.2)
            self.draw_target(axes, scale)
        self.set_up(axes)

    def _draw_ends(self, axes, paths):
        """The densities of the source to the left of a line, of the others to its right."""
        x, source = density_line(paths[0].ravel(), self.box)
        ends = [density_line(end.ravel(), self.box)[1] for end in (paths[-1], self.target)]
        generated, aim = TALLEST * np.array(ends) / np.max(ends)
        axes.fill_betweenx(x, 0, -TALLEST * source / source.max(), fc=style.SOURCE, alpha=0.6, lw=0)
        axes.fill_betweenx(x, 1, 1 + aim, fc=style.TARGET, ec=style.INK, lw=0.6)
        seen = np.where(generated > UNSEEN, generated, np.nan)
        axes.plot(1 + seen, x, color=style.GENERATED, lw=1.2)


def reach(paths: np.ndarray, shown: int) -> list[np.ndarray]:
    """The clouds of points that a flow (T, N, D), drawn with so many paths, must have room for."""
    return [paths[0], paths[-1], paths[:, :shown].reshape(-1, paths.shape[2])]


def _few_points(target: np.ndarray) -> np.ndarray | None:
    """The points (K, 2) that a sample in the plane, or more, is of, if they are few."""
    points = np.unique(target[:1000, :2], axis=0)
    return points if len(points) <= FEW else None


def coloured(ways: np.ndarray, width: float, hues=None) -> LineCollection:
    """Lines through (T, N, 2), blue where they begin and vermilion where they end.

    Or each in a colour of its own, (N, 4).
    """
    if hues is not None:
        look = {"linewidths": width, "alpha": 0.5, "rasterized": True, "zorder": 2}
        return LineCollection([*ways.swapaxes(0, 1)], colors=hues, **look)
    edges = np.linspace(0, len(ways) - 1, min(PIECES, len(ways) - 1) + 1).round().astype(int)
    pieces = [ways[start : end + 1].swapaxes(0, 1) for start, end in pairwise(edges)]
    hues = style.TIME((edges[1:] + edges[:-1]) / 2 / edges[-1])
    return LineCollection(
        [line for piece in pieces for line in piece],
        colors=np.repeat(hues, ways.shape[1], axis=0),
        linewidths=width,
        alpha=0.5,
        rasterized=True,
        zorder=2,
    )
