"""The law of xt as time passes: as training showed it, and as the flow carries the source."""

from pathlib import Path

import mlx.core as mx
import numpy as np

from figures import style
from figures.geometry import bounding_box, bounding_limits, density_grid, density_line
from figures.subject import Subject
from lab.config import CNF
from lab.run import Run
from machine.keys import LAW_OF_TRAINING, step_key

TIMES = (0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1)
SHOWN_POINTS = 8_192  # of training


def draw(out: Path, subject: Subject):
    rows = {"flow": subject.states(TIMES)}
    if subject.run.method.name != CNF:
        rows = {"in training": law_of_training(subject.run, TIMES, SHOWN_POINTS)} | rows
    about = {"names": subject.names, "labels": subject.labels}
    plot_time(out, rows, TIMES, title=subject.run.flow, **about)


def law_of_training(run: Run, times, count: int) -> np.ndarray:
    """What the network was shown at some times: (T, N, D) samples of xt, paired as in training."""
    batch = run.config.batch_size
    parts, target = [], run.target.standardized()
    for key in mx.random.split(step_key(run.config.seed, LAW_OF_TRAINING), -(-count // batch)):
        x0_key, x1_key, pair_key, noise_key = mx.random.split(key, 4)
        x0, told = run.source.sample(batch, x0_key), ()
        if run.classes:
            x1, *told = target.sample_with_classes(batch, x1_key)
        else:
            x1 = target.sample(batch, x1_key)
        x0, x1, *_ = run.method.couple(x0, x1, pair_key, *told)
        noise = mx.random.normal(x0.shape, key=noise_key)
        parts.append([run.method.sample(t, x0, x1, noise)[0] for t in times])
    shown = [np.concatenate([np.array(xt) for xt in at]) for at in zip(*parts, strict=True)]
    return run.target.restore(np.stack(shown))


def plot_time(out, rows: dict, times, title: str, names=("source", "target"), labels=None):
    """The law of xt at some times, a row for each way of arriving at it.

    Each density has the mass 1, and those of one time share a scale, so that rows compare.

    Args:
        rows: label -> (T, N, D), the positions of N points at the T times, each with its own N.
            D = 1 is drawn on its side along t; D > 2 shows the first two, and says so.
        times: (T,), increasing from 0 to 1.
        names: of source and target, printed at the first time and the last.
        labels: names of the D dimensions; x1, x2, … if None.
    """
    dim = next(iter(rows.values())).shape[2]
    labels = style.axis_labels(labels, dim)
    if dim == 1:
        size, draw = style.panels(len(rows), 1, 5.2, 2.2), _on_a_line
    else:
        side = min(2.0, 8.2 / len(times))
        size, draw = style.panels(len(rows), len(times), side, side), _in_the_plane
    with style.drawing(out, **size) as figure:
        draw(figure, rows, times, [style.literal(name, 20) for name in names], labels)
        style.set_title(figure, title, dim)


def _in_the_plane(figure, rows, times, names, labels):
    """A panel for every row and time, the density as a colour."""
    box = bounding_box(*(points for positions in rows.values() for points in positions))
    laws = [[density_grid(x, box, cells=120) for x in positions] for positions in rows.values()]
    laws /= np.sum(laws, axis=(2, 3), keepdims=True)
    laws /= np.max(laws, axis=(0, 2, 3))[:, None, None]
    grid = style.shared_axes(figure, len(rows), len(times))
    look = {"cmap": style.DENSITY, "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    for line, label, densities in zip(grid, rows, laws, strict=True):
        for axes, density in zip(line, densities, strict=True):
            image = style.show_grid(axes, density, box, **look)
            axes.set_ylabel(f"{label}\n{labels[1]}")
            axes.label_outer()
    grid[-1][len(times) // 2].set_xlabel(labels[0])  # once: a user's name may be long
    above = [f"{names[0]}\n", *[""] * (len(times) - 2), f"{names[1]}\n"]
    for axes, name, t in zip(grid[0], above, times, strict=True):
        axes.set_title(f"{name}$t = {t:.2g}$", fontsize=9)
    bar = figure.colorbar(image, ax=grid, pad=0.01)
    bar.set_label("density, relative to\nthe largest at that time", fontsize=8)


def _on_a_line(figure, rows, times, names, labels):
    """A panel for every row, and in it the density at each time standing on its side."""
    limits = bounding_limits(*rows.values())
    lines = {label: [density_line(x[:, 0], limits) for x in xs] for label, xs in rows.items()}
    room = 0.85 * np.min(np.diff(times))
    grid = style.shared_axes(figure, len(rows), 1)[:, 0]
    for axes, (label, densities) in zip(grid, lines.items(), strict=True):
        for k, (t, (x, density)) in enumerate(zip(times, densities, strict=True)):
            top = max(other[k][1].max() for other in lines.values())
            axes.fill_betweenx(x, t, t + room * density / top, fc=style.TIME(float(t)), lw=0)
            axes.axvline(t, color=style.INK, lw=0.4)
        ylabel = f"{label}\n{labels[0]}"
        axes.set(xlim=(-0.02, times[-1] + 1.1 * room), ylim=limits, ylabel=ylabel)
    below = [f"\n{names[0]}", *[""] * (len(times) - 2), f"\n{names[1]}"]
    grid[-1].set_xticks(
        times, [f"$t = {t:.2g}${name}" for t, name in zip(times, below, strict=True)]
    )
