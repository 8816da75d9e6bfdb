"""Noise along a flow: the score of its law, and a stochastic equation with the same law.

Let p_t be the law of xt, and s = ∇ log p_t its score. Then for every g(t) the equation

    dx = (v(t, x) + ½ g² s(t, x)) dt + g dW

has the law p_t at every time that the flow of v has (Albergo, Boffi & Vanden-Eijnden 2023, eq.
2.34–2.37): noise spreads the points, and the score draws them back. On the way it mends errors,
which an ordinary flow carries along.

Where x0 ~ N(0, I) is drawn independently of x1, no network is needed for s. Then
xt = α x1 + b z with b² = β² + σ² and z ~ N(0, I), and v = α' E[x1 | xt] + b' E[z | xt], while
s = −E[z | xt] / b. Without x1, by α E[x1 | xt] = xt − b E[z | xt],

    s(t, x) = (α v − α' x) / (b (α' b − α b')).

Methods of other sources or pairs can learn the score beside the velocity (`cfm.ScoreMethod`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx

from cfm import Method
from learning.layers import column

LATEST = 1 - 1e-4  # of a stochastic equation's coefficients, which later may be 0 / 0


def why_no_score(method, source) -> str | None:
    """Why the velocity does not tell the score, in a sentence without its full stop; or None."""
    if not isinstance(method, Method):
        return f"'{method.name}' has no paths of a known noise, and so no score is known"
    if not source.standard_normal:
        return (
            "the score is known from the velocity for the source N(0, I) alone, and "
            f"'{source.name}' is another"
        )
    if not method.coupling.is_independent:
        return (
            "the score is known from the velocity for independent pairs alone, and these are "
            f"'{method.coupling.name}'"
        )
    return None


@dataclass(frozen=True)
class VelocityScore:
    """The score that a velocity tells, called as score(t, x), x (N, D); see `score_of`."""

    method: Method
    field: Callable

    def __call__(self, t, x):
        """s(t, x), (N, D).

        Raises:
            ValueError: at t = 1, where there is none.
        """
        t = column(t, x.dtype)
        if mx.max(t).item() >= 1:
            self._require_an_end()
        return self.given(t, x, self.field(t, x))

    def given(self, t, x, velocity):
        """s(t, x), where the velocity (N, D) is known; t (N, 1) or (1, 1)."""
        ratio, _, variance = _falling(self.method.schedule, t)
        return (ratio * velocity - x) / variance

    def _require_an_end(self):
        (_, beta, sigma), (d_alpha, _, _) = self.method.schedule(mx.ones((1, 1)))
        if (beta**2 + sigma**2).item() < 1e-12:
            raise ValueError(
                f"there is no score at t = 1: '{self.method.name}' ends at the points of the "
                "target themselves, without noise"
            )
        if d_alpha.item() < 1e-6:
            raise ValueError(
                f"the velocity tells no score at t = 1: of '{self.method.name}' it is 0 there"
            )


def score_of(method: Method, source, field) -> Callable:
    """The score of the law that a field's flow has: score(t, x), like the field (N, D).

    That is the field's own, if it knows or has learned one; otherwise the one that its velocity
    tells. At t = 0 it is the source's, blurred if σ(0) is not 0.

    Raises:
        ValueError: where neither is known.
    """
    if hasattr(field, "score"):
        return field.score
    if why := why_no_score(method, source):
        raise ValueError(why)
    return VelocityScore(method, field)


@dataclass(frozen=True)
class NoisyFlow:
    """dx = drift dt + diffusion dW, which has the flow's law at every time; for `sde.sdeint`.

    The noise g is as strong as asked, but no stronger than

        g² = 2 s² β (α' β − α β') / α,

    the noise of a diffusion model with the same α and β (Song et al. 2021) that begins with a
    standard deviation of s. It vanishes where β does, so that points arrive without noise, and no
    error of the velocity counts in the drift more than twice, however steep the score is.

    Attributes:
        method: of the paths.
        score: from `score_of`.
        field: the velocity.
        strength: G, the largest g, in the units of x per √time.
        spread: s, the standard deviation of the source, or of the Gaussians that it is made of.
    """

    method: Method
    score: Callable
    field: Callable
    strength: float
    spread: float = 1.0

    def drift(self, t, x):
        """v + ½ g² s, (N, D)."""
        velocity, at = self.field(t, x), self._in_time(t, x)
        if isinstance(self.score, VelocityScore):
            score = self.score.given(at, x, velocity)
        else:
            score = self.score(at, x)
        return velocity + mx.square(self._strength(at)) / 2 * score

    def diffusion(self, t, x):
        """g(t), (1, 1)."""
        return self._strength(self._in_time(t, x))

    def _in_time(self, t, x):
        return mx.minimum(column(t, x.dtype), LATEST)

    def _strength(self, t):
        ratio, falling, _ = _falling(self.method.schedule, t)
        most = 2 * self.spread**2 * mx.maximum(falling, 0) / mx.maximum(ratio, 1e-30)
        return mx.sqrt(mx.minimum(self.strength**2, most))


def _falling(schedule, t):
    """α/α', β (β − β' α/α'), and b (b − b' α/α'), each like t (N, 1).

    Divided by α' as they are, they have their limits at t = 0, also where a path starts at rest.
    """
    (alpha, beta, sigma), (d_alpha, d_beta, d_sigma) = schedule(t)
    moves = d_alpha > 0
    ratio = mx.where(moves, alpha / mx.where(moves, d_alpha, 1), 0)
    falling = beta * (beta - ratio * d_beta)
    return ratio, falling, falling + sigma * (sigma - ratio * d_sigma)
