import math

import mlx.core as mx
import numpy as np
import pytest

from datasets import DATASETS, a_few_points, load_points, standard_normal
from machine.keys import as_key, step_key, stratified

N = 40_000


def points(name, seed=0, n=N):
    return np.array(DATASETS[name].sample(n, mx.random.key(seed)), np.float64)


# closed forms: mean, covariance
CIRCLE = 25 / 2 + 0.1  # variance of a point on a circle of radius 5, blurred by variance 0.1
MOMENTS = {
    "normal": ([0, 0], np.eye(2)),
    "8gaussians": ([0, 0], CIRCLE * np.eye(2)),
    # half circles of radius 3: E cos = 0, E sin = ±2/π, E cos² = E sin² = 1/2
    "moons": (
        [0.5, -0.25],
        [
            [9 / 2 + 9 / 4 + 0.15**2, 9 / 2 * (1 / 4 - 2 / math.pi)],
            [9 / 2 * (1 / 4 - 2 / math.pi), 9 / 2 + 9 / 16 - 9 / math.pi + 0.15**2],
        ],
    ),
    # E r² = 19/3 for r uniform on [2, 3]
    "annulus": ([0, 0], 19 / 6 * np.eye(2)),
    # ∫ over a from −3π/2 to 3π/2 of 3 (sin a, ±(cos a − 1))
    "scurve": (
        [0, 0],
        [
            [9 / 2 + 0.15**2, -3 / math.pi],
            [-3 / math.pi, 9 * (3 / 2 + 4 / (3 * math.pi)) + 0.15**2],
        ],
    ),
    # uniform in both coordinates; the squares' centres have mean product 1
    "checkerboard": ([0, 0], [[16 / 3, 1], [1, 16 / 3]]),
    # E r² = 4 (1 + 0.3² + 0.1²)
    "pinwheel": ([0, 0], 2.2 * np.eye(2)),
    "circles": ([0, 0], (5 + 0.15**2) * np.eye(2)),
}


def curve_moments(position):
    """By quadrature, of a curve (n,) → (n, 2) over [0, 1] blurred by 0.15."""
    x = position((np.arange(100_000) + 0.5) / 100_000)
    return x.mean(axis=0), np.cov(x.T) + 0.15**2 * np.eye(2)


def spirals(u):
    angle = 3 * np.pi * np.sqrt(u)
    arm = 5 * np.sqrt(u) * np.stack([np.cos(angle), np.sin(angle)])
    return np.concatenate([arm, -arm], axis=1).T


def swissroll(u):
    angle = 1.5 * np.pi * (1 + 2 * u)
    return (angle / (0.9 * np.pi) * np.stack([np.cos(angle), np.sin(angle)])).T


MOMENTS["spirals"] = curve_moments(spirals)
MOMENTS["swissroll"] = curve_moments(swissroll)
RNG = np.random.default_rng(4)
MU, FACTOR = RNG.uniform(size=4), np.tril(RNG.uniform(size=(4, 4)))
MOMENTS["gaussian4d"] = MU, FACTOR @ FACTOR.T


def test_no_moments_are_left_over():
    """A dataset without them here is tested by what holds for all of them."""
    assert MOMENTS.keys() <= DATASETS.keys()


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    mean, covariance = MOMENTS[name]
    x = points(name)
    spread = np.sqrt(np.max(covariance))
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 * spread / math.sqrt(N))
    tolerance = 6 * spread**2 / math.sqrt(N)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=tolerance)


@pytest.mark.parametrize("name", DATASETS)
def test_samples(name):
    dataset = DATASETS[name]
    assert dataset.name == name
    assert dataset.description
    x = dataset.sample(5, mx.random.key(3))
    assert x.shape == (5, dataset.dim)
    assert x.dtype == mx.float32
    assert mx.array_equal(x, dataset.sample(5, mx.random.key(3)))
    assert not mx.array_equal(x, dataset.sample(5, mx.random.key(4)))
    assert dataset.sample(1).shape == (1, dataset.dim)
    mx.random.seed(7)
    first, second = dataset.sample(5), dataset.sample(5)
    assert not mx.array_equal(first, second)
    mx.random.seed(7)
    assert mx.array_equal(first, dataset.sample(5))


@pytest.mark.parametrize("name", DATASETS)
def test_the_order_of_a_sample_is_random(name):
    """Any part of a sample is a sample: the two halves have the same moments."""
    x = points(name)
    first, second = x[: N // 2].mean(axis=0), x[N // 2 :].mean(axis=0)
    spread = np.sqrt(np.max(np.var(x, axis=0)))
    np.testing.assert_allclose(first, second, atol=9 * spread / math.sqrt(N))


@pytest.mark.parametrize("name", DATASETS)
def test_pairs_of_samples_are_independent(name):
    x, y = points(name, 0), points(name, 1)
    spread = np.max(np.var(x, axis=0))
    cross = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0)) / N
    assert np.abs(cross).max() < 5 * spread / math.sqrt(N)


PLANAR_DENSITIES = [name for name, data in DATASETS.items() if data.log_prob and data.dim == 2]


@pytest.mark.parametrize("name", PLANAR_DENSITIES)
def test_log_prob_integrates_to_one_and_matches_the_sample(name):
    log_prob = DATASETS[name].log_prob
    cells = 801
    axis = np.linspace(-8, 8, cells)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(np.array(log_prob(mx.array(grid, mx.float32)), np.float64))
    area = (axis[1] - axis[0]) ** 2
    assert density.sum() * area == pytest.approx(1, abs=5e-3)
    # the fraction of a sample in a box, against the density's integral over it
    box = (grid[:, 0] > 0.5) & (grid[:, 1] > -0.5)
    x = points(name)
    fraction = np.mean((x[:, 0] > 0.5) & (x[:, 1] > -0.5))
    assert fraction == pytest.approx(density[box].sum() * area, abs=0.012)


def test_log_prob_of_normal_against_scipy():
    from scipy.stats import multivariate_normal

    x = points("normal", n=50)
    expected = multivariate_normal(np.zeros(2)).logpdf(x)
    got = DATASETS["normal"].log_prob(mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), expected, atol=1e-5)
    assert DATASETS["normal"].standard_normal


def test_log_prob_of_8gaussians_against_numpy():
    x = points("8gaussians", n=50) + 0.3
    angles = np.arange(8) * np.pi / 4
    means = 5 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    squares = ((x[:, None] - means) ** 2).sum(axis=-1)
    expected = np.log(np.mean(np.exp(-squares / 0.2) / (0.2 * np.pi), axis=1))
    got = DATASETS["8gaussians"].log_prob(mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-4)


def test_log_prob_of_gaussian4d_against_scipy():
    from scipy.stats import multivariate_normal

    x = points("gaussian4d", n=50)
    expected = multivariate_normal(MU, FACTOR @ FACTOR.T).logpdf(x)
    got = DATASETS["gaussian4d"].log_prob(mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-4, atol=1e-4)


def test_densities_that_must_be_there():
    known = {name for name, data in DATASETS.items() if data.log_prob}
    assert {"normal", "8gaussians", "annulus", "checkerboard", "gaussian4d"} <= known


def test_checkerboard_has_its_squares():
    x = points("checkerboard")
    square = np.floor((x + 4) / 2).astype(int)
    assert square.min() == 0
    assert square.max() == 3
    assert np.all(square.sum(axis=1) % 2 == 0)
    counts = np.unique(square, axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert np.all(counts == N // 8)
    log_prob = DATASETS["checkerboard"].log_prob
    assert np.all(np.array(log_prob(mx.array(x, mx.float32))) == np.float32(-np.log(32)))
    outside = mx.array([[-3.0, -1.0], [5.0, 5.0], [-5.0, -5.0]])
    assert np.all(np.array(log_prob(outside)) == -np.inf)


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].outline])
def test_outlines_are_the_datasets_nearly(name):
    """Kolmogorov–Smirnov between a dataset and the mixture that stands for it."""
    from scipy.stats import ks_2samp

    outline = DATASETS[name].outline(1024)
    rng = np.random.default_rng(0)
    centres = np.array(outline.means)[rng.integers(0, 1024, N)]
    x, y = points(name), centres + outline.std * rng.normal(size=(N, 2))
    for direction in ([1, 0], [0, 1], [0.6, 0.8]):
        assert ks_2samp(x @ direction, y @ direction).statistic < 0.015


@pytest.mark.parametrize("dim", [1, 3])
def test_standard_normal_in_any_dimension(dim):
    normal = standard_normal(dim)
    x = normal.sample(20_000, mx.random.key(0))
    assert x.shape == (20_000, dim)
    np.testing.assert_allclose(np.cov(np.array(x).T), np.eye(dim).squeeze(), atol=0.04)
    expected = -dim / 2 * math.log(2 * math.pi) - np.sum(np.array(x) ** 2, axis=1) / 2
    np.testing.assert_allclose(np.array(normal.log_prob(x)), expected, atol=1e-4)


def test_points_are_drawn_with_replacement(tmp_path):
    table = np.array([[1.0, 10.0], [2.0, 30.0], [4.0, 50.0]])
    np.save(tmp_path / "p.npy", table)
    data = load_points(tmp_path / "p.npy")
    assert (data.name, data.dim, data.log_prob) == ("p", 2, None)
    x = np.array(data.sample(3000, mx.random.key(0)))
    rows, counts = np.unique(x, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, table)
    assert np.all(np.abs(counts - 1000) < 130)
    assert mx.array_equal(data.sample(9, mx.random.key(1)), data.sample(9, mx.random.key(1)))


def test_points_are_standardized_and_mapped_back(tmp_path):
    """Far from 0 and of very different scales, where float32 alone would lose them."""
    rng = np.random.default_rng(0)
    table = np.stack([1e9 + rng.normal(size=500), 1e-4 * rng.normal(size=500)], axis=1)
    np.save(tmp_path / "p.npy", table)
    data = load_points(tmp_path / "p.npy")
    z = data.standardized().sample(20_000, mx.random.key(0))
    np.testing.assert_allclose(np.array(z).mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.array(z).std(axis=0), 1, atol=0.03)
    back = data.standardized().restore(data.standard_points)
    np.testing.assert_allclose(back, table, rtol=1e-15, atol=1e-6)
    assert DATASETS["moons"].standardized() is DATASETS["moons"]


def test_a_few_points(tmp_path):
    few = a_few_points(DATASETS["gaussian4d"], 7, mx.random.key(0))
    assert few.points.shape == (7, 4)
    np.testing.assert_array_equal(few.standard_points, few.points)
    np.save(tmp_path / "p.npy", np.arange(20.0).reshape(10, 2))
    data = load_points(tmp_path / "p.npy")
    all_of_them = a_few_points(data, 10, mx.random.key(0))
    np.testing.assert_array_equal(np.sort(all_of_them.points, axis=0), data.points)
    some = a_few_points(data, 4, mx.random.key(0))
    assert len({tuple(row) for row in some.points}) == 4
    np.testing.assert_array_equal(some.mean, data.mean)


def test_annulus_is_between_its_radii():
    radius = np.hypot(*points("annulus").T)
    assert radius.min() >= 2 - 1e-5
    assert radius.max() <= 3 + 1e-5
    assert np.mean(radius < 2.25) == pytest.approx(0.25, abs=1e-3)
    outside = mx.array([[0.0, 0.0], [1.9, 0.0], [0.0, 3.1]])
    assert np.all(np.array(DATASETS["annulus"].log_prob(outside)) == -np.inf)


def test_moons_lie_on_their_half_circles():
    x = points("moons")
    upper = np.abs(np.hypot(x[:, 0] + 1, x[:, 1] + 1) - 3)
    lower = np.abs(np.hypot(x[:, 0] - 2, x[:, 1] - 0.5) - 3)
    assert np.quantile(np.minimum(upper, lower), 0.999) < 4 * 0.15


def test_stratified_numbers_are_even_and_shuffled():
    u = np.array(stratified(1000, mx.random.key(0)))
    assert np.array_equal(np.sort(np.floor(u * 1000)), np.arange(1000))
    assert abs(np.corrcoef(u, np.arange(1000))[0, 1]) < 0.1
    means = [np.array(stratified(1, mx.random.key(k)))[0] for k in range(400)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.06)


def test_keys():
    keys = {tuple(step_key(seed, n).tolist()) for seed in (0, 1, 2**31 - 1) for n in range(5)}
    assert len(keys) == 15
    key = mx.random.key(5)
    assert as_key(key) is key
    assert not mx.array_equal(as_key(), as_key())
