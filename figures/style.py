"""What figures share: colours, boxes, densities, how paths are drawn, the legend, files.

Colours are those of Okabe & Ito (2008), told apart by colour-blind readers too, and mean the same
everywhere: the source is blue, what was generated vermilion, paths are dark grey and the target
is light grey. Figures are in `plots.py` and `panels.py`, moving ones in `animation.py`.
"""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap

SOURCE, GENERATED, PATHS, TARGET = "#0072B2", "#D55E00", "#333333", "Greys"
TARGET_FILL, TARGET_DOTS = "#BDBDBD", "#8C8C8C"  # of the target, where it is no density
# Where solvers and the like are told apart.
CYCLE = (SOURCE, GENERATED, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX<>*hd"
FEW = 64  # points of a target that is drawn as points
DENSITY = "magma"
# A velocity of one dimension, white at rest; and a speed, which darkens evenly (by 27 in CIE L*
# from each of these colours to the next).
VELOCITY = LinearSegmentedColormap.from_list("velocity", [SOURCE, "#FFFFFF", GENERATED])
SPEED = LinearSegmentedColormap.from_list("speed", ["#FFFFFF", "#8ABADA", SOURCE, "#00314C"])
ON_WHITE = {"facecolor": "#FFFFFF", "alpha": 0.8, "linewidth": 0, "pad": 1}  # words over dots
DOTS = {"linewidths": 0, "alpha": 0.7}
STYLE = {
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.05,
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


def smooth_grid(points: np.ndarray, box):
    """`density_grid`, the smoother the fewer points there are, by Scott's rule (1992)."""
    return density_grid(points, box, cells=120, bandwidth=0.016 * (2048 / len(points)) ** (1 / 6))


def density_line(values: np.ndarray, limits, cells: int = 200, bandwidth: float = 0.015):
    """A kernel density estimate of values (N,) between two limits.

    Args:
        bandwidth: standard deviation of the Gaussian kernel, as a fraction of the limits' distance.

    Returns:
        (places, density), both (cells,); the density has the mass 1.
    """
    from scipy.ndimage import gaussian_filter1d

    counts, edges = np.histogram(values, bins=cells, range=limits, density=True)
    return (edges[1:] + edges[:-1]) / 2, gaussian_filter1d(counts, bandwidth * cells)


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


def bounding_limits(*clouds: np.ndarray, margin: float = 0.06) -> tuple[float, float]:
    """Limits around nearly all numbers of all clouds, of any shape."""
    ends = [np.quantile(cloud, [0.001, 0.999]) for cloud in clouds]
    low, high = np.min(ends), np.max(ends)
    room = margin * ((high - low) or 1.0)
    return low - room, high + room


def is_square(box) -> bool:
    """Whether the two axes of a box may share a scale: neither side is five times the other."""
    sides = box[1] - box[0], box[3] - box[2]
    return max(sides) <= 5 * min(sides)


def aspect(box) -> str:
    """The aspect of axes over a box."""
    return "equal" if is_square(box) else "auto"


def draw_paths(axes, paths, target, shown: int, box=None, scale: float = 1.0):
    """What `plot_trajectories` shows, in given axes.

    Args:
        shown: how many of the paths are drawn, and all of the points.
        box: of the axes, as `paths_box` gives it.
        scale: of dots and lines, 1 for axes five inches wide. Those of smaller axes, of which
            there are many, are rasterized in .pdf and .svg, to keep the files small.
    """
    draw = _draw_over_time if paths.shape[2] == 1 else _draw_in_the_plane
    draw(axes, paths, target, shown, box or paths_box([paths], target, shown), scale)


def paths_box(many, target, shown: int):
    """A box around target and many paths: (x0, x1, y0, y1), or (x0, x1) in one dimension."""
    if target.shape[1] == 1:
        return bounding_limits(target, *many)
    ends = [paths[k] for paths in many for k in (0, -1)]
    drawn = [paths[:, :shown].reshape(-1, paths.shape[2]) for paths in many]
    return bounding_box(target, *ends, *drawn)


def draw_backdrop(axes, points, box, top: float = 2.2):
    """The density of points (N, ≥ 2), in light grey behind everything else.

    Args:
        top: the density that would be black, where the largest is 1.
    """
    axes.imshow(
        density_grid(points, box),
        extent=box,
        origin="lower",
        cmap=TARGET,
        vmax=top,
        interpolation="bilinear",
        aspect=aspect(box),
        zorder=0,
    )


def _draw_in_the_plane(axes, paths, target, shown, box, scale):
    source, generated = paths[[0, -1], :, :2]
    dots = {**DOTS, "s": 3.5 * scale, "rasterized": scale < 1}
    draw_backdrop(axes, target, box)
    axes.add_collection(_lines(paths[:, :shown, :2].swapaxes(0, 1), scale))
    # Below the frame, so that all is rasterized in one piece.
    axes.scatter(*source.T, color=SOURCE, **dots, zorder=2.1)
    axes.scatter(*generated.T, color=GENERATED, **dots, zorder=2.2)
    few = few_points(target)
    if few is not None:  # above, or they would be hidden under what is generated
        axes.scatter(*few.T, marker="+", s=30 * scale, color=PATHS, linewidths=0.8, zorder=2.3)
    axes.set(xlim=box[:2], ylim=box[2:], xlabel="$x_1$", ylabel="$x_2$")


def few_points(target: np.ndarray) -> np.ndarray | None:
    """The points (K, 2) that a sample in the plane, or more, is of, if they are few."""
    if target.shape[1] < 2:
        return None
    points = np.unique(target[:1000, :2], axis=0)
    return points if len(points) <= FEW else None


def _draw_over_time(axes, paths, target, shown, limits, scale):
    """One dimension: time to the right, and at its ends the two distributions on their sides."""
    times = np.linspace(0, 1, len(paths))
    lines = [np.column_stack([times, path]) for path in paths[:, :shown, 0].T]
    axes.add_collection(_lines(lines, scale))
    x, source = density_line(paths[0].ravel(), limits)
    ends = np.array([density_line(end.ravel(), limits)[1] for end in (paths[-1], target)])
    generated, aim = 1 + 0.25 * ends / ends.max()
    axes.fill_betweenx(x, 1, aim, color=TARGET_FILL, lw=0)
    axes.plot(generated, x, color=GENERATED, lw=1)
    axes.plot(-0.25 * source / source.max(), x, color=SOURCE, lw=1)
    axes.set(xlim=(-0.3, 1.3), ylim=limits, xlabel="$t$", ylabel="$x$")
    axes.set_xticks([0, 0.5, 1])


def _lines(lines, scale):
    look = {"colors": PATHS, "linewidths": 0.4 * scale**0.5, "alpha": 0.4}
    return LineCollection(lines, zorder=2, rasterized=scale < 1, **look)


def say_first_two(axes, dim: int):
    """Say so in the lower left corner, where only two of more dimensions are drawn."""
    if dim > 2:
        look = {"transform": axes.transAxes, "fontsize": 7, "bbox": ON_WHITE}
        axes.text(0.02, 0.02, f"the first two of {dim} dimensions", **look)


def legend(figure, names, paths: str, columns: int = 4, crosses: bool = False):
    """Under the figure, with marks large enough to see.

    Args:
        names: of source and target; None for what is not drawn.
        paths: what the lines are.
        crosses: whether the target is a few points, each drawn as a cross.
    """
    marks = [
        plt.Line2D([], [], marker="o", ls="", ms=4, color=SOURCE, label=f"source: {names[0]}"),
        plt.Line2D([], [], lw=1, color=PATHS, label=paths),
        plt.Line2D([], [], marker="o", ls="", ms=4, color=GENERATED, label="generated"),
    ]
    label = f"target: {names[1]}"
    if crosses:
        marks.append(plt.Line2D([], [], marker="+", ls="", ms=6, color=PATHS, label=label))
    elif names[1]:
        marks.append(plt.Rectangle((0, 0), 1, 1, color=TARGET_FILL, label=label))
    figure.legend(
        handles=marks,
        loc="outside lower center",
        ncols=columns,
        handletextpad=0.4,
        columnspacing=1.2,
    )


def save(figure, out):
    """Write a figure to a file, making its folder, and let it go.

    A PNG gets a palette of 256 colours, chosen for it: a third of the weight, and no difference
    to the eye.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".png":
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        image = Image.open(drawn)
        reduced = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        reduced.save(out, optimize=True, dpi=image.info["dpi"])
    else:
        figure.savefig(out)
    plt.close(figure)
