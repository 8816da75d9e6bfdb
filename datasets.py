"""The datasets that have a name, and a user's own points.

`DATASETS` is what the command line offers on either side of a flow; adding a dataset is adding an
entry. `load_points` makes a dataset of a file.
"""

import math
import re
from pathlib import Path

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from distributions import (
    Dataset,
    Mixture,
    Points,
    Units,
    a_few_points,
    curve,
    gaussian,
    gaussian_mixture,
    own_units,
    standard_normal,
    units_of,
)
from files.tables import read_table
from machine.keys import stratified

__all__ = ["DATASETS", "Dataset", "Mixture", "Points", "Units", "a_few_points", "curve"]
__all__ += ["gaussian", "gaussian_mixture", "load_points", "standard_normal"]

LONGEST_NAME = 40  # letters of a file's name, since file systems have a limit, of 255 bytes mostly


def load_points(path, columns=None, units: Units | None = None, standard: bool = True) -> Points:
    """The points of a file as a dataset: .csv, .npy or .npz, see `files.tables.read_table`.

    Args:
        path: the file.
        columns: names or numbers, from 1, of the columns that are the points; all if None.
        units: those in which a network has seen the points that were in this file. Then these are
            the dataset's, whatever is in the file now; and a file that is not there any more gives
            a dataset that knows its units and cannot be sampled.
        standard: without `units`, whether networks shall see mean 0 and standard deviation 1 in
            every column; otherwise they see the points as they are.

    Raises:
        ValueError: for a file that cannot be used; one sentence says why.
    """
    path = Path(path)
    if units and not path.exists():
        return _forgotten(path, units)
    points, names = read_table(path, columns)
    count, dim = points.shape
    if units and len(units.mean) != dim:
        raise ValueError(
            f"the number of columns of '{path}' is {dim} now, and was {len(units.mean)} in training"
        )
    about = f"{count:,} points of {path}, drawn with replacement"
    made = units or (units_of if standard else own_units)(points, names)
    return Points.of(name_of(path), about, points, made)


def name_of(path) -> str:
    """What the points of a file are called, in figures and in other files' names: its own name,
    cut where it is long, without what is no text.
    """
    name = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", Path(path).stem)
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _forgotten(path: Path, units: Units) -> Points:
    def draw(n, key):
        raise ValueError(f"the file {path.absolute()} is not there, and so neither are its points")

    return Points(name_of(path), f"points of {path}", len(units.mean), draw, units=units)


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
