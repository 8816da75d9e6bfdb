"""Figures, in one style.

Every figure is a function of arrays that writes a file; the suffix of its name (.png, .pdf or
.svg) decides the format. Colours are those of Okabe & Ito (2008), told apart by colour-blind
readers too. What is computed for a figure is computed elsewhere.
"""

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection

SOURCE, GENERATED, PATHS, TARGET = "#0072B2", "#D55E00", "#333333", "Greys"
STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def density_grid(points: np.ndarray, box, cells: int = 200, bandwidth: float = 0.008):
    """A kernel density estimate of points (N, 2) on a grid over box = (x0, x1, y0, y1).

    Args:
        bandwidth: standard deviation of the Gaussian kernel, as a fraction of the box.

    Returns:
        (cells, cells), rows along y, largest value 1.
    """
    from scipy.ndimage import gaussian_filter

    ranges = [box[2:], box[:2]]
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=cells, range=ranges)
    density = gaussian_filter(counts, bandwidth * cells)
    return density / density.max()


def bounding_box(*clouds: np.ndarray, margin: float = 0.06):
    """A square box around nearly all points of all clouds, as (x0, x1, y0, y1)."""
    low = np.min([np.quantile(cloud[:, :2], 0.001, axis=0) for cloud in clouds], axis=0)
    high = np.max([np.quantile(cloud[:, :2], 0.999, axis=0) for cloud in clouds], axis=0)
    centre, half = (low + high) / 2, (0.5 + margin) * np.max(high - low)
    return centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half


def plot_trajectories(
    out, paths: np.ndarray, target: np.ndarray, title: str, names=("source", "target"), shown=200
):
    """Source points, the paths they take, and where they arrive, over the target's density.

    Args:
        out: file to write.
        paths: (T, N, D), the states of N points at T times; D > 2 shows the first two.
        target: (M, D), a sample of the target.
        title: above the figure.
        names: of source and target, for the legend.
        shown: how many of the paths are drawn; of the points, ten times as many.
    """
    source, generated = paths[[0, -1], : 10 * shown, :2]
    drawn = paths[:, :shown, :2]
    box = bounding_box(source, generated, target, drawn.reshape(-1, 2))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 5.5), layout="constrained")
        axes.imshow(
            density_grid(target, box),
            extent=box,
            origin="lower",
            cmap=TARGET,
            vmax=2.2,
            interpolation="bilinear",
            zorder=0,
        )
        axes.add_collection(
            LineCollection(drawn.swapaxes(0, 1), colors=PATHS, linewidths=0.4, alpha=0.4)
        )
        dots = {"s": 3.5, "linewidths": 0, "alpha": 0.7}
        axes.scatter(*source.T, color=SOURCE, **dots, zorder=3)
        axes.scatter(*generated.T, color=GENERATED, **dots, zorder=4)
        axes.set(xlim=box[:2], ylim=box[2:], aspect="equal", title=title)
        axes.set(xlabel="$x_1$", ylabel="$x_2$")
        _legend(axes, names, drawn.shape[1])
        save(figure, out)


def _legend(axes, names, path_count):
    """One row under the axes, with marks large enough to see."""
    marks = [
        plt.Line2D([], [], marker="o", ls="", ms=4, color=SOURCE, label=f"source: {names[0]}"),
        plt.Line2D([], [], lw=1, color=PATHS, label=f"{path_count} paths"),
        plt.Line2D([], [], marker="o", ls="", ms=4, color=GENERATED, label="generated"),
        plt.Rectangle((0, 0), 1, 1, color="#BDBDBD", label=f"target: {names[1]}"),
    ]
    axes.figure.legend(
        handles=marks, loc="outside lower center", ncols=4, handletextpad=0.4, columnspacing=1.2
    )


def save(figure, out):
    """Write a figure to a file, making its folder, and let it go."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    plt.close(figure)
