"""How likely a flow makes a point, and the loss that trains a flow by it.

Along dx/dt = v(t, x) the logarithm of the density changes by −∇·v (Chen et al. 2018, eq. 8), so
one solve of (x, ∫ ∇·v dt) says both where a point came from and what its density has become.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from couplings import independent
from ode.gradients import Bound, guarded, is_traced, refuse_hidden
from machine.keys import as_key
from odeint import odeint

DIVERGENCES = ("exact", "hutchinson")
PROBES = ("rademacher", "gaussian")
EXACT_DIMENSIONS = 256  # the most that the exact divergence takes; its cost grows with them


def divergence(field: Callable, t, x, probes=None):
    """∇·v(t, x), the trace of ∂v/∂x.

    Args:
        field: called as field(t, x); a row of what it returns depends on that row of x alone.
        t: 0-d array.
        x: (N, D).
        probes: (P, N, D) directions ε for Hutchinson's estimates εᵀ (∂v/∂x) ε; without them
            the trace is exact, from D vector–Jacobian products.

    Returns:
        (N,), or one estimate for every probe, (P, N).
    """
    return velocity_and_divergence(field, t, x, probes)[1]


def velocity_and_divergence(field: Callable, t, x, probes=None):
    """v(t, x) and its `divergence`, sharing one evaluation of the field.

    A field may have a faster way of its own, a method `with_jvp` like that of `models.MLP`.
    """
    count, dim = x.shape
    exact = probes is None
    directions = mx.array(np.eye(dim), x.dtype)[:, None] if exact else probes
    if brings_jvp(type(field)):
        velocity, pushed = field.with_jvp(t, x, directions.swapaxes(0, 1))
        along = directions.swapaxes(0, 1) * pushed
        return velocity, mx.sum(along, axis=(1, 2)) if exact else mx.sum(along, axis=2).T

    def pull(direction):
        direction = mx.broadcast_to(direction, (count, dim))
        (velocity,), (pulled,) = mx.vjp(lambda x: field(t, x), [x], [direction])
        return velocity, mx.sum(direction * pulled, axis=1)

    velocity, along = mx.vmap(pull)(directions)
    return velocity[0], mx.sum(along, axis=0) if exact else along


def brings_jvp(kind: type) -> bool:
    """Whether a class has a `with_jvp` that agrees with its `__call__`.

    A subclass that overrides `__call__` alone inherits one that does not.
    """
    for base in kind.__mro__:
        if "with_jvp" in vars(base):
            return True
        if "__call__" in vars(base):
            return False
    return False


def log_prob(
    field: Callable,
    x1,
    source_log_prob: Callable,
    *,
    divergence: str = "exact",
    probes: int = 1,
    distribution: str = "rademacher",
    key=None,
    error: bool = False,
    solver: str = "dopri5",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    **how,
):
    """log p1(x1), the log-density where a flow ends: log p0(x0) − ∫ ∇·v dt, in nats.

    One solve from t = 1 back to 0. It can be differentiated with respect to x1 and to weights,
    by any `gradient` of `odeint`.

    Args:
        field: any velocity field, a network or a function.
        x1: (N, D), float32 or (on the CPU) float64.
        source_log_prob: (N, D) → (N,), the log-density where the flow starts.
        divergence: "exact", by D vector–Jacobian products an evaluation, or "hutchinson".
        probes: how many directions of Hutchinson's estimate, drawn once and kept for the whole
            solve (Grathwohl et al. 2019), all carried in it.
        distribution: of the probes, "rademacher" or "gaussian".
        key: of the random numbers that the probes are drawn from.
        error: return the standard error over probes too.
        solver, rtol, atol, how: as in `odeint`.

    Returns:
        (N,) nats; with `error` also (N,), the standard error over probes: 0 for an exact
        divergence, NaN for a single probe.

    Raises:
        ValueError: for an argument that is not as described.
        OdeError: for a solve that cannot be finished.
    """
    directions = _directions(field, x1, source_log_prob, divergence, probes, distribution, key)
    how = {"solver": solver, "rtol": rtol, "atol": atol, **how}
    x0, gathered = _solve(field, x1, (1.0, 0.0), directions, **how)
    return _at_the_end(source_log_prob(x0), gathered, error)


def sample_with_log_prob(
    field: Callable,
    x0,
    source_log_prob: Callable,
    *,
    divergence: str = "exact",
    probes: int = 1,
    distribution: str = "rademacher",
    key=None,
    error: bool = False,
    **how,
):
    """Where a flow carries x0, and the log-density there, by one solve from t = 0 to 1.

    The arguments and errors are those of `log_prob`, except x0: (N, D) samples of the source.

    Returns:
        x1 (N, D) and its log-density (N,); with `error` also the standard error over probes.
    """
    directions = _directions(field, x0, source_log_prob, divergence, probes, distribution, key)
    x1, gathered = _solve(field, x0, (0.0, 1.0), directions, **how)
    found = _at_the_end(source_log_prob(x0), -gathered, error)
    return (x1, *found) if error else (x1, found)


def _solve(field, x, times, directions, parameters=None, gradient="direct", **how):
    """x and ∫ ∇·v dt at the second of two times; the integral is (N,) or, for probes, (P, N).

    A divergence is a derivative. If MLX differentiates a solve of it step by step, it must be
    guarded; the other gradients guard the whole solve. Neither sees arrays that are not named.
    """
    bound = Bound(field, parameters)

    def rates(t, x, parameters):
        with bound.given(parameters) as field:
            return velocity_and_divergence(field, t, x, directions)

    if _may_evaluate(x):
        refuse_hidden(bound, mx.array(times[0], x.dtype), x)
        if gradient == "direct" and is_traced((x, bound.parameters)):
            rates = guarded(rates)
    shape = x.shape[:1] if directions is None else directions.shape[:2]
    solution = odeint(
        lambda t, state, parameters: rates(t, state[0], parameters),
        (x, mx.zeros(shape, x.dtype)),
        times,
        parameters=bound.parameters,
        gradient=gradient,
        dense=False,
        check_hidden=False,
        **how,
    )
    return tuple(leaf[-1] for leaf in solution.x)


def _check_finite(x):
    if _may_evaluate(x) and not mx.all(mx.isfinite(x)).item():
        row = int(np.argmax(~np.isfinite(np.array(x)).all(axis=1)))
        raise ValueError(f"the points are not finite in row {row}")


def _may_evaluate(x) -> bool:
    """Whether arrays have values here: not while MLX compiles or maps."""
    try:
        mx.eval(x)
    except ValueError:
        return False
    return True


def _at_the_end(start, gathered, error: bool):
    """log p1 from log p0 and what was gathered on the way, (N,) or an estimate a probe (P, N)."""
    if gathered.ndim == 1:
        return (start + gathered, mx.zeros_like(start)) if error else start + gathered
    found = start + mx.mean(gathered, axis=0)
    if not error:
        return found
    count = gathered.shape[0]
    return found, mx.std(gathered, axis=0, ddof=1) / math.sqrt(count)


def _directions(field, x, source_log_prob, divergence, probes, distribution, key):
    """The probes (P, N, D), or None for the exact divergence, once the arguments are checked."""
    if source_log_prob is None:
        raise ValueError("the source has no log-density, so the flow has none")
    if not isinstance(x, mx.array) or x.ndim != 2 or not x.size:
        raise ValueError("log-densities are of points (N, D), an mlx array")
    if not callable(field):
        raise ValueError(f"a field must be called as field(t, x); {field!r} cannot")
    _check_finite(x)
    if divergence not in DIVERGENCES:
        raise ValueError(f"unknown divergence {divergence!r}; there are {', '.join(DIVERGENCES)}")
    if divergence == "exact":
        if x.shape[1] > EXACT_DIMENSIONS:
            raise ValueError(
                f"the exact divergence in {x.shape[1]} dimensions would take {x.shape[1]} "
                f"backward passes an evaluation, and {EXACT_DIMENSIONS} is the most allowed; "
                "divergence='hutchinson' estimates it with a few"
            )
        return None
    if probes < 1:
        raise ValueError(f"probes must be 1 or more, not {probes}")
    shape, key = (probes, *x.shape), as_key(key)
    if distribution == "gaussian":
        return mx.random.normal(shape, key=key).astype(x.dtype)
    if distribution != "rademacher":
        raise ValueError(f"unknown distribution {distribution!r}; there are {', '.join(PROBES)}")
    return 2 * mx.random.bernoulli(0.5, shape, key=key).astype(x.dtype) - 1


class CoarseSolveWarning(UserWarning):
    """A loss is that of a solver's errors more than that of the flow."""


@dataclass(frozen=True)
class MaximumLikelihood:
    """A continuous normalising flow: trained by −mean log p1(x1) through the solver.

    Chen et al. 2018; with Hutchinson's estimate, FFJORD (Grathwohl et al. 2019).

    Attributes:
        source_log_prob: (N, D) → (N,), or None where the model brings a source of its own,
            `model.source`, that is learned with it.
        divergence, probes: see `log_prob`.
        solver: a name in `solver.SOLVERS`.
        steps: how many equal steps a solve takes; None for steps as long as their errors allow.
        rtol, atol: the tolerances of those errors.
        gradient: "direct", "checkpoint" or "adjoint", see `odeint`.
    """

    source_log_prob: Callable | None
    divergence: str = "exact"
    probes: int = 1
    solver: str = "rk4"
    steps: int | None = 8
    rtol: float = 1e-4
    atol: float = 1e-4
    gradient: str = "direct"

    name = "cnf"
    title = "Continuous normalising flow"
    normal_source = False
    learns_score = False
    coupling = independent()

    @property
    def compiled(self) -> bool:
        """Whether MLX can compile a training step: not if the solve looks at numbers on its way."""
        return self.steps is not None and self.gradient == "direct"

    def pair_loss(self, model, x0, x1, key=None):
        """−mean log p1(x1), in nats; x0 is not used."""
        return self.error(model, x1, key)

    def examples(self, x0, x1, key):
        """What a network is to learn of pairs: where they end, and a key for the probes."""
        return x1, key

    def error(self, model, x1, key=None):
        """The loss of these examples."""
        how = dict(vars(self))
        source = how.pop("source_log_prob") or model.source.log_prob
        return -mx.mean(log_prob(model, x1, source, key=key, **how))

    loss = pair_loss

    def gain(self, model, x1, key=None) -> float:
        """By how many nats a finer solve of the same flow finds x1 less likely than the loss does.

        Nearly 0 where the solver follows the flow. Training can also lower its loss by making
        paths that a coarse solver errs on, and then this grows.
        """
        fine = replace(self, solver="dopri5", steps=None)
        return (fine.error(model, x1, key) - self.error(model, x1, key)).item()
