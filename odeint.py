"""Solve ordinary differential equations.

`odeint` integrates dx/dt = field(t, x) through a list of times, with fixed or adaptive steps,
forwards or backwards in time, says what it cost, and can be differentiated. From the bottom up:
`solver.py` has the coefficients. In `ode/`, `step.py` has one step, `walk.py` takes all of a solve,
`rounding.py` looks for noise in a field, `gradients.py` has the derivatives; this module has what a
user calls, and the checks of what they ask for. None of these knows of flow matching.

For non-stiff problems only: there are no implicit solvers here, and no events.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

from ode.gradients import GRADIENTS, Bound, is_traced, solve_as_one
from ode.rounding import RoundingWarning
from ode.step import rms
from solver import SOLVERS, Tableau, solver_named
from ode.walk import NonFiniteError, OdeError, Options, StepBudgetError, StepSizeError, solve, where

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map


__all__ = ["GRADIENTS", "NonFiniteError", "OdeError", "RoundingWarning", "Solution"]
__all__ += ["StepBudgetError", "StepSizeError", "odeint"]


@dataclasses.dataclass(frozen=True)
class Solution:
    """What a solve found and what it cost.

    Attributes:
        t: (T,) the times asked for.
        x: pytree of (T, ...), the states at those times; x[0] is the initial state.
        nfe: evaluations of the field, every one of this solve.
        accepted: steps taken.
        rejected: steps tried in vain, and tried again with a smaller dt.
        steps: (S+1,) float64, the times between which the S steps were taken, t[0] to t[-1].

    Called with a time inside the interval, or several (S,), it gives the state there, or the
    states (S, ...), from the interpolating polynomials and without evaluating the field again.
    """

    t: mx.array
    x: Any
    nfe: int
    accepted: int
    rejected: int
    steps: np.ndarray
    _kept: tuple = dataclasses.field(default=(), repr=False)

    def __call__(self, t):
        if self.accepted and not self._kept:
            raise ValueError(
                "this solution cannot be called: dense=True and gradient='direct' were not both "
                "given"
            )
        times = np.array(t, dtype=np.float64)
        if times.ndim > 1 or not times.size:
            raise ValueError(f"t must be a time or a list of times, not of shape {times.shape}")
        start, end = self.steps[0], self.steps[-1]
        low, high, slack = min(start, end), max(start, end), 1e-6 * abs(end - start or start)
        if not np.all((times >= low - slack) & (times <= high + slack)):
            raise ValueError(f"t must lie between {start:g} and {end:g}")
        if not self.accepted:  # a span of no length
            return tree_map(
                lambda leaf: mx.broadcast_to(leaf[0], times.shape + leaf.shape[1:]), self.x
            )
        times = np.clip(times, low, high)  # self.t is rounded to float32, and must do as well
        forward = math.copysign(1.0, end - start)
        places = np.searchsorted(forward * self.steps[1:], forward * times.reshape(-1))
        parts = [
            self._kept[place].at(np.array([time]))
            for place, time in zip(places, times.reshape(-1), strict=True)
        ]
        x = tree_map(lambda *leaves: mx.concatenate(leaves), *parts)
        return x if times.ndim else tree_map(lambda leaf: leaf[0], x)


def odeint(
    field: Callable,
    x0,
    t,
    *,
    solver: str = "dopri5",
    rtol=1e-5,
    atol=1e-5,
    steps: int | Sequence[float] | None = None,
    max_steps: int = 10_000,
    gradient: str = "direct",
    parameters=None,
    first_step: float | None = None,
    max_step: float = math.inf,
    norm: Callable = rms,
    dense: bool = True,
    check_hidden: bool = True,
) -> Solution:
    """Integrate dx/dt = field(t, x) from x(t[0]) = x0 through the times t.

    Args:
        field: called as field(t, x), t a 0-d array of x's dtype; returns dx/dt, like x.
        x0: the initial state, an array of float32 or (on the CPU) float64, or a pytree of them.
        t: (T,) increasing or decreasing times to report at; repeated ones are answered too.
        solver: a name in `solver.SOLVERS`.
        rtol, atol: an adaptive solver keeps the norm of error / (atol + rtol |x|) at 1 or less
            in every step. Numbers, or pytrees of numbers like x0.
        steps: take so many equal steps from t[0] to t[-1] instead, whatever the solver; or step
            from time to time of this list, from t[0] to t[-1], such as another solution's `steps`.
            Where it is None, a solver without an error estimate steps from time to time of t.
            Inside `mx.compile` and `mx.vmap` nothing but this works, with gradient="direct".
        max_steps: how many steps an adaptive solver may try.
        gradient: how MLX differentiates the solution with respect to x0 and to parameters.
            "direct" goes back through every operation of the solve and keeps them all;
            "checkpoint" keeps the states between steps and computes each step again, for the
            same gradient; "adjoint" keeps the reported states alone and solves the adjoint
            equation backwards (Chen et al. 2018), for a gradient as exact as the tolerances.
        parameters: what the field depends on besides t and x: an `mlx.nn.Module` that it
            calls, or a pytree of arrays that it takes as a third argument. A field that is a
            Module has its own weights for parameters. "direct" needs no parameters named;
            "checkpoint" and "adjoint" refuse a field that depends on others than those named.
        first_step, max_step: sizes for an adaptive solver's first step, and its largest.
        norm: of a pytree like x0, a 0-d array; the root mean square by default.
        dense: keep what `Solution` needs to be called; memory then grows with the steps.
        check_hidden: have "checkpoint" and "adjoint" look for parameters that were not named. A
            field that takes derivatives itself (`mx.grad` in it) always looks as if it had
            some: give it one of these two, and check_hidden=False. "direct" would give it a
            wrong gradient without a word, since MLX forgets the outer derivative once something
            inside the inner one is evaluated.

    Returns:
        A `Solution`. With adaptive solvers, and with `steps`, the times in t only say where
        to report: states between the ends of a step come from its interpolating polynomial,
        and no evaluation of the field is spent on them.

    Raises:
        ValueError: for an argument that is not as described.
        StepBudgetError, StepSizeError, NonFiniteError: for a solve that cannot be finished.

    Warns:
        RoundingWarning: where a long solve's steps are short because the field's values are not
            as precise as the tolerances ask, as `ode/rounding.py` measures now and then.

    Example:
        >>> solution = odeint(lambda t, x: -x, mx.array([1.0]), [0.0, 1.0])
        >>> round(solution.x[-1].item(), 4)
        0.3679
    """
    times, dtype = _check_times("t", t), _check_state(x0)
    _check_positive("max_steps", max_steps, int)
    if first_step is not None:
        _check_positive("first_step", first_step)
    if max_step != math.inf:
        _check_positive("max_step", max_step)
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient {gradient!r}; there are {', '.join(GRADIENTS)}")
    rtol, atol = _check_tolerance("rtol", rtol, x0), _check_tolerance("atol", atol, x0)
    tableau, bound = solver_named(solver, SOLVERS), Bound(field, parameters)
    steps = _check_steps(steps, times, tableau)
    options = Options(tableau, rtol, atol, steps, max_steps, first_step, max_step, norm)
    with _needing_numbers(steps is None, gradient):
        if gradient == "direct":
            keep = (lambda taken: taken) if dense else None
            with bound.given(bound.parameters) as function:
                run = solve(function, x0, times, options, keep)
        else:
            run = solve_as_one(bound, x0, times, options, gradient, check_hidden)
    reported = t if isinstance(t, mx.array) else mx.array(times, dtype)
    kept = tuple(run.kept) if gradient == "direct" else ()
    return Solution(reported, run.x, run.nfe, run.accepted, run.rejected, run.steps, kept)


@contextmanager
def _needing_numbers(adaptive: bool, gradient: str):
    """Say in a sentence what cannot be done where MLX traces and there are no numbers yet."""
    try:
        yield
    except ValueError as error:
        if "[eval]" not in str(error):
            raise
        if adaptive:
            why = "an adaptive solver looks at the error of every step; give steps=, their number"
        elif gradient != "direct":
            why = f"gradient={gradient!r} works on copies of the state; use gradient='direct'"
        else:  # the field's own doing
            raise
        raise ValueError(f"inside mx.compile and mx.vmap there are no numbers, and {why}") from None


def _check_times(name: str, given) -> np.ndarray:
    if isinstance(given, mx.array) and is_traced(given):
        raise ValueError(f"no gradient with respect to {name} is computed; pass it as numbers")
    times = np.array(given, dtype=np.float64)
    if times.ndim != 1 or not times.size:
        raise ValueError(f"{name} must be a list of one or more times, not of shape {times.shape}")
    if not np.all(np.isfinite(times)):
        raise ValueError(f"{name} holds a time that is not finite")
    gaps = np.diff(times)
    if np.any(gaps > 0) and np.any(gaps < 0):
        raise ValueError(f"{name} must increase or decrease throughout")
    return times


def _check_steps(steps, times: np.ndarray, tableau: Tableau) -> np.ndarray | None:
    """The times to step between, None where the solver is to choose them."""
    if steps is None:
        return None if tableau.adaptive else times
    if np.ndim(steps) == 0:
        _check_positive("steps", steps, int)
        return np.linspace(times[0], times[-1], steps + 1)
    steps = _check_times("steps", steps)
    if not np.array_equal(steps[[0, -1]], times[[0, -1]]):
        raise ValueError(
            f"steps must begin and end where t does, at {times[0]:.9g} and {times[-1]:.9g}, not at "
            f"{steps[0]:.9g} and {steps[-1]:.9g}"
        )
    return steps


def _check_state(x0) -> mx.Dtype:
    leaves = tree_flatten(x0)
    for path, leaf in leaves:
        if not isinstance(leaf, mx.array) or leaf.dtype not in (mx.float32, mx.float64):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise ValueError(
                f"x0{where(path)} must be an mlx array of float32 or float64, not {kind}"
            )
    if not sum(leaf.size for _, leaf in leaves):
        raise ValueError("x0 is empty")
    dtypes = {leaf.dtype for _, leaf in leaves}
    if len(dtypes) > 1:
        raise ValueError("x0 mixes float32 and float64; let all of it be one of them")
    return dtypes.pop()


def _check_positive(name: str, value, kind=(int, float)):
    if not isinstance(value, kind) or isinstance(value, bool) or not 0 < value < math.inf:
        what = "whole number" if kind is int else "number"
        raise ValueError(f"{name} must be a positive {what}, not {value!r}")


def _check_tolerance(name: str, tolerance, x0):
    """A pytree of floats like x0, from one or from a number."""
    if not isinstance(tolerance, dict | list | tuple):
        _check_positive(name, tolerance)
        return tree_map(lambda _: float(tolerance), x0)
    given = tree_flatten(tolerance)
    if [path for path, _ in given] != [path for path, _ in tree_flatten(x0)]:
        raise ValueError(f"{name} must be a number, or numbers in the structure of x0")
    for path, value in given:
        _check_positive(f"{name}{where(path)}", value)
    return tree_map(lambda _, value: float(value), x0, tolerance)
