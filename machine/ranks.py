"""Several processes that train one network, on one machine or on several.

`mlx.launch -n 2 PYTHON main.py …` begins them, each with a rank, and MLX's distributed engine adds
up what they computed. All begin with the weights that the first has, and draw the same batches;
each computes the gradient of its own rows, and the mean of all rows is what every one of them steps
by. The first, of rank 0, speaks, keeps and draws for all. Without `mlx.launch` there is one
process, and nothing here does anything.
"""

import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map, tree_map_with_path

PATIENCE = 5.0  # seconds that the first has to fail for the same reason as another
_errors = 2  # where a process that was silenced says why it ends


@cache
def _launched() -> bool:
    """Whether `mlx.launch` began this process, and others with it."""
    hosts = Path(os.environ.get("MLX_HOSTFILE", ""))
    one = hosts.is_file() and not hosts.read_text().strip()  # MLX cannot read that
    return "MLX_RANK" in os.environ and not one


@cache
def _group():
    """All processes, once they have found each other; None for one."""
    return mx.distributed.init() if _launched() else None


def count() -> int:
    """How many processes there are."""
    return _group().size() if _group() else 1


def is_first() -> bool:
    """Whether this process is the one that speaks for all."""
    return os.environ.get("MLX_RANK", "0") == "0"


def own_rows(*arrays):
    """The rows of a batch, arrays (N, …), that are this process's, and what part of all they are.

    Of what cannot be cut so, every process does all: the mean of the same is the same.
    """
    rows, size = len(arrays[0]), count()
    if size == 1 or rows < size or any(array.shape[:-1] != (rows,) for array in arrays):
        return arrays, 1 / size
    first, last = (rows * (_group().rank() + k) // size for k in (0, 1))
    return [array[first:last] for array in arrays], (last - first) / rows


def summed(tree, share: float):
    """Σ share · tree over all processes, whose shares add up to 1."""
    if count() == 1:
        return tree
    weighted = tree_map(lambda leaf: leaf * (share * count()), tree)
    return nn.average_gradients(weighted, _group())  # all leaves in one message


def from_first(tree):
    """What the first process has, in all of them: arrays of the same names and shapes.

    Each has to ask. What was read from a file may have its names in another order.
    """
    if count() == 1:
        return tree
    found = {}
    for name, leaf in sorted(tree_flatten(tree)):  # all must add up the same one at a time
        mine = leaf if is_first() else mx.zeros_like(leaf)
        found[name] = mx.distributed.all_sum(mine, group=_group())
        mx.eval(found[name])
    return tree_map_with_path(lambda name, _: found[name or ""], tree)


def number_of_first(number: int) -> int:
    """A whole number of the first process, in all of them; each has to ask."""
    return from_first(mx.array(number, mx.int32)).item() if count() > 1 else number


def any_of_all(flag: bool) -> bool:
    """Whether a flag is true in one of the processes; each has to ask."""
    if count() == 1:
        return flag
    return mx.distributed.all_sum(mx.array(flag, mx.int32), group=_group()).item() > 0


def be_silent_unless_first():
    """Let no process but the first print, until it has to say why it ends."""
    global _errors
    if is_first():
        return
    _errors = os.dup(2)
    with tempfile.TemporaryFile() as unsaid, open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(unsaid.fileno(), 2)


def let_first_fail_before():
    """Of a process that failed: wait for the first to do so too, and only else say why.

    What is wrong is mostly wrong for all, and `mlx.launch` ends all as soon as one has failed.
    """
    if is_first():
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(PATIENCE)
    with os.fdopen(os.dup(2), "rb") as unsaid:
        unsaid.seek(0)
        _, error, why = unsaid.read().rpartition(b"Error: ")
    os.write(_errors, error + why)


@contextmanager
def ending_together(sentence: Callable[[], str]):
    """Where another process dies meanwhile, say a sentence and end this one too, by exit code 1.

    Such a death shows in a sum that fails; or in `mlx.launch` ending this process by SIGTERM, maybe
    while its main thread waits for a sum that does not come, so that another thread listens for it.
    """
    if not _launched():
        yield
        return
    once, (ours, signals) = threading.Lock(), socket.socketpair()

    def end():
        with once:
            try:
                os.write(_errors, f"Error: {sentence()}\n".encode())
            finally:
                os._exit(1)

    def listen():
        while number := ours.recv(1):
            if number[0] == signal.SIGTERM:
                end()

    signals.setblocking(False)
    handler = signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    except RuntimeError as error:
        if "peer" not in str(error):
            raise
        end()
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, handler)
        signals.close()
