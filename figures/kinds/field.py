"""The velocity as time passes, and the particles that it carries."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from figures import style
from figures.geometry import bounding_box, bounding_limits, middles
from figures.subject import Subject
from lab.run import Run

TIMES = (0, 1 / 4, 1 / 2, 3 / 4, 1)
ARROWS = 13  # along a side
CELLS = 9 * ARROWS  # along a side, with an arrow in the middle of every 9 × 9
SHOWN = 500  # particles
# Neither has the colours of time, which particles have. A speed darkens evenly, and not so much
# that particles and arrows would be hard to see; a velocity of one dimension is white at rest.
SPEED = LinearSegmentedColormap.from_list("speed", ["#FFFFFF", "#909090"])
VELOCITY = LinearSegmentedColormap.from_list("velocity", ["#762A83", "#FFFFFF", "#1B7837"])


def refusal(run) -> str | None:
    if run.target.dim > 2:
        return f"'field' is drawn in one and two dimensions, and the flow has {run.target.dim}."
    return None


def draw(out: Path, subject: Subject):
    states = subject.states(TIMES)
    whose = "all classes together" if subject.classes else "the flow"
    around = bounding_box if states.shape[2] > 1 else bounding_limits
    plot_field(
        out,
        velocity_in_units(subject.run, subject.field),
        around(*states),
        title=f"{subject.run.flow}\nvelocity of {whose}, and its particles",
        times=TIMES,
        points=states,
        labels=subject.labels,
        classes=subject.classes,
    )


def velocity_in_units(run: Run, field) -> Callable:
    """The field as a function of numpy arrays, velocity(t, x), in the target's units."""

    def velocity(t: float, x) -> np.ndarray:
        seen = run.target.standardize(x)[0]
        return np.array(field(mx.array(t, mx.float32), seen)) * run.target.unit

    return velocity


def plot_field(out, velocity, box, title: str, times=TIMES, points=None, labels=None, classes=None):
    """A velocity at some times: its speed as a shade, its direction by arrows of one length.

    In one dimension a single panel shows v(t, x) over (t, x): white at rest, green upward, purple
    downward.

    Args:
        velocity: function of t, a float, and x (N, D), giving (N, D).
        box: (x0, x1, y0, y1), or (x0, x1) in one dimension.
        points: (N, D) for each of the times, particles to be drawn over it; or None.
        labels: names of the D dimensions; x1, x2, … if None.
        classes: `style.Classes` of the particles, which have their colours then.

    Raises:
        ValueError: for D > 2.
    """
    clouds = [np.empty((0, len(box) // 2))] * len(times) if points is None else points
    dim = max(len(box) // 2, clouds[0].shape[1])
    if dim > 2:
        raise ValueError(f"a velocity of {dim} dimensions cannot be drawn, only one of 1 or 2")
    side = min(2.4, 8.2 / len(times))
    size = {"width": 5.2, "height": 3.8} if dim == 1 else style.panels(1, len(times), side, side)
    with style.drawing(out, **size, **{"savefig.dpi": 140}) as figure:
        draw = _over_time if dim == 1 else _in_the_plane
        draw(figure, velocity, box, times, clouds, style.axis_labels(labels, dim), classes)
        if classes:
            style.class_legend(figure, classes.names)
        style.set_title(figure, title)


def _in_the_plane(figure, velocity, box, times, clouds, labels, classes):
    places = np.stack(np.meshgrid(middles(box[:2], CELLS), middles(box[2:], CELLS)), axis=-1)
    fields = [np.reshape(velocity(float(t), places.reshape(-1, 2)), places.shape) for t in times]
    speeds = np.linalg.norm(fields, axis=-1)
    top, beyond = _robust_top(speeds)
    grid = style.shared_axes(figure, 1, len(times))[0]
    look = {"cmap": SPEED, "vmin": 0, "vmax": top, "interpolation": "bilinear"}
    for axes, t, field, speed, cloud in zip(grid, times, fields, speeds, clouds, strict=True):
        image = style.show_grid(axes, speed, box, **look)
        _draw_arrows(axes, places, field)
        axes.scatter(*cloud[:SHOWN].T, s=1.5, color=_hues(classes, t, SHOWN), **style.DOTS)
        axes.set(xlim=box[:2], ylim=box[2:], ylabel=labels[1])
        axes.set_title(f"$t = {t:.2g}$", fontsize=9)
        axes.label_outer()
    grid[len(times) // 2].set_xlabel(labels[0])  # once: a user's name may be long
    extend = "max" if beyond else "neither"
    figure.colorbar(image, ax=grid, label="speed $|v|$", extend=extend, pad=0.01)


def _draw_arrows(axes, places, field):
    """Arrows of one length in the direction of a field."""
    some = slice(4, None, 9)
    places, field = places[some, some].reshape(-1, 2), field[some, some].reshape(-1, 2)
    pace = np.linalg.norm(field, axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        heading = field / np.maximum(pace, 1e-30)
    size = {"scale": ARROWS / 0.7, "scale_units": "width", "width": 0.006}
    head = {"headwidth": 4, "headlength": 4, "headaxislength": 3.5}
    axes.quiver(*places.T, *heading.T, color="#333333", angles="xy", pivot="mid", **size, **head)


def _hues(classes, t, most: int):
    """Of particles at time t, or of so many of them by their classes."""
    return style.TIME(float(t)) if classes is None else classes.hues[:most]


def _over_time(figure, velocity, box, times, clouds, labels, classes):
    x = middles(box, CELLS)
    columns = [velocity(float(t), x[:, None])[:, 0] for t in middles((0, 1), CELLS)]
    top, beyond = _robust_top(np.abs(columns))
    axes = figure.subplots()
    look = {"cmap": VELOCITY, "vmin": -top, "vmax": top, "interpolation": "bilinear"}
    shape = {"extent": (0, 1, *box), "origin": "lower", "aspect": "auto"}
    image = axes.imshow(np.transpose(columns), **shape, **look)
    for t, cloud in zip(times, clouds, strict=True):
        some = cloud[:200, 0]  # more would be one bar
        seen, hues = (some > box[0]) & (some < box[1]), _hues(classes, t, 200)
        look = {**style.DOTS, "s": 4, "color": hues[seen] if classes else hues, "clip_on": False}
        axes.scatter(np.full(seen.sum(), t), some[seen], **look)
    axes.set(xlim=(0, 1), ylim=box, xlabel="$t$", ylabel=labels[0])
    extend = "both" if beyond else "neither"
    figure.colorbar(image, ax=axes, label="velocity $v$", extend=extend)


def _robust_top(speeds):
    """The speed of the last colour, which few pass, and whether any does."""
    top = np.quantile(speeds[np.isfinite(speeds)], 0.98) or 1.0
    return top, np.nanmax(speeds) > 1.001 * top
