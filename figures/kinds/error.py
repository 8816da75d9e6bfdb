"""When a learned field is wrong: its distance from the exact field over time."""

from pathlib import Path

import numpy as np

from figures import style
from figures.subject import Subject
from lab.evaluation import best_field
from machine.keys import evaluation_keys
from metrics import error_over_time

PAIRS = 20_000  # of points, at as many times
PARTS = 40  # of [0, 1], in each of which a mean is taken


def refusal(run) -> str | None:
    if run.is_exact:
        return "'error' is a network's distance from the exact field, which this is."
    if best_field(run) is None:
        return "'error' needs the exact field, which is not known here."
    return None


def draw(out: Path, subject: Subject):
    run, key = subject.run, evaluation_keys(subject.run.config.seed)[3]
    between = run.method, run.source, run.target.standardized()
    curves = error_over_time(subject.field, best_field(run), *between, PAIRS, PARTS, key)
    plot_error(out, *curves, run.flow)


def plot_error(out, error, spread, size: float, title: str):
    """How far the velocity is off over t, beside how far those of single pairs are.

    Args:
        error: (T,) means of |v − u|² in T equal parts of [0, 1].
        spread: (T,) means of |ut − u|², what the network has to average out.
        size: the mean of |u|² over all times.
    """
    middles = (np.arange(len(error)) + 0.5) / len(error)
    off = np.sqrt(np.mean(error) / size)
    with style.drawing(out, 5.2, 3.6) as figure:
        axes = figure.subplots()
        for squares, colour, label in (
            (spread, style.SOURCE, "velocity of a single pair"),
            (error, style.GENERATED, "learned velocity"),
        ):
            axes.plot(middles, 100 * np.sqrt(squares / size), color=colour, lw=1.2, label=label)
        axes.set(xlabel="t", ylabel="off the exact velocity by, %", xlim=(0, 1))
        axes.set_yscale("log")
        style.plain_log(axes.yaxis, 100 * np.sqrt(np.concatenate([error, spread]) / size))
        axes.legend(loc="best")
        style.set_title(figure, f"{title}\nvelocity off by {off:.1%}")
