"""What one step of a solver is, and how long the next one may be.

One generic `step` serves every `Tableau`; the `Step` it returns knows the state anywhere between
its two ends, and how large its error is. A `Controller` turns that error into the size of the
next step. A walk of many steps is in `walk.py`; what the solvers are, in `solver.py` of the root.

Time is a Python float in float64, whatever the precision of the state. A state is any pytree of
arrays. "HNW" is Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I, 1993; "HW"
is Hairer & Wanner, volume II, 1996.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from solver import Tableau

with suppress(ImportError):  # which in its own project makes MLX fast, if it comes before it
    import machine  # noqa: F401

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map


@dataclass(frozen=True)
class Step:
    """One step, from the state x at time `start` to x_new at `end`.

    Attributes:
        stages: the derivatives that it was made of, the first of them at the start.
    """

    tableau: Tableau
    start: float
    end: float
    x: Any
    x_new: Any
    stages: list

    @property
    def dt(self) -> float:
        return self.end - self.start

    @property
    def last_derivative(self):
        """The field at the end, where the tableau is `fsal` and so knows it; otherwise None."""
        return self.stages[-1] if self.tableau.fsal else None

    def at(self, times: np.ndarray):
        """The states at `times` (T,) of the step, stacked along a new first axis.

        They come from the tableau's interpolating polynomial; the field is not evaluated.
        """
        if np.all(times == self.end):
            return repeat(self.x_new, len(times))
        theta = (times - self.start) / self.dt
        rows = np.array(self.tableau.interpolant)
        weights = self.dt * (theta[:, None] ** np.arange(1, rows.shape[1] + 1)) @ rows.T

        def leaf(x, *stages):
            shape = (-1, *[1] * x.ndim)
            columns = [mx.array(column, x.dtype).reshape(shape) for column in weights.T]
            return x + sum(w * k for w, k in zip(columns, stages, strict=True))

        return tree_map(leaf, self.x, *self.stages)

    def error(self, rtol, atol):
        """The estimated error of every number in units of its tolerance, a pytree like x.

        The step is good where a norm of this is at most 1. `rtol` and `atol` are pytrees of
        floats like x.
        """
        zero = tree_map(mx.zeros_like, self.x)
        error = combine(zero, self.dt, self.tableau.error, self.stages)
        return in_tolerances(error, self.x, self.x_new, rtol, atol)


def step(tableau: Tableau, field, start: float, end: float, x, first) -> Step:
    """One step from x at time `start`, where `first` is field(start, x), to time `end`."""
    dt, stages, x_new = end - start, [first], x
    for row, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
        x_new = combine(x, dt, row, stages)
        stages.append(field(start + c * dt, x_new))
    if not tableau.fsal:
        x_new = combine(x, dt, tableau.b, stages)
    return Step(tableau, start, end, x, x_new, stages)


def combine(x, dt, weights, stages):
    """x + dt Σ_i weights_i stages_i, leaf by leaf; terms of weight zero cost nothing.

    Each sum is one fused kernel, made once for every shape of state: its factors are inputs. (One
    kernel for all shapes MLX gets wrong: a long sum traced for (3, 2) makes (9, 2) of (9, 1).)
    The field is not compiled here, and so no old weights of it are remembered.
    """
    terms = [(float(dt * w), k) for w, k in zip(weights, stages, strict=False) if w]
    if not terms:
        return x
    factors, used = zip(*terms, strict=True)

    def leaf(x, *ks):
        return _weighted_sum(x, [mx.array(factor, x.dtype) for factor in factors], ks)

    return tree_map(leaf, x, *used)


@mx.compile
def _weighted_sum(x, scales, arrays):
    return x + sum(scale * array for scale, array in zip(scales, arrays, strict=True))


def in_tolerances(tree, x, x_new, rtol, atol):
    """The numbers of a pytree like x in units of atol + rtol max(|x|, |x_new|) (HNW II.4.10)."""

    def leaf(value, x, x_new, *tolerances):
        return _in_tolerances(value, x, x_new, *(mx.array(tol, x.dtype) for tol in tolerances))

    return tree_map(leaf, tree, x, x_new, rtol, atol)


@mx.compile
def _in_tolerances(value, x, x_new, rtol, atol):
    return value / (atol + rtol * mx.maximum(mx.abs(x), mx.abs(x_new)))


def rms(tree) -> mx.array:
    """Root mean square over all numbers of a pytree."""
    leaves = [leaf for _, leaf in tree_flatten(tree)]
    total = sum(mx.sum(mx.square(leaf)) for leaf in leaves)
    return mx.sqrt(total / sum(leaf.size for leaf in leaves))


def repeat(tree, times: int):
    """A state so many times, along a new first axis."""
    return tree_map(lambda leaf: mx.broadcast_to(leaf, (times, *leaf.shape)), tree)


@dataclass(frozen=True)
class Controller:
    """Proportional–integral step size control (Gustafsson 1991; HW IV.2).

    Attributes:
        safety: how much shorter a step is made than the errors allow.
        beta: how much the error of the step before the last one counts.
        smallest, largest: bounds on the ratio of two successive step sizes.
    """

    safety: float = 0.9
    beta: float = 0.04
    smallest: float = 0.2
    largest: float = 10.0

    def factor(self, order: int, ratio: float, previous: float) -> float:
        """How many times as long as the last step the next one should be.

        safety · ratio^(3β/4 − 1/order) · previous^β, held between smallest and largest. After
        a ratio above 1 the step is not made longer, and after one that is not finite it is made
        as much shorter as is allowed.

        Args:
            order: the power of dt that the error estimate is proportional to.
            ratio: error / tolerance of the last step, taken or refused.
            previous: error / tolerance of the step taken before it.
        """
        if not np.isfinite(ratio):
            return self.smallest
        if ratio == 0:
            return self.largest
        wanted = self.safety * ratio ** (0.75 * self.beta - 1 / order)
        if ratio > 1:
            return min(max(wanted, self.smallest), 1.0)
        return min(max(wanted * previous**self.beta, self.smallest), self.largest)

    def settled(self, order: int) -> float:
        """The error / tolerance of steps that this control leaves as long as they are."""
        return self.safety ** (1 / (1 / order - 1.75 * self.beta))


CONTROLLER = Controller()
