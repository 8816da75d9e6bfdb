"""Networks and activations against numpy, and their derivatives against differences."""

import json

import mlx.core as mx
import numpy as np
import pytest
from scipy.stats import norm

from learning.layers import ACTIVATIONS
from machine.elementary import tanh
from models import (
    MLP,
    NETWORKS,
    ConcatSquash,
    TrainableNormal,
    build,
    describe,
    parameter_count,
)


@pytest.mark.parametrize("frequencies", [0, 2])
def test_mlp_against_numpy(frequencies):
    mx.random.seed(3)
    model = MLP(dim=2, width=5, depth=2, activation="isru", waves_of_t=frequencies, waves_of_x=0)
    rng = np.random.default_rng(0)
    t, x = rng.uniform(size=(6, 1)), rng.normal(size=(6, 2))
    angles = np.pi * t * np.arange(1, frequencies + 1)
    h = np.concatenate([x, t, np.cos(angles), np.sin(angles)], axis=1)
    for i, layer in enumerate(model.layers):
        h = h @ np.array(layer.weight, np.float64).T + np.array(layer.bias, np.float64)
        if i < 2:
            h = h / np.sqrt(1 + h**2)
    got = model(mx.array(t, mx.float32), mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), h, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_three_shapes_of_time(dim):
    model = MLP(dim=dim)
    x = mx.random.normal((4, dim))
    expected = model(mx.full((4, 1), 0.7), x)
    assert expected.shape == (4, dim)
    for t in (mx.full((4,), 0.7), mx.array(0.7), 0.7):
        np.testing.assert_allclose(np.array(model(t, x)), np.array(expected), atol=1e-6)


def test_time_matters_and_each_row_has_its_own():
    model = MLP()
    x = mx.ones((3, 2))
    rows = model(mx.array([0.0, 0.5, 0.5]), x)
    assert not mx.allclose(rows[0], rows[1])
    assert mx.allclose(rows[1], rows[2])


FORMULAS = {
    "isru": lambda x: x / np.sqrt(1 + x**2),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "gelu": lambda x: x * norm.cdf(x),
    "relu": lambda x: np.maximum(x, 0),
    "softplus": lambda x: np.log1p(np.exp(x)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_against_their_formulas(name):
    """And finite far out, as their gradients are."""
    x = np.linspace(-4, 4, 33)
    got = ACTIVATIONS[name](mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), FORMULAS[name](x), atol=1e-5)
    far = mx.array([-200.0, -60.0, 60.0, 200.0])
    assert mx.all(mx.isfinite(ACTIVATIONS[name](far)))
    assert mx.all(mx.isfinite(mx.grad(lambda x: ACTIVATIONS[name](x).sum())(far)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_activations(name):
    """Against differences in float64; and the values, in float32, against those."""
    x = np.array([-2.0, -0.3, 0.4, 3.0])
    activation = ACTIVATIONS[name]

    def f(x):
        return np.array(activation(mx.array(x, mx.float64)), np.float64)

    with mx.stream(mx.cpu):
        slope = (f(x + 1e-3) - f(x - 1e-3)) / 2e-3
    gradient = mx.grad(lambda x: activation(x).sum())
    np.testing.assert_allclose(np.array(gradient(mx.array(x, mx.float32))), slope, atol=2e-3)
    with mx.stream(mx.cpu):
        expected = f(x)
    np.testing.assert_allclose(np.array(activation(mx.array(x, mx.float32))), expected, atol=1e-5)


def test_tanh_is_as_good_as_its_number_of_digits():
    x = np.concatenate([np.linspace(-12, 12, 20_001), np.logspace(-6, 0, 1_001)])
    got = np.array(tanh(mx.array(x, mx.float32)))
    np.testing.assert_allclose(got, np.tanh(x.astype(np.float32), dtype=float), rtol=4e-7)
    assert np.abs(got).max() <= 1
    with mx.stream(mx.cpu):
        got = np.array(tanh(mx.array(x, mx.float64)))
    np.testing.assert_allclose(got, np.tanh(x), rtol=1e-14)
    assert np.isnan(np.array(tanh(mx.array(np.nan))))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_jacobian_vector_products_against_differences(activation):
    mx.random.seed(0)
    model = MLP(dim=3, width=8, depth=2, activation=activation)
    rng = np.random.default_rng(7)  # no kink is near these points
    x, directions = rng.normal(size=(5, 3)), rng.normal(size=(5, 4, 3))
    with mx.stream(mx.cpu):
        model.set_dtype(mx.float64)
        t = mx.array(0.3, mx.float64)

        def at(x):
            return np.array(model(t, mx.array(x, mx.float64)))

        velocity, pushed = model.with_jvp(t, *(mx.array(a, mx.float64) for a in (x, directions)))
        same = model.with_jvp(t, mx.array(x), mx.array(directions[:1]))[1]
        np.testing.assert_allclose(np.array(velocity), at(x), atol=1e-6)
        for p in range(4):
            for found, ways in ((pushed, directions[:, p]), (same, directions[:1, p])):
                expected = (at(x + 1e-3 * ways) - at(x - 1e-3 * ways)) / 2e-3
                np.testing.assert_allclose(np.array(found[:, p]), expected, atol=1e-3)


def test_the_exponential_units_have_a_slope_at_zero():
    """From the left, which for elu is that from the right as well."""
    for name, slope in (("elu", 1.0), ("selu", 1.0507009873554805 * 1.6732632423543772)):
        assert mx.grad(ACTIVATIONS[name])(mx.array(0.0)).item() == pytest.approx(slope)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_makes_a_network_alike(name, activation):
    model = NETWORKS[name](dim=3, width=5, depth=2, activation=activation)
    again = build(json.loads(json.dumps(describe(model))))
    assert (type(again), repr(again)) == (type(model), repr(model))
    again.update(model.parameters())
    t, x = mx.array(0.3), mx.random.normal((4, 3))
    assert mx.array_equal(again(t, x), model(t, x))
    model.source = TrainableNormal(3)
    assert build(describe(model)).source.mean.shape == (3,)


def test_unknown_activation():
    with pytest.raises(ValueError, match="unknown activation 'zilu'"):
        MLP(activation="zilu")


def test_repr_and_parameter_count():
    model = MLP(dim=2, width=8, depth=2, activation="tanh", waves_of_t=1, waves_of_x=0)
    assert parameter_count(model) == (5 * 8 + 8) + (8 * 8 + 8) + (8 * 2 + 2)
    assert repr(model) == "MLP(5 → 8 → 8 → 2, tanh, 138 parameters)"


def test_gradient_of_isru_and_the_gradient_of_that():
    """Its derivative is written out; the second one MLX finds. Both against closed forms."""
    isru = ACTIVATIONS["isru"]
    x = np.linspace(-3, 3, 13)
    first = mx.grad(lambda x: isru(x).sum())
    second = mx.grad(lambda x: first(x).sum())
    points = mx.array(x, mx.float32)
    np.testing.assert_allclose(np.array(first(points)), (1 + x**2) ** -1.5, atol=1e-6)
    expected = -3 * x * (1 + x**2) ** -2.5
    np.testing.assert_allclose(np.array(second(points)), expected, atol=1e-6)
    (value,), (slope,) = mx.jvp(isru, [points], [mx.full(points.shape, 2.0)])
    np.testing.assert_allclose(np.array(value), x / np.sqrt(1 + x**2), atol=1e-6)
    np.testing.assert_allclose(np.array(slope), 2 * (1 + x**2) ** -1.5, atol=1e-6)


def test_concatsquash_against_numpy():
    """lin(x) · sigmoid(gate(t)) + bias(t), tanh between, each row at its own time."""
    mx.random.seed(4)
    model = ConcatSquash(dim=3, width=5, depth=2)
    rng = np.random.default_rng(0)
    t, x = rng.uniform(size=(6, 1)), rng.normal(size=(6, 3))
    h = x
    for i, (layer, gate, shift) in enumerate(
        zip(model.layers, model.gates, model.shifts, strict=True)
    ):
        h = h @ np.array(layer.weight, np.float64).T + np.array(layer.bias, np.float64)
        opened = t @ np.array(gate.weight, np.float64).T + np.array(gate.bias, np.float64)
        h = h / (1 + np.exp(-opened)) + t @ np.array(shift.weight, np.float64).T
        h = np.tanh(h) if i < 2 else h
    got = model(mx.array(t, mx.float32), mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), h, atol=1e-5)
    assert parameter_count(model) == 5 * (3 + 1 + 3) + 5 * (5 + 1 + 3) + 3 * (5 + 1 + 3)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_time_in_three_shapes(name):
    model, x = NETWORKS[name](dim=2, width=8, depth=1), mx.random.normal((4, 2))
    expected = np.array(model(mx.full((4, 1), 0.7), x))
    for t in (mx.full((4,), 0.7), mx.array(0.7), 0.7):
        np.testing.assert_allclose(np.array(model(t, x)), expected, atol=1e-6)
    assert str(model).endswith(f"{parameter_count(model):,} parameters)")


def test_a_scale_is_a_change_of_units():
    """v(t, x) = s u(t, x / s) and ∂v/∂x = ∂u/∂x at x / s, for the same weights."""
    plain, scaled = MLP(width=16), MLP(width=16, scale=7.0)
    scaled.update(plain.parameters())
    t, x = mx.array(0.3), mx.random.normal((50, 2), key=mx.random.key(0)) * 7
    directions = mx.random.normal((50, 3, 2), key=mx.random.key(1))
    expected = plain.with_jvp(t, x / 7, directions)
    np.testing.assert_allclose(scaled(t, x), 7 * expected[0], rtol=1e-5, atol=1e-5)
    value, along = scaled.with_jvp(t, x, directions)
    np.testing.assert_allclose(value, 7 * expected[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(along, expected[1], rtol=1e-5, atol=1e-5)
    again = build(describe(scaled))
    assert again.scale == 7.0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_class_is_a_one_beside_the_inputs(name):
    """Against numpy: a network that is told a class is one whose first bias has the weights of
    that class added, and one that is told nothing is that without them."""
    mx.random.seed(2)
    told, plain = (NETWORKS[name](dim=2, width=8, depth=2, classes=k) for k in (3, 0))
    first, *others = told.layers
    weight, at = np.array(first.weight), 2 * (1 + 2 * getattr(told, "waves_of_x", 0))
    for mine, its in zip(plain.layers[1:], others, strict=True):
        mine.update(its.parameters())
    for part in ("gates", "shifts"):
        if hasattr(told, part):
            plain.update({part: told.parameters()[part]})
    plain.layers[0].weight = mx.array(np.delete(weight, range(at, at + 3), axis=1))
    t, x = mx.random.uniform(shape=(3000, 1)), mx.random.normal((3000, 2))  # cut among the cores
    label = mx.array(np.arange(3000) % 4 - 1)
    found = {None: told(t, x, label=label)}
    for k in range(-1, 3):
        plain.layers[0].bias = first.bias + (first.weight[:, at + k] if k >= 0 else 0)
        found[k] = np.array(plain(t, x))
        rows = np.array(label) == k
        np.testing.assert_allclose(np.array(found[None])[rows], found[k][rows], atol=1e-5)
        np.testing.assert_allclose(np.array(told(t, x, label=mx.array(k))), found[k], atol=1e-5)
    np.testing.assert_allclose(np.array(told(t, x)), found[-1], atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    with pytest.raises(ValueError, match="made for no classes"):
        plain(t, x, label=label)


def test_a_class_has_the_derivatives_of_its_own_field():
    mx.random.seed(0)
    model, x = MLP(width=8, classes=2), mx.random.normal((6, 2))
    directions = mx.random.normal((6, 2, 2))
    label = mx.array([0, 1, -1, 0, 1, -1])
    velocity, pushed = model.with_jvp(mx.array(0.3), x, directions, label=label)
    assert mx.allclose(velocity, model(mx.array(0.3), x, label=label), atol=1e-6)
    for p in range(2):
        expected = mx.jvp(lambda x: model(mx.array(0.3), x, label=label), [x], [directions[:, p]])[
            1
        ][0]
        np.testing.assert_allclose(np.array(pushed[:, p]), np.array(expected), atol=1e-4)


def test_a_description_keeps_the_classes():
    for kind in NETWORKS.values():
        model = kind(width=8, classes=5)
        again = build(json.loads(json.dumps(describe(model))))
        again.update(model.parameters())
        label = mx.array([4, 0])
        assert mx.array_equal(
            again(0.5, mx.ones((2, 2)), label=label), model(0.5, mx.ones((2, 2)), label=label)
        )
    old = describe(MLP())
    del old["shape"]["classes"]  # as networks were described before there were any
    assert build(old).classes == 0
