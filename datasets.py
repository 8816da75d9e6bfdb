"""The datasets that have a name.

`DATASETS` is what the command line offers on either side of a flow; adding a dataset is adding an
entry. A user's own points become one by `load_points`.
"""

import math
from functools import partial

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from data.distributions import (
    Dataset,
    Mixture,
    curve,
    gaussian,
    gaussian_mixture,
    of_parts,
    standard_normal,
)
from machine.keys import stratified
from data.points import Points, Units, a_few_points, load_points

__all__ = ["DATASETS", "Dataset", "Mixture", "Points", "Units", "a_few_points", "curve"]
__all__ += ["gaussian", "gaussian_mixture", "load_points", "standard_normal"]


def _circle(count: int, radius: float):
    angles = [2 * math.pi * k / count for k in range(count)]
    return [[radius * math.cos(angle), radius * math.sin(angle)] for angle in angles]


def _polar(radius, angle):
    return mx.stack([radius * mx.cos(angle), radius * mx.sin(angle)], axis=1)


def _moons(lower, along):
    angle = math.pi * (lower + along)
    return 3 * mx.stack([mx.cos(angle) + lower, mx.sin(angle) + lower / 2], axis=1) - 1


def _scurve(place):
    angle = 3 * math.pi * (place - 0.5)
    return 3 * mx.stack([mx.sin(angle), mx.sign(angle) * (mx.cos(angle) - 1)], axis=1)


def _spirals(arm, along):
    turned = mx.sqrt(along)  # evenly along the arm, nearly
    return _polar(5 * turned, math.pi * (3 * turned + arm))


def _circles(ring, along):
    return _polar(2 + 2 * ring, 2 * math.pi * along)


def _swissroll(place):
    angle = 1.5 * math.pi * (1 + 2 * place)
    return _polar(5 / (4.5 * math.pi) * angle, angle)


def _pinwheel(arm, _, key):
    noise = mx.random.normal((len(arm), 2), key=key)
    along, across = 1 + 0.3 * noise[:, 0], 0.1 * noise[:, 1]
    angle = 2 * math.pi / 5 * arm + 0.25 * mx.exp(along)
    return 2 * (_polar(along, angle) + _polar(across, angle + math.pi / 2))


COMPASS = ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast")
SQUARES = ("a1", "c1", "b2", "d2", "a3", "c3", "b4", "d4")  # the dark ones, as in chess


def _corner(square):
    """The lower left corner of one of the `SQUARES` of [−4, 4]²."""
    row = mx.floor(square / 2)
    column = 2 * (square - 2 * row) + row - 2 * mx.floor(row / 2)
    return 2 * mx.stack([column, row], axis=-1) - 4


def _checkerboard(square, _, key):
    return _corner(square) + 2 * _inside(mx.random.uniform(shape=(len(square), 2), key=key))


def _square_log_prob(square, x):
    place = x - _corner(mx.array(float(square)))
    inside = mx.all((place >= 0) & (place < 2), axis=1)
    return mx.where(inside, -math.log(4), -math.inf).astype(x.dtype)


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
            parts=COMPASS,
        ),
        curve(
            "moons",
            "two half circles of radius 3, around (−1, −1) and, upside down, (2, 0.5)",
            _moons,
            parts=("upper", "lower"),
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
        of_parts(
            "checkerboard",
            "uniform on 8 of the 16 squares of side 2 that make [−4, 4]², no two of them sharing "
            "an edge",
            2,
            _checkerboard,
            SQUARES,
            lambda square: {"log_prob": partial(_square_log_prob, square)},
            log_prob=_checkerboard_log_prob,
        ),
        curve(
            "spirals",
            "two opposite arms of Archimedes' spiral, one and a half turns out to radius 5",
            _spirals,
            parts=("1", "2"),
        ),
        of_parts(
            "pinwheel",
            "five arms: Gaussians of mean 2 and standard deviation 0.6 along the arm, 0.2 across, "
            "twisted by the angle exp(radius / 2) / 4 (Johnson et al. 2016)",
            2,
            _pinwheel,
            ("1", "2", "3", "4", "5"),
            lambda arm: {},
        ),
        curve(
            "circles",
            "two circles, of radius 2 and 4, as likely",
            _circles,
            parts=("inner", "outer"),
        ),
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
