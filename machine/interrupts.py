"""Signals that end a program: once to end what is being done and keep it, twice to end at once.

They are SIGINT, which Ctrl-C sends; SIGTERM, by which others ask a program to end; and SIGHUP, of a
terminal that is gone. Some terminals send one key press twice, and whoever stops a program may send
several signals, so what comes at nearly the same time is one.
"""

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
TOGETHER = 0.3  # seconds within which several signals are one

_noted: list | None = None  # where signals are put while they interrupt nothing
_came = -math.inf  # when the last one came that counted


class Ended(KeyboardInterrupt):
    """A signal ended what was being done; `number` says which."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def listen():
    """Have SIGTERM and SIGHUP interrupt this program as Ctrl-C does; nohup still holds."""
    for number in SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def ignore():
    """Let no signal interrupt this program any more."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(number, frame):
    if _counts():
        raise Ended(number)


def _counts() -> bool:
    """Whether a signal that comes now is one by itself."""
    global _came
    now = time.monotonic()
    if now - _came < TOGETHER:
        return False
    _came = now
    return True


@contextmanager
def deferred_interrupt() -> Iterator[list]:
    """Yield a list that the first signal is put into, interrupting nothing.

    A second one interrupts as usual, and so does one while MLX compiles. At the end, SIGTERM and
    SIGHUP are raised as `Ended`; whether to go on after Ctrl-C is the caller's choice. Within
    another such context the list is the other's. Signals that are already handled by someone else
    are left to them, and so are all in a thread that gets none.
    """
    global _noted
    if threading.current_thread() is not threading.main_thread():
        yield []
        return
    if _noted is not None:
        yield _noted
        return
    pressed = []

    def note(number, frame):
        global _came
        if not pressed:
            _came = time.monotonic()
            pressed.append(number)
        elif _counts():
            raise Ended(number)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {n: old for n, old in handlers.items() if old in (_end, signal.default_int_handler)}
    _noted = pressed
    try:
        for number in ours:
            signal.signal(number, note)
        yield pressed
    except RuntimeError:
        # a terminal interrupts the compilers that MLX started as well, and then MLX fails
        if pressed:
            raise Ended(pressed[0]) from None
        raise
    finally:
        _noted = None
        for number, old in ours.items():
            signal.signal(number, old)
    if pressed and pressed[0] != signal.SIGINT:
        raise Ended(pressed[0])
