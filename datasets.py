"""Sources and targets: samplers, with log-densities where they are known.

`DATASETS` is what the command line offers on either side of a flow; adding a dataset is adding
an entry. Places and spreads are given in the units of the data; spreads are standard
deviations. A sample of n points is spread evenly over the parts of its distribution
(`randomness.stratified`): each point by itself follows it exactly, and the n together represent
it better than independent ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx

from randomness import as_key, stratified


@dataclass(frozen=True)
class Dataset:
    """A distribution one can sample.

    Attributes:
        name: its name in `DATASETS`.
        description: what it is, exactly.
        dim: D.
        draw: (n, key) → (n, D) float32.
        log_prob: (N, D) → (N,), the log-density in nats, or None where there is no closed form.
        standard_normal: whether it is N(0, I).
    """

    name: str
    description: str
    dim: int
    draw: Callable
    log_prob: Callable | None = None
    standard_normal: bool = False

    def sample(self, n: int, key=None):
        """n points, (n, D) float32."""
        return self.draw(n, as_key(key))


def gaussian_mixture(name: str, description: str, means, std: float, **kwargs) -> Dataset:
    """An equal mixture of isotropic Gaussians: means (K, D), one standard deviation."""
    means = mx.array(means, mx.float32)
    count, dim = means.shape

    def draw(n, key):
        which_key, noise_key = mx.random.split(key)
        which = mx.minimum((count * stratified(n, which_key)).astype(mx.int32), count - 1)
        return means[which] + std * mx.random.normal((n, dim), key=noise_key)

    def log_prob(x):
        squares = mx.sum(mx.square((x[:, None] - means) / std), axis=-1)
        normaliser = math.log(count) + dim * math.log(std * math.sqrt(2 * math.pi))
        return mx.logsumexp(-squares / 2, axis=-1) - normaliser

    return Dataset(name, description, dim, draw, log_prob, **kwargs)


def _circle(count: int, radius: float):
    angles = [2 * math.pi * k / count for k in range(count)]
    return [[radius * math.cos(angle), radius * math.sin(angle)] for angle in angles]


def _draw_moons(n, key):
    angle_key, noise_key = mx.random.split(key)
    angle = 2 * math.pi * stratified(n, angle_key)
    lower = (angle > math.pi).astype(mx.float32)
    curve = mx.stack([mx.cos(angle) + lower, mx.sin(angle) + lower / 2], axis=1)
    return 3 * curve - 1 + 0.15 * mx.random.normal((n, 2), key=noise_key)


def _draw_annulus(n, key):
    angle_key, radius_key = mx.random.split(key)
    angle = 2 * math.pi * stratified(n, angle_key)
    radius = 2 + stratified(n, radius_key)
    return radius[:, None] * mx.stack([mx.cos(angle), mx.sin(angle)], axis=1)


def _annulus_log_prob(x):
    radius = mx.sqrt(mx.sum(mx.square(x), axis=1))
    inside = (radius >= 2) & (radius <= 3)
    return mx.where(inside, -mx.log(2 * math.pi * radius), -math.inf)


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        gaussian_mixture(
            "normal",
            "the standard normal distribution N(0, I) in the plane",
            [[0.0, 0.0]],
            std=1.0,
            standard_normal=True,
        ),
        gaussian_mixture(
            "8gaussians",
            "eight Gaussians of variance 0.1, evenly on the circle of radius 5",
            _circle(8, 5.0),
            std=math.sqrt(0.1),
        ),
        Dataset(
            "moons",
            "two half circles of radius 3, around (−1, −1) and, upside down, (2, 0.5), "
            "blurred by a Gaussian of standard deviation 0.15",
            2,
            _draw_moons,
        ),
        Dataset(
            "annulus",
            "radius uniform on [2, 3], angle uniform",
            2,
            _draw_annulus,
            _annulus_log_prob,
        ),
    )
}
