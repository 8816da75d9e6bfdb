"""Guided flows against closed forms in numpy, and against what they must not be taken for."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from cfm import METHODS
from datasets import DATASETS, gaussian_mixture
from exact import nearly_exact_velocity
from guidance import guided
from likelihood import divergence, log_prob
from models import MLP
from odeint import odeint

TWO = gaussian_mixture("two", "", [[-1.5, 0.0], [1.5, 1.0]], 0.5)
STEEP = {"rtol": 1e-6, "atol": 1e-6, "dense": False}


def of_gaussians(t, x, means, std):
    """u(t, x) of straight paths without noise from N(0, I) to a mixture, in numpy."""
    variance = (1 - t) ** 2 + t**2 * std**2
    slope = (t * std**2 - (1 - t)) / variance
    rest = x[:, None] - t * means
    logits = -np.square(rest).sum(axis=2) / (2 * variance)
    weights = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    return (weights[..., None] * (means + slope * rest)).sum(axis=1)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0, 4.0])
def test_against_numpy(weight):
    field = nearly_exact_velocity(METHODS["cfm"](sigma=0.0), DATASETS["normal"], TWO, None)
    x = np.random.default_rng(0).normal(size=(20, 2)) * 2
    means = np.array(TWO.mixture.means, np.float64)
    label = np.arange(20) % 2
    for t in (0.0, 0.3, 0.7, 1.0):
        whole = of_gaussians(t, x, means, 0.5)
        each = np.stack([of_gaussians(t, x, means[k : k + 1], 0.5) for k in range(2)])
        expected = (1 - weight) * whole + weight * each[label, np.arange(20)]
        to_class = partial(field, label=mx.array(label))
        got = guided(field, to_class, weight)(mx.array(t), mx.array(x, mx.float32))
        np.testing.assert_allclose(np.array(got), expected, atol=2e-5, rtol=1e-5)


def test_at_first_guidance_pushes_all_points_alike():
    """By (w − 1) times the class's mean less that of all, as docs/mathematics.md says."""
    field = nearly_exact_velocity(METHODS["cfm"](sigma=0.0), DATASETS["normal"], TWO, None)
    x, means = mx.random.normal((9, 2), key=mx.random.key(0)), np.array(TWO.mixture.means)
    start = mx.array(0.0)
    pushed = guided(field, field.of_class[1], 3.0)(start, x) - field.of_class[1](start, x)
    expected = np.tile(2 * (means[1] - means.mean(axis=0)), (9, 1))
    np.testing.assert_allclose(np.array(pushed), expected, atol=1e-5)


def test_no_weight_is_the_whole_and_one_is_the_class():
    """The fields themselves, at half the work."""
    whole, part = (lambda t, x: x), (lambda t, x: -x)
    assert guided(whole, part, 0) is whole
    assert guided(whole, part, 1.0) is part


class Linear:
    """The field of N(0, 1) → N(mean, std²) on straight paths, and its derivative."""

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, t, x):
        return self.with_jvp(t, x, mx.zeros((1, 1, 1)))[0]

    def with_jvp(self, t, x, directions):
        variance = (1 - t) ** 2 + t**2 * self.std**2
        slope = (t * self.std**2 - (1 - t)) / variance
        along = slope * mx.broadcast_to(directions, (len(x), *directions.shape[1:]))
        return self.mean + slope * (x - t * self.mean), along


@pytest.mark.parametrize("weight", [0.5, 2.0, 4.0])
def test_the_spread_of_a_guided_gaussian(weight):
    """All are N(0, S²), the class N(m, s²): the flow of w ends at the spread S^(1 − w) s^w.

    For u' = ½ (log variance)' along the flow, which is linear in the two. A density sharpened to
    the power w has 1/spread² = (1 − w)/S² + w/s² instead.
    """
    wide, narrow, mean = 1.25, 0.8, 0.7
    fields = Linear(0.0, wide), Linear(mean, narrow)
    x0 = mx.array([[-1.0], [0.0], [1.0]])
    field = guided(*fields, weight)
    ends = np.array(odeint(field, x0, [0.0, 1.0], **STEEP).x[-1], np.float64)[:, 0]
    spread = wide ** (1 - weight) * narrow**weight
    np.testing.assert_allclose(np.diff(ends), spread, rtol=1e-4)
    sharpened = ((1 - weight) / wide**2 + weight / narrow**2) ** -0.5
    assert abs(spread - sharpened) > 0.03 * spread
    # and so is its log-density, by the derivatives that both bring
    x1 = mx.array([[0.3], [1.1]])
    source = lambda x: -mx.sum(mx.square(x), axis=1) / 2 - np.log(2 * np.pi) / 2  # noqa: E731
    got = log_prob(field, x1, source, rtol=1e-6, atol=1e-6)
    expected = norm(ends[1], spread).logpdf(np.array(x1)[:, 0])
    np.testing.assert_allclose(np.array(got), expected, atol=2e-4)


def test_derivatives_are_brought_where_both_bring_them():
    mx.random.seed(0)
    networks, x, t = [MLP(width=8, depth=1) for _ in range(2)], mx.random.normal((5, 2)), 0.3
    brought = guided(*networks, 3.0)
    assert hasattr(brought, "with_jvp")
    plain = guided(networks[0], lambda t, x: networks[1](t, x), 3.0)
    assert not hasattr(plain, "with_jvp")
    assert mx.array_equal(brought(t, x), plain(t, x))
    np.testing.assert_allclose(
        np.array(divergence(brought, t, x)), np.array(divergence(plain, t, x)), atol=1e-5
    )
