"""How a solver goes from the first time to the last: step by step.

`fixed` walks in steps that are given, `adaptive` in steps as long as their errors allow. `solve`
follows one of the two and collects the states at the times that were asked for.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ode.rounding import Noise, RoundingWarning, noise_of
from ode.step import CONTROLLER, Step, combine, in_tolerances, repeat, step
from solver import Tableau

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map


BLIND_TRIES = 10  # steps in a row without a finite error estimate before a solve gives up
STRETCH = 1.01  # a last step may be so much longer, rather than leave a tiny one
LOOK_EVERY = 250  # tries between looks at the field's own noise
IN_A_ROW = 3  # steps whose noise must be too much before it is believed
LEAST_RATIO = 1e-4  # error / tolerance that is remembered of a step, at least


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
class Options:
    """How to walk; what `odeint` was told, with its tolerances as pytrees like the state.

    `steps` are the times to step between, (S+1,), or None where the errors of steps decide.
    `carry` is applied to the state and the derivative at the end of a step, before the next step
    starts from them: here they can be copied, so that MLX forgets how they were computed.
    """

    tableau: Tableau
    rtol: Any
    atol: Any
    steps: np.ndarray | None
    max_steps: int
    first_step: float | None
    max_step: float
    norm: Callable
    carry: Callable = lambda tree: tree


@dataclass
class Solved:
    """A solve: the states found, what they cost, the times stepped between, and what was kept."""

    x: Any
    nfe: int
    accepted: int
    rejected: int
    steps: np.ndarray
    kept: list


@dataclass
class CountedField:
    """The user's field as a walk calls it: t a float, calls counted, the first result checked."""

    function: Callable
    dtype: mx.Dtype
    calls: int = 0

    def __call__(self, t: float, x):
        derivative = self.function(mx.array(t, self.dtype), x)
        if not self.calls:
            _check_derivative(x, derivative)
        self.calls += 1
        return derivative


def solve(
    function: Callable, x0, times: np.ndarray, options: Options, keep: Callable | None = None
) -> Solved:
    """Walk through the times with dx/dt = function(t, x), and report the states at them.

    `keep` turns a step into what is to be kept of it; without it none are.
    """
    field = CountedField(function, dtype_of(x0))
    walk = adaptive if options.steps is None else fixed
    done = reached(times, times[0])
    parts, steps, rejected, kept = [repeat(x0, done)], [times[0]], 0, []
    for taken in walk(field, x0, times, options):
        if taken is None:
            rejected += 1
            continue
        steps.append(taken.end)
        if keep:
            kept.append(keep(taken))
        due = reached(times, taken.end)
        if due > done:
            parts.append(taken.at(times[done:due]))
            _begin_evaluating(parts[-1])
            done = due
    x = tree_map(lambda *leaves: mx.concatenate(leaves), *parts)
    return Solved(x, field.calls, len(steps) - 1, rejected, np.array(steps), kept)


def reached(times: np.ndarray, t: float) -> int:
    """How many of the times, which increase or decrease, a walk has reached when it is at t."""
    forward = np.sign(times[-1] - times[0])
    return int(np.searchsorted(forward * times, forward * t, side="right"))


def fixed(field: CountedField, x, times: np.ndarray, options: Options) -> Iterator[Step]:
    """Step from each time of `options.steps` to the next."""
    x0, first, dt = x, None, times[-1] - times[0]
    for start, end in pairwise(options.steps.tolist()):
        dt = end - start
        if not dt:
            continue
        if first is None:
            first = field(start, x)
        taken = step(options.tableau, field, start, end, x, first)
        _begin_evaluating(taken.x_new)
        yield taken
        x, first = _carried(taken, options)
    if not _finite(x):
        culprit = "initial state" if not _finite(x0) else "state at the end"
        raise NonFiniteError(f"the {culprit} is not finite; try more steps", times[-1], dt)


def adaptive(field: CountedField, x, times: np.ndarray, options: Options) -> Iterator[Step | None]:
    """Walk in steps as long as their errors allow; a rejected one yields None."""
    t, end = times[[0, -1]].tolist()
    if t == end:
        return
    first = field(t, x)
    size = options.first_step or _first_size(field, t, end, x, first, options)
    pace, watch = Pace(end, options, field.dtype, size), Watch(field, options)
    for tries in range(options.max_steps):
        if first is None:
            first = field(t, x)
        t_new = pace.next_time(t)
        taken = step(options.tableau, field, t, t_new, x, first)
        ratio = options.norm(taken.error(options.rtol, options.atol)).item()
        if pace.accept(taken.dt, ratio):
            watch.look(tries, taken)
            yield taken
            if t_new == end:
                return
            t, (x, first) = t_new, _carried(taken, options)
        else:
            yield None
    raise StepBudgetError(
        f"{options.max_steps} steps did not reach t = {end:.6g}; {watch.advice}",
        t,
        math.copysign(pace.size, end - t),
    )


@dataclass
class Watch:
    """Looks, in a walk of many steps, whether the field's own rounding is what makes them short.

    A look costs as much as a step or two. A jump or a bend of the field inside a step may look like
    noise, and so it takes several steps in a row to warn, which is done once.
    """

    field: CountedField
    options: Options
    due: int = LOOK_EVERY
    seen: int = 0
    found: Noise | None = None

    def look(self, tries: int, taken: Step):
        """Measure the noise in a step that was good enough, if a look is due."""
        if self.found or tries < self.due:
            return
        noise = noise_of(self.field, taken, self.options)
        self.seen = self.seen + 1 if noise.limits_steps else 0
        if not self.seen:
            self.due = tries + LOOK_EVERY
        elif self.seen == IN_A_ROW:
            self.found = noise
            warnings.warn(f"at t = {taken.start:.6g}, {noise}", RoundingWarning, stacklevel=2)

    @property
    def advice(self) -> str:
        """What to try where the steps that are allowed are not enough."""
        if self.found:
            return str(self.found)
        more = "loosen rtol and atol or raise max_steps"
        return f"{more}, and if the steps are tiny the problem may be stiff"


@dataclass
class Pace:
    """How long the next step of an adaptive walk may be, learned from those tried before it.

    Attributes:
        end: the time that the walk goes to.
        dtype: of the state.
        size: of the next step, without its sign.
        previous: error / tolerance of the last accepted step.
        rejected: whether the last try was rejected; if so the next one is not made longer.
        blind: tries in a row whose error estimate was not finite.
    """

    end: float
    options: Options
    dtype: mx.Dtype
    size: float
    previous: float = 1.0
    rejected: bool = False
    blind: int = 0

    def next_time(self, t: float) -> float:
        """Where a step from t shall end: the end of the walk, if that is near."""
        self.size = min(self.size, self.options.max_step)
        is_last = STRETCH * self.size >= abs(self.end - t)
        t_new = self.end if is_last else t + math.copysign(self.size, self.end - t)
        stuck = self.size <= 2 * float(mx.finfo(self.dtype).eps) * abs(t)
        if self.blind == BLIND_TRIES or (self.blind and stuck):
            raise NonFiniteError("the field is not finite beyond here", t, t_new - t)
        if stuck and not is_last:
            raise StepSizeError(
                "the steps have become too small to move t: the field is too rough here, or "
                f"rtol and atol ask for more than {self.dtype} can give",
                t,
                t_new - t,
            )
        return t_new

    def accept(self, dt: float, ratio: float) -> bool:
        """Whether a step with this error / tolerance is good enough; either way, learn from it."""
        factor = CONTROLLER.factor(self.options.tableau.order, ratio, self.previous)
        self.size = abs(dt) * (min(factor, 1.0) if self.rejected else factor)
        self.rejected = not ratio <= 1  # a ratio that is not a number is not good either
        if self.rejected:
            self.blind = 0 if np.isfinite(ratio) else self.blind + 1
        else:
            self.previous, self.blind = max(ratio, LEAST_RATIO), 0
        return not self.rejected


def _first_size(field: CountedField, t: float, end: float, x, first, options: Options) -> float:
    """A size for the first step, which costs one evaluation (HNW II.4).

    A short Euler step, which moves x by a hundredth of itself, shows how fast the derivative
    changes. The error of a step, in units of its tolerance, is taken to be dt^order times that
    change or the derivative, whichever is larger; that of the first step shall be a hundredth.
    """

    def norm(tree):
        return options.norm(in_tolerances(tree, x, x, options.rtol, options.atol))

    span = abs(end - t)
    d0, d1 = mx.stack([norm(x), norm(first)]).tolist()
    if not np.isfinite(d0 + d1):
        culprit = "field" if np.isfinite(d0) else "initial state"
        raise NonFiniteError(f"the {culprit} is not finite at the start", t, 0.0)
    trial = min(1e-6 if min(d0, d1) < 1e-5 else 0.01 * d0 / d1, span)
    dt = math.copysign(trial, end - t)
    probe = field(t + dt, combine(x, dt, (1.0,), (first,)))
    d2 = norm(tree_map(lambda a, b: (a - b) / trial, probe, first)).item()
    steepest = max(d1, d2) if np.isfinite(d2) else d1
    if steepest > 1e-15:
        size = (0.01 / steepest) ** (1 / options.tableau.order)
    else:
        size = max(1e-6, trial * 1e-3)
    return min(100 * trial, size, span)


def _carried(taken: Step, options: Options):
    """The state at the end of a step and, where the step knows it, the derivative there."""
    last = taken.last_derivative
    return options.carry(taken.x_new), None if last is None else options.carry(last)


def _check_derivative(x, derivative):
    wanted, given = dict(tree_flatten(x)), dict(tree_flatten(derivative))
    if wanted.keys() != given.keys():
        raise ValueError("the field returns another structure than the state's")
    for path, leaf in given.items():
        if not isinstance(leaf, mx.array):
            raise ValueError(f"the field must return mlx arrays; it returns {type(leaf).__name__}")
        got, want = ((array.shape, array.dtype) for array in (leaf, wanted[path]))
        if got != want:
            raise ValueError(f"the field returns {got} where the state{where(path)} is {want}")


def where(path: str) -> str:
    """Words for a place in a pytree; none for one that is a single array."""
    return f" at {path}" if path else ""


def dtype_of(tree) -> mx.Dtype:
    return tree_flatten(tree)[0][1].dtype


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
