"""Which target sample each source sample is paired with.

A coupling looks at one batch of samples, x0 (N, D) and x1 (N, D), and says for every x0 at which
place its x1 stands. Training needs the pairs of many batches and asks for them ahead of time
(`Coupling.match`), so that the host can work on them while the network learns. `COUPLINGS` is
what the command line offers.
"""

import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from machine.keys import stratified
from machine.streams import in_parts

THREADS = 1 + min(os.cpu_count() or 1, 7)  # one more than cores: one may wait for Python's lock
ROUGH_WIDTH = 0.05  # ε of a rough plan, in mean costs: more helps less, much less underflows
ROUGH_SWEEPS = 20  # iterations for it; 10 or 40 take about as long with all that follows
SMOOTH = 8  # a plan is easily found while the largest cost is at most this many ε
FINEST = 1e-6  # ε, in largest costs: below, rounding decides what the plan is
SWEEPS = 10  # of Sinkhorn's iteration, between looks at its error
MAX_SWEEPS = 2_000
TOLERANCE = 0.01  # of the law that pairs a point: total variation from where it will end
ROUNDING = TOLERANCE / 10  # changes of rows that may be that


class SinkhornWarning(RuntimeWarning):
    """The entropic plan was used though it does not pair all points by the right law yet."""


@dataclass(frozen=True)
class Coupling:
    """A way to pair samples.

    Attributes:
        name: its name in `COUPLINGS`.
        title: its name in print.
        match: (x0 (B, N, D), x1 (B, N, D), keys (B, 2)) → a function that, once called, waits for
            the places (B, N) of the x1 that go with the x0; None where pairs stay as they come.
        by_class: whether `match` takes the classes of the x1, (B, N), as a fourth argument.
        draw: (n, key) → n pairs x0 (n, D), x1 (n, D) that belong together from the first; None
            where source and target are drawn each by itself.
    """

    name: str
    title: str
    match: Callable | None = None
    draw: Callable | None = None
    by_class: bool = False

    @property
    def is_independent(self) -> bool:
        """Whether x0 says nothing of its x1."""
        return self.match is None and self.draw is None


def batch_by_batch(pair: Callable) -> Callable:
    """`Coupling.match` from a function of one batch, (x0 (N, D), x1 (N, D), key) → places (N,)."""

    def match(*arrays):
        places = mx.stack([mx.array(pair(*batch)) for batch in zip(*arrays, strict=True)])
        return lambda: places

    return match


def in_threads(pair: Callable) -> Callable:
    """The same from a function of numpy arrays: the host pairs several batches at once.

    Worth it where `pair` lets other threads run meanwhile, as numpy and scipy do.
    """

    def match(*arrays):
        batches = zip(*(np.array(array) for array in arrays), strict=True)
        jobs = [_threads().submit(pair, *batch) for batch in batches]
        return lambda: mx.array(np.stack([job.result() for job in jobs]).astype(np.uint32))

    return match


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="coupling")


def independent(regularization: float | None = None) -> Coupling:
    """As the samples come, x0 and x1 independent of each other."""
    return Coupling("independent", "independent pairs")


def optimal(x0, x1, key):
    """Exact optimal transport between the two samples, for the squared distance.

    Every x0 and every x1 is used once, so both marginals are kept exactly (Tong et al. 2024,
    Prop. 3.4; Pooladian et al. 2023).
    """
    from scipy.spatial.distance import cdist

    return optimal_assignment(cdist(x0, x1, "sqeuclidean"))


def optimal_by_class(x0, x1, key, classes=None):
    """Exact optimal transport within each class: an x0 may change its x1 for others of the class
    of the one that it came with.

    That is transport with a cost added where classes differ, however large (C²OT, Cheng & Schwing
    2025). What a class sees of the source is the source itself, which `ot` tears apart. Without
    classes it is `ot`.
    """
    if classes is None:
        return optimal(x0, x1, key)
    places = np.empty(len(x0), np.intp)
    for each in np.unique(classes):
        (rows,) = np.nonzero(classes == each)
        places[rows] = rows[optimal(x0[rows], x1[rows], key)]
    return places


def entropic(regularization: float) -> Coupling:
    """Entropic optimal transport: each x0 goes to an x1 drawn by chance, as the plan says.

    Every x0 is used once, so the source's marginal is kept exactly and the target's on average:
    an x1 may be used twice in a batch, or not at all (Tong et al. 2024, Prop. 3.5).

    Args:
        regularization: ε of min ⟨plan, |x0 − x1|²⟩ − ε entropy(plan), a squared distance; 0 is
            exact transport, and so is, in a batch, what is less than `FINEST` of its largest
            squared distance: float32 cannot tell them apart.
    """
    if not 0 <= regularization < math.inf:
        raise ValueError(f"regularization must be a number from 0 up, not {regularization}")
    exact = COUPLINGS["ot"]()
    if not regularization:
        return exact

    def match(x0, x1, keys):
        if regularization < FINEST * mx.max(_squared_distances(x0, x1)).item():
            return exact.match(x0, x1, keys)
        f, g, costs = sinkhorn(x0, x1, regularization)
        logits = (f[:, :, None] + g[:, None] - costs) / regularization
        chance = mx.vmap(lambda key: mx.random.gumbel(costs.shape[1:], key=key))(keys)
        places = mx.argmax(logits + chance, axis=-1)  # MLX's `categorical` fails for N = 1 here
        return lambda: places

    return Coupling("entropic", "entropic transport", match)


def of_a_flow(x0=None, x1=None) -> Coupling:
    """The pairs that a flow makes: where it starts, and where it carries that (Liu et al. 2023).

    Args:
        x0, x1: (M, D) each, a table of pairs, of which every batch takes some at random. Without
            it the coupling is a name, and draws nothing.
    """

    def draw(count, key):
        if x0 is None:
            raise ValueError("the flow that makes these pairs is not known yet")
        rows = (stratified(count, key) * len(x0)).astype(mx.uint32)
        rows = mx.minimum(rows, len(x0) - 1)  # a product may be rounded up
        return x0[rows], x1[rows]

    return Coupling("flow", "pairs of a flow", draw=draw)


def _coupling(name: str, title: str, pair: Callable, matching=batch_by_batch, **how) -> Callable:
    """An entry of `COUPLINGS` made from `pair`, a function of one batch, with its docstring."""

    def build(regularization: float | None = None) -> Coupling:
        return Coupling(name, title, matching(pair), **how)

    build.__doc__ = pair.__doc__
    return build


COUPLINGS: dict[str, Callable[..., Coupling]] = {
    "independent": independent,
    "ot": _coupling("ot", "exact optimal transport", optimal, in_threads),
    "entropic": entropic,
    "conditional-ot": _coupling(
        "conditional-ot",
        "optimal transport within classes",
        optimal_by_class,
        in_threads,
        by_class=True,
    ),
}


def optimal_assignment(costs: np.ndarray) -> np.ndarray:
    """The column of each row, (N,), that makes the sum of costs (N, N) least; exact.

    Numbers taken off whole rows and columns change every assignment's sum alike. With those of
    a rough entropic plan taken off first, scipy's algorithm needs a half to a sixth of its time.

    Raises:
        ValueError: if a cost is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    if not np.isfinite(costs).all():
        raise ValueError("an assignment needs finite costs")
    reduced = costs - costs.min(axis=1, keepdims=True)
    reduced -= reduced.min(axis=0)
    width = ROUGH_WIDTH * costs.mean()
    with np.errstate(all="ignore"):
        kernel = np.exp((reduced / -width).astype(np.float32))
        columns = np.ones(len(costs), np.float32)
        for _ in range(ROUGH_SWEEPS):
            rows = 1 / np.einsum("ij,j->i", kernel, columns)
            columns = 1 / np.einsum("ij,i->j", kernel, rows)
        better = reduced - width * np.log(rows)[:, None] - width * np.log(columns)
    return linear_sum_assignment(better if np.isfinite(better).all() else reduced)[1]


def sinkhorn(x0, x1, regularization: float):
    """The potentials of the entropic plan between samples, by Sinkhorn's iteration.

    The plan is exp((f_i + g_j − C_ij) / ε) / N² (Cuturi 2013; Peyré & Cuturi 2019, ch. 4). Its
    potentials are kept as logarithms, which do not overflow however small ε is; `SWEEPS`
    iterations at a time scale the plan itself. ε starts large, where the plan is smooth, and is
    halved down to the one asked for.

    Args:
        x0, x1: samples (B, N, D) of B batches.
        regularization: ε, a squared distance.

    Returns:
        (f, g, C): potentials (B, N) and (B, N), squared distances (B, N, N).

    Warns:
        SinkhornWarning: if after `MAX_SWEEPS` iterations the law that pairs some x0 still seems
            off by more than `TOLERANCE`.

    What counts is that law, a row of the plan divided by its sum. The plan's marginals, the usual
    measure, change slowly where ε is small, and are within 1% when single rows are off by a third.
    How far a row is from its end is told by its last changes, which shrink at a steady pace: the
    rest is a geometric series. While that pace is not steady yet, it may be taken for too fast: of
    28 plans of 256 points, ε from 0.02 to 2, the worst row was then off by 5%, on average by 0.6%.
    """
    costs = _squared_distances(x0, x1)
    f, g = mx.zeros(costs.shape[:2]), mx.zeros(costs.shape[:2])
    halvings = math.ceil(math.log2(max(mx.max(costs).item() / regularization / SMOOTH, 1)))
    for level in range(halvings, -1, -1):
        f, g, _ = _swept(f, g, costs, mx.array(regularization * 2.0**level))
    change, left = mx.zeros(len(costs)), mx.array(math.inf)
    for _ in range(MAX_SWEEPS // SWEEPS):
        before = change
        f, g, change = _swept(f, g, costs, mx.array(regularization))
        left = mx.minimum(left, _left(before, change))  # what was near stays near
        if mx.max(left).item() <= TOLERANCE:
            return f, g, costs
    worst = min(mx.max(left).item(), 1)
    warnings.warn(
        f"the entropic plan pairs some points by a law still off by {worst:.0%} after "
        f"{MAX_SWEEPS:,} Sinkhorn iterations; a larger sigma or regularization converges sooner",
        SinkhornWarning,
        stacklevel=2,
    )
    return f, g, costs


def _squared_distances(x0, x1):
    """Of all pairs in each batch, (B, N, N)."""
    return mx.sum(mx.square(x0[:, :, None] - x1[:, None]), axis=-1)


def _left(before, change):
    """How far the worst row is from where changes that shrink as the last two did will lead, (B,).

    Changes that are small and do not shrink any more are rounding.
    """
    pace = change / before
    stuck = mx.where(change < ROUNDING, 0.0, math.inf)
    return mx.where(pace < 1, change * pace / (1 - pace), stuck)


def _swept(f, g, costs, regularization):
    """(f, g, change) after a few iterations of all batches, on all cores."""
    done = in_parts(lambda *batches: _sweep(*batches, regularization), 1, f, g, costs)
    return tuple(mx.concatenate(part) for part in zip(*done, strict=True))


@mx.compile
def _sweep(f, g, costs, regularization):
    """A few iterations, after which rows are exact, and how much rows changed at most, (B,).

    That is the total variation between a row's law before and after, ½ Σ p |δ| for a change δ of
    the logarithms whose mean is 0, or rather ½ √(Σ p δ²), which is no smaller.
    """
    exponent = (f[:, :, None] + g[:, None] - costs) / regularization
    plan = mx.power(math.e, exponent) / f.shape[1]  # on Linux a third of the time of `exp`
    columns = mx.ones_like(g)[:, None]
    for _ in range(SWEEPS):
        rows = 1 / (plan @ columns.swapaxes(1, 2))
        columns = 1 / (rows.swapaxes(1, 2) @ plan)
    rows = 1 / (plan @ columns.swapaxes(1, 2))
    delta = mx.log(columns)
    centred = delta - mx.mean(delta, axis=-1, keepdims=True)
    moments = mx.concatenate([columns * centred, columns * mx.square(centred)], axis=1)
    mean, square = mx.split(rows * (plan @ moments.swapaxes(1, 2)), 2, axis=-1)
    change = mx.sqrt(mx.max(mx.maximum(square - mx.square(mean), 0), axis=(1, 2))) / 2
    f = f + regularization * mx.log(rows[:, :, 0])
    return f, g + regularization * delta[:, 0], change
