"""How a solve is differentiated.

Unless told otherwise, MLX goes back through every operation of a solve, and keeps them all until
then. `solve_as_one` makes a solve a single operation instead, with one of two backward passes:
"checkpoint" computes every step again, last to first, and differentiates one at a time;
"adjoint" solves the adjoint equation backwards in time (Chen et al. 2018).

MLX traces whatever is computed from an array that it is differentiating, and that has two
consequences here. An operation of our own must work on copies, or its inner workings are kept
all the same. And it gives the gradient zero, without a word, to an array that a field uses but
that is not among its inputs; so what a field depends on is made an input by `Bound`, and what
is still hidden is refused.
"""

import io
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace

from ode.step import Step, rms, step
from ode.walk import Options, Solved, dtype_of, reached, solve, where

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten, tree_map


GRADIENTS = ("direct", "checkpoint", "adjoint")


class Bound:
    """A field with what it depends on, besides t and x, as a third argument.

    Args:
        field: called as field(t, x), or field(t, x, parameters) with a pytree of them.
        parameters: a Module that the field calls, whose trainable weights are then meant, or a
            pytree of arrays. A field that is a Module itself depends on its own weights.

    Attributes:
        parameters: a pytree of arrays, empty where there are none.

    Raises:
        ValueError: for a parameter that is not an array.
    """

    def __init__(self, field: Callable, parameters=None):
        if parameters is None and isinstance(field, nn.Module):
            parameters = field
        self.field = field
        self.module = parameters if isinstance(parameters, nn.Module) else None
        self.takes_parameters = parameters is not None and self.module is None
        if self.module is not None:
            parameters = self.module.trainable_parameters()
        self.parameters = {} if parameters is None else parameters
        for path, leaf in tree_flatten(self.parameters):
            if not isinstance(leaf, mx.array):
                raise ValueError(f"parameters{where(path)} must be an mlx array or a Module")

    @contextmanager
    def given(self, parameters):
        """The field as a function of (t, x) alone, with these parameters.

        A Module has them as its weights meanwhile, and its own back afterwards.
        """
        if self.module is None:
            given = lambda t, x: self.field(t, x, parameters)  # noqa: E731
            yield given if self.takes_parameters else self.field
            return
        held = self.module.trainable_parameters()
        self.module.update(parameters)
        try:
            yield self.field
        finally:
            self.module.update(held)

    def __call__(self, t, x, parameters):
        with self.given(parameters) as field:
            return field(t, x)


def solve_as_one(
    bound: Bound, x0, times: np.ndarray, options: Options, gradient: str, check_hidden: bool
) -> Solved:
    """A solve that MLX takes for one operation, differentiated by "checkpoint" or "adjoint".

    Raises:
        ValueError: if `check_hidden` and the field uses arrays that are being differentiated but
            are not among its parameters.
    """
    keep, go_back = BACKWARD[gradient]
    options, run = replace(options, carry=detached), None

    def forwards(x0, parameters):
        nonlocal run
        with bound.given(parameters) as field:
            run = solve(field, x0, times, options, keep)
        if check_hidden and is_traced(run.x):
            raise ValueError(
                f"the field uses arrays that are being differentiated, which gradient={gradient!r} "
                "cannot see; name them as `parameters`, or use gradient='direct'"
            )
        return run.x

    def backwards(inputs, cotangents, x):
        return go_back(bound, inputs[1], x, cotangents, times, options, run.kept)

    def twice(*_):
        raise ValueError("second derivatives of a solve need gradient='direct'")

    solved = operation(forwards, operation(backwards, twice))(x0, bound.parameters)
    return replace(run, x=solved)


def operation(forwards: Callable, backwards: Callable) -> Callable:
    """A function that MLX takes for one operation, because it works on copies of its inputs.

    `backwards`(inputs, cotangents, value) → cotangents of the inputs is its derivative. It is
    given the inputs themselves, so that it can be differentiated in its turn.
    """

    @mx.custom_function
    def function(*inputs):
        return forwards(*detached(inputs))

    @function.vjp
    def pull_back(inputs, cotangents, value):
        return backwards(inputs, cotangents, value)

    return function


def guarded(function: Callable) -> Callable:
    """A function of (t, x, parameters) that takes derivatives, made safe inside other ones.

    A derivative taken inside another makes MLX forget what the outer one is of: once anything is
    evaluated, as a solve does at every step, the outer gradient is zero. So here the inner one
    is taken of copies, and all is computed once more when the outer one comes back.
    """

    def backwards(inputs, cotangents, _):
        t, *inputs = inputs
        _, pulled = value_and_pull(lambda *inputs: function(t, *inputs), inputs, cotangents)
        return mx.zeros_like(t), *pulled

    return operation(function, backwards)


def refuse_hidden(bound: Bound, t, x):
    """Raise ValueError if a field uses arrays that are being differentiated and not named."""
    if is_traced(bound(t, detached(x), detached(bound.parameters))):
        raise ValueError(
            "the field uses arrays that are being differentiated; name them as `parameters`"
        )


def _back_through_steps(bound, parameters, x, cotangents, times, options, kept):
    """Pull cotangents of the reported states back by computing every step again."""
    pulled, gathered = _zeros(_at(x, 0)), _zeros(parameters)
    done = len(times)
    for taken in reversed(kept):
        due = reached(times, taken.start)
        here = tree_map(lambda leaf, part=slice(due, done): leaf[part], cotangents)
        _, (pulled, more) = value_and_pull(
            lambda x, p, taken=taken, inside=times[due:done]: _again(bound, taken, inside, x, p),
            (taken.x, parameters),
            (pulled, here if due < done else ()),
        )
        gathered = detached(tree_map(mx.add, gathered, more))
        pulled, done = detached(pulled), due
    start = tree_map(lambda leaf: leaf[:done].sum(axis=0), cotangents)
    return tree_map(mx.add, pulled, start), gathered


def _again(bound: Bound, taken: Step, times: np.ndarray, x, parameters):
    """The state at the end of a step that is taken anew from x, and those at times inside it."""
    with bound.given(parameters) as function:

        def field(t, x):
            return function(mx.array(t, dtype_of(x)), x)

        first = field(taken.start, x)
        fresh = step(taken.tableau, field, taken.start, taken.end, x, first)
        return fresh.x_new, fresh.at(times) if len(times) else ()


def _back_by_adjoint(bound, parameters, x, cotangents, times, options, _):
    """Solve da/dt = −a ∂f/∂x and dg/dt = −a ∂f/∂parameters from the last time to the first.

    The equation is linear in a and g, so the cotangents are scaled to be of size 1, which
    makes the tolerances mean something. They hold for x and a; g is an integral of these.
    """

    def field(t, state):
        x, a, _ = state
        dx, (da, dg) = value_and_pull(lambda x, p: bound(t, x, p), (x, parameters), a)
        return dx, *tree_map(mx.negative, (da, dg))

    def norm(state):
        return mx.maximum(options.norm(state[0]), options.norm(state[1]))

    size = max(rms(cotangents).item(), np.finfo(np.float32).tiny)
    scaled = tree_map(lambda leaf: leaf / size, cotangents)
    a, g = _at(scaled, -1), _zeros(parameters)
    rtol, atol = ((tol, tol, tree_map(lambda _: 1.0, g)) for tol in (options.rtol, options.atol))
    backwards = replace(options, rtol=rtol, atol=atol, norm=norm)
    for i in range(len(times) - 1, 0, -1):
        if times[i] != times[i - 1]:
            back = replace(backwards, steps=_steps_back(options.steps, *times[[i, i - 1]]))
            run = solve(field, (_at(x, i), a, g), times[[i, i - 1]], back)
            _, a, g = detached(_at(run.x, -1))
        a = tree_map(mx.add, a, _at(scaled, i - 1))
    return tree_map(lambda leaf: leaf * size, (a, g))


def _steps_back(steps: np.ndarray | None, start: float, end: float) -> np.ndarray | None:
    """The times of the same steps on the way back from one reported time to the one before it."""
    if steps is None:
        return None
    low, high = sorted((start, end))
    near = 1e-12 * abs(steps[-1] - steps[0])  # to start or end: the same time but for rounding
    inside = (steps > low + near) & (steps < high - near)
    return np.array([start, *steps[inside][::-1], end])


# What to keep of a step until the way back (nothing where None), and the way back.
BACKWARD = {
    "checkpoint": (lambda taken: replace(taken, x_new=None, stages=[]), _back_through_steps),
    "adjoint": (None, _back_by_adjoint),
}


def value_and_pull(function: Callable, inputs, cotangents):
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


def is_traced(tree) -> bool:
    """Whether MLX is differentiating something that an array of the tree was computed from.

    An evaluated array forgets what it was computed from unless it is needed for a gradient.
    """
    leaves = [leaf for _, leaf in tree_flatten(tree)]
    mx.eval(leaves)
    graph = io.StringIO()
    mx.export_to_dot(graph, *leaves)
    return "shape=rectangle" in graph.getvalue()


def _at(tree, i: int):
    return tree_map(lambda leaf: leaf[i], tree)


def _zeros(tree):
    return tree_map(mx.zeros_like, tree)
