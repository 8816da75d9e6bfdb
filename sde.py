"""Solve stochastic differential equations: the sibling of the ODE library.

`sdeint` follows dx = drift(t, x) dt + diffusion(t, x) dW, in the sense of Itô, forwards through a
list of times. W is as many independent Brownian motions as x has numbers, and each moves its own:
the noise is diagonal. Every draw comes from a key. A solver is an entry of `SDE_SOLVERS`: what one
step is, and the orders at which it converges, which the tests measure.

An error can mean two things here. A solver has strong order p where E|x̂ − x|, between its path
and the true one of the same Brownian motion, falls as dt^p; and weak order p where E f(x̂) − E f(x)
does, for smooth f: the error of the law. To draw samples, the weak order is what counts.

"KP" is Kloeden & Platen 1992. Nothing here knows of flow matching.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from odeint import Solution
from ode.walk import NonFiniteError
from solver import solver_named

import mlx.core as mx
import numpy as np


__all__ = ["SDE_SOLVERS", "Scheme", "sdeint"]


@dataclass(frozen=True)
class Scheme:
    """A solver of stochastic differential equations.

    Attributes:
        name: its name in `SDE_SOLVERS`.
        step: (drift, diffusion, t, dt, x, dW) → x at t + dt; t and dt are floats, and dW is the
            Brownian increment, like x and of variance dt.
        evaluations: of the drift, in a step.
        weak: its weak order, where each component's noise depends on time and that component alone.
        strong: its strong order there.
        strong_additive: its strong order where the noise depends on time alone.
        reference: who published it.
    """

    name: str
    step: Callable
    evaluations: int
    weak: float
    strong: float
    strong_additive: float
    reference: str


def euler_maruyama(drift, diffusion, t, dt, x, dw):
    """x + a dt + b dW."""
    return x + dt * drift(t, x) + diffusion(t, x) * dw


def stochastic_heun(drift, diffusion, t, dt, x, dw):
    """Heun's step with noise: means of the drift, and of the noise, at both ends (KP 15.1.1).

    Where the noise depends on time alone, the last line is zero.
    """
    a, b, root = drift(t, x), diffusion(t, x), math.sqrt(dt)
    ahead, end = x + dt * a, t + dt
    up, down = diffusion(end, ahead + root * b), diffusion(end, ahead - root * b)
    return (
        x
        + dt / 2 * (a + drift(end, ahead + b * dw))
        + (up + down + 2 * b) / 4 * dw
        + (up - down) / (4 * root) * (mx.square(dw) - dt)
    )


SDE_SOLVERS: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("euler-maruyama", euler_maruyama, 1, 1, 1 / 2, 1, "Maruyama 1955"),
        Scheme("stochastic-heun", stochastic_heun, 2, 2, 1, 1, "Kloeden & Platen 1992, 15.1.1"),
    )
}


def sdeint(
    drift: Callable,
    diffusion: Callable,
    x0: mx.array,
    t: Sequence[float],
    *,
    solver: str = "stochastic-heun",
    steps: int | None = None,
    key=None,
    increments: mx.array | None = None,
) -> Solution:
    """Follow dx = drift dt + diffusion dW from x(t[0]) = x0 through the times t.

    Args:
        drift: called as drift(t, x), t a 0-d array of x's dtype; returns an array like x.
        diffusion: called likewise; returns the standard deviation of the noise of every number of
            x per √time, in x's shape or one that broadcasts to it.
        x0: the initial state, an array of float32 or (on the CPU) float64, of any shape.
        t: (T,) increasing times to report at.
        solver: a name in `SDE_SOLVERS`.
        steps: take so many equal steps from t[0] to t[-1]; None steps from time to time of t.
        key: decides the noise.
        increments: (steps, *x0.shape), the Brownian increments of the steps, in place of a key:
            to follow one Brownian motion in steps of several sizes.

    Returns:
        A `Solution` as of `odeint`; its `nfe` counts the evaluations of the drift. A time of t
        between the ends of a step is answered by a straight line between them.

    Raises:
        ValueError: for an argument that is not as described. Time cannot run backwards: the
            reverse of a stochastic process has another drift (Anderson 1982).
        NonFiniteError: where the state at the end is not finite.
    """
    scheme, times = solver_named(solver, SDE_SOLVERS), _check_times(t)
    if not isinstance(x0, mx.array) or x0.dtype not in (mx.float32, mx.float64):
        raise ValueError("x0 must be an mlx array of float32 or float64")
    if (key is None) == (increments is None):
        raise ValueError("either a key or the increments decide the noise; give one of the two")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise ValueError(f"steps must be a positive whole number, not {steps!r}")
    grid = times if steps is None else np.linspace(times[0], times[-1], steps + 1)
    if increments is None:
        noise = _increments(key, grid, x0)
    elif increments.shape == (len(grid) - 1, *x0.shape):
        noise = iter(increments)
    else:
        raise ValueError(f"increments must be {(len(grid) - 1, *x0.shape)}, not {increments.shape}")
    x = _walk(scheme, drift, diffusion, x0, times, grid, noise)
    count = len(grid) - 1
    return Solution(mx.array(times, x0.dtype), x, scheme.evaluations * count, count, 0, grid)


def _walk(scheme: Scheme, drift, diffusion, x, times, grid, noise):
    """The states (T, …) at the times, by a step from each time of the grid to the next."""

    def at(function):
        return lambda t, x: function(mx.array(t, x.dtype), x)

    parts, dt = [x[None]], 0.0
    for start, end in pairwise(grid.tolist()):
        dt, before = end - start, x
        x = scheme.step(at(drift), at(diffusion), start, dt, before, next(noise))
        for time in times[(times > start) & (times <= end)]:
            part = x if time == end else before + (time - start) / dt * (x - before)
            parts.append(part[None])
        mx.async_eval(x, parts[-1])
    if not mx.all(mx.isfinite(x)).item():
        raise NonFiniteError("the state at the end is not finite; try more steps", grid[-1], dt)
    return mx.concatenate(parts)


def _increments(key, grid, x):
    """Brownian increments like x, of one step after the other."""
    for step_key, dt in zip(mx.random.split(key, len(grid)), np.diff(grid).tolist(), strict=False):
        yield math.sqrt(dt) * mx.random.normal(x.shape, key=step_key).astype(x.dtype)


def _check_times(given) -> np.ndarray:
    times = np.array(given, np.float64)
    if times.ndim != 1 or len(times) < 2 or not np.isfinite(times).all():
        raise ValueError("t must be a list of two or more finite times")
    if np.any(np.diff(times) <= 0):
        raise ValueError(
            "t must increase: a stochastic equation is not followed backwards, for the reverse of "
            "its process has another drift"
        )
    return times
