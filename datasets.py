"""Sources and targets: samplers, with log-densities where they are known.

`DATASETS` is what the command line offers on either side of a flow; adding a dataset is adding
an entry. Places and spreads are given in the units of the data; spreads are standard
deviations. A sample of n points is spread evenly over the parts of its distribution
(`randomness.stratified`): each point by itself follows it exactly, and the n together represent
it better than independent ones. Gaussian noise is drawn independently.

`load_points` makes a dataset of a user's own points, which `points.py` reads.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from files.tables import read_points
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
    unchanged = True  # whether it is what it was when it was standardized

    @property
    def columns(self) -> tuple[str, ...]:
        """What its D dimensions are called."""
        return tuple(f"x{d + 1}" for d in range(self.dim))

    def sample(self, n: int, key=None):
        """n points, (n, D) float32."""
        return self.draw(n, as_key(key))

    def sample_exactly(self, n: int, key=None) -> np.ndarray:
        """The same (n, D) as float64, which a user's units may need."""
        return self.restore(self.standardized().sample(n, key))

    def standardized(self) -> "Dataset":
        """The dataset in the units that networks see; these unless it is a user's points."""
        return self

    def restore(self, x) -> np.ndarray:
        """Points (..., D) of `standardized()` in this dataset's own units."""
        return np.asarray(x)

    def standardize(self, x):
        """Points (..., D) of this dataset's units in those of `standardized()`, float32.

        And the logarithm of the volume that a unit of the latter has in the former.
        """
        return mx.array(x, mx.float32), 0.0


@dataclass(frozen=True)
class Points(Dataset):
    """A user's own points, drawn with replacement.

    Attributes:
        points: (M, D) float64.
        mean, scale: (D,) float64, theirs: `standardized()` has mean 0 and standard deviation 1.
        digest: of the points that mean and scale are of.
    """

    points: np.ndarray | None = None
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None
    digest: str = ""

    @property
    def standard_points(self) -> np.ndarray:
        """(M, D), of mean 0 and standard deviation 1."""
        return (self.points - self.mean) / self.scale

    @property
    def unit(self) -> np.ndarray:
        return self.scale

    @property
    def known(self) -> bool:
        return self.points is not None

    @property
    def unchanged(self) -> bool:
        """Whether mean and scale are those of the points, and not of others before them."""
        return self.known and _digest(self.points) == self.digest

    def standardized(self) -> Dataset:
        return replace(self, draw=_resampling(self.standard_points)) if self.known else self

    def restore(self, x) -> np.ndarray:
        return np.asarray(x, np.float64) * self.scale + self.mean

    def standardize(self, x):
        z = (np.asarray(x, np.float64) - self.mean) / self.scale
        return mx.array(z.astype(np.float32)), float(np.log(self.scale).sum())


def load_points(path) -> Points:
    """The user's own points as a dataset: .csv, .npy or .npz, see `points.read_points`.

    Raises:
        ValueError: for a file that cannot be used; one sentence says why.
    """
    points = read_points(path)
    count, dim = points.shape
    return Points(
        name=Path(path).stem,
        description=f"{count:,} points of {path}, drawn with replacement",
        dim=dim,
        draw=_resampling(points),
        points=points,
        mean=points.mean(axis=0),
        scale=points.std(axis=0),
        digest=_digest(points),
    )


def forgotten_points(path, mean, scale, digest) -> Points:
    """A user's points whose file is gone: their units are known, and they cannot be sampled."""

    def draw(n, key):
        raise ValueError(
            f"the file {Path(path).absolute()} is not there, and so neither are its points"
        )

    mean, scale = np.array(mean, np.float64), np.array(scale, np.float64)
    about = {"mean": mean, "scale": scale, "digest": digest}
    return Points(Path(path).stem, f"points of {path}", len(mean), draw, **about)


def a_few_points(dataset: Dataset, count: int, key) -> Points:
    """So many points of a dataset as a dataset of its own, in the same units."""
    name = f"{count:,} points of {dataset.name}"
    if isinstance(dataset, Points):
        rows = np.array(mx.random.permutation(len(dataset.points), key=key))[:count]
        points, mean, scale = dataset.points[rows], dataset.mean, dataset.scale
    else:
        points = np.array(dataset.sample(count, key), np.float64)
        mean, scale = np.zeros(dataset.dim), np.ones(dataset.dim)
    draw = _resampling(points)
    return Points(name, name, dataset.dim, draw, points=points, mean=mean, scale=scale)


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


def _circle(count: int, radius: float):
    angles = [2 * math.pi * k / count for k in range(count)]
    return [[radius * math.cos(angle), radius * math.sin(angle)] for angle in angles]


def _polar(radius, angle):
    return mx.stack([radius * mx.cos(angle), radius * mx.sin(angle)], axis=1)


def _moons(place):
    angle = 2 * math.pi * place
    lower = (place > 0.5).astype(mx.float32)
    return 3 * mx.stack([mx.cos(angle) + lower, mx.sin(angle) + lower / 2], axis=1) - 1


def _scurve(place):
    angle = 3 * math.pi * (place - 0.5)
    return 3 * mx.stack([mx.sin(angle), mx.sign(angle) * (mx.cos(angle) - 1)], axis=1)


def _spirals(place):
    arm, along = _parts(2, place)
    turned = mx.sqrt(along)  # evenly along the arm, nearly
    return _polar(5 * turned, math.pi * (3 * turned + arm))


def _circles(place):
    ring, along = _parts(2, place)
    return _polar(2 + 2 * ring, 2 * math.pi * along)


def _swissroll(place):
    angle = 1.5 * math.pi * (1 + 2 * place)
    return _polar(5 / (4.5 * math.pi) * angle, angle)


def _parts(count: int, place):
    """Which of `count` equal parts of [0, 1) each place is in, and where in it, 0 to 1."""
    part = mx.minimum(mx.floor(count * place), count - 1)
    return part, mx.maximum(count * place - part, 0)


def _draw_pinwheel(n, key):
    arm_key, noise_key = mx.random.split(key)
    arm, _ = _parts(5, stratified(n, arm_key))
    noise = mx.random.normal((n, 2), key=noise_key)
    along, across = 1 + 0.3 * noise[:, 0], 0.1 * noise[:, 1]
    angle = 2 * math.pi / 5 * arm + 0.25 * mx.exp(along)
    return 2 * (_polar(along, angle) + _polar(across, angle + math.pi / 2))


def _draw_checkerboard(n, key):
    square_key, place_key = mx.random.split(key)
    square, _ = _parts(8, stratified(n, square_key))
    row = mx.floor(square / 2)
    column = 2 * (square - 2 * row) + row - 2 * mx.floor(row / 2)
    corner = 2 * mx.stack([column, row], axis=1) - 4
    return corner + 2 * _inside(mx.random.uniform(shape=(n, 2), key=place_key))


def _checkerboard_log_prob(x):
    square = mx.floor((x + 4) / 2)
    inside = mx.all((square >= 0) & (square < 4), axis=1)
    row_and_column = mx.sum(square, axis=1)
    even = row_and_column == 2 * mx.floor(row_and_column / 2)
    return mx.where(inside & even, -math.log(32), -math.inf).astype(x.dtype)


def _inside(place):
    """[0, 1) pulled in by a millionth, or rounding would carry a few points over the edge."""
    return 1e-6 + (1 - 2e-6) * place


def _draw_annulus(n, key):
    angle_key, radius_key = mx.random.split(key)
    angle = 2 * math.pi * stratified(n, angle_key)
    return _polar(2 + _inside(stratified(n, radius_key)), angle)


def _annulus_log_prob(x):
    radius = mx.sqrt(mx.sum(mx.square(x), axis=1))
    inside = (radius >= 2) & (radius <= 3)
    return mx.where(inside, -mx.log(2 * math.pi * radius), -math.inf)


def _four_dimensions():
    """μ and L of `gaussian4d`: numbers from U(0, 1), the same for ever."""
    rng = np.random.default_rng(4)
    return rng.uniform(size=4), np.tril(rng.uniform(size=(4, 4)))


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        standard_normal(2),
        gaussian_mixture(
            "8gaussians",
            "eight Gaussians of variance 0.1, evenly on the circle of radius 5",
            _circle(8, 5.0),
            std=math.sqrt(0.1),
        ),
        curve(
            "moons",
            "two half circles of radius 3, around (−1, −1) and, upside down, (2, 0.5)",
            _moons,
        ),
        Dataset(
            "annulus",
            "radius uniform on [2, 3], angle uniform",
            2,
            _draw_annulus,
            _annulus_log_prob,
        ),
        curve(
            "scurve",
            "an S of two three-quarter circles of radius 3, around (0, 3) and (0, −3)",
            _scurve,
        ),
        Dataset(
            "checkerboard",
            "uniform on 8 of the 16 squares of side 2 that make [−4, 4]², no two of them sharing "
            "an edge",
            2,
            _draw_checkerboard,
            _checkerboard_log_prob,
        ),
        curve(
            "spirals",
            "two opposite arms of Archimedes' spiral, one and a half turns out to radius 5",
            _spirals,
        ),
        Dataset(
            "pinwheel",
            "five arms: Gaussians of mean 2 and standard deviation 0.6 along the arm, 0.2 across, "
            "twisted by the angle exp(radius / 2) / 4 (Johnson et al. 2016)",
            2,
            _draw_pinwheel,
        ),
        curve("circles", "two circles, of radius 2 and 4, as likely", _circles),
        curve(
            "swissroll",
            "one and a half turns of a spiral, from radius 5/3 to radius 5",
            _swissroll,
        ),
        gaussian(
            "gaussian4d",
            "N(μ, L Lᵀ) in four dimensions, μ and the lower triangle of L drawn once from U(0, 1)",
            *_four_dimensions(),
        ),
    )
}
