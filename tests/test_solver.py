import dataclasses

import mlx.core as mx
import numpy as np
import pytest

from odeint import odeint
from solver import SOLVERS, Controller, Tableau, combine, interpolate, step

pytestmark = pytest.mark.usefixtures("cpu")


def field(t, x):
    """Lotka–Volterra with prey that grow ever faster: nonlinear, coupled, in t too; sums and
    products alone, which MLX computes in true double precision."""
    prey, predators = x[0], x[1]
    return mx.stack([prey * (1 - predators) * (1 + 0.5 * t), predators * (prey - 1)])


START, END = [1.5, 0.7], 3.0


def solve(name, steps, times=(0.0, END)):
    return odeint(field, mx.array(START, mx.float64), list(times), solver=name, steps=steps)


@pytest.fixture(scope="module")
def exact():
    from scipy.integrate import solve_ivp

    def at(t):
        return solve_ivp(
            lambda t, x: [x[0] * (1 - x[1]) * (1 + 0.5 * t), x[1] * (x[0] - 1)],
            (0, t),
            START,
            method="DOP853",
            rtol=3e-14,
            atol=1e-15,
        ).y[:, -1]

    return at


STEPS = {4: [32, 48, 64, 96], 5: [24, 32, 48, 64], 8: [8, 10, 12, 14, 16, 20]}


@pytest.mark.parametrize("name", SOLVERS)
def test_observed_order(name, exact):
    order = SOLVERS[name].order
    counts, end = STEPS.get(order, [64, 96, 128, 192]), exact(END)
    errors = [np.abs(np.array(solve(name, n).x[-1]) - end).max() for n in counts]
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order - 0.25 < slope < order + 0.75, errors


@pytest.mark.parametrize("name", SOLVERS)
def test_interpolant_order(name, exact):
    """Inside a step the error is of the order of the polynomial, or of the solver if lower."""
    tableau, theta = SOLVERS[name], np.array([0.15, 0.4, 0.7, 0.95])
    x = mx.array(exact(0.5), mx.float64)

    def error(dt):
        _, stages = step(tableau, field, 0.5, dt, x, field(0.5, x))
        got = np.array(interpolate(tableau, dt, x, stages, theta))
        return np.abs(got - [exact(0.5 + part * dt) for part in theta]).max()

    degree = len(tableau.interpolant[0])
    sizes = [0.4, 0.3, 0.2, 0.15] if degree < 6 else [0.8, 0.6, 0.5, 0.4]
    slope = np.polyfit(np.log(sizes), np.log([error(dt) for dt in sizes]), 1)[0]
    assert slope > min(tableau.order, degree) + 1 - 0.35


@pytest.mark.parametrize("name", SOLVERS)
def test_interpolant_ends_at_the_step(name):
    tableau = SOLVERS[name]
    x = mx.array([1.0, -2.0], mx.float64)
    x_new, stages = step(tableau, lambda t, x: -x * (1 + t), 0.0, 0.3, x, -x)
    ends = interpolate(tableau, 0.3, x, stages, np.array([0.0, 1.0]))
    np.testing.assert_allclose(np.array(ends), np.stack([np.array(x), np.array(x_new)]), rtol=1e-14)


def test_dopri5_agrees_with_scipy():
    from scipy.integrate import RK45

    tableau = SOLVERS["dopri5"]
    a = np.array([[*row, *[0.0] * (7 - len(row))] for row in tableau.a])
    np.testing.assert_allclose(a[:6, :5], RK45.A, atol=1e-15)
    np.testing.assert_allclose(tableau.b[:6], RK45.B, atol=1e-15)
    np.testing.assert_allclose(tableau.error, -RK45.E, atol=1e-15)
    np.testing.assert_allclose(tableau.dense, RK45.P, atol=1e-15)


def test_fsal_is_seen_from_the_numbers():
    assert SOLVERS["dopri5"].fsal
    assert not SOLVERS["rk4"].fsal


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"b": (1 / 6, 1 / 3, 1 / 3, 1 / 5)}, "is not 1/1"),
        ({"b": (1 / 3, 1 / 6, 1 / 3, 1 / 6)}, "is not 1/2"),
        ({"c": (0, 1 / 2, 1 / 2, 0.9)}, "row 3 of a does not sum"),
        ({"a": ((), (1 / 2,), (0, 1 / 2), (0, 0, 1, 0))}, "triangular"),
        ({"error": (1.0, 0.0, 0.0, 0.0)}, "error does not sum to 0"),
        ({"error": (0.0,)}, "differ in length"),
        ({"dense": ((1, 0), (0, 0), (0, 0), (0, 0))}, "dense at θ = 1"),
        ({"order": 5}, "is not 1/5"),
    ],
)
def test_contradictory_tableaus_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(SOLVERS["rk4"], **change)


def test_a_slip_in_one_coefficient_is_refused():
    """−513/18656 for −5103/18656, as once seen in the wild."""
    rows = [list(row) for row in SOLVERS["dopri5"].a]
    rows[5][4] = -513 / 18656
    with pytest.raises(ValueError, match="row 5 of a"):
        dataclasses.replace(SOLVERS["dopri5"], a=tuple(map(tuple, rows)))


def test_a_new_tableau_is_only_data(monkeypatch):
    kutta = Tableau("kutta3", 3, c=(0, 0.5, 1), a=((), (0.5,), (-1, 2)), b=(1 / 6, 2 / 3, 1 / 6))
    monkeypatch.setitem(SOLVERS, "kutta3", kutta)
    assert solve("kutta3", 10, np.linspace(0, 1, 7)).x.shape == (7, 2)


def test_controller():
    controller = Controller()
    assert controller.factor(5, 0.0, 1.0) == controller.largest
    assert controller.factor(5, float("nan"), 1.0) == controller.smallest
    assert controller.factor(5, 1e9, 1.0) == controller.smallest
    assert controller.factor(5, 1.1, 1.0) < 1
    expected = 0.9 * 0.5 ** (0.03 - 0.2) * 0.25**0.04
    assert controller.factor(5, 0.5, 0.25) == pytest.approx(expected)


def test_combinations_of_one_shape_after_those_of_another():
    for shape in ((3, 2), (9, 1), (1, 2), (4, 1, 3), (2,), (1,)):
        stages = [mx.full(shape, float(k)) for k in range(12)]
        x = combine(mx.ones(shape), 0.5, (1.0,) * 12, stages)
        assert x.shape == shape
        np.testing.assert_allclose(np.array(x), 1 + 0.5 * 66)
