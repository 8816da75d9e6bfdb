"""Flow-matching methods: which path joins source to target, and what a network learns of it.

Every path here is affine in the pair and, unless σ is 0, Gaussian around it (Lipman et al. 2023,
Theorem 3; Tong et al. 2024, eq. 10):

    xt = α(t) x1 + β(t) x0 + σ(t) ε,      ε ~ N(0, I)
    ut = α'(t) x1 + β'(t) x0 + σ'(t) ε

so a method is a `Schedule` (α, β, σ), a default σ and a coupling of the pair. The velocity is
the derivative of the schedule, taken by MLX, and so cannot disagree with it. Where σ is not 0 at
an end, the flow learned carries the source blurred by it to the target blurred by it.

`METHODS` is what the command line offers. Where samples come from is the business of
`datasets.py`, how networks are trained that of `training.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from models import column
from randomness import as_key


@dataclass(frozen=True)
class Schedule:
    """The coefficients of a path, each a function of t (N, 1) with values of t's shape.

    A path without noise has no `sigma`.
    """

    alpha: Callable
    beta: Callable
    sigma: Callable | None = None

    def __call__(self, t):
        """(α, β, σ) and their time derivatives (α', β', σ'), at t (N, 1)."""
        curves = (self.alpha, self.beta, self.sigma or mx.zeros_like)
        pairs = [mx.jvp(curve, [t], [mx.ones_like(t)]) for curve in curves]
        return tuple(value[0] for value, _ in pairs), tuple(slope[0] for _, slope in pairs)


def constant(value: float) -> Callable | None:
    """The curve that stays at `value`; None for 0."""
    return (lambda t: mx.full(t.shape, value, t.dtype)) if value else None


def straight(sigma: float) -> Schedule:
    """Straight lines in a tube of width σ (Tong et al. 2024, eq. 14–15)."""
    return Schedule(lambda t: t, lambda t: 1 - t, constant(sigma))


def shrinking(sigma: float) -> Schedule:
    """Noise that shrinks to width σ around x1 (Lipman et al. 2023, eq. 20–23), x0 the noise."""
    return Schedule(lambda t: t, lambda t: 1 - (1 - sigma) * t)


def trigonometric(sigma: float) -> Schedule:
    """A quarter circle, α² + β² = 1: variance is kept (Albergo & Vanden-Eijnden 2023)."""
    quarter = math.pi / 2
    return Schedule(lambda t: mx.sin(quarter * t), lambda t: mx.cos(quarter * t), constant(sigma))


@dataclass(frozen=True)
class Method:
    """A flow-matching method: a path between coupled samples, and the loss that learns its flow.

    Attributes:
        name: its name in `METHODS`.
        title: its name in print.
        schedule: the path.
        sigma: the σ the schedule was made with.
        normal_source: whether the formulas hold for the source N(0, I) alone.
    """

    name: str
    title: str
    schedule: Schedule
    sigma: float
    normal_source: bool = False

    def mean(self, t, x0, x1):
        """α(t) x1 + β(t) x0, the mean (N, D) of p_t(x | x0, x1); t is (N,), (N, 1) or a scalar."""
        (alpha, beta, _), _ = self.schedule(column(t, x0.dtype))
        return alpha * x1 + beta * x0

    def std(self, t):
        """σ(t), the standard deviation of p_t(x | x0, x1), in the shape of t."""
        (_, _, sigma), _ = self.schedule(t if isinstance(t, mx.array) else mx.array(t))
        return sigma

    def sample(self, t, x0, x1, noise):
        """xt ~ p_t(x | x0, x1) and its velocity ut, each (N, D), given the noise ε (N, D)."""
        (alpha, beta, sigma), (d_alpha, d_beta, d_sigma) = self.schedule(column(t, x0.dtype))
        xt = alpha * x1 + beta * x0 + sigma * noise
        ut = d_alpha * x1 + d_beta * x0 + d_sigma * noise
        return xt, ut

    def couple(self, x0, x1, key=None):
        """Pair the samples x0 with the samples x1, each (N, D); here as they come."""
        return x0, x1

    def loss(self, model, x0, x1, key=None):
        """The flow-matching loss: the mean of (model(t, xt) − ut)² over batch and dimensions.

        Times are stratified: one in each of N equal parts of [0, 1], uniform in its part.
        """
        couple_key, t_key, noise_key = mx.random.split(as_key(key), 3)
        x0, x1 = self.couple(x0, x1, couple_key)
        count = x0.shape[0]
        t = (mx.arange(count)[:, None] + mx.random.uniform(shape=(count, 1), key=t_key)) / count
        noisy = self.schedule.sigma is not None
        noise = mx.random.normal(x0.shape, key=noise_key) if noisy else mx.zeros_like(x0)
        xt, ut = self.sample(t, x0, x1, noise)
        return mx.mean(mx.square(model(t, xt) - ut))


def _method(name, title, path, default_sigma, normal_source=False) -> Callable[..., Method]:
    def build(sigma: float | None = None) -> Method:
        sigma = default_sigma if sigma is None else sigma
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma must be a number from 0 up, not {sigma}")
        return Method(name, title, path(sigma), sigma, normal_source)

    build.__doc__ = f"{title}; sigma is {default_sigma:g} unless given."
    return build


METHODS: dict[str, Callable[..., Method]] = {
    "cfm": _method("cfm", "Independent CFM", straight, 0.1),
    "vp": _method("vp", "Variance-preserving interpolant", trigonometric, 0.0),
    "fm": _method("fm", "Lipman's flow matching", shrinking, 1e-3, normal_source=True),
}
