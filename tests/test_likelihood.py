"""Log-densities against closed forms, quadrature and finite differences."""

from functools import cache

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from scipy.integrate import quad_vec
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from cfm import METHODS
from datasets import DATASETS, standard_normal
from exact import exact_velocity
from likelihood import MaximumLikelihood, divergence, log_prob, sample_with_log_prob
from models import MLP, NETWORKS, TrainableNormal
from tests.ode.test_gradients import both_slopes
from tests.test_odeint import counted
from training import train

NORMAL = DATASETS["normal"]
MATRIX = np.array([[0.5, -1.0], [0.3, -0.2]])
TIGHT = {"solver": "dopri8", "rtol": 1e-12, "atol": 1e-12}


def linear(t, x):
    """dx/dt = A x + t: carries Gaussians to Gaussians."""
    return x @ mx.array(MATRIX.T, x.dtype) + t


@cache
def linear_end():
    """The law of x(1) from N(0, I): mean ∫ e^{A(1 − s)} s ds, covariance e^A e^{Aᵀ}."""
    grown = expm(MATRIX)
    mean = quad_vec(lambda s: expm(MATRIX * (1 - s)) @ np.ones(2) * s, 0, 1, epsabs=1e-13)[0]
    return multivariate_normal(mean, grown @ grown.T)


def points(count=40, seed=0, scale=1.5):
    return np.random.default_rng(seed).normal(size=(count, 2)) * scale


@pytest.mark.parametrize(
    ("dtype", "how", "tolerance"), [(mx.float32, {}, 1e-4), (mx.float64, TIGHT, 1e-8)]
)
def test_gaussian_to_gaussian(cpu, dtype, how, tolerance):
    x = points()
    got = log_prob(linear, mx.array(x, dtype), NORMAL.log_prob, **how)
    assert (got.shape, got.dtype) == ((40,), dtype)
    np.testing.assert_allclose(np.array(got), linear_end().logpdf(x), atol=tolerance)


def test_a_nonlinear_flow_in_float64(cpu):
    """dx/dt = −tanh x has sinh x(1) = e⁻¹ sinh x(0), and so a density in closed form."""
    x1 = np.linspace(-1, 1, 9)[:, None]
    x0 = np.arcsinh(np.e * np.sinh(x1))
    stretch = np.e * np.cosh(x1) / np.cosh(x0)
    expected = -(x0**2) / 2 - np.log(2 * np.pi) / 2 + np.log(stretch)
    x1 = mx.array(x1, mx.float64)
    got = log_prob(lambda t, x: -mx.tanh(x), x1, standard_normal(1).log_prob, **TIGHT)
    np.testing.assert_allclose(np.array(got), expected[:, 0], atol=1e-9)


class Doubled(MLP):
    """The `with_jvp` that it inherits is of half its velocity, and must not be used."""

    def __call__(self, t, x):
        return 2 * super().__call__(t, x)


@pytest.mark.parametrize("kind", [MLP, Doubled])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_divergence_is_the_trace_of_the_jacobian(dim, kind):
    mx.random.seed(2)
    model, x, t = kind(dim=dim, width=16, depth=2), mx.random.normal((6, dim)), mx.array(0.3)
    step, trace = 1e-2, np.zeros(6)
    for axis in range(dim):
        shift = step * mx.eye(dim)[axis]
        trace += np.array((model(t, x + shift) - model(t, x - shift))[:, axis]) / (2 * step)
    np.testing.assert_allclose(np.array(divergence(model, t, x)), trace, atol=2e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_two_directions_agree_for_every_network(name):
    mx.random.seed(3)
    model = NETWORKS[name](dim=2, width=8, depth=1)
    x0, how = NORMAL.sample(50), {"rtol": 1e-6, "atol": 1e-6}
    x1, forward = sample_with_log_prob(model, x0, NORMAL.log_prob, **how)
    backward = log_prob(model, x1, NORMAL.log_prob, **how)
    close = 3e-3 if model.activation == "selu" else 1e-4  # its derivative jumps, which no step sees
    np.testing.assert_allclose(np.array(forward), np.array(backward), atol=close)


def test_the_exact_flow_has_the_exact_density():
    """To points blurred by σ = 0.5, of which the law at t = 1 is a mixture of Gaussians.

    The flow starts from the source blurred likewise.
    """
    centres, sigma = points(4, seed=3), 0.5
    field = exact_velocity(METHODS["cfm"](sigma=sigma), NORMAL, centres)
    x = points(60, seed=4)
    wide = multivariate_normal(np.zeros(2), (1 + sigma**2) * np.eye(2))

    def start(x0):
        return -mx.sum(mx.square(x0), axis=1) / (2 * (1 + sigma**2)) + np.log(wide.pdf([0, 0]))

    got = log_prob(field, mx.array(x, mx.float32), start, rtol=1e-6, atol=1e-6)
    parts = [multivariate_normal(centre, sigma**2 * np.eye(2)).pdf(x) for centre in centres]
    np.testing.assert_allclose(np.array(got), np.log(np.mean(parts, axis=0)), atol=2e-3)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_hutchinson_agrees_within_its_errors(distribution):
    mx.random.seed(4)
    model, x = MLP(width=16, depth=2), mx.array(points(30), mx.float32)
    exact = np.array(log_prob(model, x, NORMAL.log_prob))
    how = {"divergence": "hutchinson", "distribution": distribution, "probes": 200}
    found, error = log_prob(model, x, NORMAL.log_prob, key=mx.random.key(0), error=True, **how)
    scores = (np.array(found) - exact) / np.array(error)
    assert np.abs(scores).max() < 4
    assert 0.5 < scores.std() < 1.7
    again = log_prob(model, x, NORMAL.log_prob, key=mx.random.key(0), **how)
    assert mx.array_equal(found, again)


def test_all_probes_are_carried_in_one_solve():
    x, one, fifty = mx.array(points(3), mx.float32), counted(linear), counted(linear)
    how = {"solver": "rk4", "steps": 5}
    log_prob(one, x, NORMAL.log_prob, **how)
    log_prob(fifty, x, NORMAL.log_prob, divergence="hutchinson", probes=50, **how)
    assert len(one.calls) == len(fifty.calls)


def test_errors_without_probes_to_compare():
    x = mx.array(points(3), mx.float32)
    for how, expected in (({}, 0), ({"divergence": "hutchinson", "probes": 1}, np.nan)):
        how["key"] = mx.random.key(0)
        found, error = log_prob(linear, x, NORMAL.log_prob, error=True, **how)
        np.testing.assert_array_equal(np.array(error), np.full(3, expected))
        alone = log_prob(linear, x, NORMAL.log_prob, **how)
        np.testing.assert_array_equal(np.array(found), np.array(alone))


def test_it_is_trained_from_any_source_that_has_a_density():
    assert not MaximumLikelihood(DATASETS["8gaussians"].log_prob).normal_source


def test_the_density_integrates_to_one():
    """Even of a network that was not trained, whose last layer is made to matter."""
    mx.random.seed(5)
    model = MLP(width=32, depth=2)
    model.layers[-1].weight = 4 * model.layers[-1].weight
    axis = np.linspace(-8, 8, 120)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = np.exp(np.array(log_prob(model, mx.array(grid, mx.float32), NORMAL.log_prob)))
    start = np.exp(np.array(NORMAL.log_prob(mx.array(grid, mx.float32))))
    assert np.abs(density - start).max() > 0.05
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("gradient", ["direct", "checkpoint", "adjoint"])
@pytest.mark.parametrize(
    "how",
    [
        {"solver": "rk4", "steps": 4},
        {"solver": "dopri5", "rtol": 1e-8, "atol": 1e-8},
        {"solver": "rk4", "steps": 3, "divergence": "hutchinson", "probes": 2},
    ],
)
def test_gradients_of_the_loss_against_differences(cpu, gradient, how):
    mx.random.seed(6)
    model = MLP(width=6, depth=2, activation="tanh", waves_of_t=0, waves_of_x=0)
    weights = tree_map(lambda leaf: leaf.astype(mx.float64), model.trainable_parameters())
    x = mx.array(points(5), mx.float64)

    def loss(weights):
        model.update(weights)
        key = mx.random.key(1)
        return -mx.mean(log_prob(model, x, NORMAL.log_prob, gradient=gradient, key=key, **how))

    slope, expected = both_slopes(loss, weights)
    assert slope == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("how", [{"solver": "rk4", "steps": 8}, {}])
def test_the_score_is_the_gradient_of_the_log_density(how):
    x = points(6)
    score = mx.grad(lambda x: mx.sum(log_prob(linear, x, NORMAL.log_prob, **how)))
    end = linear_end()
    expected = -(x - end.mean) @ np.linalg.inv(end.cov)
    np.testing.assert_allclose(np.array(score(mx.array(x, mx.float32))), expected, atol=2e-3)


def test_hidden_arrays_are_refused_not_silently_still():
    x = mx.array(points(3), mx.float32)

    def hidden(rate):
        return mx.sum(log_prob(lambda t, x: rate * x, x, NORMAL.log_prob))

    def named(rate):
        found = log_prob(lambda t, x, rate: rate * x, x, NORMAL.log_prob, parameters=rate)
        return mx.sum(found)

    with pytest.raises(ValueError, match="name them as `parameters`"):
        mx.grad(hidden)(mx.array(0.3))
    # log p1(x) = log N(e^{-r} x) − 2r
    expected = np.sum(np.exp(-0.6) * (points(3) ** 2).sum(axis=1) - 2)
    assert mx.grad(named)(mx.array(0.3)).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"source_log_prob": None}, "no log-density"),
        ({"x1": mx.zeros(3)}, r"points \(N, D\)"),
        ({"x1": np.zeros((3, 2))}, r"points \(N, D\)"),
        ({"x1": mx.full((3, 2), np.nan)}, "not finite in row 0"),
        ({"x1": mx.zeros((1, 300))}, "300 dimensions .* divergence='hutchinson'"),
        ({"divergence": "precise"}, "unknown divergence 'precise'"),
        ({"divergence": "hutchinson", "probes": 0}, "probes must be"),
        ({"divergence": "hutchinson", "distribution": "cauchy"}, "unknown distribution"),
        ({"solver": "dopri55"}, "unknown solver"),
        ({"field": 3}, "must be called"),
    ],
)
def test_refusals(change, complaint):
    good = {"field": linear, "x1": mx.zeros((3, 2)), "source_log_prob": NORMAL.log_prob}
    with pytest.raises(ValueError, match=complaint):
        log_prob(**{**good, **change})


# -- training by maximum likelihood


class Target:
    """N(2, 0.5²) in each of two dimensions."""

    def sample(self, n, key):
        return 2 + 0.5 * NORMAL.sample(n, key)


def test_maximum_likelihood_learns_a_gaussian():
    """The least loss is the target's entropy, log s + log(2πe)/2 a dimension."""
    mx.random.seed(7)
    model = MLP(width=16, depth=1, waves_of_t=0, waves_of_x=0)
    method = MaximumLikelihood(NORMAL.log_prob, steps=4)
    train(model, method, NORMAL, Target(), steps=250, lr=2e-2)
    x = Target().sample(2000, mx.random.key(5))
    nll = -mx.mean(log_prob(model, x, NORMAL.log_prob)).item()
    entropy = 2 * (np.log(0.5) + np.log(2 * np.pi * np.e) / 2)
    assert entropy - 0.03 < nll < entropy + 0.15


@pytest.mark.parametrize("rate", [-1.0, 0.5])
def test_what_is_gained_by_a_coarse_solver(rate):
    """dx/dt = a x shrinks x by e^-a on its way back; one step of Euler, by 1 − a; both spread the
    density by a for each of two dimensions. So the losses differ by a closed form."""
    x = mx.array(points(), mx.float32)
    method = MaximumLikelihood(NORMAL.log_prob, solver="euler", steps=1)
    squares = np.mean(np.sum(np.array(x) ** 2, axis=1))
    expected = squares / 2 * (np.exp(-2 * rate) - (1 - rate) ** 2)
    assert method.gain(lambda t, x: rate * x, x) == pytest.approx(expected, rel=1e-3)
    finer = MaximumLikelihood(NORMAL.log_prob, steps=8)
    assert abs(finer.gain(lambda t, x: rate * x, x)) < 1e-2 * abs(expected)


def test_compiled_and_eager_steps_are_the_same():
    ends = []
    for gradient, compiled in (("direct", True), ("checkpoint", False)):
        mx.random.seed(8)
        model = MLP(width=8, depth=1)
        method = MaximumLikelihood(NORMAL.log_prob, steps=3, gradient=gradient)
        assert method.compiled == compiled
        train(model, method, NORMAL, DATASETS["moons"], steps=5)
        ends.append(np.array(model.layers[0].weight))
    np.testing.assert_allclose(*ends, atol=1e-4)


def test_the_source_is_learned_too():
    """With a field that is held at 0, the source alone must fit: mean 2, scale 0.5."""
    model = MLP(width=4, depth=1)
    model.update(tree_map(mx.zeros_like, model.parameters()))
    model.freeze()
    model.source = TrainableNormal(2)
    train(model, MaximumLikelihood(None, steps=1), NORMAL, Target(), steps=800, lr=2e-2)
    np.testing.assert_allclose(np.array(model.source.mean), 2, atol=0.05)
    np.testing.assert_allclose(np.exp(np.array(model.source.log_scale)), 0.5, atol=0.03)


def test_trainable_normal():
    source = TrainableNormal(2)
    source.mean, source.log_scale = mx.array([1.0, -2.0]), mx.log(mx.array([0.5, 3.0]))
    x = np.array(source.sample(20_000, mx.random.key(0)))
    np.testing.assert_allclose(x.mean(axis=0), [1, -2], atol=0.08)
    np.testing.assert_allclose(x.std(axis=0), [0.5, 3], rtol=0.03)
    law = multivariate_normal([1, -2], np.diag([0.25, 9]))
    got = source.log_prob(mx.array(x[:50], mx.float32))
    np.testing.assert_allclose(np.array(got), law.logpdf(x[:50]), atol=1e-4)
