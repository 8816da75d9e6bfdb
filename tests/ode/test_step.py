"""One step of every solver: measured orders, and the parts that a step is made of."""

from functools import cache

import mlx.core as mx
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from odeint import odeint
from ode.step import Controller, combine, in_tolerances, rms, step
from solver import SOLVERS
from tests.test_solver import interpolation_order

pytestmark = pytest.mark.usefixtures("cpu")

START, END = [1.5, 0.7], 3.0
ROUNDING = 1e-12  # errors below this are those of the reference, or of double precision


def rates(t, prey, predators):
    """Lotka–Volterra with prey that grow ever faster: nonlinear, coupled, in t too; sums and
    products alone, which MLX computes in true double precision."""
    return prey * (1 - predators) * (1 + 0.5 * t), predators * (prey - 1)


def field(t, x):
    return mx.stack(rates(t, x[0], x[1]))


@cache
def exact(t):
    how = {"method": "DOP853", "rtol": 3e-14, "atol": 1e-15}
    return solve_ivp(lambda t, x: rates(t, *x), (0, t), START, **how).y[:, -1]


def measured_power(error, sizes):
    """The power of dt that error(dt) goes with, by the smallest four that are not rounding."""
    errors = []
    for dt in sizes:
        errors.append(error(dt))
        if errors[-1] < ROUNDING:
            break
    tail = slice(max(0, len(errors) - 4), len(errors))
    return np.polyfit(np.log(sizes[tail]), np.log(errors[tail]), 1)[0]


@pytest.mark.parametrize("name", SOLVERS)
def test_observed_order(name):
    def error(dt):
        x0, steps = mx.array(START, mx.float64), round(END / dt)
        end = odeint(field, x0, [0.0, END], solver=name, steps=steps).x[-1]
        return np.abs(np.array(end) - exact(END)).max()

    sizes = END / np.round(6 * 2 ** np.arange(0, 5.5, 0.5))
    order = SOLVERS[name].order
    assert order - 0.5 < measured_power(error, sizes) < order + 0.75


@pytest.mark.parametrize("name", SOLVERS)
def test_observed_order_inside_a_step(name):
    tableau, theta, t = SOLVERS[name], np.array([0.15, 0.4, 0.7, 0.95]), 0.5
    x = mx.array(exact(t), mx.float64)

    def error(dt):
        taken = step(tableau, field, t, t + dt, x, field(t, x))
        times = t + theta * dt
        return np.abs(np.array(taken.at(times)) - [exact(time) for time in times]).max()

    power = measured_power(error, 0.8 * 2 ** -np.arange(0, 4.5, 0.5))
    local = interpolation_order(tableau) + 1
    assert local - 0.5 < power < local + 0.75


@pytest.mark.parametrize("name", SOLVERS)
def test_the_interpolant_meets_both_ends_of_a_step(name):
    x = mx.array([1.0, -2.0], mx.float64)
    taken = step(SOLVERS[name], lambda t, x: -x * (1 + t), 0.0, 0.3, x, -x)
    ends = np.array(taken.at(np.array([0.0, 0.3 - 1e-15, 0.3])))
    np.testing.assert_allclose(ends, np.array([x, taken.x_new, taken.x_new]), rtol=1e-13)


def test_the_error_of_a_step_in_its_tolerances():
    """Of heun21 it is that of Euler's step, by hand; each leaf has tolerances of its own."""
    x = {"a": mx.array([1.0, -4.0], mx.float64), "b": mx.array([2.0], mx.float64)}
    first = {"a": -x["a"], "b": 3 * x["b"]}
    taken = step(SOLVERS["heun21"], lambda t, x: {"a": -x["a"], "b": 3 * x["b"]}, 1, 1.5, x, first)
    found = taken.error({"a": 0.1, "b": 0.2}, {"a": 0.01, "b": 0.0})
    for leaf, rate, rtol, atol in (("a", -1, 0.1, 0.01), ("b", 3, 0.2, 0.0)):
        start = np.array(x[leaf])
        heun = start * (1 + rate / 2 + rate**2 / 8)
        scale = atol + rtol * np.maximum(np.abs(start), np.abs(heun))
        np.testing.assert_allclose(np.array(taken.x_new[leaf]), heun, rtol=1e-14)
        expected = (heun - start * (1 + rate / 2)) / scale
        np.testing.assert_allclose(np.array(found[leaf]), expected, rtol=1e-13)


def test_rms_is_over_all_numbers_of_a_state():
    tree = {"a": mx.array([[3.0, 4.0]]), "b": (mx.array([0.0]),)}
    assert rms(tree).item() == pytest.approx(np.sqrt(25 / 3))
    doubled = in_tolerances(tree, tree, tree, {"a": 0.0, "b": (0.0,)}, {"a": 0.5, "b": (0.5,)})
    assert rms(doubled).item() == pytest.approx(2 * np.sqrt(25 / 3))


def test_controller():
    controller = Controller()
    assert controller.factor(5, 0.0, 1.0) == controller.largest
    assert controller.factor(5, float("nan"), 1.0) == controller.smallest
    assert controller.factor(5, 1e9, 1.0) == controller.smallest
    assert controller.factor(5, 1.1, 1.0) < 1
    expected = 0.9 * 0.5 ** (0.03 - 0.2) * 0.25**0.04
    assert controller.factor(5, 0.5, 0.25) == pytest.approx(expected)
    assert controller.factor(5, 3.0, 0.25) == pytest.approx(0.9 * 3 ** (0.03 - 0.2))
    assert controller.factor(5, 1e-9, 1.0) == controller.largest
    assert Controller(safety=2.0).factor(5, 1.01, 1.0) == 1.0  # a refused step is not made longer


@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_steps_of_the_settled_error_are_left_as_long_as_they_are(order):
    settled = Controller().settled(order)
    assert 0.1 < settled < 0.9
    assert Controller().factor(order, settled, settled) == pytest.approx(1, rel=1e-12)


def test_combinations_of_one_shape_after_those_of_another():
    for shape in ((3, 2), (9, 1), (1, 2), (4, 1, 3), (2,), (1,)):
        stages = [mx.full(shape, float(k)) for k in range(12)]
        x = combine(mx.ones(shape), 0.5, (1.0,) * 12, stages)
        assert x.shape == shape
        np.testing.assert_allclose(np.array(x), 1 + 0.5 * 66)
