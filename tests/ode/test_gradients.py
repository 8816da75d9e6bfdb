"""Gradients through a solve: three ways, each other, differences, and what is refused."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from ode.gradients import GRADIENTS, guarded
from models import MLP
from odeint import odeint

pytestmark = pytest.mark.usefixtures("cpu")

REMEMBERING = ("checkpoint", "adjoint")
TIMES = [0.0, 0.3, 0.3, 1.0]


def both_slopes(loss, *inputs, step=1e-5):
    """The slope of a loss along a random direction in its inputs: MLX's, and a difference."""
    rng = np.random.default_rng(0)
    way = tree_map(lambda leaf: mx.array(rng.normal(size=leaf.shape), leaf.dtype), inputs)
    ahead, behind = (
        loss(*tree_map(lambda leaf, w, h=h: leaf + h * w, inputs, way)).item()
        for h in (step, -step)
    )
    gradient = mx.grad(lambda inputs: loss(*inputs))(inputs)
    products = tree_map(lambda g, w: mx.sum(g * w).item(), gradient, way)
    return sum(product for _, product in tree_flatten(products)), (ahead - behind) / (2 * step)


def test_the_adjoint_is_exact_where_the_state_stands_still():
    """x = 0 is no error in any step, and still dx(1)/dx0 = e³ is held to the tolerances."""

    def end(x0):
        solution = odeint(
            lambda t, x: 3 * x, x0, [0.0, 1.0], rtol=1e-9, atol=1e-9, gradient="adjoint"
        )
        return mx.sum(solution.x[-1])

    assert mx.grad(end)(mx.zeros(2, mx.float64))[0].item() == pytest.approx(np.exp(3), rel=1e-7)


def inputs():
    """x0 and parameters of `field`."""
    x0 = mx.array([[1.0, 0.5], [0.2, -1.0], [2.0, 2.0]])
    parameters = {"matrix": mx.array([[-0.3, 1.0], [-1.2, -0.1]]), "shift": mx.array([0.1, 0.2])}
    return tree_map(lambda leaf: leaf.astype(mx.float64), (x0, parameters))


def field(t, x, parameters):
    """Made of tanh, sums and products, which MLX computes in true double precision."""
    return mx.tanh(x @ parameters["matrix"].T) * (1 + 0.5 * t) + parameters["shift"]


def loss_of(gradient="direct", times=TIMES, **how):
    """A loss of x0 and parameters in which every reported state counts, each differently."""
    how = {"rtol": 1e-10, "atol": 1e-10, **how}

    def loss(x0, parameters):
        solution = odeint(field, x0, times, gradient=gradient, parameters=parameters, **how)
        weights = mx.arange(1, len(times) + 1)[:, None, None].astype(mx.float64)
        return mx.sum(weights * mx.square(solution.x))

    return loss


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_against_differences(gradient):
    slope, expected = both_slopes(loss_of(gradient), *inputs())
    assert slope == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    "how",
    [
        {"solver": "dopri8"},
        {"solver": "tsit5", "rtol": 1e-9},
        {"solver": "rk4", "steps": 50},
        {"solver": "dopri5", "steps": 30},
        {"solver": "rk4", "times": np.linspace(0, 1, 51)},
        {"times": [1.0, 0.4, 0.0]},
        {"times": [0.5, 0.5, 1.0]},
    ],
)
def test_the_three_agree(how):
    direct, checkpoint, adjoint = (
        tree_flatten(mx.grad(loss_of(gradient, **how), argnums=(0, 1))(*inputs()))
        for gradient in GRADIENTS
    )
    for (_, one), (_, two), (_, three) in zip(direct, checkpoint, adjoint, strict=True):
        np.testing.assert_allclose(np.array(two), np.array(one), rtol=1e-12)
        np.testing.assert_allclose(np.array(three), np.array(one), rtol=1e-5)


@pytest.mark.parametrize("gradient", REMEMBERING)
def test_the_solution_is_the_same(gradient):
    x0, parameters = inputs()
    plain = odeint(field, x0, TIMES, parameters=parameters)
    other = odeint(field, x0, TIMES, parameters=parameters, gradient=gradient)
    assert mx.array_equal(plain.x, other.x)
    assert (plain.nfe, plain.accepted) == (other.nfe, other.accepted)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_pytree_states(gradient):
    """x' = −a x, y' = x: y(1) = x0 (1 − e^−a) / a."""

    def total(state, a):
        def field(t, state, a):
            return {"x": -a * state["x"], "y": (state["x"],)}

        how = {"gradient": gradient, "rtol": 1e-9, "atol": 1e-9}
        return mx.sum(odeint(field, state, [0.0, 1.0], parameters=a, **how).x["y"][0][-1])

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
    model, x0 = MLP(width=16, depth=2), mx.random.normal((50, 2))
    before = tree_map(np.array, model.parameters())
    function = (lambda t, x: 2 * model(t, x)) if wrap else model
    results = {}
    for gradient in GRADIENTS:

        def value(_, gradient=gradient):
            how = {"parameters": model if wrap else None, "gradient": gradient}
            return mx.mean(mx.square(odeint(function, x0, [0.0, 1.0], **how).x[-1]))

        _, pulled = nn.value_and_grad(model, value)(model)
        results[gradient] = np.concatenate([np.array(p).ravel() for _, p in tree_flatten(pulled)])
    scale = np.abs(results["direct"]).max()
    assert scale > 0.01
    np.testing.assert_allclose(results["checkpoint"], results["direct"], atol=1e-5 * scale)
    np.testing.assert_allclose(results["adjoint"], results["direct"], atol=1e-3 * scale)
    same = tree_map(lambda a, b: np.array_equal(a, np.array(b)), before, model.parameters())
    assert all(equal for _, equal in tree_flatten(same))


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


def test_parameters_must_be_arrays():
    with pytest.raises(ValueError, match="parameters at rate"):
        odeint(lambda t, x, p: x, mx.ones(1), [0.0, 1.0], parameters={"rate": 0.5})


def pendulum(t, x):
    """By derivatives of its energy."""
    slope = mx.grad(lambda x: mx.sum(mx.square(x[:1]) / 2 - mx.cos(x[1:])))(x)
    return mx.concatenate([-slope[1:], slope[:1]])


@pytest.mark.parametrize("how", [{}, {"solver": "rk4", "steps": 20}])
def test_a_field_that_takes_derivatives_itself(how):
    """It looks as if it hid something; told that it does not, or guarded, its gradient is right."""
    safe = guarded(lambda t, x, _: pendulum(t, x))

    def end(field, x0, **more):
        return odeint(field, x0, [0.0, 1.0], **how, **more).x[-1][0]

    x0 = mx.array([0.3, 0.5])
    with pytest.raises(ValueError, match="name them as `parameters`"):
        mx.grad(lambda x0: end(pendulum, x0, gradient="checkpoint"))(x0)
    for loss in (
        lambda x0: end(pendulum, x0, gradient="checkpoint", check_hidden=False),
        lambda x0: end(lambda t, x: safe(t, x, {}), x0),
    ):
        slope, expected = both_slopes(loss, x0, step=1e-2)
        assert slope == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("how", [{}, {"solver": "rk4", "steps": 4}])
def test_a_field_that_does_not_depend_on_the_state(how):
    """Its gradient is the identity, and no mistake."""
    constant = lambda t, x: mx.zeros(2) + t  # noqa: E731
    gradient = mx.grad(lambda x0: odeint(constant, x0, [0.0, 1.0], **how).x[-1].sum())
    assert gradient(mx.array([0.3, 0.5])).tolist() == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fixed", "adaptive"])
def test_memory_of_the_adjoint_does_not_grow_with_the_steps(how):
    model, x0 = MLP(width=32, depth=2), mx.random.normal((2000, 2))

    def peak(gradient, size):
        steps = {"solver": "rk4", "steps": size} if how == "fixed" else {"max_step": 1 / size}
        steps = {"gradient": gradient, "rtol": 1e-3, "atol": 1e-3, **steps}
        mx.clear_cache()
        mx.reset_peak_memory()
        loss = nn.value_and_grad(
            model, lambda model: mx.mean(odeint(model, x0, [0.0, 1.0], **steps).x[-1])
        )
        mx.eval(loss(model)[1])
        return mx.get_peak_memory()

    for gradient in REMEMBERING:
        assert peak(gradient, 64) < 1.3 * peak(gradient, 16)
    assert peak("direct", 64) > 2.5 * peak("direct", 16)
