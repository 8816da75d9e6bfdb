"""How the loss fell in training, and how low it could fall."""

from pathlib import Path

import numpy as np

from figures import style
from figures.subject import Subject
from lab.config import CNF
from metrics import quoted

NEAR = 0.85  # the smooth curve is at step n a mean over the steps from 0.85 n to n / 0.85


def refusal(run) -> str | None:
    return "'exact' has no loss: it is not trained." if run.is_exact else None


def draw(out: Path, subject: Subject):
    config, excess = subject.run.config, subject.excess
    what = "negative log-likelihood, nats" if config.method == CNF else "flow-matching loss"
    if getattr(subject.run.method, "learns_score", False):
        what, excess = "flow-matching loss, and that of the score", None
    if config.regress == "marginal":  # of which nearly 0 is the least possible
        what, excess = "mean square off the marginal velocity", None
    if subject.run.classes:  # of which most pairs tell, and so less is possible
        excess = None
    plot_loss(out, subject.history.losses, excess, subject.run.flow, what)


def plot_loss(out, losses, excess, title: str, what: str = "flow-matching loss"):
    """The training loss, and the least loss that any network could have.

    The axis of steps is straight up to the second look at the loss and logarithmic from there, so
    that both the first fall and the long rest are seen.

    Args:
        losses: (step, loss) pairs, each a mean over the steps since the last.
        excess: a `metrics.ExcessLoss`, or None where the least loss is not known.
        what: name of the loss, for its axis.
    """
    steps, values = np.array(losses).T
    every = int(steps[1] if len(steps) > 1 else 1)
    with style.drawing(out, 5.2, 3.6) as figure:
        axes = figure.subplots()
        look = {"color": style.SOURCE, "ls": "", "marker": ".", "ms": 3, "alpha": 0.5}
        axes.plot(steps, values, **look, label=f"mean of {every:,} steps")
        axes.plot(steps, _smoothed(steps, values), color=style.SOURCE, lw=1.2, label="smoothed")
        if excess:
            over = quoted(excess.excess, excess.excess_error)
            title = f"{title}\nexcess over the least possible {over}"
            label = f"least possible, {quoted(excess.floor, excess.floor_error)}"
            axes.axhline(excess.floor, color=style.GENERATED, lw=1.2, ls="--", label=label)
            band = excess.floor - excess.floor_error, excess.floor + excess.floor_error
            axes.axhspan(*band, color=style.GENERATED, alpha=0.2, lw=0)
        axes.set(xlabel="training step", ylabel=what)
        axes.set_xscale("symlog", linthresh=every, linscale=0.4, subs=range(2, 10))
        axes.set_xlim(0, steps[-1])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if values.min() > 0:
            axes.set_yscale("log")
            style.plain_log(axes.yaxis, values)
        axes.legend(loc="upper right")
        style.set_title(figure, title)


def _smoothed(steps, values):
    """At every step the mean over the looks near it; as many before as after, in proportion."""
    total = np.concatenate([[0], np.cumsum(values)])
    first = np.searchsorted(steps, NEAR * steps)
    last = np.searchsorted(steps, steps / NEAR, side="right")
    return (total[last] - total[first]) / (last - first)
