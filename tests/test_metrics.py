from itertools import permutations

import mlx.core as mx
import numpy as np
import pytest

from cfm import METHODS
from datasets import DATASETS
from metrics import (
    energy_and_displacement,
    error_over_time,
    flow_distances,
    normalized_path_energy,
    path_energy,
    quoted,
    straightness,
    w2_squared,
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_w2_squared_against_all_pairings(seed, dim):
    a, b = np.random.default_rng(seed).normal(size=(2, 6, dim))
    best = min(((a - b[list(order)]) ** 2).sum(axis=1).mean() for order in permutations(range(6)))
    assert w2_squared(mx.array(a, mx.float32), mx.array(b, mx.float32)) == pytest.approx(
        best, rel=1e-5
    )


def test_w2_squared_of_a_shift():
    a = np.random.default_rng(0).normal(size=(50, 2))
    assert w2_squared(a, a[::-1] + np.array([3.0, 4.0])) == pytest.approx(25)
    assert w2_squared(a, a) == 0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((3, 2)), np.zeros((4, 2))),
        (np.zeros(3), np.zeros(3)),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.full((3, 2), np.nan), np.zeros((3, 2))),
    ],
)
def test_w2_squared_refuses(a, b):
    with pytest.raises(ValueError, match="w2_squared takes"):
        w2_squared(a, b)


def test_flow_distances_of_flows_known():
    """The identity from moons to moons is as good as it gets; a shift by (1, 2) adds 5 to W2²."""
    moons, keys = DATASETS["moons"], mx.random.split(mx.random.key(0), 4)
    same = flow_distances(lambda x0: x0, moons, moons, 256, keys)
    assert same.to_target == pytest.approx(same.best, rel=0.3)
    assert 0 < same.error < same.best
    shifted = flow_distances(lambda x0: x0 + mx.array([1.0, 2.0]), moons, moons, 256, keys)
    assert shifted.to_target == pytest.approx(5, rel=0.1)
    assert shifted.best == same.best
    assert flow_distances(lambda x0: x0, moons, moons, 64, keys[:1]).error == 0


def test_path_energy_of_a_rotation():
    """Points at radius r turned by the angle ω have E‖v‖² = ω² r² at all times."""
    x0 = 3 * mx.array([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
    turn = mx.array([[0.0, 2.0], [-2.0, 0.0]])
    energy = path_energy(lambda t, x: x @ turn, x0, rtol=1e-7, atol=1e-7)
    assert energy == pytest.approx(2**2 * 3**2, rel=1e-5)


def test_path_energy_of_a_hurried_shift():
    """A shift by 3 at the pace 2t covers the same way with energy 9 · ∫ (2t)² dt = 12."""
    x0 = mx.zeros((5, 1))
    assert path_energy(lambda t, x: 6 * t + 0 * x, x0) == pytest.approx(12, rel=1e-4)


def test_normalized_path_energy():
    """A straight shift is optimal transport; the hurried one spends a third more than W2²."""
    x0 = DATASETS["moons"].sample(100, mx.random.key(0))
    x1 = x0 + mx.array([3.0, 0.0])
    way = mx.array([3.0, 0.0])
    straight = normalized_path_energy(lambda t, x: way + 0 * x, x0, x1)
    hurried = normalized_path_energy(
        lambda t, x: 2 * t * way + 0 * x, x0, x1, solver="rk4", steps=9
    )
    assert straight == pytest.approx(0, abs=1e-5)
    assert hurried == pytest.approx(1 / 3, rel=1e-5)


def test_straightness_of_paths_known():
    """Zero at constant speed; of v = 2tc, ∫ (2t − 1)² dt |c|² = |c|² / 3; of a turn, also known."""
    x0 = mx.random.normal((200, 2), key=mx.random.key(0))
    c = mx.array([3.0, -4.0])
    assert straightness(lambda t, x: c + 0 * x, x0) == pytest.approx(0, abs=1e-4)
    assert straightness(lambda t, x: 2 * t * c + 0 * x, x0) == pytest.approx(25 / 3, rel=1e-4)
    turn = mx.array([[0.0, 1.0], [-1.0, 0.0]])
    square = float(mx.mean(mx.sum(x0 * x0, axis=1)))
    expected = (1 - (2 - 2 * np.cos(1))) * square  # of a quarter and more: speed² − chord²
    assert straightness(lambda t, x: x @ turn, x0) == pytest.approx(expected, rel=1e-3)


def test_energy_in_other_units():
    x0 = mx.zeros((5, 2))
    energy, displacement = energy_and_displacement(
        lambda t, x: mx.array([1.0, 2.0]) + 0 * x, x0, mx.array([10.0, 0.5])
    )
    assert energy == pytest.approx(101, rel=1e-5) and displacement == pytest.approx(101, rel=1e-5)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (0.0586, 0.0085, "0.059 ± 0.009"),
        (0.0586, 0.012, "0.059 ± 0.012"),
        (2.0, 0.0999, "2.00 ± 0.10"),
        (1.1, 0.0195, "1.100 ± 0.019"),
        (12345.0, 1500.0, "12300 ± 1500"),
        (-0.001, 0.5, "0.0 ± 0.5"),
        (9.939, 0.0, "9.94"),
        (-15934.0, 0.0, "-15900"),
        (2.5e-7, 0.0, "2.5e-07"),
        (float("nan"), 1.0, "nan ± 1"),
        (1.0, float("inf"), "1 ± inf"),
        (float("inf"), float("nan"), "infinite"),
    ],
)
def test_numbers_in_print(value, error, words):
    assert quoted(value, error) == words


def test_numbers_in_print_lose_nothing_that_their_error_allows():
    rng = np.random.default_rng(0)
    for value, error in zip(
        rng.normal(size=500) * 10 ** rng.uniform(-3, 3, 500), rng.lognormal(0, 4, 500), strict=True
    ):
        shown, spread = map(float, quoted(value, error).split(" ± "))
        assert abs(shown - value) <= 0.5 * error
        assert spread == pytest.approx(error, rel=0.27)


def test_error_over_time_of_a_field_that_is_off_by_so_much():
    """Off by t in both dimensions, so 2t² over t; and pairs off by σ-free straight paths between
    N(0, I) and itself, of which ut − u has the variance 2 in D dimensions over (1 − t)² + t²."""
    method, normal, parts = METHODS["cfm"](sigma=0.0), DATASETS["normal"], 10

    def exact(t, x):  # E[x1 − x0 | xt], linear in xt
        return (2 * t - 1) / ((1 - t) ** 2 + t**2) * x

    error, spread, size = error_over_time(
        lambda t, x: exact(t, x) + t, exact, method, normal, normal, 40_000, parts, mx.random.key(0)
    )
    low, high = np.arange(parts) / parts, (np.arange(parts) + 1) / parts
    np.testing.assert_allclose(error, 2 * (high**3 - low**3) / 3 * parts, rtol=1e-2)
    t = (low + high) / 2
    np.testing.assert_allclose(spread, 2 / ((1 - t) ** 2 + t**2), rtol=0.06)
    fine = (np.arange(10_000) + 0.5) / 10_000
    expected = np.mean(2 * (2 * fine - 1) ** 2 / ((1 - fine) ** 2 + fine**2))
    assert size == pytest.approx(expected, rel=0.03)
