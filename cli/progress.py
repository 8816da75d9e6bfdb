"""What a user sees while something takes long: a bar on a terminal, lines in a pipe.

All of it goes to the standard error stream, so that the standard output holds results alone.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import click

LINES = 10  # how many a task prints where there is no terminal
PATIENCE = 2.0  # seconds before it prints the first


@contextmanager
def overall_progress(length: float, label: str) -> Iterator[Callable]:
    """Yield a function show(done, text), for `done` of `length`; its first call starts the bar."""
    with ExitStack() as stack:
        lines, bar = _lines(length, label), None

        def show(done: float, text: str):
            nonlocal bar
            if not sys.stderr.isatty():
                lines(done, text)
                return
            if bar is None:
                look = {"width": 24, "item_show_func": lambda shown: shown, "file": sys.stderr}
                bar = stack.enter_context(click.progressbar(length=1000, label=label, **look))
            # click counts in whole numbers
            bar.update(max(0, int(1000 * done / length) - bar.pos), text)

        yield show


def _lines(length: float, label: str) -> Callable:
    began, first, shown = time.monotonic(), None, 0

    def show(done, text):
        nonlocal first, shown
        first = done if first is None else first  # what was done before says nothing of the pace
        part, passed = int(done * LINES / length), time.monotonic() - began
        if part == shown or passed < PATIENCE or done == first:
            return
        shown = part
        left = passed * (length - done) / (done - first)
        click.echo(f"{label} {done / length:.0%}  {text}  {left:.0f} s left", err=True)

    return show


@contextmanager
def training_progress(steps: int) -> Iterator[Callable]:
    """Yield a function that takes a `training.History` and shows loss and rate."""
    with overall_progress(steps, "training") as show:
        yield lambda history: show(history.steps, _status(history))


def _status(history) -> str:
    if not history.losses:
        return "compiling"
    rate = f"  {history.steps_per_second:,.0f} steps/s" if history.steps_per_second else ""
    return f"loss {history.losses[-1][1]:.4f}{rate}"
