"""Large batches on all of a CPU's cores.

MLX works through a stream of operations with one core. What can be done for the parts of a batch
separately can have each part on a stream of its own. On a GPU nothing is cut: it is wide enough.
"""

import os
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from functools import cache, wraps
from itertools import compress

import mlx.core as mx
from mlx.utils import tree_map

ROWS = 1000  # of a network's input, fewest in a part; below, cutting costs more than it saves
STREAMS = 8  # at most
_within_a_part = ContextVar("within a part", default=False)


def rowwise(function: Callable) -> Callable:
    """A method f(self, t, x, …) whose results' rows depend on the same rows of x alone.

    Results are arrays (N, …) or tuples of them, x is (N, D), and whatever else has N rows is cut
    with it.
    """

    @wraps(function)
    def in_rows(self, *arguments, **named):
        rows, arguments = arguments[1].shape[0], [*arguments, *named.values()]
        cut = [isinstance(a, mx.array) and a.ndim and a.shape[0] == rows for a in arguments]

        def part(*pieces):
            pieces = iter(pieces)
            whole = [next(pieces) if c else a for c, a in zip(cut, arguments, strict=True)]
            first = len(whole) - len(named)
            return function(self, *whole[:first], **dict(zip(named, whole[first:], strict=True)))

        done = in_parts(part, ROWS, *compress(arguments, cut))
        return done[0] if len(done) == 1 else tree_map(lambda *r: mx.concatenate(r), *done)

    return in_rows


def in_parts(function: Callable, least: int, *arrays) -> list:
    """The function's results for the parts of arrays, cut along the first axis.

    As many parts as there are cores, but none of fewer than `least` rows; and a part is not cut
    again, by a network that a training step calls, since all cores are busy then.
    """
    count = arrays[0].shape[0]
    parts = min(len(_streams()), count // least)
    if parts < 2 or _within_a_part.get() or mx.default_device().type != mx.cpu:
        return [function(*arrays)]
    cuts = [count * part // parts for part in range(1, parts)]
    if least > 2 * parts:
        # No two parts are equally long: MLX would compute a number that is spread over as many rows
        # once for both, and they would wait for it; default training is a tenth faster without.
        cuts = [cut + part * (parts - part) for part, cut in enumerate(cuts, 1)]
    pieces = zip(*(mx.split(array, cuts) for array in arrays), strict=True)
    done, token = [], _within_a_part.set(True)
    try:
        for stream, piece in zip(_streams(), pieces, strict=False):
            with mx.stream(stream):
                done.append(function(*piece))
    finally:
        _within_a_part.reset(token)
    return done


def beside():
    """A context whose work a core of its own does, beside that of the stream in use.

    Where there is one core only, or on a GPU, it is that stream.
    """
    others = _streams()[1:] if mx.default_device().type == mx.cpu else []
    return mx.stream(others[-1]) if others else nullcontext()


@cache
def _streams() -> list:
    """The stream in use, and one more for every other core."""
    others = min(os.cpu_count() or 1, STREAMS) - 1
    return [mx.cpu, *(mx.new_thread_local_stream(mx.cpu) for _ in range(others))]
