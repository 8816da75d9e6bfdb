"""A network that is a compiled graph is the same function as its plain method, always."""

import copy
import pickle

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from learning.graphs import compiled
from models import MLP, NETWORKS

POINTS = mx.random.normal((7, 2), key=mx.random.key(0))
TIME = mx.array(0.3)


def plain(model, t, x, **named):
    return type(model).__call__.__wrapped__(model, t, x, **named)


def agree(model):
    np.testing.assert_allclose(model(TIME, POINTS), plain(model, TIME, POINTS), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_inputs_however_they_change(name):
    model, other = NETWORKS[name](width=8), NETWORKS[name](width=8)
    before = np.array(model(TIME, POINTS))
    model.layers[0].weight = 3 * model.layers[0].weight
    agree(model)
    assert np.abs(before - np.array(model(TIME, POINTS))).max() > 1e-3
    model.update(other.parameters())
    agree(model)
    np.testing.assert_array_equal(model(TIME, POINTS), other(TIME, POINTS))
    model.beside = MLP(width=3)  # it holds more arrays than when it was compiled
    agree(model)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_pass_through_it(name):
    model = NETWORKS[name](width=8)

    def loss(call):
        return lambda model, x: mx.sum(mx.square(call(model, TIME, x)))

    for _ in range(2):  # before and after it was compiled
        by_call, by_plain = (
            nn.value_and_grad(model, loss(call))(model, POINTS)
            for call in (lambda model, t, x: model(t, x), plain)
        )
        np.testing.assert_allclose(by_call[0], by_plain[0], rtol=1e-5)
        for (path, found), (_, true) in zip(
            *(tree_flatten(tree) for tree in (by_call[1], by_plain[1])), strict=True
        ):
            np.testing.assert_allclose(found, true, rtol=1e-4, atol=1e-5, err_msg=path)
        by_x = (mx.grad(loss(call), 1)(model, POINTS) for call in (NETWORKS[name].__call__, plain))
        np.testing.assert_allclose(*by_x, rtol=1e-4, atol=1e-5)
        agree(model)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_has_weights_of_its_own(copied):
    model = MLP(width=8)
    agree(model)
    twin = copied(model)
    twin.update(MLP(width=8).parameters())
    agree(twin)
    agree(model)
    assert all(vars(m)["_graph_of_MLP.__call__"].network() is m for m in (model, twin))


def test_a_graph_is_not_kept_with_its_network():
    model = MLP(width=8)
    graph = vars(model).get("_graph_of_MLP.__call__")
    assert graph is None
    agree(model)
    assert pickle.loads(pickle.dumps(vars(model)["_graph_of_MLP.__call__"])) is None


def test_every_shape_is_traced_once_and_numbers_are_no_shapes():
    traced = []

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = mx.array(2.0)

        @compiled
        def __call__(self, t, x, rate=1.0):
            traced.append(x.shape)
            return rate * self.slope * x + t

    class Steeper(Line):
        @compiled
        def __call__(self, t, x):
            return 3 * super().__call__(t, x)

    line, steeper = Line(), Steeper()
    for t in (0.0, 0.25, mx.array(0.5)):
        for count in (3, 5):
            x = mx.arange(count, dtype=mx.float32)
            rate = 1 + float(t)
            np.testing.assert_allclose(line(t, x, rate), rate * 2 * np.arange(count) + float(t))
    assert traced == [(3,), (5,)]
    np.testing.assert_allclose(steeper(1, x), 3 * (2 * np.arange(5) + 1))


def test_numbers_and_arrays_of_numpy_are_inputs():
    """A time, the end of a step and the labels may be told in any form."""
    model, label = MLP(width=8, times=2, classes=3), np.arange(len(POINTS)) % 3
    true = plain(model, TIME, POINTS, end=mx.array(0.7), label=mx.array(label))
    for t, end in ((0.3, 0.7), (np.float32(0.3), np.float64(0.7)), (np.full(7, 0.3), 0.7)):
        for told in (label, label.astype(np.int32), label.tolist()):
            np.testing.assert_allclose(model(t, POINTS, end, label=told), true, atol=1e-6)
            np.testing.assert_allclose(model(t, POINTS, label=told, end=end), true, atol=1e-6)
    assert np.abs(model(0.3, POINTS, 0.6, label=label) - np.array(true)).max() > 1e-4
