"""Maps: the exact one of two Gaussians solves both objectives; derivatives against differences."""

import math

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from datasets import DATASETS
from maps import MAPS, in_steps
from learning.layers import ACTIVATIONS
from models import MLP, Plain
from odeint import odeint
from training import train

KINKED = ("relu", "selu")
MEAN, STD = mx.array([1.5, -0.5]), 0.4  # of the target; the source is N(0, I)


def mean(t):
    return t * MEAN


def std(t):
    return mx.sqrt((1 - t) ** 2 + (t * STD) ** 2)


def velocity(t, x):
    """E[x1 − x0 | xt = x] of independent Gaussians on straight paths."""
    return MEAN + (t * STD**2 - (1 - t)) / std(t) ** 2 * (x - mean(t))


class ExactMap:
    """The mean velocity of that flow, which carries (x − mean) / std from one time to another."""

    def __call__(self, s, x, t=None):
        if t is None:
            return velocity(s, x)
        gap = mx.where(t == s, 1.0, t - s)
        moved = mean(t) + std(t) / std(s) * (x - mean(s)) - x
        return mx.where(t == s, velocity(s, x), moved / gap)

    def with_rate(self, s, x, t, s_rate, x_rate, t_rate, h=1e-3):
        """By differences, which float64 is exact enough for."""
        x_rate = 0 if x_rate is None else x_rate
        ahead, behind = (
            self(s + h * sign * s_rate, x + h * sign * x_rate, t + h * sign * t_rate)
            for sign in (1, -1)
        )
        return self(s, x, t), (ahead - behind) / (2 * h)


def examples(count, same: bool):
    rng = np.random.default_rng(0)
    s, t = np.sort(rng.uniform(0.05, 0.95, (2, count, 1)), axis=0)
    t = s if same else t
    x = rng.normal(size=(count, 2)) * 0.8 + 0.5
    return [mx.array(a, mx.float64) for a in (s, x, t)]


@pytest.fixture
def in_float64(cpu, monkeypatch):
    monkeypatch.setattr(f"{__name__}.MEAN", MEAN.astype(mx.float64))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("name", MAPS)
def test_the_exact_map_has_no_loss_and_no_other_sign_has(name, same, in_float64):
    """Where a path's velocity is the mean one, nothing is left of either objective."""
    s, x, t = examples(500, same)
    method, us = MAPS[name](), velocity(s, x)
    assert method.error(ExactMap(), s, x, us, t).item() < 1e-9

    class Reversed(ExactMap):
        def with_rate(self, *arguments):
            u, rate = super().with_rate(*arguments)
            return u, -rate

    if not same:
        assert method.error(Reversed(), s, x, us, t).item() > 1e-2
    off = method.error(ExactMap(), s, x, us + 0.1, t).item()
    assert off == pytest.approx(0.01, rel=1e-6) if same else off > 1e-3 or name == "flowmap"


@pytest.mark.parametrize("name", MAPS)
def test_on_average_over_pairs_the_exact_map_stays(name):
    """The gradient over single pairs, along several ways to leave the exact map, is 0 within its
    standard error; and is not, at a map that has left it a little."""
    count, method = 40_000, MAPS[name]()
    keys = mx.random.split(mx.random.key(5), 3)
    x0 = mx.random.normal((count, 2), key=keys[0])
    x1 = MEAN + STD * mx.random.normal((count, 2), key=keys[1])
    s, xs, us, t = method.examples(x0, x1, keys[2])
    far = (t - s > 0.05) & (t < 0.95)
    t = mx.where(far, t, s)
    ways = {
        "everywhere": lambda s, x, t: mx.ones_like(x),
        "with x": lambda s, x, t: x,
        "with time": lambda s, x, t: (t - s) * mx.sin(x),
    }

    class Left(ExactMap):
        def __init__(self, amount, way):
            self.amount, self.way = amount, way

        def __call__(self, s, x, t=None):
            return super().__call__(s, x, t) + self.amount * self.way(s, x, s if t is None else t)

    def gradients(amount, way):
        """Of the loss of each of 50 parts of the pairs."""

        def loss(amount, *part):
            return method.error(Left(amount, way), *part)

        parts = zip(*(mx.split(a, 50) for a in (s, xs, us, t)), strict=True)
        return np.array([mx.grad(loss)(mx.array(amount), *part).item() for part in parts])

    for title, way in ways.items():
        at, off = gradients(0.0, way), gradients(0.3, way)
        assert abs(at.mean()) < 4 * at.std() / math.sqrt(50) + 2e-3, title
        assert abs(off.mean()) > 8 * off.std() / math.sqrt(50), title


def test_the_noise_of_pairs_has_no_part_in_the_derivative():
    """All that the exact map leaves of `meanflow`'s objective is the variance of us about v."""
    method, keys = MAPS["meanflow"](), mx.random.split(mx.random.key(7), 3)
    x0 = mx.random.normal((2_000, 2), key=keys[0])
    x1 = MEAN + STD * mx.random.normal((2_000, 2), key=keys[1])
    s, xs, us, t = method.examples(x0, x1, keys[2])
    t = mx.where((t - s > 0.05) & (t < 0.95), t, s)  # differences err where times nearly meet
    left = method.error(ExactMap(), s, xs, us, t).item()
    assert left == pytest.approx(mx.mean(mx.square(us - velocity(s, xs))).item(), rel=1e-2)

    class AlongThePair(ExactMap):
        def with_rate(self, s, x, t, s_rate, x_rate, t_rate):
            return super().with_rate(s, x, t, s_rate, us, t_rate)

    assert method.error(AlongThePair(), s, xs, us, t).item() != pytest.approx(left, rel=0.1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_any_number_of_steps_of_the_exact_map_ends_at_the_same_place(steps):
    x0 = mx.random.normal((200, 2), key=mx.random.key(1))
    solution = odeint(in_steps(ExactMap(), steps), x0, [0.0, 1.0], solver="euler", steps=steps)
    assert solution.nfe == steps
    np.testing.assert_allclose(np.array(solution.x[-1]), np.array(MEAN + STD * x0), atol=2e-5)


@pytest.mark.parametrize("network", [MLP, Plain])
def test_steps_are_those_of_the_map(network):
    model, x = network(width=16, times=2), mx.random.normal((7, 2), key=mx.random.key(2))
    solution = odeint(in_steps(model, 4), x, [0.0, 1.0], solver="euler", steps=4)
    for k in range(4):
        s, t = mx.full((7, 1), k / 4), mx.full((7, 1), (k + 1) / 4)
        x = x + model(s, x, t) / 4
    np.testing.assert_allclose(np.array(solution.x[-1]), np.array(x), atol=1e-5)


def as_float64(model):
    model.update(tree_map(lambda leaf: leaf.astype(mx.float64), model.parameters()))
    return model


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("network", [MLP, Plain])
def test_the_rate_against_differences(network, activation, cpu):
    """And its gradient in the weights, which `flowmap` needs, against differences too."""
    mx.random.seed(3)
    model = as_float64(network(width=12, depth=2, activation=activation, times=2))
    rng = np.random.default_rng(1)
    s, x, t, turn = (mx.array(rng.uniform(-1, 1, (9, d)), mx.float64) for d in (1, 2, 1, 2))
    h = 1e-3
    for s_rate, x_rate, t_rate in ((1.0, turn, 0.0), (0.0, None, 1.0), (0.3, turn, -2.0)):
        u, rate = model.with_rate(s, x, t, s_rate, x_rate, t_rate)
        move = 0 if x_rate is None else x_rate
        ahead, behind = (model(s + k * s_rate, x + k * move, t + k * t_rate) for k in (h, -h))
        np.testing.assert_allclose(np.array(u), np.array(model(s, x, t)), atol=1e-6)
        slope = np.array(ahead - behind) / (2 * h)
        close = np.isclose(np.array(rate), slope, atol=2e-3, rtol=2e-3)
        assert close.mean() >= (0.8 if activation in KINKED else 1)
    if activation in KINKED:  # where their slope jumps, the rate does
        return
    weight = model.layers[1].weight
    direction = mx.array(rng.normal(size=weight.shape), mx.float64)

    def loss(weight):
        model.layers[1].weight = weight
        u, rate = model.with_rate(s, x, t, 0.5, turn, 1.0)
        return mx.sum(mx.square(rate)) + mx.sum(u)

    found = mx.sum(mx.grad(loss)(weight) * direction).item()
    slope = (loss(weight + h * direction) - loss(weight - h * direction)).item() / (2 * h)
    assert found == pytest.approx(slope, rel=5e-3, abs=5e-3)


def test_a_network_of_two_times_ends_where_it_begins_unless_told():
    model, x = MLP(width=16, times=2), mx.random.normal((5, 2), key=mx.random.key(0))
    for t in (mx.array(0.3), mx.full((5,), 0.3), mx.full((5, 1), 0.3)):
        np.testing.assert_allclose(np.array(model(t, x)), np.array(model(t, x, t)), atol=1e-6)


def test_times_are_in_order_and_some_are_the_same():
    x = mx.zeros((4000, 2))
    s, xs, _, t = MAPS["meanflow"]().examples(x, x + 1, mx.random.key(0))
    same = (s == t).mean().item()
    assert mx.all(s <= t).item() and abs(same - 0.5) < 0.03
    np.testing.assert_allclose(np.array(xs), np.array(s * mx.ones_like(x)), atol=1e-6)
    gap = np.array(t - s)[np.array(t > s)]
    assert abs(gap.mean() - 1 / 3) < 0.02  # of two uniform times


@pytest.mark.parametrize("name", MAPS)
def test_no_power_and_its_own_sigma(name):
    assert MAPS[name]().sigma == 0 and MAPS[name](sigma=0.2).sigma == 0.2
    with pytest.raises(ValueError, match="has no power"):
        MAPS[name](power=2.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", MAPS)
def test_one_step_of_a_learned_map(name):
    """Root mean squared distance from where the exact map carries a point, of a spread of 1."""

    class Target:
        def sample(self, n, key):
            return MEAN + STD * mx.random.normal((n, 2), key=key)

    mx.random.seed(0)
    model = MLP(width=32, times=2)
    how = {"steps": 1500, "batch_size": 1024, "lr": 5e-3}
    train(model, MAPS[name](), DATASETS["normal"], Target(), **how)
    x0 = mx.random.normal((2000, 2), key=mx.random.key(9))
    one, four = (
        odeint(in_steps(model, k), x0, [0.0, 1.0], solver="euler", steps=k).x[-1] for k in (1, 4)
    )
    for x1 in (one, four):
        off = mx.sqrt(mx.mean(mx.sum(mx.square(x1 - MEAN - STD * x0), axis=1))).item()
        assert off < {"meanflow": 0.15, "flowmap": 0.1}[name]
