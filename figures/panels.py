"""Figures of many panels: a velocity, samples, the law of xt, methods beside solvers.

Each is a function of arrays and plain callables that writes a file, like those of `plots.py`.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np

from figures.style import (
    DENSITY,
    DOTS,
    GENERATED,
    PATHS,
    SOURCE,
    SPEED,
    STYLE,
    TARGET_DOTS,
    VELOCITY,
    aspect,
    bounding_box,
    bounding_limits,
    density_line,
    draw_paths,
    few_points,
    legend,
    paths_box,
    save,
    smooth_grid,
)

SMALL_TICKS = {**STYLE, "xtick.labelsize": 7, "ytick.labelsize": 7}
ARROWS = 13  # along a side
CELLS = 9 * ARROWS  # of a velocity along a side, with an arrow in the middle of every 9 × 9


def plot_comparison(
    out, cells: dict, rows, columns, targets: np.ndarray, title: str, names=("source", "target")
):
    """The paths of every method by every solver: methods down, solvers across, on one scale.

    Args:
        cells: (row key, column) -> (paths, caption), paths (T, N, D) as for `plot_trajectories`.
            Where one is missing, its panel says "not run".
        rows: (key, printed title) pairs.
        columns: names.
        targets: (M, D), a sample of the target.
        names: of source and target, for the legend.
    """
    count = len(rows) * len(columns)
    shown = int(np.clip(900 // count, 30, 100))
    cells = {key: (paths[:, : 8 * shown], caption) for key, (paths, caption) in cells.items()}
    box = paths_box([paths for paths, _ in cells.values()], targets, shown)
    side = min(2.4, 8.8 / len(columns))
    with plt.rc_context({**SMALL_TICKS, "savefig.dpi": 200 if count <= 6 else 150}):
        figure, panels = _panels(len(rows), len(columns), side, side + 0.08)
        for line, (key, row_title) in zip(panels, rows, strict=True):
            for axes, name in zip(line, columns, strict=True):
                _draw_cell(axes, cells.get((key, name)), targets, shown, box, scale=side / 5)
            line[0].set_ylabel(
                f"{textwrap.fill(row_title, int(11 * side))}\n{line[0].get_ylabel()}"
            )
        for axes, name in zip(panels[0], columns, strict=True):
            above = {"xytext": (0, 17), "textcoords": "offset points", "ha": "center"}
            axes.annotate(name, (0.5, 1), xycoords="axes fraction", fontsize=10, **above)
        _title(figure, title, targets.shape[1])
        most = max((paths.shape[1] for paths, _ in cells.values()), default=0)
        crosses = few_points(targets) is not None
        legend(figure, names, f"{min(shown, most)} paths in each", crosses=crosses)
        save(figure, out)


def _panels(rows: int, columns: int, width: float, height: float):
    """A figure of panels of a size in inches, its axes (rows, columns) sharing both scales."""
    return plt.subplots(
        rows,
        columns,
        figsize=(0.7 + width * columns, 1.2 + height * rows),
        layout="compressed",
        sharex=True,
        sharey=True,
        squeeze=False,
    )


def _title(figure, title: str, dim: int):
    """Above all panels; it says so where they show only two of more dimensions."""
    first = f"\nthe first two of {dim} dimensions" if dim > 2 else ""
    figure.suptitle(f"{title}{first}", fontsize=10)


def _draw_cell(axes, cell, targets, shown, box, scale):
    if cell:
        paths, caption = cell
        draw_paths(axes, paths, targets, shown, box, scale)
        axes.set_title(caption, fontsize=7.5, pad=4.5)
    else:
        place = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "not run", color=TARGET_DOTS, **place)
        axes.set_aspect(aspect(box) if len(box) == 4 else "auto")
    over_time = targets.shape[1] == 1
    axes.set_xlabel("$t$" if over_time else "$x_1$")
    axes.set_ylabel("$x$" if over_time else "$x_2$")
    axes.label_outer()


def plot_samples(
    out, source, target, generated, title: str, names=("source", "target"), shown=2048
):
    """Source, target and generated samples beside one another, on one scale.

    Args:
        source, target, generated: (N, D) each, with its own N. D = 1 is drawn as histograms,
            D > 2 shows the first two dimensions, and says so.
        names: of source and target.
        shown: how many points of each are drawn; histograms are of all.
    """
    samples = {
        f"source: {names[0]}": (source, SOURCE),
        f"target: {names[1]}": (target, TARGET_DOTS),
        "generated": (generated, GENERATED),
    }
    dim = source.shape[1]
    with plt.rc_context(SMALL_TICKS):
        figure, panels = _panels(1, 3, 2.5, 2.5)
        for axes, (name, (points, colour)) in zip(panels[0], samples.items(), strict=True):
            if dim == 1:
                edges = np.linspace(*bounding_limits(source, target, generated), 61)
                axes.hist(points.ravel(), edges, density=True, color=colour)
                axes.set(xlim=edges[[0, -1]], xlabel="$x$", ylabel="density")
            else:
                box = bounding_box(source, target, generated)
                axes.scatter(*points[:shown, :2].T, s=2.5, color=colour, **DOTS)
                axes.set(xlim=box[:2], ylim=box[2:], aspect=aspect(box))
                axes.set(xlabel="$x_1$", ylabel="$x_2$")
            axes.set_title(name, fontsize=9)
            axes.label_outer()
        _title(figure, title, dim)
        save(figure, out)


def plot_time(out, rows: dict, times, title: str, names=("source", "target")):
    """The law of xt at some times, a row for each way of arriving at it.

    Each density has the mass 1, and those of one time share a scale, so that rows compare.

    Args:
        rows: label -> (T, N, D), the positions of N points at the T times, each with its own N.
            D = 1 is drawn on its side along t; D > 2 shows the first two, and says so.
        times: (T,), increasing from 0 to 1.
        names: of source and target, printed at the first time and the last.
    """
    dim = next(iter(rows.values())).shape[2]
    draw = _time_on_a_line if dim == 1 else _time_in_the_plane
    with plt.rc_context(SMALL_TICKS):
        figure = draw(rows, times, names)
        _title(figure, title, dim)
        save(figure, out)


def _time_in_the_plane(rows, times, names):
    """A panel for every row and time, the density as a colour."""
    box = bounding_box(*(points for positions in rows.values() for points in positions))
    grids = [[smooth_grid(points, box) for points in positions] for positions in rows.values()]
    grids /= np.sum(grids, axis=(2, 3), keepdims=True)
    tops = 0.8 * np.max(grids, axis=(0, 2, 3))
    side = min(2.0, 8.2 / len(times))
    figure, panels = _panels(len(rows), len(times), side, side)
    for line, label, densities in zip(panels, rows, grids, strict=True):
        for axes, density, top in zip(line, densities, tops, strict=True):
            look = {"cmap": DENSITY, "vmin": 0, "vmax": top, "interpolation": "bilinear"}
            axes.imshow(density, extent=box, origin="lower", aspect=aspect(box), **look)
            axes.set(xlabel="$x_1$", ylabel=f"{label}\n$x_2$")
            axes.label_outer()
    above = [f"{names[0]}\n", *[""] * (len(times) - 2), f"{names[1]}\n"]
    for axes, name, t in zip(panels[0], above, times, strict=True):
        axes.set_title(f"{name}$t = {t:.2g}$", fontsize=9)
    return figure


def _time_on_a_line(rows, times, names):
    """A panel for every row, and in it the density at each time standing on its side."""
    limits = bounding_limits(*rows.values())
    lines = {label: [density_line(x[:, 0], limits) for x in xs] for label, xs in rows.items()}
    room = 0.85 * np.min(np.diff(times))
    figure, panels = _panels(len(rows), 1, 5.2, 2.2)
    for axes, (label, densities) in zip(panels[:, 0], lines.items(), strict=True):
        for k, (t, (x, density)) in enumerate(zip(times, densities, strict=True)):
            top = max(other[k][1].max() for other in lines.values())
            axes.fill_betweenx(x, t, t + room * density / top, color=GENERATED, alpha=0.6, lw=0)
            axes.axvline(t, color=PATHS, lw=0.4)
        axes.set(xlim=(-0.02, times[-1] + 1.1 * room), ylim=limits, ylabel=f"{label}\n$x$")
    below = [f"\n{names[0]}", *[""] * (len(times) - 2), f"\n{names[1]}"]
    labels = [f"$t = {t:.2g}${name}" for t, name in zip(times, below, strict=True)]
    panels[-1, 0].set_xticks(times, labels)
    return figure


def plot_field(out, velocity, box, title: str, times=(0, 0.25, 0.5, 0.75, 1), points=None):
    """A velocity at some times: its speed as a colour, its direction by arrows of one length.

    In one dimension a single panel shows v(t, x) over (t, x) in diverging colours with white at
    rest: vermilion is upward, blue downward.

    Args:
        velocity: function of t, a float, and x (N, D), giving (N, D).
        box: (x0, x1, y0, y1), or (x0, x1) in one dimension.
        points: (N, D) for each of the times, particles to be drawn over it; or None.

    Raises:
        ValueError: for D > 2.
    """
    clouds = [np.empty((0, len(box) // 2))] * len(times) if points is None else points
    dim = max(len(box) // 2, clouds[0].shape[1])
    if dim > 2:
        raise ValueError(f"a velocity of {dim} dimensions cannot be drawn, only one of 1 or 2")
    draw = _field_over_time if dim == 1 else _field_in_the_plane
    with plt.rc_context(SMALL_TICKS):
        figure = draw(velocity, box, times, clouds)
        _title(figure, title, dim)
        save(figure, out)


def _field_in_the_plane(velocity, box, times, clouds):
    x, y = _middles(box[:2]), _middles(box[2:])
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    fields = [np.reshape(velocity(t, grid.reshape(-1, 2)), grid.shape) for t in map(float, times)]
    top, beyond = _robust_top(np.linalg.norm(fields, axis=-1))
    side = min(2.4, 8.2 / len(times))
    figure, panels = _panels(1, len(times), side, side)
    for axes, t, field, cloud in zip(panels[0], times, fields, clouds, strict=True):
        look = {"cmap": SPEED, "vmin": 0, "vmax": top, "interpolation": "bilinear"}
        speed = np.linalg.norm(field, axis=-1)
        image = axes.imshow(speed, extent=box, origin="lower", aspect=aspect(box), **look)
        _draw_arrows(axes, grid, field, top)
        axes.scatter(*cloud.T, s=0.8, color=GENERATED, rasterized=True, **DOTS)
        axes.set(xlim=box[:2], ylim=box[2:], xlabel="$x_1$", ylabel="$x_2$")
        axes.set_title(f"$t = {t:.2g}$", fontsize=9)
        axes.label_outer()
    figure.colorbar(
        image, ax=panels, label="speed $|v|$", extend="max" if beyond else "neither", pad=0.01
    )
    return figure


def _draw_arrows(axes, grid, field, top):
    """Arrows of one length in the direction of a field, dark on light colours, light on dark."""
    some = slice(4, None, 9)
    places, field = grid[some, some].reshape(-1, 2), field[some, some].reshape(-1, 2)
    pace = np.linalg.norm(field, axis=1)
    with np.errstate(invalid="ignore"):
        heading = field / np.maximum(pace, 1e-30)[:, None]
    axes.quiver(
        *places.T,
        *heading.T,
        color=np.where(pace < 0.5 * top, PATHS, "#FFFFFF"),
        angles="xy",
        pivot="mid",
        scale=ARROWS / 0.7,
        scale_units="width",
        width=0.006,
        headwidth=4,
        headlength=4,
        headaxislength=3.5,
    )


def _field_over_time(velocity, box, times, clouds):
    x = _middles(box)
    columns = [velocity(float(t), x[:, None])[:, 0] for t in _middles((0, 1))]
    top, beyond = _robust_top(np.abs(columns))
    figure, axes = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    look = {"cmap": VELOCITY, "vmin": -top, "vmax": top, "interpolation": "bilinear"}
    shape = {"extent": (0, 1, *box), "origin": "lower", "aspect": "auto"}
    image = axes.imshow(np.transpose(columns), **shape, **look)
    for t, cloud in zip(times, clouds, strict=True):
        some = cloud[:200, 0]  # more would be one black bar
        axes.scatter(np.full(len(some), t), some, s=2, color=PATHS, **DOTS)
    axes.set(xlim=(0, 1), ylim=box, xlabel="$t$", ylabel="$x$")
    figure.colorbar(image, label="velocity $v$", extend="both" if beyond else "neither")
    return figure


def _middles(limits) -> np.ndarray:
    """The middles of CELLS cells between two limits."""
    return limits[0] + (limits[1] - limits[0]) * (np.arange(CELLS) + 0.5) / CELLS


def _robust_top(speeds):
    """The speed of the last colour, which few pass, and whether any does."""
    top = np.quantile(speeds[np.isfinite(speeds)], 0.98) or 1.0
    return top, np.nanmax(speeds) > 1.001 * top
