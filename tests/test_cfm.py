"""What holds for every method, and the papers' formulas recomputed in numpy float64."""

import math
import re

import mlx.core as mx
import numpy as np
import pytest
from scipy.stats import kstest

from cfm import METHODS, rectified

SIGMA = 0.3

# name → (t, x0, x1, ε) → (xt, ut), as printed in the papers
FORMULAS = {
    "cfm": lambda t, x0, x1, e: (t * x1 + (1 - t) * x0 + SIGMA * e, x1 - x0),
    "vp": lambda t, x0, x1, e: (
        np.cos(np.pi * t / 2) * x0 + np.sin(np.pi * t / 2) * x1 + SIGMA * e,
        np.pi / 2 * (np.cos(np.pi * t / 2) * x1 - np.sin(np.pi * t / 2) * x0),
    ),
    "fm": lambda t, x0, x1, e: ((1 - (1 - SIGMA) * t) * x0 + t * x1, x1 - (1 - SIGMA) * x0),
    "ot": lambda t, x0, x1, e: (t * x1 + (1 - t) * x0 + SIGMA * e, x1 - x0),
    "sb": lambda t, x0, x1, e: (
        t * x1 + (1 - t) * x0 + SIGMA * np.sqrt(t * (1 - t)) * e,
        x1 - x0 + SIGMA * e * bridge_slope(t),
    ),
    "poly": lambda t, x0, x1, e: (t**2 * x1 + (1 - t**2) * x0 + SIGMA * e, 2 * t * (x1 - x0)),
    "cosine": lambda t, x0, x1, e: (
        (1 - np.cos(np.pi * t)) / 2 * x1 + (1 + np.cos(np.pi * t)) / 2 * x0 + SIGMA * e,
        np.pi / 2 * np.sin(np.pi * t) * (x1 - x0),
    ),
}
STD = dict.fromkeys(FORMULAS, lambda t: SIGMA) | {
    "fm": lambda t: 0.0,
    "sb": lambda t: SIGMA * np.sqrt(t * (1 - t)),
}


def bridge_slope(t):
    """d/dt √(t(1 − t)), held from a thousandth before the ends on."""
    t = np.clip(t, 1e-3, 1 - 1e-3)
    return (1 - 2 * t) / (2 * np.sqrt(t * (1 - t)))


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 7)[:, None]
    return t, *rng.normal(size=(3, 7, 2))


def to_mlx(*arrays):
    return [mx.array(array, mx.float32) for array in arrays]


@pytest.mark.parametrize("name", FORMULAS)
def test_path_and_velocity(name, draws):
    xt, ut = METHODS[name](sigma=SIGMA).sample(*to_mlx(*draws))
    expected_xt, expected_ut = FORMULAS[name](*draws)
    np.testing.assert_allclose(np.array(xt), expected_xt, atol=1e-6)
    np.testing.assert_allclose(np.array(ut), expected_ut, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_velocity_is_the_time_derivative_of_the_path(name, draws, cpu):
    """By differences in float64 between the ends, and finite and without a jump up to them."""
    method, (t, *rest) = METHODS[name](sigma=SIGMA), draws

    def at(t):
        sampled = method.sample(*(mx.array(part, mx.float64) for part in (t, *rest)))
        return [np.array(part) for part in sampled]

    step, inside = 1e-3, np.clip(t, 0.05, 0.95)
    slope = (at(inside + step)[0] - at(inside - step)[0]) / (2 * step)
    np.testing.assert_allclose(at(inside)[1], slope, atol=1e-3)
    for end, near in ((0.0, 1e-5), (1.0, 1 - 1e-5)):
        _, ut = at(0 * t + end)
        assert np.isfinite(ut).all()
        np.testing.assert_allclose(ut, at(0 * t + near)[1], atol=1e-3)


@pytest.mark.parametrize("name", FORMULAS)
def test_mean_and_std(name, draws):
    t, x0, x1, _ = draws
    method = METHODS[name](sigma=SIGMA)
    expected, _ = FORMULAS[name](t, x0, x1, 0)
    np.testing.assert_allclose(np.array(method.mean(*to_mlx(t, x0, x1))), expected, atol=1e-6)
    std = method.std(mx.array(t, mx.float32))
    assert std.shape == t.shape
    np.testing.assert_allclose(np.array(std), STD[name](t) + 0 * t, atol=1e-6)


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


def test_defaults():
    made = {name: METHODS[name]() for name in FORMULAS}
    assert {name: (method.sigma, method.coupling.name) for name, method in made.items()} == {
        "cfm": (0.1, "independent"),
        "vp": (0.0, "independent"),
        "fm": (1e-3, "independent"),
        "ot": (0.1, "ot"),
        "sb": (0.5, "entropic"),
        "poly": (0.0, "independent"),
        "cosine": (0.0, "independent"),
    }
    assert [name for name, method in made.items() if method.normal_source] == ["fm"]
    assert METHODS["vp"](sigma=0.2).sigma == 0.2
    assert METHODS["vp"](coupling="ot").coupling.name == "ot"
    assert METHODS["sb"](coupling="independent").coupling.name == "independent"


def test_default_regularizations():
    """0.5, and 2σ² in a bridge (Tong et al. 2024, Prop. 3.5): not the pairs of others."""
    x0, x1 = mx.random.normal((2, 200, 2), key=mx.random.key(0))

    def pairs(name, *sigma, **how):
        return METHODS[name](*sigma, **how).couple(x0, x1, mx.random.key(1))[1]

    for default, regularization in (
        (pairs("cfm", coupling="entropic"), 0.5),
        (pairs("sb"), 0.5),
        (pairs("sb", 0.8), 1.28),
    ):
        same, other = (
            pairs("cfm", coupling="entropic", regularization=factor * regularization)
            for factor in (1, 1.2)
        )
        assert mx.array_equal(default, same) and not mx.array_equal(default, other)


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_senseless_sigma(sigma):
    with pytest.raises(ValueError, match="sigma must be"):
        METHODS["cfm"](sigma)


def test_methods_say_what_they_are():
    assert METHODS["cfm"]().about == (
        "α = t, β = 1 − t, σ constant: straight tubes of width σ (Tong et al. 2024, eq. 14–15)"
    )
    for name in FORMULAS:
        assert re.match(r"α = .+, β = .+, σ.+: .*[^.]$", METHODS[name]().about), name


def test_the_power_of_poly():
    t, x0, x1 = mx.array([0.5]), mx.zeros((1, 2)), mx.ones((1, 2))
    xt, ut = METHODS["poly"](power=3).sample(t, x0, x1, x0)
    np.testing.assert_allclose(np.array(xt), 0.5**3)
    np.testing.assert_allclose(np.array(ut), 3 * 0.5**2)
    xt, ut = METHODS["poly"](power=1).sample(t, x0, x1, x0)  # straight at an even pace
    np.testing.assert_allclose(np.array([xt, ut]), [x1 / 2, x1])
    with pytest.raises(ValueError, match="power must be"):
        METHODS["poly"](power=0.5)
    with pytest.raises(ValueError, match="cfm has no power"):
        METHODS["cfm"](power=2)


def test_the_paths_of_reflow_are_straight_and_without_noise(draws):
    t, x0, x1, noise = draws
    xt, ut = rectified().sample(*to_mlx(t, x0, x1, noise))
    np.testing.assert_allclose(np.array(xt), t * x1 + (1 - t) * x0, atol=1e-6)
    np.testing.assert_allclose(np.array(ut), x1 - x0, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_marginals_of_independent_pairs_in_closed_form(name):
    """xt has mean α μ1 + β μ0 and covariance α² Σ1 + β² Σ0 + σ² I."""
    method = METHODS[name](sigma=SIGMA, coupling="independent")
    x0, x1, noise = mx.random.normal((3, 40_000, 2), key=mx.random.key(0))
    mean1, factor = mx.array([2.0, -1.0]), mx.array([[1.5, 0.5], [0.0, 0.7]])
    x1 = mean1 + x1 @ factor
    for t in (0.0, 0.2, 0.5, 0.9, 1.0):
        alpha, beta = (method.mean(t, mx.array(a), mx.array(1 - a)).item() for a in (0.0, 1.0))
        xt = np.array(method.sample(t, x0, x1, noise)[0], np.float64)
        np.testing.assert_allclose(xt.mean(axis=0), alpha * np.array(mean1), atol=0.03)
        covariance = alpha**2 * np.array(factor.T @ factor)
        covariance += (beta**2 + method.std(t).item() ** 2) * np.eye(2)
        np.testing.assert_allclose(np.cov(xt.T), covariance, atol=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_the_noise_of_the_loss_is_standard_normal(name):
    """Between pairs of zeros xt is σ(t) ε, which leaves N(0, 1) once σ(t) is taken off."""
    method, seen = METHODS[name](sigma=SIGMA), []
    x = mx.zeros((2000, 2))
    method.pair_loss(lambda t, xt: seen.extend((t, xt)) or xt, x, x, mx.random.key(0))
    t, xt = seen
    if method.schedule.sigma is None:
        assert not mx.any(xt)
        return
    noise = np.array(xt / method.std(t))
    for column in (*noise.T, *noise[:1000].T, *noise[1000:].T):  # so at early and at late times
        assert kstest(column, "norm").pvalue > 1e-3


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
