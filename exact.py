"""The velocity a perfect network would learn, in closed form.

Let pairs be independent, the source a mixture of isotropic Gaussians, and the target a set of
points, or of isotropic Gaussians around points. Given the component that x0 comes from and the
point that x1 comes from, everything is Gaussian, and so the velocity is a posterior mean over
both. Networks are measured by it; with few points it shows what it is to memorise them.

Where the points have classes, the field of each class is that of its points alone, and the field of
all is the mean of these, each as strong as the class is likely where x is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from cfm import Method
from datasets import Dataset, Mixture, Points
from data.distributions import middles, split
from machine.elementary import exp_negative
from machine.streams import rowwise
from learning.layers import column

OUTLINE = 1024  # Gaussians that stand for a curve
CLOUD = 8192  # Gaussians that stand for another target of one or two dimensions
CLOUD_WIDTH = 0.025  # of each of those, as a part of the target's own width
PLACES, POINTS = 1024, 256  # whose posterior weights are held at once
GROUP = 32  # pairs of a batch whose ends stand for the target when a network is shown its means
NEAREST = 1e-4  # how near to t = 1 the field is taken where it has no limit there,
NARROWEST = 1e-6  # or where so little blurs the points at t = 1 that float32 cannot tell


def exact_velocity(
    method: Method, source: Dataset, points, std: float = 0.0, labels=None
) -> "ExactVelocity":
    """The marginal velocity u(t, x) = E[ut | xt = x] for a target of points.

    Given component k of the source (mean m_k, variance s²) and point y_i, xt is Gaussian with
    mean α y_i + β m_k and variance v = β² s² + σ² + α² std², so that (Lipman et al. 2023, eq. 8)

        u(t, x) = Σ_ki w_ki [α' y_i + β' m_k + c (x − α y_i − β m_k)],
        w_ki ∝ N(x; α y_i + β m_k, v),    c = v' / 2v.

    Args:
        method: one with independent pairs.
        source: a dataset that is a mixture of isotropic Gaussians.
        points: (M, D), or a dataset of points.
        std: standard deviation of the isotropic Gaussian around every point; 0 for the points.
        labels: (M,) the class of every point, from 0; None where they have none.

    Returns:
        A field, called as field(t, x) like a network, of x (N, D) and t (), (N,) or (N, 1); with
        labels as field(t, x, label) too.

    Raises:
        ValueError: for what has no such closed form.
    """
    if not method.coupling.is_independent:
        raise ValueError(
            "the exact field is known for independent pairs only, and "
            f"{method.name} was given {method.coupling.title}"
        )
    if source.mixture is None:
        raise ValueError(
            f"the exact field needs a source of isotropic Gaussians, which {source.name} is not"
        )
    points = points.points if isinstance(points, Points) else points
    points = np.array(points, np.float32)
    if points.ndim != 2 or points.shape[1] != source.dim or not len(points):
        raise ValueError(f"points must be (M, {source.dim}), not {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite")
    if labels is not None:
        labels = np.array(labels, int)
        if labels.shape != points.shape[:1] or set(labels) != set(range(labels.max() + 1)):
            raise ValueError("labels must be a class of every point, 0, 1, …, each of some point")
    return ExactVelocity(method, source.mixture, Mixture(mx.array(points), std), labels)


def nearly_exact_velocity(method: Method, source: Dataset, target: Dataset, key):
    """The marginal velocity for a dataset, to well within what training can reach.

    Points (in the units that networks see) and mixtures are taken as they are, curves as many
    overlapping Gaussians, and other targets of one or two dimensions as narrow Gaussians around a
    large sample.

    Returns:
        An `ExactVelocity`, or None where none is known. If the target has parts, it knows their
        fields too.
    """
    labels = None
    if not method.coupling.is_independent or source.mixture is None:
        return None
    if isinstance(target, Points):
        points, std, labels = target.standard_points, 0.0, target.labels
    elif target.mixture or target.outline:
        mixture = target.mixture or target.outline(OUTLINE)
        points, std = mixture.means, mixture.std
        if target.parts:
            labels, _ = split(len(target.parts), middles(len(points)))
    elif target.dim <= 2:
        points = target.sample(CLOUD, key)
        std = CLOUD_WIDTH * mx.sqrt(mx.mean(mx.var(points, axis=0))).item()
        labels = target.which(CLOUD, key) if target.parts else None
    else:
        return None
    return exact_velocity(method, source, points, std, labels)


@dataclass(frozen=True)
class ExactVelocity:
    """See `exact_velocity`."""

    method: Method
    source: Mixture
    target: Mixture
    labels: np.ndarray | None = field(default=None, compare=False)  # or it had no hash

    def __call__(self, t, x, label=None):
        """u(t, x), (N, D); with a label, (N,), that of the class of every row, or (), of all."""
        return self._told(ExactVelocity._velocity, t, x, label)

    def score(self, t, x, label=None):
        """∇ log p_t(x), (N, D), likewise.

        Nearer than `NEAREST` to an end where there is none, it is what it is there.
        """
        return self._told(ExactVelocity._score, t, x, label)

    def _told(self, function: Callable, t, x, label):
        """What the function makes of the field of a class, or of every row's own."""
        if label is None:
            return function(self, t, x)
        if not label.ndim:
            return function(self.of_class[label.item()], t, x)
        each = mx.stack([function(field, t, x) for field in self.of_class], axis=1)
        return mx.take_along_axis(each, label.reshape(-1, 1, 1), axis=1)[:, 0]

    @cached_property
    def of_class(self) -> tuple["ExactVelocity", ...]:
        """The field of every class by itself."""
        if self.labels is None:
            raise ValueError("the points of this field have no classes")
        means = (self.target.means[mx.array(rows)] for rows in self._rows)
        some = (Mixture(each, self.target.std) for each in means)
        return tuple(ExactVelocity(self.method, self.source, each) for each in some)

    @property
    def _rows(self) -> list[np.ndarray]:
        """The places of the points of every class."""
        return [np.flatnonzero(self.labels == k) for k in range(self.labels.max() + 1)]

    def class_log_prob(self, t, x):
        """log p(c | xt = x) of every class c, (N, C)."""
        shares = [math.log(len(rows) / len(self.labels)) for rows in self._rows]
        each = [field.log_prob(t, x) for field in self.of_class]
        joint = mx.stack([log_p + share for log_p, share in zip(each, shares, strict=True)], axis=1)
        return joint - mx.logsumexp(joint, axis=1, keepdims=True)

    @rowwise
    def _velocity(self, t, x):
        schedule = self.method.schedule
        t = mx.clip(column(t, x.dtype), schedule.margin, 1 - self._margin())
        stds = self.source.std, self.target.std
        return _mean_velocity(schedule, t, x, *stds, self._posterior_means)

    @rowwise
    def _score(self, t, x):
        alpha, beta, variance = self._law(t, x)
        y, m = self._posterior_means(x, alpha, beta, variance)
        return (alpha * y + beta * m - x) / variance

    @rowwise
    def log_prob(self, t, x):
        """log p_t(x), (N,) nats, at times as those of `score`."""
        alpha, beta, variance = self._law(t, x)
        top, total, _ = self._posterior(x, alpha, beta, variance)
        pairs = len(self.source.means) * len(self.target.means)
        normaliser = math.log(pairs) + x.shape[1] / 2 * mx.log(2 * math.pi * variance)
        return (top + mx.log(total[:, :1]) - normaliser)[:, 0]

    def _law(self, t, x):
        """α, β and the variance of xt given the component and the point, each like t (N, 1)."""
        t = mx.clip(column(t, x.dtype), 0, 1 - self._margin())
        (alpha, beta, sigma), _ = self.method.schedule(t)
        variance = (beta * self.source.std) ** 2 + (alpha * self.target.std) ** 2 + sigma**2
        return alpha, beta, variance

    def _margin(self) -> float:
        schedule = self.method.schedule
        (_, beta, sigma), _ = schedule(mx.ones((1, 1)))
        left = math.hypot((beta * self.source.std).item(), self.target.std, sigma.item())
        return max(schedule.margin, NEAREST if left < NARROWEST else 0.0)

    def _posterior_means(self, x, alpha, beta, variance):
        """E[y | xt = x] and E[m | xt = x], each (N, D)."""
        _, total, m = self._posterior(x, alpha, beta, variance)
        return total[:, 1:] / total[:, :1], m / total[:, :1]

    def _posterior(self, x, alpha, beta, variance):
        """The largest logit (N, 1), Σ w beside Σ w y (N, 1 + D), and Σ w m (N, D).

        The sums are over all pairs of component and point, and divided by the largest w.
        """
        means, points = (mixture.means.astype(x.dtype) for mixture in (self.source, self.target))
        count, components = len(x), len(means)
        at = (x[:, None] - beta[:, None] * means).reshape(count * components, -1)
        scale = -0.5 / variance
        if len(scale) > 1:  # one for every pair of place and component, as in `at`
            alpha, scale = (mx.repeat(column, components, axis=0) for column in (alpha, scale))
        found = _sums(at.T, points, alpha.T, scale.T)
        top, sums = (array.T.reshape(count, components, -1) for array in found)
        highest = mx.max(top, axis=1, keepdims=True)
        sums = sums * exp_negative(top - highest)
        return highest[:, 0], mx.sum(sums, axis=1), mx.sum(sums[..., :1] * means, axis=1)


def _mean_velocity(schedule, t, x, source: float, target: float, posterior_means):
    """E[ut | xt = x], (N, D), for Gaussians of standard deviations `source` and `target`.

    `posterior_means`: (x, α, β, variance of xt) → E[y | xt = x] and E[m | xt = x].
    """
    (alpha, beta, sigma), (d_alpha, d_beta, d_sigma) = schedule(t)
    variance = (beta * source) ** 2 + (alpha * target) ** 2 + sigma**2
    slope = beta * d_beta * source**2 + alpha * d_alpha * target**2 + sigma * d_sigma
    y, m = posterior_means(x, alpha, beta, variance)
    return d_alpha * y + d_beta * m + slope / variance * (x - alpha * y - beta * m)


def _sums(at, points, alpha, scale):
    """For every column of `at` (D, R) its largest logit (1, R), and Σ w and Σ w y over the points
    (1 + D, R), divided by the largest w.

    Taken in blocks, one after another, that a processor's cache can hold.
    """
    done = []
    for first in range(0, at.shape[1], PLACES):
        part = slice(first, first + PLACES)
        alphas, scales = (row[:, part] if row.size > 1 else row for row in (alpha, scale))
        (place,) = mx.depends([at[:, part]], done[-1]) if done else (at[:, part],)
        top = mx.full((1, place.shape[1]), -math.inf, at.dtype)
        state = top, mx.zeros((1 + len(at), place.shape[1]), at.dtype)
        for start in range(0, len(points), POINTS):
            (some,) = mx.depends([points[start : start + POINTS]], list(state))
            state = _accumulate(*state, place, some, alphas, scales)
        done.append(list(state))
    return (mx.concatenate(arrays, axis=1) for arrays in zip(*done, strict=True))


def _accumulate(top, sums, at, points, alpha, scale):
    """Add some points to the sums, and divide them by the largest w so far.

    MLX's kernels for a CPU are ten times as slow where shapes differ in them, so that nothing else
    is fused.
    """
    apart = [at[d] - points[:, d : d + 1] * alpha for d in range(points.shape[1])]
    if scale.size == 1:  # a single number may differ in shape
        logits = _square_length(scale.reshape(()), *apart)
    else:
        logits = scale * _square_length(1.0, *apart)
    new_top = mx.maximum(top, mx.max(logits, axis=0, keepdims=True))
    weights = exp_negative(logits - new_top)
    beside_one = mx.concatenate([mx.ones_like(points[:, :1]), points], axis=1)
    return new_top, exp_negative(top - new_top) * sums + beside_one.T @ weights


@mx.compile
def _square_length(scale, *components):
    return scale * sum(mx.square(component) for component in components)


def on_marginal(method: Method, source: Dataset) -> "MarginalMethod":
    """The method, but that its networks are shown the mean velocity at a place, not a pair's own.

    Raises:
        ValueError: for coupled pairs, or a source that is no mixture of Gaussians.
    """
    if not method.coupling.is_independent or source.mixture is None:
        raise ValueError(
            "the marginal velocity is known for independent pairs and a source of isotropic "
            "Gaussians only"
        )
    return MarginalMethod(**vars(method), mixture=source.mixture)


@dataclass(frozen=True)
class MarginalMethod(Method):
    """A method that regresses on the marginal velocity (Ryzhakov et al. 2024; Xu et al. 2023).

    The mean is taken over all components of the source, and over the x1 of `GROUP` pairs of the
    batch, of which the pair's own is one, in place of the whole target: less of the scatter of
    single pairs is left to average out, at the price of the bias of so few points.
    """

    mixture: Mixture | None = None

    @property
    def held(self) -> int:
        """Numbers that are held for every pair while its examples are made."""
        return GROUP * len(self.mixture.means)

    def examples(self, x0, x1, key):
        """t (N, 1), xt (N, D) and the marginal velocity there (N, D)."""
        t, noise = self.draw(x0.shape, key)
        t = mx.minimum(t, 1 - NEAREST)  # nearer to 1 nothing is left to take a mean over
        xt, _ = self.sample(t, x0, x1, noise)
        among = partial(self._posterior_means, x1)
        return t, xt, _mean_velocity(self.schedule, t, xt, self.mixture.std, 0.0, among)

    def _posterior_means(self, x1, xt, alpha, beta, variance):
        """E[y | xt] and E[m | xt], each (N, D), every group of pairs by itself."""
        (count, dim), means = x1.shape, self.mixture.means
        together = math.gcd(count, GROUP)
        at = (xt[:, None] - beta[:, None] * means).reshape(-1, together, len(means), 1, dim)
        points = x1.reshape(-1, 1, 1, together, dim)
        rows = (-1, together, 1, 1)
        apart = [at[..., d] - alpha.reshape(rows) * points[..., d] for d in range(dim)]
        logits = (-0.5 / variance).reshape(rows) * _square_length(1.0, *apart)
        weights = mx.softmax(logits.reshape(count, -1), axis=1).reshape(
            -1, together, len(means), together
        )
        y = (mx.sum(weights, axis=2) @ points[:, 0, 0]).reshape(count, dim)
        return y, mx.sum(weights, axis=3).reshape(count, -1) @ means
