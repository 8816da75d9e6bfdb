"""Paths and velocities, recomputed in numpy float64 from the papers' formulas."""

import math

import mlx.core as mx
import numpy as np
import pytest

from cfm import METHODS

SIGMA = 0.3

# name → (t, x0, x1, ε) → (xt, ut), as printed in the papers
FORMULAS = {
    "cfm": lambda t, x0, x1, e: (t * x1 + (1 - t) * x0 + SIGMA * e, x1 - x0),
    "vp": lambda t, x0, x1, e: (
        np.cos(np.pi * t / 2) * x0 + np.sin(np.pi * t / 2) * x1 + SIGMA * e,
        np.pi / 2 * (np.cos(np.pi * t / 2) * x1 - np.sin(np.pi * t / 2) * x0),
    ),
    "fm": lambda t, x0, x1, e: ((1 - (1 - SIGMA) * t) * x0 + t * x1, x1 - (1 - SIGMA) * x0),
}
STD = {"cfm": SIGMA, "vp": SIGMA, "fm": 0.0}


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 7)[:, None]
    return t, *rng.normal(size=(3, 7, 2))


def to_mlx(*arrays):
    return [mx.array(array, mx.float32) for array in arrays]


def test_every_method_is_tested():
    assert METHODS.keys() == FORMULAS.keys() == STD.keys()


@pytest.mark.parametrize("name", METHODS)
def test_path_and_velocity(name, draws):
    xt, ut = METHODS[name](sigma=SIGMA).sample(*to_mlx(*draws))
    expected_xt, expected_ut = FORMULAS[name](*draws)
    np.testing.assert_allclose(np.array(xt), expected_xt, atol=1e-6)
    np.testing.assert_allclose(np.array(ut), expected_ut, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_velocity_is_the_time_derivative_of_the_path(name, draws):
    t, *rest = draws
    step, inside = 1e-2, np.clip(t, 0.05, 0.95)
    method = METHODS[name](sigma=SIGMA)
    ahead, _ = method.sample(*to_mlx(inside + step, *rest))
    behind, _ = method.sample(*to_mlx(inside - step, *rest))
    _, ut = method.sample(*to_mlx(inside, *rest))
    slope = (np.array(ahead, np.float64) - np.array(behind, np.float64)) / (2 * step)
    np.testing.assert_allclose(np.array(ut), slope, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_mean_and_std(name, draws):
    t, x0, x1, _ = draws
    method = METHODS[name](sigma=SIGMA)
    expected, _ = FORMULAS[name](t, x0, x1, 0)
    np.testing.assert_allclose(np.array(method.mean(*to_mlx(t, x0, x1))), expected, atol=1e-6)
    np.testing.assert_allclose(np.array(method.std(mx.array(t, mx.float32))), STD[name])


@pytest.mark.parametrize("name", METHODS)
def test_the_three_shapes_of_time(name, draws):
    _, x0, x1, noise = draws
    x0, x1, noise = to_mlx(x0, x1, noise)
    method = METHODS[name]()
    column = method.sample(mx.full((7, 1), 0.3), x0, x1, noise)
    for t in (mx.full((7,), 0.3), mx.array(0.3), 0.3):
        for got, expected in zip(method.sample(t, x0, x1, noise), column, strict=True):
            assert mx.array_equal(got, expected)
        assert mx.array_equal(method.mean(t, x0, x1), method.mean(mx.full((7, 1), 0.3), x0, x1))
    assert method.std(0.3).shape == ()


@pytest.mark.parametrize("name", METHODS)
def test_paths_join_source_to_target(name, draws):
    _, x0, x1, noise = to_mlx(*draws)
    method = METHODS[name](sigma=0.0)
    start, _ = method.sample(0.0, x0, x1, noise)
    end, _ = method.sample(1.0, x0, x1, noise)
    np.testing.assert_allclose(np.array(start), np.array(x0), atol=1e-6)
    np.testing.assert_allclose(np.array(end), np.array(x1), atol=1e-6)


def test_default_sigmas():
    assert {name: make().sigma for name, make in METHODS.items()} == {
        "cfm": 0.1,
        "vp": 0.0,
        "fm": 1e-3,
    }
    assert METHODS["vp"](sigma=0.2).sigma == 0.2


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_senseless_sigma(sigma):
    with pytest.raises(ValueError, match="sigma must be"):
        METHODS["cfm"](sigma)


def test_couple_is_the_identity():
    x0, x1 = mx.zeros((4, 2)), mx.ones((4, 2))
    assert METHODS["cfm"]().couple(x0, x1) == (x0, x1)


def test_loss_is_the_mean_over_batch_and_dimensions():
    """With x0 = 0 and x1 = (3, 4) cfm's velocity is x1; a model that says (1, 1) misses it by
    (2, 3)."""
    x0, x1 = mx.zeros((8, 2)), mx.broadcast_to(mx.array([3.0, 4.0]), (8, 2))
    loss = METHODS["cfm"]().loss(lambda t, x: mx.ones_like(x), x0, x1, mx.random.key(0))
    assert loss.item() == pytest.approx((2**2 + 3**2) / 2)


def test_loss_shows_the_model_points_of_the_path():
    """A model that knows x1 = 2 x0 + 1 solves for x0 from xt, and so has loss 0."""

    def oracle(t, xt):
        x0 = (xt - t) / (1 + t)
        return x0 + 1

    x0 = mx.random.normal((64, 2), key=mx.random.key(1))
    loss = METHODS["cfm"](sigma=0.0).loss(oracle, x0, 2 * x0 + 1, mx.random.key(2))
    assert loss.item() < 1e-10


def test_loss_spreads_its_times_evenly_and_draws_anew():
    seen = []

    def spy(t, x):
        seen.append(np.array(t)[:, 0])
        return x

    x = mx.zeros((100, 2))
    method = METHODS["cfm"]()
    for key in (mx.random.key(0), mx.random.key(0), mx.random.key(1), None, None):
        method.loss(spy, x, x, key)
    for t in seen:
        assert np.array_equal(np.floor(np.sort(t) * 100), np.arange(100))
    assert np.array_equal(seen[0], seen[1])
    distinct = {tuple(t) for t in seen}
    assert len(distinct) == 4
    assert math.isclose(np.mean(seen), 0.5, abs_tol=0.01)
