"""Large batches on all of a CPU's cores.

MLX works through a stream of operations with one core. A function of the rows of x (a network,
a velocity field) can have them cut into parts, each on a stream of its own. On a GPU nothing is
cut: it is wide enough.
"""

import os
from collections.abc import Callable
from functools import cache, wraps

import mlx.core as mx

ROWS = 1024  # fewest in a part; below, passing the parts around costs more than it saves
STREAMS = 8  # at most


def rowwise(function: Callable) -> Callable:
    """A method f(self, t, x) → (N, …) whose rows depend on t and on the same rows of x alone.

    t is () or has N rows itself; x is (N, D).
    """

    @wraps(function)
    def in_parts(self, t, x):
        parts = min(len(_streams()), x.shape[0] // ROWS)
        if parts < 2 or mx.default_device().type != mx.cpu:
            return function(self, t, x)
        cuts = [x.shape[0] * part // parts for part in range(1, parts)]
        xs = mx.split(x, cuts)
        ts = mx.split(t, cuts) if isinstance(t, mx.array) and t.size > 1 else [t] * parts
        done = []
        for stream, t, x in zip(_streams(), ts, xs, strict=False):
            with mx.stream(stream):
                done.append(function(self, t, x))
        return mx.concatenate(done)

    return in_parts


@cache
def _streams() -> list:
    """The stream in use, and one more for every other core."""
    others = min(os.cpu_count() or 1, STREAMS) - 1
    return [mx.cpu, *(mx.new_thread_local_stream(mx.cpu) for _ in range(others))]
