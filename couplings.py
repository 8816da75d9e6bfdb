"""Which target sample each source sample is paired with.

A coupling takes batches of samples and says, for every x0, the place of its x1. Training asks
for the batches of many steps at once (`Coupling.match`), so that what is computed on the host
can run beside the network. `COUPLINGS` is what the command line offers.
"""

import math
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial

import mlx.core as mx
import numpy as np

from machine.streams import in_parts

WORKERS = 1 + min(os.cpu_count() or 1, 7)  # one more than cores: some always wait
SWEEPS = 10  # of Sinkhorn's iteration, between looks at its error
MAX_SWEEPS = 2_000
TOLERANCE = 0.01  # relative error of the plan's marginals, on average


class SinkhornWarning(RuntimeWarning):
    """The entropic plan was used though its marginals are not right yet."""


@dataclass(frozen=True)
class Coupling:
    """A way to pair samples.

    Attributes:
        name: its name in `COUPLINGS`.
        title: its name in print.
        match: (x0 (B, N, D), x1 (B, N, D), keys (B, 2)) → a function that waits for, and
            returns, the places (B, N) of the x1 that go with the x0; None where they stay put.
    """

    name: str
    title: str
    match: Callable | None = None


def independent(regularization: float | None = None) -> Coupling:
    """As the samples come: x0 and x1 independent."""
    return Coupling("independent", "independent pairs")


def optimal(regularization: float | None = None) -> Coupling:
    """Exact optimal transport between the two samples, for the squared distance.

    Every x0 and every x1 is used once, so both marginals are kept exactly (Tong et al. 2024,
    Prop. 3.4; Pooladian et al. 2023).
    """
    return Coupling("ot", "exact optimal transport", _match_optimally)


def entropic(regularization: float) -> Coupling:
    """Entropic optimal transport: each x0 goes to an x1 drawn from its row of the plan.

    Every x0 is used once, so the source's marginal is kept exactly and the target's on average:
    an x1 may be used twice in a batch, or not at all.

    Args:
        regularization: ε of min ⟨plan, |x0 − x1|²⟩ − ε entropy(plan), in squared distance; 0
            is exact transport.
    """
    if not 0 <= regularization < math.inf:
        raise ValueError(f"regularization must be a number from 0 up, not {regularization}")
    if not regularization:
        return optimal()
    return Coupling("entropic", "entropic transport", partial(_match_by_plan, regularization))


COUPLINGS: dict[str, Callable[..., Coupling]] = {
    "independent": independent,
    "ot": optimal,
    "entropic": entropic,
}


def _match_optimally(x0, x1, keys) -> Callable:
    """Solve every batch's assignment in a thread of its own; scipy lets other threads run."""

    def solve(a, b):
        from scipy.spatial.distance import cdist

        return optimal_assignment(cdist(a, b, "sqeuclidean"))

    pending = [_pool().submit(solve, a, b) for a, b in zip(np.array(x0), np.array(x1), strict=True)]
    return lambda: mx.array(np.stack([job.result() for job in pending]).astype(np.uint32))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="assignment")


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
    width = 0.05 * costs.mean()
    with np.errstate(all="ignore"):
        kernel = np.exp((reduced / -width).astype(np.float32))
        columns = np.ones(len(costs), np.float32)
        for _ in range(20):
            rows = 1 / np.einsum("ij,j->i", kernel, columns)
            columns = 1 / np.einsum("ij,i->j", kernel, rows)
        better = reduced - width * np.log(rows)[:, None] - width * np.log(columns)
    return linear_sum_assignment(better if np.isfinite(better).all() else reduced)[1]


def _match_by_plan(regularization: float, x0, x1, keys) -> Callable:
    source, target, costs = sinkhorn(x0, x1, regularization)
    logits = (source[..., :, None] + target[..., None, :] - costs) / regularization
    draw = mx.vmap(lambda row_logits, key: mx.random.categorical(row_logits, key=key))
    places = draw(logits, keys)
    return lambda: places


def sinkhorn(x0, x1, regularization: float):
    """The potentials of the entropic plan between samples, by Sinkhorn's iteration.

    The plan is exp((f_i + g_j − C_ij) / ε) / N² (Cuturi 2013; Peyré & Cuturi 2019, ch. 4). The
    potentials stay logarithms, which no ε makes overflow; between looks, `SWEEPS` iterations
    scale the plan itself. ε is halved down to its value from one at which all is smooth.

    Args:
        x0, x1: samples (..., N, D).
        regularization: ε, in squared distance.

    Returns:
        (f, g, C): potentials (..., N) and (..., N), squared distances (..., N, N).

    Warns:
        SinkhornWarning: if after `MAX_SWEEPS` iterations the marginals are still off by more
            than `TOLERANCE`.
    """
    costs = squared_distances(x0, x1)
    state = mx.zeros(costs.shape[:-1]), mx.zeros(costs.shape[:-1])
    halvings = max(0, math.ceil(math.log2(max(mx.max(costs).item(), 1e-30) / regularization / 8)))
    for level in range(halvings, 0, -1):
        state, _ = _swept(*state, costs, mx.array(regularization * 2.0**level))
    for _ in range(MAX_SWEEPS // SWEEPS):
        state, error = _swept(*state, costs, mx.array(regularization))
        if error.item() <= TOLERANCE:
            return *state, costs
    warnings.warn(
        f"the entropic plan's marginals are still off by more than {TOLERANCE:.0%} after "
        f"{MAX_SWEEPS:,} Sinkhorn iterations; a larger sigma or regularization converges sooner",
        SinkhornWarning,
        stacklevel=2,
    )
    return *state, costs


def squared_distances(x0, x1):
    """|x0_i − x1_j|², (..., N, M)."""
    return mx.sum(mx.square(x0[..., :, None, :] - x1[..., None, :, :]), axis=-1)


def _swept(f, g, costs, regularization):
    """`_sweep` of many batches, (B, N) and (B, N, N), or of a single one: ((f, g), error)."""
    if f.ndim == 1:
        f, g, error = _sweep(f, g, costs, regularization)
        return (f, g), error
    done = in_parts(lambda *batches: _sweep(*batches, regularization), 1, f, g, costs)
    f, g, error = (mx.concatenate(part) for part in zip(*done, strict=True))
    return (f, g), mx.max(error)


@mx.compile
def _sweep(f, g, costs, regularization):
    """A few iterations, the last leaving rows exact; and the columns' mean relative error."""
    exponent = (f[..., :, None] + g[..., None, :] - costs) / regularization
    plan = mx.power(math.e, exponent) / f.shape[-1]  # on Linux a third of the time of `exp`
    columns = mx.ones_like(g)[..., None, :]
    for _ in range(SWEEPS):
        rows = 1 / (plan @ columns.swapaxes(-1, -2))
        columns = 1 / (rows.swapaxes(-1, -2) @ plan)
    rows = 1 / (plan @ columns.swapaxes(-1, -2))
    mass = columns * (rows.swapaxes(-1, -2) @ plan)
    error = mx.mean(mx.abs(mass - 1), axis=-1)[..., 0]
    f = f + regularization * mx.log(rows[..., 0])
    return f, g + regularization * mx.log(columns[..., 0, :]), error
