"""Activations with a shift, and their slopes: against MLX's own chain rule, and differences."""

import mlx.core as mx
import numpy as np
import pytest

from learning.layers import ACTIVATIONS, activated, product, with_slope


def close(found, expected, atol=1e-6):
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=atol, rtol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (1, 5)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_of_shifted_products_and_its_gradients(activation, shape):
    keys = mx.random.split(mx.random.key(0), 3)
    h, cotangent = (2 * mx.random.normal((7, 5), key=key) for key in keys[:2])
    shift, function = mx.random.normal(shape, key=keys[2]), ACTIVATIONS[activation]
    inputs = [h, shift]
    (value,), pulled = mx.vjp(activated(activation), inputs, [cotangent])
    (expected,), by_chain_rule = mx.vjp(lambda h, s: function(h + s), inputs, [cotangent])
    close(value, expected)
    for one, other in zip(pulled, by_chain_rule, strict=True):
        assert one.shape == other.shape
        close(one, other)
    same, slope = with_slope(activation)(h, shift)
    close(same, expected)
    close(slope, mx.vjp(function, [h + shift], [mx.ones_like(h)])[1][0])


def test_the_slope_of_isru_against_differences(cpu):
    h = mx.linspace(-4, 4, 31).astype(mx.float64)
    ahead, behind = (ACTIVATIONS["isru"](h + step) for step in (1e-5, -1e-5))
    slope = with_slope("isru")(h, mx.zeros(1, mx.float64))[1]
    close(slope, (ahead - behind) / 2e-5, atol=1e-9)


def test_the_gradients_of_a_product_lie_in_memory_as_their_weights():
    weight, h = mx.random.normal((3, 4)), mx.random.normal((6, 4))
    cotangent = mx.random.normal((6, 3))
    (value,), (of_weight, of_h) = mx.vjp(product, [weight, h], [cotangent])
    close(value, np.array(h) @ np.array(weight).T)
    close(of_weight, np.array(cotangent).T @ np.array(h))
    close(of_h, np.array(cotangent) @ np.array(weight))
    assert memoryview(of_weight).c_contiguous
