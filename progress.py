"""What a user sees while a network trains: a bar on a terminal, a line now and then in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

LINES = 10  # how many a run prints where there is no terminal


@contextmanager
def training_progress(steps: int) -> Iterator[Callable]:
    """Yield a function that takes `training.History` and shows loss, rate and time left.

    It writes to the standard error stream, so that the standard output holds results alone.
    """
    if not sys.stderr.isatty():
        yield _line_writer(steps)
        return
    with click.progressbar(
        length=steps, label="training", item_show_func=_status, width=24, file=sys.stderr
    ) as bar:
        yield lambda history: bar.update(history.steps - bar.pos, history)


def _line_writer(steps: int) -> Callable:
    shown = 0

    def show(history):
        nonlocal shown
        part = history.steps * LINES // steps
        if part == shown or history.steps == 1 < steps:
            return
        shown = part
        left = (steps - history.steps) / max(history.steps_per_second, 1e-9)
        line = (
            f"training {history.steps:,} of {steps:,} steps  {_status(history)}  {left:.0f} s left"
        )
        click.echo(line, err=True)

    return show


def _status(history) -> str | None:
    if history is None:
        return "compiling"
    return f"loss {history.losses[-1][1]:.4f}  {history.steps_per_second:,.0f} steps/s"
