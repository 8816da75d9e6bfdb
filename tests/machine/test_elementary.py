"""Our elementary functions against those of numpy in float64."""

import mlx.core as mx
import numpy as np
import pytest

from machine.elementary import SINE, cosine, exp_negative, tanh


@pytest.mark.parametrize(
    ("function", "true", "x"),
    [
        (exp_negative, np.exp, -np.concatenate([[0.0], np.geomspace(1e-8, 83.0, 40_001)])),
        (tanh, np.tanh, np.linspace(-20, 20, 40_001)),
    ],
)
def test_values_and_derivatives(function, true, x):
    with mx.stream(mx.cpu):
        for dtype, close in ((mx.float32, 4e-7), (mx.float64, 1e-14)):
            at = mx.array(x, dtype)
            values, slopes = (np.array(a[0]) for a in mx.vjp(function, [at], [mx.ones_like(at)]))
            exact = true(np.array(at, np.float64))
            np.testing.assert_allclose(values, exact, rtol=close)
            slope = exact if true is np.exp else 1 - exact**2
            np.testing.assert_allclose(slopes, slope, rtol=close, atol=close)


def test_exponential_at_and_beyond_its_limits():
    """A weight of next to nothing far away, and never a number that is not finite."""
    values = np.array(exp_negative(mx.array([-83.0, -1e4, -np.inf, 0.0])))
    np.testing.assert_allclose(values, [8.9857e-37, 8.9857e-37, 8.9857e-37, 1.0], rtol=1e-4)
    assert np.isnan(np.array(exp_negative(mx.array([np.nan])))).all()


def test_cosine_and_its_derivative():
    """Right to float32's last digits, better than MLX's in float64; also many turns away."""
    with mx.stream(mx.cpu):
        for dtype, close in ((mx.float32, 3e-7), (mx.float64, 1e-8)):
            turns = mx.array(np.linspace(-40, 40, 100_001), dtype)
            values, slopes = (
                np.array(a[0]) for a in mx.vjp(cosine, [turns], [mx.ones_like(turns)])
            )
            angle = 2 * np.pi * (np.array(turns, np.float64) % 1)
            np.testing.assert_allclose(values, np.cos(angle), atol=close)
            np.testing.assert_allclose(slopes, -2 * np.pi * np.sin(angle), atol=4e-6)


def test_the_polynomial_of_the_sine():
    def ratio(square):
        return np.sin(2 * np.pi * np.sqrt(square)) / np.sqrt(square)

    best = np.polynomial.Chebyshev.interpolate(ratio, 4, [0, 1 / 16])
    found = best.convert(kind=np.polynomial.Polynomial, domain=[-1, 1], window=[-1, 1])
    np.testing.assert_allclose(SINE, found.coef, rtol=1e-8)
