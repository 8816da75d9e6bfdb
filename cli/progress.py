"""What a user sees while something takes long: a bar on a terminal, lines in a pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

LINES = 10  # how many a run prints where there is no terminal
PATIENCE = 2.0  # seconds before anything else does


@contextmanager
def overall_progress(length: float, label: str) -> Iterator[Callable]:
    """Yield a function show(done, text) for `done` of `length`, with the time left."""
    if not sys.stderr.isatty():
        yield _overall_lines(length, label)
        return
    scale = 1000 / length  # click counts in whole numbers
    with click.progressbar(
        length=1000, label=label, item_show_func=lambda text: text, width=24, file=sys.stderr
    ) as bar:
        yield lambda done, text: bar.update(max(0, int(done * scale) - bar.pos), text)


def _overall_lines(length: float, label: str) -> Callable:
    began, shown = time.monotonic(), 0

    def show(done, text):
        nonlocal shown
        part, passed = int(done * LINES / length), time.monotonic() - began
        if part == shown or passed < PATIENCE:
            return
        shown = part
        left = passed * (length - done) / done
        click.echo(f"{label} {done / length:.0%}  {text}  {left:.0f} s left", err=True)

    return show


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
