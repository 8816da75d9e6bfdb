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
    """A box around nearly all points of all clouds, as (x0, x1, y0, y1).

    Square, unless one side would be more than five times the other.
    """
    low = np.min([np.quantile(cloud[:, :2], 0.001, axis=0) for cloud in clouds], axis=0)
    high = np.max([np.quantile(cloud[:, :2], 0.999, axis=0) for cloud in clouds], axis=0)
    centre, sides = (low + high) / 2, high - low
    if np.max(sides) <= 5 * np.min(sides):
        sides = np.max(sides)
    half = (0.5 + margin) * sides * np.ones(2)
    return centre[0] - half[0], centre[0] + half[0], centre[1] - half[1], centre[1] + half[1]


def is_square(box) -> bool:
    """Whether the two axes of a box may share a scale: neither side is five times the other."""
    sides = box[1] - box[0], box[3] - box[2]
    return max(sides) <= 5 * min(sides)


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
    dim = paths.shape[2]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 5.5), layout="constrained")
        draw = _draw_over_time if dim == 1 else _draw_in_the_plane
        draw(axes, paths[:, : 10 * shown], target, shown)
        axes.set_title(title)
        if dim > 2:
            axes.text(0.02, 0.02, f"the first two of {dim} dimensions", transform=axes.transAxes)
        _legend(axes, names, min(shown, paths.shape[1]))
        save(figure, out)


DOTS = {"s": 3.5, "linewidths": 0, "alpha": 0.7}
LINES = {"colors": PATHS, "linewidths": 0.4, "alpha": 0.4}


def _draw_in_the_plane(axes, paths, target, shown):
    source, generated = paths[[0, -1], :, :2]
    drawn = paths[:, :shown, :2]
    box = bounding_box(source, generated, target, drawn.reshape(-1, 2))
    axes.imshow(
        density_grid(target, box),
        extent=box,
        origin="lower",
        cmap=TARGET,
        vmax=2.2,
        interpolation="bilinear",
        aspect="equal" if is_square(box) else "auto",
        zorder=0,
    )
    axes.add_collection(LineCollection(drawn.swapaxes(0, 1), **LINES))
    axes.scatter(*source.T, color=SOURCE, **DOTS, zorder=3)
    axes.scatter(*generated.T, color=GENERATED, **DOTS, zorder=4)
    axes.set(xlim=box[:2], ylim=box[2:], xlabel="$x_1$", ylabel="$x_2$")


def _draw_over_time(axes, paths, target, shown):
    """One dimension: time to the right, and at its ends the two distributions on their sides."""
    times = np.linspace(0, 1, len(paths))
    drawn = paths[:, :shown, 0]
    lines = [np.column_stack([times, path]) for path in drawn.T]
    axes.add_collection(LineCollection(lines, **LINES))
    low, high = np.quantile(np.concatenate([paths.ravel(), target.ravel()]), [0.001, 0.999])
    edges = np.linspace(low - 0.06 * (high - low), high + 0.06 * (high - low), 80)
    middles = (edges[1:] + edges[:-1]) / 2
    for values, side, colour, fill in (
        (paths[0], -1, SOURCE, False),
        (target, 1, "#BDBDBD", True),
        (paths[-1], 1, GENERATED, False),
    ):
        heights, _ = np.histogram(values, edges, density=True)
        heights = 0.25 * side * heights / heights.max()
        place = max(side, 0)
        if fill:
            axes.fill_betweenx(middles, place, place + heights, color=colour, lw=0, step="mid")
        else:
            axes.plot(place + heights, middles, color=colour, lw=1, drawstyle="steps-mid")
    axes.set(xlim=(-0.3, 1.3), ylim=edges[[0, -1]], xlabel="$t$", ylabel="$x$")
    axes.set_xticks([0, 0.5, 1])


def plot_loss(out, losses, fit, title: str):
    """The training loss, and the least loss that any network could have.

    Args:
        losses: (step, loss) pairs, each a mean over the steps since the last.
        fit: a `metrics.Fit`, or None where the least loss is not known.
    """
    steps, values = np.array(losses).T
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        axes.plot(steps, values, color=SOURCE, lw=0.8, alpha=0.4, label="loss, 100 steps")
        if len(values) > 20:
            window = np.ones(10) / 10
            smooth = np.convolve(values, window, "valid")
            axes.plot(steps[5 : 5 + len(smooth)], smooth, color=SOURCE, lw=1.4, label="1,000 steps")
        if fit:
            axes.axhline(fit.floor, color=GENERATED, lw=1.2, ls="--", label="least possible")
            error = [fit.floor - fit.floor_error, fit.floor + fit.floor_error]
            axes.axhspan(*error, color=GENERATED, alpha=0.2, lw=0)
        settled = values[len(values) // 10 :]
        low = min(settled.min(), fit.floor if fit else np.inf)
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
            axes.fill_between(places, true, color="#BDBDBD", lw=0, label="target")
            axes.plot(places, learned, color=GENERATED, lw=1.4, label="learned")
            axes.set(xlim=box, ylim=(0, None), xlabel="$x$", ylabel="density", title=title)
            axes.legend()
        else:
            figure, panels = plt.subplots(
                1, 2, figsize=(8.2, 4.2), layout="constrained", sharex=True, sharey=True
            )
            top = 1.25 * np.quantile(true[true > 0], 0.99)
            for axes, values, name in zip(
                panels, (learned, true), ("learned", "target"), strict=True
            ):
                image = axes.imshow(
                    values,
                    extent=box,
                    origin="lower",
                    cmap="magma",
                    vmin=0,
                    vmax=top,
                    aspect="equal" if is_square(box) else "auto",
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
            axes.scatter(*points[:, :2].T, s=1.2, color=SOURCE, linewidths=0, alpha=0.6)
            first = f" (2 of {points.shape[1]} dimensions)" if points.shape[1] > 2 else ""
            axes.set(xlim=box[:2], ylim=box[2:], aspect="equal", title=f"{name}{first}")
            axes.tick_params(labelsize=6)
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
