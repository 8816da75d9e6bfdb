"""How a whole solve goes.

`odeint` integrates dx/dt = field(t, x) through a list of times, with fixed or adaptive
steps, forwards or backwards in time, says what it cost, and can be differentiated. What one
step is, is the business of `solver.py`; neither file knows of flow matching.

For non-stiff problems only: there are no implicit solvers here, and no events.
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_map

from solver import (
    SOLVERS,
    Controller,
    Tableau,
    combine,
    in_tolerances,
    interpolate,
    rms,
    scaled_error,
    step,
)

GRADIENTS = ("direct", "checkpoint", "adjoint")
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

    Called with a time inside the interval, or several (S,), it gives the state there, or the
    states (S, ...), from the interpolating polynomials and without evaluating the field again.
    """

    t: mx.array
    x: Any
    nfe: int
    accepted: int
    rejected: int
    _steps: tuple = field(default=(), repr=False)

    def __call__(self, t):
        if not self._steps:
            raise ValueError(
                "this solve kept no steps: it took none, or dense=True and gradient='direct' "
                "were not both given"
            )
        times = np.array(t, dtype=np.float64)
        if times.ndim > 1 or not times.size:
            raise ValueError(f"t must be a time or a list of times, not of shape {times.shape}")
        start, end = self._steps[0].start, self._steps[-1].end
        low, high, slack = min(start, end), max(start, end), 1e-6 * abs(end - start)
        if not np.all((times >= low - slack) & (times <= high + slack)):
            raise ValueError(f"t must lie between {start:g} and {end:g}")
        times = np.clip(times, low, high)  # self.t is rounded to float32, and meant too
        forward = math.copysign(1.0, end - start)
        ends = [forward * taken.end for taken in self._steps]
        places = np.searchsorted(ends, forward * times.reshape(-1))
        parts = [
            self._steps[place].at(np.array([time]))
            for place, time in zip(places, times.reshape(-1), strict=True)
        ]
        x = tree_map(lambda *leaves: mx.concatenate(leaves), *parts)
        return x if times.ndim else tree_map(lambda leaf: leaf[0], x)


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
    """How to step, as `odeint` was told; tolerances as pytrees like the state."""

    tableau: Tableau
    rtol: Any
    atol: Any
    steps: int | None
    max_steps: int
    first_step: float | None
    max_step: float
    norm: Callable
    controller: Controller = field(default_factory=Controller)
    check_hidden: bool = True
    detach: bool = False


def odeint(
    field: Callable,
    x0,
    t,
    *,
    solver: str = "dopri5",
    rtol=1e-5,
    atol=1e-5,
    steps: int | None = None,
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
        steps: take so many equal steps from t[0] to t[-1] instead, whatever the solver.
            Where it is None, a solver without an error estimate steps from time to time of t.
        max_steps: how many steps an adaptive solver may try.
        gradient: how MLX differentiates the solution with respect to x0 and to parameters.
            "direct" goes back through every operation of the solve and keeps them all;
            "checkpoint" keeps the states between steps and computes each step again, for the
            same gradient; "adjoint" keeps the reported states alone and solves the adjoint
            equation backwards (Chen et al. 2018), for a gradient as exact as the tolerances.
        parameters: what the field depends on besides t and x: an `mlx.nn.Module` that it
            calls, or a pytree of arrays that it takes as a third argument. A field that is a
            Module is its own. "direct" finds parameters by itself; the others refuse a field
            with others than those named. A field that takes derivatives itself (`mx.grad` in
            it) needs "checkpoint" or "adjoint" with check_hidden=False: evaluated inside a
            derivative, MLX forgets the outer one, and "direct" would be wrong without a word.
        first_step, max_step: sizes for an adaptive solver's first step, and its largest.
        norm: of a pytree like x0, a 0-d array; the root mean square by default.
        dense: keep what `Solution` needs to be called; memory then grows with the steps.
        check_hidden: have "checkpoint" and "adjoint" refuse a field with hidden arrays. One that
            differentiates something itself always looks as if it had them, and needs False.

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
    times, dtype = _check_times(t), _check_state(x0)
    for name, value in (("steps", 1 if steps is None else steps), ("max_steps", max_steps)):
        _check_positive(name, value, kinds=(int,))
    _check_positive("first_step", 1 if first_step is None else first_step)
    _check_positive("max_step", 1 if max_step == math.inf else max_step)
    if gradient not in GRADIENTS:
        raise ValueError(f"unknown gradient {gradient!r}; there are {', '.join(GRADIENTS)}")
    rtol, atol = _check_tolerance("rtol", rtol, x0), _check_tolerance("atol", atol, x0)
    tableau = _check_solver(solver)
    options = _Options(
        *(tableau, rtol, atol, steps, max_steps, first_step, max_step, norm),
        check_hidden=check_hidden,
    )
    function, parameters, module = bind(field, parameters)
    if gradient == "direct":
        keep = (lambda taken: taken) if dense else None
        run = _solve(lambda t, x: function(t, x, parameters), x0, times, options, keep)
    else:
        with unchanged(module):
            run = _solve_remembering(function, module, parameters, x0, times, options, gradient)
    reported = t if isinstance(t, mx.array) else mx.array(times, dtype)
    kept = tuple(run.steps) if gradient == "direct" else ()
    return Solution(reported, run.x, run.nfe, run.accepted, run.rejected, kept)


@dataclass
class _Run:
    """A solve: what it found, what it cost, and the steps it was asked to keep."""

    x: Any
    nfe: int
    accepted: int
    rejected: int
    steps: list


def _solve(function: Callable, x0, times: np.ndarray, options: _Options, keep=None) -> _Run:
    """Walk through the times and report the states at them; keep what keep(step) returns."""
    counted = _Field(function, _dtype(x0))
    walk = _adaptive if options.tableau.adaptive and options.steps is None else _fixed
    forward = np.sign(times[-1] - times[0])
    done = int(np.sum(times == times[0]))
    parts, accepted, rejected, kept = [_repeat(x0, done)], 0, 0, []
    for taken in walk(counted, x0, times, options):
        if taken is None:
            rejected += 1
            continue
        accepted += 1
        if keep:
            kept.append(keep(taken))
        due = np.searchsorted(forward * times, forward * taken.end, side="right")
        if due > done:
            parts.append(taken.at(times[done:due]))
            _begin_evaluating(parts[-1])
            done = due
    x = tree_map(lambda *leaves: mx.concatenate(leaves), *parts)
    return _Run(x, counted.calls, accepted, rejected, kept)


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
        if options.detach:
            x, first = detached(x), None if first is None else detached(first)
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
    size = options.first_step or _first_step(field, t, forward, x, first, abs(end - t), options)
    previous, growth, blind = 1.0, np.inf, 0
    for _ in range(options.max_steps):
        size = min(size, options.max_step)
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
        ratio = options.norm(error).item()
        factor = options.controller.factor(tableau.order, ratio, previous)
        size = abs(dt) * min(factor, growth)
        if ratio <= 1:
            yield _Step(tableau, t, t_new, x, x_new, stages)
            if last:
                return
            t, x, first = t_new, x_new, stages[-1] if tableau.fsal else field(t_new, x_new)
            if options.detach:
                x, first = detached(x), detached(first)
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
        return options.norm(in_tolerances(tree, x, x, options.rtol, options.atol))

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


# Gradients of a solve. Both ways here are a function with a backward pass of its own. Its
# inputs are copied before the solve, since MLX keeps the graph of everything that is computed
# from arrays it is differentiating, and memory would grow with the steps all the same. What a
# field sees through a closure is not an input, would get the gradient zero, and is refused.


def bind(field: Callable, parameters):
    """(function(t, x, parameters), parameters, the Module they are of or None)."""
    if parameters is None and isinstance(field, nn.Module):
        parameters = field
    if isinstance(parameters, nn.Module):
        module = parameters

        def function(t, x, weights):
            if weights is not None:
                module.update(weights)
            return field(t, x)

        return function, None, module
    if parameters is None:
        return lambda t, x, parameters: field(t, x), None, None
    for path, leaf in tree_flatten(parameters):
        if not isinstance(leaf, mx.array):
            raise ValueError(f"parameters{_where(path)} must be an mlx array or a Module")
    return field, parameters, None


@contextmanager
def unchanged(module: nn.Module | None):
    """Give a module back the weights it had."""
    held = None if module is None else module.trainable_parameters()
    try:
        yield
    finally:
        if held is not None:
            module.update(held)


def _solve_remembering(function, module, parameters, x0, times, options, gradient) -> _Run:
    """A solve with the backward pass "checkpoint" or "adjoint"."""
    if module is not None:
        parameters = module.trainable_parameters()
    parameters = {} if parameters is None else parameters
    options, runs = replace(options, detach=True), []

    @mx.custom_function
    def solve(x0, parameters):
        x0, parameters = detached(x0), detached(parameters)
        keep = _bare if gradient == "checkpoint" else None
        run = _solve(lambda t, x: function(t, x, parameters), x0, times, options, keep)
        if options.check_hidden and any(is_traced(leaf) for _, leaf in tree_flatten(run.x)):
            raise ValueError(
                f"the field uses arrays that are being differentiated, which gradient={gradient!r} "
                "cannot see; name them as `parameters`, or use gradient='direct'"
            )
        runs.append(run)
        return run.x

    @solve.vjp
    def pull_back(inputs, cotangents, x):
        back = _back_through_steps if gradient == "checkpoint" else _back_by_adjoint

        @mx.custom_function
        def first_derivative(inputs, cotangents, x):
            (_, parameters), cotangents, x = map(detached, (inputs, cotangents, x))
            return back(function, parameters, x, cotangents, times, options, runs[-1].steps)

        @first_derivative.vjp
        def second_derivative(*_):
            raise ValueError("second derivatives of a solve need gradient='direct'")

        with unchanged(module):
            return first_derivative(inputs, cotangents, x)

    x = solve(x0, parameters)
    return replace(runs[-1], x=x)


def _bare(taken: _Step) -> _Step:
    """A step reduced to where it began."""
    return replace(taken, x_new=None, stages=[])


def _back_through_steps(function, parameters, x, cotangents, times, options, steps):
    """Pull cotangents of the reported states back by computing every step again."""
    forward = np.sign(times[-1] - times[0])
    pulled, gathered = _zeros(_at(x, 0)), _zeros(parameters)
    done = len(times)
    for taken in reversed(steps):
        due = np.searchsorted(forward * times, forward * taken.start, side="right")

        def again(x, parameters, taken=taken, due=due, done=done):
            def field(t, x):
                return function(mx.array(t, _dtype(x)), x, parameters)

            dt = taken.end - taken.start
            first = field(taken.start, x)
            x_new, stages = step(taken.tableau, field, taken.start, dt, x, first)
            fresh = replace(taken, x=x, x_new=x_new, stages=stages)
            return x_new, fresh.at(times[due:done]) if due < done else ()

        here = tree_map(lambda leaf, due=due, done=done: leaf[due:done], cotangents)
        above = (pulled, here if due < done else ())
        _, (pulled, more) = value_and_pull(again, (taken.x, parameters), above)
        gathered = detached(tree_map(mx.add, gathered, more))
        pulled, done = detached(pulled), due
    start = tree_map(lambda leaf, done=done: leaf[:done].sum(axis=0), cotangents)
    return tree_map(mx.add, pulled, start), gathered


def _back_by_adjoint(function, parameters, x, cotangents, times, options, steps):
    """Solve da/dt = −a ∂f/∂x and dg/dt = −a ∂f/∂parameters from the last time to the first.

    The equation is linear in a and g, so the cotangents are scaled to be of size 1, which
    makes the tolerances mean something. They hold for x and a; g is an integral of these.
    """

    def field(t, state):
        x, a, _ = state
        dx, (da, dg) = value_and_pull(lambda x, p: function(t, x, p), (x, parameters), a)
        return dx, *tree_map(mx.negative, (da, dg))

    def norm(state):
        return mx.maximum(options.norm(state[0]), options.norm(state[1]))

    size = max(rms(cotangents).item(), np.finfo(np.float32).tiny)
    scaled = tree_map(lambda leaf: leaf / size, cotangents)
    a, g = _at(scaled, -1), _zeros(parameters)
    for i in range(len(times) - 1, 0, -1):
        if times[i] != times[i - 1]:
            steps = options.steps and max(
                1, round(options.steps * (times[i] - times[i - 1]) / (times[-1] - times[0]))
            )
            rtol, atol = (
                (tol, tol, tree_map(lambda _: 1.0, g)) for tol in (options.rtol, options.atol)
            )
            backwards = replace(options, rtol=rtol, atol=atol, norm=norm, steps=steps)
            run = _solve(field, (_at(x, i), a, g), times[[i, i - 1]], backwards)
            _, a, g = detached(_at(run.x, -1))
        a = tree_map(mx.add, a, _at(scaled, i - 1))
    return tree_map(lambda leaf: leaf * size, (a, g))


def value_and_pull(function, inputs, cotangents):
    """(function(*inputs), cotangents pulled back to `inputs`)."""

    def product(inputs):
        value = function(*inputs)
        pairs = zip(tree_flatten(value), tree_flatten(cotangents), strict=True)
        return sum(mx.sum(v * c) for (_, v), (_, c) in pairs), value

    (_, value), pulled = mx.value_and_grad(product)(inputs)
    return value, pulled


def detached(tree):
    """Copies that MLX does not connect with what they were computed from."""

    def copy(leaf):
        if leaf.dtype in (mx.float32, mx.float64):
            return mx.array(np.array(leaf), leaf.dtype)  # numpy float64 becomes float32 otherwise
        return mx.array(np.array(leaf.astype(mx.float32))).astype(leaf.dtype)

    return tree_map(copy, tree)


def is_traced(x: mx.array) -> bool:
    """Whether MLX is differentiating with respect to something that x was computed from.

    An evaluated array forgets its graph unless it is needed for a gradient.
    """
    mx.eval(x)
    graph = io.StringIO()
    mx.export_to_dot(graph, x)
    return "shape=rectangle" in graph.getvalue()


def _at(tree, i: int):
    return tree_map(lambda leaf: leaf[i], tree)


def _zeros(tree):
    return tree_map(mx.zeros_like, tree)


def _dtype(tree) -> mx.Dtype:
    return tree_flatten(tree)[0][1].dtype


def _check_solver(name: str) -> Tableau:
    if isinstance(name, str) and name in SOLVERS:
        return SOLVERS[name]
    close = get_close_matches(str(name), SOLVERS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(SOLVERS)}"
    raise ValueError(f"unknown solver {name!r}; {hint}")


def _check_times(t) -> np.ndarray:
    if isinstance(t, mx.array) and is_traced(t):
        raise ValueError("no gradient with respect to t is computed; pass t as numbers")
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
    for _, leaf in tree_flatten(derivative):
        if not isinstance(leaf, mx.array):
            raise ValueError(f"the field returns {type(leaf).__name__} where it should an array")
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


def _check_positive(name: str, value, kinds=(int, float)):
    if not isinstance(value, kinds) or isinstance(value, bool) or not 0 < value < math.inf:
        what = "number" if float in kinds else "whole number"
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
        _check_positive(f"{name}{_where(path)}", value)
    return tree_map(lambda _, value: float(value), x0, tolerance)


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
