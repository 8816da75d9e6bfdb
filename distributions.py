"""What can be carried by a flow: distributions that one can sample, and the usual kinds of them.

A `Dataset` is a sampler, with a log-density where there is one in closed form. Places and spreads
are in the units of the data; spreads are standard deviations. A sample of n points is spread evenly
over the parts of its distribution (`stratified`): each point by itself follows it exactly, and the
n together represent it better than independent ones would. Gaussian noise is drawn independently.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from machine.keys import as_key, stratified


@dataclass(frozen=True)
class Mixture:
    """An equal mixture of isotropic Gaussians: means (K, D), and the components' std."""

    means: mx.array
    std: float


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
    """

    name: str
    description: str
    dim: int
    draw: Callable
    log_prob: Callable | None = None
    mixture: Mixture | None = None
    outline: Callable[[int], Mixture] | None = None
    standard_normal: bool = False

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

    def sample(self, n: int, key=None):
        """n points, (n, D) float32."""
        return self.draw(n, as_key(key))

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


@dataclass(frozen=True)
class Units:
    """The units in which networks see a user's points, and what those points were.

    Attributes:
        mean, scale: of each column, its mean and standard deviation.
        columns: their names.
        digest: of the points.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    columns: tuple[str, ...]
    digest: str

    @classmethod
    def from_json(cls, kept: dict) -> "Units":
        """The Units whose `asdict` went through JSON.

        Raises:
            ValueError: for what they cannot have been.
        """
        try:
            mean, scale = (tuple(map(float, kept[name])) for name in ("mean", "scale"))
            units = cls(mean, scale, tuple(map(str, kept["columns"])), str(kept["digest"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the units of the points cannot be read: {error}") from None
        sizes = {len(mean), len(scale), len(units.columns)}
        if asdict(units).keys() != kept.keys() or len(sizes) > 1 or 0 in sizes:
            raise ValueError("the units of the points do not fit together")
        if not all(map(math.isfinite, mean + scale)) or min(scale) <= 0:
            raise ValueError("the units of the points are not finite, or not positive")
        return units


@dataclass(frozen=True)
class Points(Dataset):
    """A finite set of points, drawn with replacement.

    Attributes:
        points: (M, D) float64; None if only their units are known any more.
        units: in which `standardized()` has them.
    """

    points: np.ndarray | None = None
    units: Units | None = None

    @classmethod
    def of(cls, name: str, description: str, points: np.ndarray, units: Units) -> "Points":
        """The points (M, D), with units of their own or of others before them."""
        return cls(
            name, description, points.shape[1], _resampling(points), points=points, units=units
        )

    @property
    def columns(self) -> tuple[str, ...]:
        return self.units.columns

    @property
    def fresh(self) -> str:
        return f"points drawn again from {self.name}"

    @property
    def unit(self) -> np.ndarray:
        return np.array(self.units.scale)

    @property
    def standard_points(self) -> np.ndarray:
        """(M, D) in the units of `standardized()`."""
        return (self.points - np.array(self.units.mean)) / self.unit

    @property
    def known(self) -> bool:
        return self.points is not None

    @property
    def unchanged(self) -> bool:
        return self.known and _digest(self.points) == self.units.digest

    @property
    def deviation(self) -> float:
        """The root mean square, over the columns, of their standard deviations."""
        return float(np.sqrt(self.points.var(axis=0).mean()))

    def seen_in(self, units: Units) -> "Points":
        """The same points, drawn in the units of others that they flow to."""
        if not self.known:
            return self
        points = (self.points - np.array(units.mean)) / np.array(units.scale)
        return replace(self, draw=_resampling(points))

    def standardized(self) -> Dataset:
        return replace(self, draw=_resampling(self.standard_points)) if self.known else self

    def restore(self, x) -> np.ndarray:
        return np.asarray(x, np.float64) * self.unit + np.array(self.units.mean)

    def standardize(self, x):
        z = (np.asarray(x, np.float64) - np.array(self.units.mean)) / self.unit
        return mx.array(z.astype(np.float32)), float(np.log(self.unit).sum())


def units_of(points: np.ndarray, columns: tuple[str, ...]) -> Units:
    """Units in which points (M, D) have mean 0 and standard deviation 1 in every column."""
    mean, scale = points.mean(axis=0), points.std(axis=0)
    return Units(tuple(mean.tolist()), tuple(scale.tolist()), columns, _digest(points))


def own_units(points: np.ndarray, columns: tuple[str, ...]) -> Units:
    """Units in which points (M, D) are as they are."""
    dim = points.shape[1]
    return Units((0.0,) * dim, (1.0,) * dim, columns, _digest(points))


def a_few_points(dataset: Dataset, count: int, key) -> Points:
    """So many points of a dataset, or all if it has fewer, as a dataset in the same units."""
    if isinstance(dataset, Points):
        rows = np.array(mx.random.permutation(len(dataset.points), key=key))[:count]
        points, units = dataset.points[rows], dataset.units
    else:
        points = np.array(dataset.sample(count, key), np.float64)
        units = own_units(points, dataset.columns)
    name = f"{len(points):,} point{'s' * (len(points) > 1)} of {dataset.name}"
    return Points.of(name, name, points, replace(units, digest=_digest(points)))


def _digest(points: np.ndarray) -> str:
    return hashlib.sha256(points.astype("<f8").tobytes()).hexdigest()[:16]


def _resampling(points: np.ndarray) -> Callable:
    rows = mx.array(points.astype(np.float32))
    return lambda n, key: rows[mx.random.randint(0, len(points), (n,), key=key)]


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

    return Dataset(name, description, dim, draw, log_prob, Mixture(means, std), **kwargs)


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


def curve(name: str, description: str, position: Callable, std: float = 0.15) -> Dataset:
    """A curve in the plane blurred by a Gaussian: position maps (n,) in [0, 1) to (n, 2)."""

    def draw(n, key):
        place_key, noise_key = mx.random.split(key)
        noise = mx.random.normal((n, 2), key=noise_key)
        return position(stratified(n, place_key)) + std * noise

    def outline(n):
        return Mixture(position((mx.arange(n) + 0.5) / n), std)

    blurred = f"{description}, blurred by a Gaussian of standard deviation {std:g}"
    return Dataset(name, blurred, 2, draw, outline=outline)
