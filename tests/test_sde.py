"""The solvers of stochastic equations against closed forms; expectations without chance.

Where the equation is linear, one step multiplies by a random factor, whose moments a quadrature
knows; where the noise is additive, the end is a sum of the increments, whose weights a solve of
unit increments finds. So orders are measured to rounding, without samples.
"""

import math

import mlx.core as mx
import numpy as np
import pytest
from scipy.linalg import expm

from sde import SDE_SOLVERS, sdeint
from ode.walk import NonFiniteError

STEPS = (8, 16, 32, 64)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def order(errors, steps=STEPS):
    """The slope of log error over log dt."""
    return -np.polyfit(np.log(steps), np.log(np.abs(errors)), 1)[0]


def solve(drift, diffusion, x0, **how):
    x0 = mx.array(x0, mx.float64)
    return np.array(sdeint(drift, diffusion, x0, [0.0, 1.0], **how).x[-1])


def factors(solver, drift, diffusion, dt, x0, noise):
    """One step of size dt from x0, for each row of standard normal values."""
    increments = mx.array(math.sqrt(dt) * noise[None], mx.float64)
    x0, times = mx.array(np.broadcast_to(x0, noise.shape), mx.float64), [0.0, dt]
    return np.array(sdeint(drift, diffusion, x0, times, solver=solver, increments=increments).x[-1])


@pytest.mark.parametrize("name", SDE_SOLVERS)
def test_orders_for_geometric_brownian_motion(name, cpu):
    """dx = μ x dt + σ x dW: x(1) = exp(μ − σ²/2 + σ W); mean, square and path."""
    mu, sigma, found, fine = 0.8, 0.5, [], (64, 128, 256, 512)
    for steps in fine:
        dt, noise = 1 / steps, NODES[:, None]
        one = factors(name, lambda t, x: mu * x, lambda t, x: sigma * x, dt, 1.0, noise)[:, 0]
        true = np.exp((mu - sigma**2 / 2) * dt + sigma * math.sqrt(dt) * NODES)
        moments = [WEIGHTS @ a for a in (one, one**2, one * true, true**2)]
        mean, square, both, true_square = np.power(moments, steps)
        path = math.sqrt(square - 2 * both + true_square)
        found.append((mean - math.exp(mu), square - math.exp(2 * mu + sigma**2), path))
    scheme = SDE_SOLVERS[name]
    for errors, claimed in zip(
        np.transpose(found), (scheme.weak, scheme.weak, scheme.strong), strict=True
    ):
        assert order(errors, fine) == pytest.approx(claimed, abs=0.05)


@pytest.mark.parametrize("name", SDE_SOLVERS)
def test_orders_for_an_ornstein_uhlenbeck_process_whose_noise_grows(name, cpu):
    """dx = −2 x dt + (1 + t) dW: mean, variance, and the path of the same Brownian motion."""
    found, pull = [], 2.0
    finest = (np.arange(2**14) + 0.5) / 2**14
    true = np.exp(-pull * (1 - finest)) * (1 + finest)  # the weight of dW at these times
    for steps in STEPS:
        unit = np.concatenate([np.zeros((steps, 1)), np.eye(steps)], axis=1)
        ends = solve(
            lambda t, x: -pull * x,
            lambda t, x: 1 + t,
            np.ones(steps + 1),
            solver=name,
            increments=mx.array(unit, mx.float64),
            steps=steps,
        )
        mean, weights = ends[0] - math.exp(-pull), ends[1:] - ends[0]
        variance = np.mean(weights**2) - np.mean(true**2)
        apart = np.repeat(weights, len(finest) // steps) - true
        found.append((mean, variance, math.sqrt(mean**2 + np.mean(apart**2))))
    scheme = SDE_SOLVERS[name]
    for errors, claimed in zip(
        np.transpose(found), (scheme.weak, scheme.weak, scheme.strong_additive), strict=True
    ):
        assert order(errors) == pytest.approx(claimed, abs=0.15)


@pytest.mark.parametrize("name", SDE_SOLVERS)
def test_weak_order_in_the_plane(name, cpu):
    """dx = A x dt + σ x ∘ dW, the noise of each component its own: E x xᵀ, by a linear equation."""
    a, sigma = np.array([[-0.5, 1.2], [-1.0, 0.3]]), np.array([0.6, 0.4])
    spread = np.diag(np.outer(sigma, sigma).ravel() * np.eye(2).ravel())
    generator = np.kron(a, np.eye(2)) + np.kron(np.eye(2), a) + spread
    start = np.outer([1.0, 2.0], [1.0, 2.0]).ravel()
    noise = np.stack(np.meshgrid(NODES, NODES), axis=-1).reshape(-1, 2)
    weights, matrix = np.outer(WEIGHTS, WEIGHTS).ravel(), mx.array(a.T, mx.float64)
    found = []
    for steps in STEPS:
        columns = [
            factors(
                name,
                lambda t, x: mx.sum(x[..., None] * matrix, axis=1),
                lambda t, x: mx.array(sigma, mx.float64) * x,
                1 / steps,
                unit,
                noise,
            )
            for unit in np.eye(2)
        ]
        one = np.stack(columns, axis=2)  # (nodes, 2, 2), the matrix of a step
        moments = np.einsum("n,nij,nkl->ikjl", weights, one, one).reshape(4, 4)
        found.append(np.linalg.matrix_power(moments, steps) @ start - expm(generator) @ start)
    for errors in np.transpose(found)[[0, 1, 3]]:
        assert order(errors) == pytest.approx(SDE_SOLVERS[name].weak, abs=0.2)


def test_the_noise_of_a_key():
    """Increments are Gaussian, of variance dt, independent; the same for the same key alone."""

    def walk(key, **how):
        zero = mx.zeros((4000, 2))
        where = sdeint(lambda t, x: 0 * x, lambda t, x: mx.array(1.0), zero, key=key, **how)
        return np.array(where.x)

    at = walk(mx.random.key(3), t=[0.0, 0.25, 1.0])
    steps = np.diff(at, axis=0).reshape(2, -1)
    np.testing.assert_allclose(steps.var(axis=1), [0.25, 0.75], rtol=0.06)  # 3.8 deviations
    assert abs(np.corrcoef(steps)[0, 1]) < 0.045
    assert abs(np.corrcoef(at[2].T)[0, 1]) < 0.065
    assert np.array_equal(at, walk(mx.random.key(3), t=[0.0, 0.25, 1.0]))
    assert not np.array_equal(at, walk(mx.random.key(4), t=[0.0, 0.25, 1.0]))


def test_without_noise_it_is_the_ordinary_solver(cpu):
    """And in between two steps reports lie on a straight line."""
    x0 = mx.array([1.0, 2.0], mx.float64)
    solution = sdeint(
        lambda t, x: -x * t,
        lambda t, x: mx.zeros_like(x),
        x0,
        [0.0, 0.25, 0.5, 1.0],
        steps=2,
        key=mx.random.key(0),
    )
    by_hand = [1.0]
    for t in (0.0, 0.5):
        slope = -by_hand[-1] * t
        by_hand.append(by_hand[-1] + 0.25 * (slope - (by_hand[-1] + 0.5 * slope) * (t + 0.5)))
    expected = np.array([1, (1 + by_hand[1]) / 2, *by_hand[1:]])
    np.testing.assert_allclose(np.array(solution.x[:, 0]), expected, rtol=1e-14)
    assert (solution.nfe, solution.accepted, solution.rejected) == (4, 2, 0)
    np.testing.assert_array_equal(solution.steps, [0, 0.5, 1])
    np.testing.assert_array_equal(np.array(solution.t), [0, 0.25, 0.5, 1])


def test_one_step_of_euler_and_maruyama(cpu):
    increments = mx.array([[0.3, -0.2]], mx.float64)
    end = solve(
        lambda t, x: 2 * x,
        lambda t, x: x + 1,
        [1.0, 2.0],
        solver="euler-maruyama",
        increments=increments,
        steps=1,
    )
    np.testing.assert_allclose(end, [1 + 2 + 2 * 0.3, 2 + 4 - 3 * 0.2], rtol=1e-14)


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"t": [1.0, 0.0]}, "not followed backwards"),
        ({"t": [0.0]}, "two or more finite times"),
        ({"t": [0.0, math.nan]}, "two or more finite times"),
        ({"solver": "euler-maruyma"}, "did you mean 'euler-maruyama'"),
        ({"solver": "zzz"}, f"there are {', '.join(SDE_SOLVERS)}"),
        ({"steps": 0}, "steps must be a positive whole number, not 0"),
        ({"key": None}, "either a key or the increments"),
        ({"key": None, "increments": mx.zeros((2, 3))}, r"increments must be \(1, 3\)"),
        ({"x0": 1.0}, "x0 must be an mlx array"),
    ],
)
def test_refusals(how, complaint):
    arguments = {"x0": mx.zeros(3), "t": [0.0, 1.0], "key": mx.random.key(0)} | how
    with pytest.raises(ValueError, match=complaint):
        sdeint(lambda t, x: x, lambda t, x: x, **arguments)


def test_what_runs_off_is_no_answer():
    with pytest.raises(NonFiniteError, match="try more steps") as caught:
        sdeint(
            lambda t, x: x**3,
            lambda t, x: x,
            mx.full((3,), 1e9),
            [0.0, 1.0],
            steps=10,
            key=mx.random.key(0),
        )
    assert (caught.value.t, caught.value.dt) == (1.0, pytest.approx(0.1))
