"""Ctrl-C: once to end what is being done and keep it, twice to end at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred_interrupt() -> Iterator[list]:
    """Yield a list that the first Ctrl-C puts something into, interrupting nothing.

    A second one raises KeyboardInterrupt as usual, and so does one while MLX compiles. Where
    Ctrl-C is already handled by someone else, or in a thread that gets no signals, nothing is
    changed.
    """
    pressed = []

    def note(signum, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    except RuntimeError:
        # a terminal interrupts the compilers that MLX started as well, and then MLX fails
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
