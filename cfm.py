"""Flow-matching methods: which path joins source to target, and what a network learns of it.

Every path here is affine in the pair and, unless σ is 0, Gaussian around it (Lipman et al. 2023,
Theorem 3; Tong et al. 2024, eq. 10):

    xt = α(t) x1 + β(t) x0 + σ(t) ε,      ε ~ N(0, I)
    ut = α'(t) x1 + β'(t) x0 + σ'(t) ε

so a method is a `Schedule` (α, β, σ), a default σ and a coupling of the pair (`couplings.py`). The
velocity is the derivative of the schedule, taken by MLX, and so cannot disagree with it. Where σ
is not 0 at an end, the flow carries the source blurred by it to the target blurred by it.

`METHODS` is what the command line offers.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx

from couplings import COUPLINGS, Coupling, of_a_flow
from machine.keys import as_key
from learning.layers import column


@dataclass(frozen=True)
class Schedule:
    """The coefficients of a path, each a function of t (N, 1) with values of t's shape.

    A path without noise has no `sigma`. If a derivative is unbounded at the ends, `margin` says
    how near to 0 and 1 derivatives are taken; nearer still, they stay as they are there.
    """

    alpha: Callable
    beta: Callable
    sigma: Callable | None = None
    margin: float = 0.0

    def __call__(self, t):
        """(α, β, σ) and their time derivatives (α', β', σ'), at t (N, 1)."""
        curves = (self.alpha, self.beta, self.sigma or mx.zeros_like)
        if not self.margin:
            pairs = [mx.jvp(curve, [t], [mx.ones_like(t)]) for curve in curves]
            return tuple(value[0] for value, _ in pairs), tuple(slope[0] for _, slope in pairs)
        inner = mx.clip(t, self.margin, 1 - self.margin)
        slopes = [mx.jvp(curve, [inner], [mx.ones_like(t)])[1][0] for curve in curves]
        return tuple(curve(t) for curve in curves), tuple(slopes)


def constant(value: float) -> Callable | None:
    """The curve that stays at `value`; None for 0."""
    return (lambda t: mx.full(t.shape, value, t.dtype)) if value else None


def straight(sigma: float) -> Schedule:
    """α = t, β = 1 − t, σ constant: straight tubes of width σ (Tong et al. 2024, eq. 14–15)."""
    return Schedule(lambda t: t, lambda t: 1 - t, constant(sigma))


def shrinking(sigma: float) -> Schedule:
    """α = t, β = 1 − (1 − σ)t, σ(t) = 0: x0 shrinks to width σ (Lipman et al. 2023, eq. 20–23).

    x0 ~ N(0, I) is the noise of the paper; what is left of it at t = 1 blurs x1.
    """
    return Schedule(lambda t: t, lambda t: 1 - (1 - sigma) * t)


def trigonometric(sigma: float) -> Schedule:
    """α = sin(πt/2), β = cos(πt/2), σ constant: variance is kept (Albergo & Vanden-Eijnden 2023).

    For α² + β² = 1: where source and target have the same variance, all between have it too.
    """
    return Schedule(_quarter_wave, lambda t: _quarter_wave(1 - t), constant(sigma))


def _quarter_wave(t):
    """sin(πt/2), for the cosine too: in floating point cos(π/2) is not quite 0, and sin(0) is."""
    return mx.sin(math.pi / 2 * t)


def bridge(sigma: float) -> Schedule:
    """α = t, β = 1 − t, σ(t) = σ √(t(1 − t)): Brownian bridges (Tong et al. 2024, Prop. 3.5).

    σ'(t) = σ (1 − 2t) / (2 √(t(1 − t))) is unbounded at both ends, and the mean of its square
    over t is infinite, so it is held from a thousandth before either end.
    """
    return Schedule(
        lambda t: t,
        lambda t: 1 - t,
        lambda t: sigma * mx.sqrt(mx.maximum(t * (1 - t), 0)),
        margin=1e-3,
    )


def polynomial(sigma: float, power: float = 2.0) -> Schedule:
    """α = tⁿ, β = 1 − tⁿ, σ constant: straight lines, at a growing pace (Lipman et al. 2024).

    The power n is 1 or more.
    """
    if not 1 <= power < math.inf:
        raise ValueError(f"power must be a number from 1 up, not {power}")
    return Schedule(lambda t: t**power, lambda t: 1 - t**power, constant(sigma))


def raised_cosine(sigma: float) -> Schedule:
    """α = (1 − cos πt)/2, β = 1 − α, σ constant: straight lines that start and end at rest."""
    return Schedule(  # (1 − cos πt)/2 = sin²(πt/2)
        lambda t: mx.square(_quarter_wave(t)),
        lambda t: mx.square(_quarter_wave(1 - t)),
        constant(sigma),
    )


@dataclass(frozen=True)
class Method:
    """A flow-matching method: a path between coupled samples, and the loss that learns its flow.

    Attributes:
        name: its name in `METHODS`.
        title: its name in print.
        about: its formulas and what they mean, in a line.
        schedule: the path.
        sigma: the σ the schedule was made with.
        coupling: how samples are paired.
        normal_source: whether the formulas hold for the source N(0, I) alone.
    """

    name: str
    title: str
    about: str
    schedule: Schedule
    sigma: float
    coupling: Coupling
    normal_source: bool = False
    learns_score = False  # beside the velocity

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

    def couple(self, x0, x1, key=None, *classes):
        """Pair the samples x0 with the samples x1, each (N, D): x0 as it comes, x1 to match.

        The classes (N,) of the x1, where they are given, go with them.
        """
        if self.coupling.match is None:
            return x0, x1, *classes
        told = [each[None] for each in classes if self.coupling.by_class]
        (places,) = self.coupling.match(x0[None], x1[None], as_key(key)[None], *told)()
        return x0, x1[places], *(each[places] for each in classes)

    def loss(self, model, x0, x1, key=None):
        """The flow-matching loss of a batch of samples (N, D), paired by the coupling first."""
        key = as_key(key)
        return self.pair_loss(model, *self.couple(x0, x1, coupling_key(key)), key)

    def pair_loss(self, model, x0, x1, key=None):
        """The flow-matching loss of pairs: mean of (model(t, xt) − ut)² over batch and dimensions.

        Times are stratified: one in each of N equal parts of [0, 1], uniform in its part.
        """
        return self.error(model, *self.examples(x0, x1, as_key(key)))

    def examples(self, x0, x1, key):
        """What a network is to learn of pairs (N, D): t (N, 1), xt (N, D) and ut (N, D)."""
        t, noise = self.draw(x0.shape, key)
        return t, *self.sample(t, x0, x1, noise)

    def error(self, model, t, xt, ut):
        """The loss of these examples."""
        return mx.mean(mx.square(model(t, xt) - ut))

    def draw(self, shape, key):
        """Times (N, 1) and noise (N, D) for a batch of shape (N, D)."""
        _, t_key, noise_key = mx.random.split(key, 3)
        count = shape[0]
        t = (mx.arange(count)[:, None] + mx.random.uniform(shape=(count, 1), key=t_key)) / count
        if self.schedule.sigma is None:
            return t, mx.zeros(shape)
        return t, mx.random.normal(shape, key=noise_key)


@dataclass(frozen=True)
class ScoreMethod(Method):
    """A method whose network has a second head, `model.score`, for ∇ log p_t (Tong et al. 2023b).

    Given the pair, the score of xt is −ε/σ(t), whose size has no bound where σ(t) falls to 0. So
    it is learned with the weight σ(t)²: by the mean of (σ(t) score(t, xt) + ε)², beside the loss of
    the velocity. A network without such a head learns the velocity alone.
    """

    learns_score = True

    def examples(self, x0, x1, key):
        """t (N, 1), xt (N, D), and ut beside ε (N, 2D)."""
        t, noise = self.draw(x0.shape, key)
        xt, ut = self.sample(t, x0, x1, noise)
        return t, xt, mx.concatenate([ut, noise], axis=1)

    def error(self, model, t, xt, shown):
        """The losses of both heads, added."""
        ut, noise = mx.split(shown, 2, axis=1)
        loss = super().error(model, t, xt, ut)
        if not hasattr(model, "score"):
            return loss
        return loss + mx.mean(mx.square(self.std(t) * model.score(t, xt) + noise))


def coupling_key(key):
    """The part of a batch's key that is for its coupling."""
    return mx.random.split(key, 3)[0]


REGULARIZATION = 0.5  # ε of an entropic coupling, a squared distance, except in a bridge


def _method(
    name: str,
    title: str,
    path: Callable[..., Schedule],
    sigma: float = 0.0,
    coupling: str = "independent",
    normal_source: bool = False,
    kind: type[Method] = Method,
    and_so: str = "",
) -> Callable[..., Method]:
    """An entry of `METHODS`: a function that makes the method, with another σ or coupling if asked.

    Args:
        path: σ → its schedule; the first line of its docstring says what the method is.
        kind: the class of the method.
        and_so: what the method is besides.
    """
    about = (inspect.getdoc(path) or "").partition("\n")[0].removesuffix(".") + and_so
    default_sigma, default_coupling = sigma, coupling

    def build(
        sigma: float | None = None,
        coupling: str | None = None,
        regularization: float | None = None,
        power: float | None = None,
    ) -> Method:
        sigma = default_sigma if sigma is None else sigma
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma must be a number from 0 up, not {sigma}")
        if power is not None and path is not polynomial:
            raise ValueError(f"{name} has no power; poly has")
        schedule = path(sigma) if power is None else path(sigma, power)
        if regularization is None:  # Tong et al. 2024, Prop. 3.5
            regularization = 2 * sigma**2 if path is bridge else REGULARIZATION
        pairing = COUPLINGS[coupling or default_coupling](regularization)
        return kind(name, title, about, schedule, sigma, pairing, normal_source)

    build.__doc__ = f"{title}; unless given, σ is {sigma:g} and the coupling {coupling}."
    return build


METHODS: dict[str, Callable[..., Method]] = {
    "cfm": _method("cfm", "Independent CFM", straight, 0.1),
    "vp": _method("vp", "Variance-preserving interpolant", trigonometric, 0.0),
    "fm": _method("fm", "Lipman's flow matching", shrinking, 1e-3, normal_source=True),
    "ot": _method("ot", "Optimal-transport CFM", straight, 0.1, "ot"),
    "sb": _method("sb", "Schrödinger-bridge CFM", bridge, 0.5, "entropic"),
    "sf2m": _method(
        "sf2m",
        "Simulation-free score and flow matching",
        bridge,
        0.5,
        "entropic",
        kind=ScoreMethod,
        and_so="; their score is learned too (Tong et al. 2023b)",
    ),
    "poly": _method("poly", "Polynomial scheduler", polynomial, 0.0),
    "cosine": _method("cosine", "Raised-cosine scheduler", raised_cosine, 0.0),
}

REFLOW = "reflow"  # the method whose pairs another flow makes, and so none of the above


def rectified() -> Method:
    """A straight path without noise, for the pairs of a flow that is learned already.

    Its own flow is straighter than that one, and ends at the same distribution (Liu et al. 2023,
    Theorems 3.3 and 3.7).
    """
    about = "α = t, β = 1 − t, no noise: from x0 to where another flow carries it (Liu et al. 2023)"
    made = _method(REFLOW, "Rectified flow", straight)()
    return replace(made, about=about, coupling=of_a_flow())
