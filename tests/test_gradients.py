"""Gradients through a solve: three ways, each other, differences, and what is refused."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from models import MLP
from odeint import GRADIENTS, odeint

pytestmark = pytest.mark.usefixtures("cpu")

REMEMBERING = ("checkpoint", "adjoint")
TIMES = [0.0, 0.3, 0.3, 1.0]
X0 = np.array([[1.0, 0.5], [0.2, -1.0], [2.0, 2.0]])
PARAMETERS = {"matrix": np.array([[-0.3, 1.0], [-1.2, -0.1]]), "shift": np.array([0.1, 0.2])}


def field(t, x, parameters):
    """Made of tanh, sums and products, which MLX computes in true double precision."""
    return mx.tanh(x @ parameters["matrix"].T) * (1 + 0.5 * t) + parameters["shift"]


def in_float64(tree):
    return {name: mx.array(value, mx.float64) for name, value in tree.items()}


def loss(x0, parameters, gradient="direct", times=TIMES, **how):
    """Every reported state counts, each differently."""
    how = {"rtol": 1e-10, "atol": 1e-10, **how}
    solution = odeint(field, x0, times, gradient=gradient, parameters=parameters, **how)
    weights = mx.arange(1, len(times) + 1)[:, None, None].astype(mx.float64)
    return mx.sum(weights * mx.square(solution.x))


def gradients(*args, **kwargs):
    pulled = mx.grad(lambda x0, p: loss(x0, p, **kwargs), argnums=(0, 1))(*args)
    return {path: np.array(leaf) for path, leaf in tree_flatten(pulled)}


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_against_differences(gradient):
    x0, parameters = mx.array(X0, mx.float64), in_float64(PARAMETERS)
    got = gradients(x0, parameters, gradient=gradient)
    step = 1e-5
    for path, base in (
        ("0", X0),
        ("1.matrix", PARAMETERS["matrix"]),
        ("1.shift", PARAMETERS["shift"]),
    ):
        expected = np.zeros_like(base)
        for index in np.ndindex(base.shape):
            values = []
            for sign in (1, -1):
                moved = base.copy()
                moved[index] += sign * step
                if path == "0":
                    values.append(loss(mx.array(moved, mx.float64), parameters).item())
                else:
                    changed = in_float64({**PARAMETERS, path.split(".")[1]: moved})
                    values.append(loss(x0, changed).item())
            expected[index] = (values[0] - values[1]) / (2 * step)
        np.testing.assert_allclose(got[path], expected, rtol=2e-6)


HOW = [
    {"solver": "dopri8"},
    {"solver": "tsit5", "rtol": 1e-9},
    {"solver": "rk4", "steps": 80},
    {"solver": "dopri5", "steps": 40},
    {"solver": "rk4", "times": np.linspace(0, 1, 81)},
    {"times": [1.0, 0.4, 0.0]},
    {"times": [0.5, 0.5, 1.0]},
]


@pytest.mark.parametrize("how", HOW)
def test_the_three_agree(how):
    args = mx.array(X0, mx.float64), in_float64(PARAMETERS)
    direct, checkpoint, adjoint = (gradients(*args, gradient=name, **how) for name in GRADIENTS)
    for path in direct:
        np.testing.assert_allclose(checkpoint[path], direct[path], rtol=1e-12)
        np.testing.assert_allclose(adjoint[path], direct[path], rtol=1e-5)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_solution_is_the_same(gradient):
    args = mx.array(X0, mx.float64), TIMES
    parameters = in_float64(PARAMETERS)
    plain = odeint(field, *args, parameters=parameters)
    other = odeint(field, *args, parameters=parameters, gradient=gradient)
    assert mx.array_equal(plain.x, other.x)
    assert (plain.nfe, plain.accepted) == (other.nfe, other.accepted)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_pytree_states(gradient):
    """x' = −a x, y' = x: y(1) = x0 (1 − e^−a) / a."""

    def total(state, a):
        solution = odeint(
            lambda t, s, a: {"x": -a * s["x"], "y": (s["x"],)},
            state,
            [0.0, 1.0],
            parameters=a,
            gradient=gradient,
            rtol=1e-9,
            atol=1e-9,
        )
        return mx.sum(solution.x["y"][0][-1])

    state = {"x": mx.array([2.0], mx.float64), "y": (mx.array([0.0], mx.float64),)}
    pulled, da = mx.grad(total, argnums=(0, 1))(state, mx.array(0.7, mx.float64))
    decay = np.exp(-0.7)
    assert pulled["x"].item() == pytest.approx((1 - decay) / 0.7, rel=1e-7)
    assert pulled["y"][0].item() == pytest.approx(1, rel=1e-7)
    assert da.item() == pytest.approx(2 * (decay * 1.7 - 1) / 0.49, rel=1e-7)


@pytest.mark.parametrize("wrap", [False, True])
def test_modules(wrap):
    """A Module's own weights need no naming; one behind a function is named."""
    mx.random.seed(0)
    model = MLP(width=16, depth=2)
    x0 = mx.random.normal((50, 2))
    before = {path: np.array(leaf) for path, leaf in tree_flatten(model.parameters())}
    results = {}
    for gradient in GRADIENTS:

        def value(model, gradient=gradient):
            function = (lambda t, x: 2 * model(t, x)) if wrap else model
            parameters = model if wrap else None
            solution = odeint(
                function,
                x0,
                [0.0, 1.0],
                gradient=gradient,
                parameters=parameters,
                rtol=1e-6,
                atol=1e-6,
            )
            return mx.mean(mx.square(solution.x[-1]))

        value, pulled = nn.value_and_grad(model, value)(model)
        results[gradient] = np.concatenate([np.array(p).ravel() for _, p in tree_flatten(pulled)])
    scale = np.abs(results["direct"]).max()
    assert scale > 0.01
    np.testing.assert_allclose(results["checkpoint"], results["direct"], atol=1e-5 * scale)
    np.testing.assert_allclose(results["adjoint"], results["direct"], atol=1e-3 * scale)
    after = {path: np.array(leaf) for path, leaf in tree_flatten(model.parameters())}
    assert all(np.array_equal(before[path], after[path]) for path in before)


@pytest.mark.parametrize("gradient", REMEMBERING)
def test_what_the_gradient_cannot_see_is_refused(gradient):
    w, model, x = mx.array([1.0, 2.0]), MLP(width=4, depth=1), mx.ones((3, 2))

    def closed_over(w):
        return odeint(lambda t, x: w * x, mx.ones(2), [0.0, 1.0], gradient=gradient).x.sum()

    def hidden_module(model):
        return odeint(lambda t, x: model(t, x), x, [0.0, 1.0], gradient=gradient).x.sum()

    with pytest.raises(ValueError, match="name them as `parameters`"):
        mx.grad(closed_over)(w)
    with pytest.raises(ValueError, match="name them as `parameters`"):
        nn.value_and_grad(model, hidden_module)(model)
    assert np.isfinite(closed_over(w).item())  # without a gradient there is nothing to miss


@pytest.mark.parametrize("gradient", REMEMBERING)
def test_second_derivatives_are_refused_or_right(gradient):
    """x' = x² gives x0 / (1 − t x0), whose second derivative in x0 is 2t / (1 − t x0)³."""

    def second(gradient):
        def end(x):
            how = {"gradient": gradient, "rtol": 1e-9, "atol": 1e-9}
            return odeint(lambda t, x: mx.square(x), x, [0.0, 0.1], **how).x[-1].sum()

        return mx.grad(lambda x: mx.grad(end)(x).sum())(mx.array([2.0], mx.float64)).item()

    assert second("direct") == pytest.approx(0.2 / 0.8**3, rel=1e-6)
    with pytest.raises(ValueError, match="second derivatives"):
        second(gradient)


def test_time_is_not_differentiated_in_silence():
    with pytest.raises(ValueError, match="with respect to t"):
        mx.grad(lambda t: odeint(lambda t, x: x, mx.ones(1), t).x.sum())(mx.array([0.0, 1.0]))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fixed", "adaptive"])
def test_memory_of_the_adjoint_does_not_grow_with_the_steps(how):
    model, x0 = MLP(width=32, depth=2), mx.random.normal((2000, 2))

    def peak(gradient, size):
        steps = {"solver": "rk4", "steps": size} if how == "fixed" else {"max_step": 1 / size}
        mx.clear_cache()
        mx.reset_peak_memory()

        def value(model):
            solution = odeint(
                model, x0, [0.0, 1.0], gradient=gradient, rtol=1e-3, atol=1e-3, **steps
            )
            return mx.mean(solution.x[-1])

        _, pulled = nn.value_and_grad(model, value)(model)
        mx.eval(pulled)
        return mx.get_peak_memory()

    for gradient in REMEMBERING:
        assert peak(gradient, 64) < 1.3 * peak(gradient, 16)
    assert peak("direct", 64) > 2.5 * peak("direct", 16)


def test_parameters_must_be_arrays():
    with pytest.raises(ValueError, match="parameters at rate"):
        odeint(lambda t, x, p: x, mx.ones(1), [0.0, 1.0], parameters={"rate": 0.5})


def hamiltonian(t, x):
    """A pendulum, by derivatives of its energy."""
    slope = mx.grad(lambda x: mx.sum(mx.square(x[:1]) / 2 - mx.cos(x[1:])))(x)
    return mx.concatenate([-slope[1:], slope[:1]])


@pytest.mark.parametrize("how", [{}, {"solver": "rk4", "steps": 20}])
def test_a_field_that_takes_derivatives_itself(how):
    """It looks as if it hid something; where told that it does not, its gradient is right."""

    def end(x0, **more):
        return odeint(hamiltonian, x0, [0.0, 1.0], **how, **more).x[-1][0]

    x0, step = mx.array([0.3, 0.5]), 1e-2
    with pytest.raises(ValueError, match="name them as `parameters`"):
        mx.grad(lambda x0: end(x0, gradient="checkpoint"))(x0)
    found = mx.grad(lambda x0: end(x0, gradient="checkpoint", check_hidden=False))(x0)
    for axis in range(2):
        shift = step * mx.eye(2)[axis]
        slope = (end(x0 + shift) - end(x0 - shift)).item() / (2 * step)
        assert found[axis].item() == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("how", [{}, {"solver": "rk4", "steps": 4}])
def test_a_field_that_does_not_depend_on_the_state(how):
    """Its gradient is the identity, and no mistake."""
    constant = lambda t, x: mx.zeros(2) + t  # noqa: E731
    gradient = mx.grad(lambda x0: odeint(constant, x0, [0.0, 1.0], **how).x[-1].sum())
    assert gradient(mx.array([0.3, 0.5])).tolist() == [1, 1]
