import math

import mlx.core as mx
import numpy as np
import pytest

from datasets import DATASETS
from randomness import as_key, step_key, stratified

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
}


def test_every_dataset_is_tested():
    assert MOMENTS.keys() == DATASETS.keys()


@pytest.mark.parametrize("name", DATASETS)
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
    """Any part of a sample is a sample: the first half has the moments of the whole."""
    x = points(name)[: N // 2]
    mean, covariance = MOMENTS[name]
    spread = np.sqrt(np.max(covariance))
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=6 * spread / math.sqrt(N))


@pytest.mark.parametrize("name", DATASETS)
def test_pairs_of_samples_are_independent(name):
    x, y = points(name, 0), points(name, 1)
    spread = np.max(MOMENTS[name][1])
    cross = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0)) / N
    assert np.abs(cross).max() < 5 * spread / math.sqrt(N)


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].log_prob])
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
