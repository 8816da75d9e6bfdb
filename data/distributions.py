"""What can be carried by a flow: distributions that one can sample, and the usual kinds of them.

A `Dataset` is a sampler, with a log-density where there is one in closed form. Places and spreads
are in the units of the data; spreads are standard deviations. A sample of n points is spread evenly
over its distribution (`stratified`): each point by itself follows it exactly, and the n together
represent it better than independent ones would. Gaussian noise is drawn independently.

A dataset may be made of parts, two moons of two half circles. Each of them is a dataset in its
turn, and a sample can tell which of them every point is of: that is its class.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from machine.keys import as_key, stratified


@dataclass(frozen=True)
class Mixture:
    """An equal mixture of isotropic Gaussians: means (K, D), and the components' std."""

    means: mx.array
    std: float

    def log_prob(self, x):
        """The log-density at x (N, D), (N,) nats."""
        count, dim = self.means.shape
        squares = mx.sum(mx.square((x[:, None] - self.means) / self.std), axis=-1)
        normaliser = math.log(count) + dim * math.log(self.std * math.sqrt(2 * math.pi))
        return mx.logsumexp(-squares / 2, axis=-1) - normaliser

    def __getitem__(self, k: int) -> "Mixture":
        """One component by itself."""
        return Mixture(self.means[k : k + 1], self.std)


@dataclass(frozen=True)
class Dataset:
    """A distribution one can sample.

    Attributes:
        name: its name in `DATASETS`.
        description: what it is, exactly.
        dim: D.
        draw: (n, key) → (n, D) float32.
        log_prob: (N, D) → (N,), the log-density in nats, or None where there is no closed form.
        mixture: its components, if it is a mixture of a few isotropic Gaussians.
        outline: n → a mixture of n Gaussians that is nearly the dataset, if there is one.
        standard_normal: whether it is N(0, I).
        parts: what it is a mixture of, if that has names.
        which: (n, key) → (n,) int32, the part of every point that `draw` makes of the same key.
    """

    name: str
    description: str
    dim: int
    draw: Callable
    log_prob: Callable | None = None
    mixture: Mixture | None = None
    outline: Callable[[int], Mixture] | None = None
    standard_normal: bool = False
    parts: tuple["Dataset", ...] = ()
    which: Callable | None = None

    unit = 1.0  # length of a unit of `standardized()` in this dataset's, a number or (D,)
    known = True  # whether it can be sampled
    unchanged = True  # whether its units were taken from the points that it has

    @property
    def columns(self) -> tuple[str, ...]:
        """What its D dimensions are called."""
        return tuple(f"x{d + 1}" for d in range(self.dim))

    @property
    def fresh(self) -> str:
        """What a new sample of it is, in words."""
        return f"fresh samples of {self.name}"

    @property
    def classes(self) -> tuple[str, ...]:
        """What its parts are called; () if it has none."""
        return tuple(part.name for part in self.parts)

    @property
    def shares(self) -> np.ndarray:
        """How likely each of its classes is, (K,)."""
        return np.full(len(self.parts), 1 / max(len(self.parts), 1))

    def part(self, k: int) -> "Dataset":
        """Its part of class k by itself."""
        return self.parts[k]

    def sample(self, n: int, key=None):
        """n points, (n, D) float32."""
        return self.draw(n, as_key(key))

    def sample_with_classes(self, n: int, key=None):
        """The same n points (n, D), and the class of each, (n,) int32.

        Raises:
            ValueError: if the dataset has no parts.
        """
        if not self.parts:
            raise ValueError(f"{self.name} has no parts, and so no classes")
        key = as_key(key)
        return self.draw(n, key), self.which(n, key)

    def sample_exactly(self, n: int, key=None) -> np.ndarray:
        """The same n points, in float64 where a user's units need it."""
        return self.restore(self.standardized().sample(n, key))

    def standardized(self) -> "Dataset":
        """The dataset in the units that networks see; it is another for a user's points alone."""
        return self

    def restore(self, x) -> np.ndarray:
        """Points (..., D) of `standardized()` in this dataset's own units."""
        return np.asarray(x)

    def standardize(self, x):
        """Points (..., D) of this dataset in the units of `standardized()`, float32.

        And the logarithm of the volume that a unit of the latter has in the former.
        """
        return mx.array(x, mx.float32), 0.0


def of_parts(
    name: str, description: str, dim: int, at: Callable, parts, law_of_part: Callable, **law
) -> Dataset:
    """Parts as likely as one another, which are all drawn alike.

    Args:
        at: (part, along, key) → (n, D) points: which part, (n,) whole numbers in float32, and how
            far along it, (n,) in [0, 1) and evenly spread there.
        parts: their names; () for one part without a name.
        law_of_part: k → what else is known of part k, as keyword arguments of `Dataset`.
        law: what is known of the whole, likewise.
    """

    def places(n, key):
        place_key, rest = mx.random.split(key)
        place, count = stratified(n, place_key), max(len(parts), 1)
        return split(count, place), rest

    def draw(n, key):
        (part, along), rest = places(n, key)
        return at(part, along, rest)

    def which(n, key):
        (part, _), _ = places(n, key)
        return part.astype(mx.int32)

    def draw_of_part(k):
        def draw(n, key):
            place_key, rest = mx.random.split(key)
            return at(mx.full((n,), float(k)), stratified(n, place_key), rest)

        return draw

    each = tuple(
        Dataset(part, f"part {part} of {name}", dim, draw_of_part(k), **law_of_part(k))
        for k, part in enumerate(parts)
    )
    return Dataset(name, description, dim, draw, parts=each, which=which if each else None, **law)


def split(count: int, place):
    """Which of `count` equal parts of [0, 1) each place is in, and how far along it, 0 to 1."""
    part = mx.minimum(mx.floor(count * place), count - 1)
    return part, mx.maximum(count * place - part, 0)


def gaussian_mixture(
    name: str, description: str, means, std: float, parts=None, **kwargs
) -> Dataset:
    """An equal mixture of isotropic Gaussians: means (K, D), one standard deviation.

    Its parts are called 1, 2, … unless they are given names.
    """
    mixture = Mixture(mx.array(means, mx.float32), std)
    count, dim = mixture.means.shape
    if parts is None:
        parts = [str(k) for k in range(1, count + 1)] if count > 1 else ()

    def at(part, along, key):
        noise = mx.random.normal((len(part), dim), key=key)
        return mixture.means[part.astype(mx.int32)] + std * noise

    def law(some):
        return {"log_prob": some.log_prob, "mixture": some}

    of_part = lambda k: law(mixture[k])  # noqa: E731
    return of_parts(name, description, dim, at, parts, of_part, **law(mixture), **kwargs)


def standard_normal(dim: int) -> Dataset:
    """N(0, I) in any number of dimensions."""
    return gaussian_mixture(
        "normal",
        "the standard normal distribution N(0, I), in the plane unless the other side has more "
        "or fewer dimensions",
        [[0.0] * dim],
        std=1.0,
        standard_normal=True,
    )


def gaussian(name: str, description: str, mean: np.ndarray, factor: np.ndarray) -> Dataset:
    """N(μ, L Lᵀ): mean (D,) and the lower triangular factor L (D, D)."""
    dim = len(mean)
    constants = (mean, factor, np.linalg.inv(factor))
    mean, factor, inverse = (mx.array(array.astype(np.float32)) for array in constants)
    normaliser = dim / 2 * math.log(2 * math.pi) + float(np.log(np.diag(constants[1])).sum())

    def draw(n, key):
        return mean + mx.random.normal((n, dim), key=key) @ factor.T

    def log_prob(x):
        return -mx.sum(mx.square((x - mean) @ inverse.T), axis=-1) / 2 - normaliser

    return Dataset(name, description, dim, draw, log_prob)


def curve(name: str, description: str, position: Callable, std: float = 0.15, parts=()) -> Dataset:
    """Curves in the plane blurred by a Gaussian, as long and as likely as one another.

    `position` maps how far along the curve, (n,) in [0, 1), to (n, 2). If there are several, with
    names, it maps which of them, (n,), and how far along it.
    """
    position_in = position if parts else lambda part, along: position(along)

    def at(part, along, key):
        return position_in(part, along) + std * mx.random.normal((len(along), 2), key=key)

    def outline(n):
        return Mixture(position_in(*split(max(len(parts), 1), middles(n))), std)

    def law_of_part(k):
        return {"outline": lambda n: Mixture(position(mx.full((n,), float(k)), middles(n)), std)}

    blurred = f"{description}, blurred by a Gaussian of standard deviation {std:g}"
    return of_parts(name, blurred, 2, at, parts, law_of_part, outline=outline)


def middles(n: int):
    """(n,) the middles of n equal parts of [0, 1), in order."""
    return (mx.arange(n) + 0.5) / n
