"""How a whole solve goes.

`odeint` integrates dx/dt = field(t, x) through a list of times, with fixed or adaptive
steps, forwards or backwards in time, and says what it cost. What one step is, is the
business of `solver.py`; neither file knows of flow matching.

For non-stiff problems only: there are no implicit solvers here, and no events.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from solver import SOLVERS, Controller, Tableau, combine, interpolate, rms, scaled_error, step

BLIND_TRIES = 10  # steps in a row without a finite error estimate before a solve gives up


class OdeError(ArithmeticError):
    """A solve that could not be finished; `t` and `dt` say where it stood."""

    def __init__(self, message: str, t: float, dt: float):
        super().__init__(f"{message} (t = {t:.6g}, dt = {dt:.3g})")
        self.t, self.dt = t, dt


class StepBudgetError(OdeError):
    """More steps were needed than allowed."""


class StepSizeError(OdeError):
    """The step became too small to move t."""


class NonFiniteError(OdeError):
    """The field, or the state, is infinite or not a number."""


@dataclass(frozen=True)
class Solution:
    """What a solve found and what it cost.

    Attributes:
        t: (T,) the times asked for.
        x: pytree of (T, ...), the states at those times; x[0] is the initial state.
        nfe: evaluations of the field, every one of this solve.
        accepted: steps taken.
        rejected: steps tried in vain, and tried again with a smaller dt.
    """

    t: mx.array
    x: Any
    nfe: int
    accepted: int
    rejected: int


@dataclass(frozen=True)
class _Step:
    """One accepted step, from x at `start` to x_new at `end`."""

    tableau: Tableau
    start: float
    end: float
    x: Any
    x_new: Any
    stages: list

    def at(self, times: np.ndarray):
        """The states at `times`, stacked along a new first axis."""
        if np.all(times == self.end):
            return _repeat(self.x_new, len(times))
        dt = self.end - self.start
        return interpolate(self.tableau, dt, self.x, self.stages, (times - self.start) / dt)


@dataclass
class _Field:
    """The user's field as the walks call it: t a float, calls counted, the first one checked."""

    function: Callable
    dtype: mx.Dtype
    calls: int = 0

    def __call__(self, t: float, x):
        derivative = self.function(mx.array(t, self.dtype), x)
        if not self.calls:
            _check_derivative(x, derivative)
        self.calls += 1
        return derivative


@dataclass(frozen=True)
class _Options:
    """How to step; see `odeint`."""

    tableau: Tableau
    rtol: float
    atol: float
    steps: int | None
    max_steps: int
    controller: Controller = field(default_factory=Controller)


def odeint(
    field: Callable,
    x0,
    t,
    *,
    solver: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    steps: int | None = None,
    max_steps: int = 10_000,
    gradient: str = "direct",
) -> Solution:
    """Integrate dx/dt = field(t, x) from x(t[0]) = x0 through the times t.

    Args:
        field: called as field(t, x), t a 0-d array of x's dtype; returns dx/dt, like x.
        x0: the initial state, an array of float32 or (on the CPU) float64, or a pytree of them.
        t: (T,) increasing or decreasing times to report at; repeated ones are answered too.
        solver: a name in `solver.SOLVERS`.
        rtol, atol: an adaptive solver keeps the root mean square of
            error / (atol + rtol |x|) at 1 or less in every step.
        steps: take so many equal steps from t[0] to t[-1] instead, whatever the solver.
            Where it is None, a solver without an error estimate steps from time to time of t.
        max_steps: how many steps an adaptive solver may try.
        gradient: how MLX differentiates the solve: "direct", through its steps.

    Returns:
        A `Solution`. With adaptive solvers, and with `steps`, the times in t only say where
        to report: states between the ends of a step come from its interpolating polynomial,
        and no evaluation of the field is spent on them.

    Raises:
        ValueError: for arguments that make no sense.
        StepBudgetError, StepSizeError, NonFiniteError: for a solve that cannot be finished.

    Example:
        >>> solution = odeint(lambda t, x: -x, mx.array([1.0]), [0.0, 1.0])
        >>> round(solution.x[-1].item(), 4)
        0.3679
    """
    if gradient != "direct":
        raise ValueError(f"gradient is {gradient!r}; 'direct' is what there is")
    times, dtype = _check_times(t), _check_state(x0)
    _check_positive(rtol=rtol, atol=atol, max_steps=max_steps, steps=1 if steps is None else steps)
    options = _Options(_check_solver(solver), rtol, atol, steps, max_steps)
    counted = _Field(field, dtype)
    walk = _adaptive if options.tableau.adaptive and steps is None else _fixed
    x, accepted, rejected = _report(walk(counted, x0, times, options), x0, times)
    reported = t if isinstance(t, mx.array) else mx.array(times, dtype)
    return Solution(reported, x, counted.calls, accepted, rejected)


def _report(walk: Iterator[_Step | None], x0, times: np.ndarray):
    """Follow a walk; (states at `times`, accepted steps, rejected steps)."""
    forward = np.sign(times[-1] - times[0])
    done = int(np.sum(times == times[0]))
    parts, accepted, rejected = [_repeat(x0, done)], 0, 0
    for taken in walk:
        if taken is None:
            rejected += 1
            continue
        accepted += 1
        due = np.searchsorted(forward * times, forward * taken.end, side="right")
        if due > done:
            parts.append(taken.at(times[done:due]))
            _begin_evaluating(parts[-1])
            done = due
    return tree_map(lambda *leaves: mx.concatenate(leaves), *parts), accepted, rejected


def _fixed(field: _Field, x, times: np.ndarray, options: _Options) -> Iterator[_Step]:
    """Walk in equal steps, or from one of the times to the next."""
    tableau, x0, first = options.tableau, x, None
    if options.steps is not None:
        times = np.linspace(times[0], times[-1], options.steps + 1)
    dt = times[-1] - times[0]
    for start, end in pairwise(times.tolist()):
        dt = end - start
        if not dt:
            continue
        if first is None:
            first = field(start, x)
        x_new, stages = step(tableau, field, start, dt, x, first)
        _begin_evaluating(x_new)
        yield _Step(tableau, start, end, x, x_new, stages)
        x, first = x_new, stages[-1] if tableau.fsal else None
    if not _finite(x):
        culprit = "initial state" if not _finite(x0) else "state at the end"
        raise NonFiniteError(f"the {culprit} is not finite; try more steps", times[-1], dt)


def _adaptive(field: _Field, x, times: np.ndarray, options: _Options) -> Iterator[_Step | None]:
    """Walk with steps that the error estimate allows; a rejected one yields None."""
    t, end = times[[0, -1]].tolist()
    if t == end:
        return
    tableau, forward = options.tableau, math.copysign(1.0, end - t)
    resolution = float(mx.finfo(field.dtype).eps)
    first = field(t, x)
    size = _first_step(field, t, forward, x, first, abs(end - t), options)
    previous, growth, blind = 1.0, np.inf, 0
    for _ in range(options.max_steps):
        last = 1.01 * size >= abs(end - t)
        t_new = end if last else t + forward * size
        dt = t_new - t
        if blind == BLIND_TRIES or (blind and size <= 2 * resolution * abs(t)):
            raise NonFiniteError("the field is not finite beyond here", t, dt)
        if not last and size <= 2 * resolution * abs(t):
            raise StepSizeError(
                "the steps have become too small to move t: the field is too rough here, or "
                f"rtol and atol ask for more than {field.dtype} can give",
                t,
                dt,
            )
        x_new, stages = step(tableau, field, t, dt, x, first)
        error = scaled_error(tableau, dt, x, x_new, stages, options.rtol, options.atol)
        ratio = rms(error).item()
        factor = options.controller.factor(tableau.order, ratio, previous)
        size = abs(dt) * min(factor, growth)
        if ratio <= 1:
            yield _Step(tableau, t, t_new, x, x_new, stages)
            if last:
                return
            t, x = t_new, x_new
            first = stages[-1] if tableau.fsal else field(t, x)
            previous, growth, blind = max(ratio, 1e-4), np.inf, 0
        else:
            yield None
            growth, blind = 1.0, 0 if np.isfinite(ratio) else blind + 1
    raise StepBudgetError(
        f"{options.max_steps} steps did not reach t = {end:.6g}; loosen rtol and atol or raise "
        "max_steps, and if the steps are tiny the problem may be stiff",
        t,
        forward * size,
    )


def _first_step(field, t, forward, x, first, span, options: _Options) -> float:
    """A size for the first step, by Hairer, Nørsett & Wanner 1993, II.4; one evaluation."""

    def norm(tree):
        return rms(tree_map(lambda v, x: v / (options.atol + options.rtol * mx.abs(x)), tree, x))

    d0, d1 = mx.stack([norm(x), norm(first)]).tolist()
    if not np.isfinite(d0 + d1):
        culprit = "field" if np.isfinite(d0) else "initial state"
        raise NonFiniteError(f"the {culprit} is not finite at the start", t, 0.0)
    trial = min(1e-6 if min(d0, d1) < 1e-5 else 0.01 * d0 / d1, span)
    probe = field(t + forward * trial, combine(x, forward * trial, (1.0,), (first,)))
    d2 = norm(tree_map(lambda a, b: (a - b) / trial, probe, first)).item()
    steepest = max(d1, d2) if np.isfinite(d2) else d1
    size = (
        (0.01 / steepest) ** (1 / options.tableau.order)
        if steepest > 1e-15
        else max(1e-6, trial * 1e-3)
    )
    return min(100 * trial, size, span)


def _check_solver(name: str) -> Tableau:
    if name in SOLVERS:
        return SOLVERS[name]
    close = get_close_matches(str(name), SOLVERS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(SOLVERS)}"
    raise ValueError(f"unknown solver {name!r}; {hint}")


def _check_times(t) -> np.ndarray:
    times = np.array(t, dtype=np.float64)
    if times.ndim != 1 or not times.size:
        raise ValueError(f"t must be a list of one or more times, not of shape {times.shape}")
    if not np.all(np.isfinite(times)):
        raise ValueError("t holds a time that is not finite")
    steps = np.diff(times)
    if np.any(steps > 0) and np.any(steps < 0):
        raise ValueError("t must increase or decrease throughout")
    return times


def _check_state(x0) -> mx.Dtype:
    leaves = tree_flatten(x0)
    for path, leaf in leaves:
        if not isinstance(leaf, mx.array) or leaf.dtype not in (mx.float32, mx.float64):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise ValueError(
                f"x0{_where(path)} must be an mlx array of float32 or float64, not {kind}"
            )
    if not sum(leaf.size for _, leaf in leaves):
        raise ValueError("x0 is empty")
    dtypes = {leaf.dtype for _, leaf in leaves}
    if len(dtypes) > 1:
        raise ValueError("x0 mixes float32 and float64; let all of it be one of them")
    return dtypes.pop()


def _check_derivative(x, derivative):
    wanted, given = (
        {path: (leaf.shape, leaf.dtype) for path, leaf in tree_flatten(tree)}
        for tree in (x, derivative)
    )
    if wanted.keys() != given.keys():
        raise ValueError("the field returns another structure than the state's")
    for path in wanted:
        if wanted[path] != given[path]:
            raise ValueError(
                f"the field returns {given[path]} where the state{_where(path)} is {wanted[path]}"
            )


def _where(path: str) -> str:
    return f" at {path}" if path else ""


def _check_positive(**values):
    for name, value in values.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a positive number, not {value}")


def _repeat(tree, times: int):
    return tree_map(lambda leaf: mx.broadcast_to(leaf, (times, *leaf.shape)), tree)


def _begin_evaluating(tree):
    """Let MLX start on these arrays, so that a long solve does not pile up as one graph."""
    with suppress(ValueError):  # inside mx.compile or mx.vmap nothing can be evaluated yet
        mx.async_eval(tree)


def _finite(tree) -> bool:
    """Whether all numbers are finite; True where MLX is tracing and nobody can know."""
    try:
        return all(mx.all(mx.isfinite(leaf)).item() for _, leaf in tree_flatten(tree))
    except ValueError:
        return True
