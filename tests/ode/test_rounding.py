"""Noise of a known level is measured, and told from whatever else makes steps short."""

import warnings

import mlx.core as mx
import numpy as np
import pytest

from odeint import RoundingWarning, StepBudgetError, odeint
from ode.rounding import Noise, noise_of
from ode.step import rms, step
from solver import SOLVERS
from ode.walk import IN_A_ROW, LOOK_EVERY, Options, Watch

pytestmark = pytest.mark.usefixtures("cpu")


def noisy(level, seed=0):
    """x' = t² − x, every value wrong at random by so much of itself."""
    draws = np.random.default_rng(seed)

    def field(t, x):
        wrong = 1 + level * draws.standard_normal(x.shape)
        return (mx.square(t) - x) * mx.array(wrong, mx.float64)

    return field


def start(count=50):
    return mx.array(np.linspace(0.5, 1.0, count), mx.float64)


def solved(field, x0, end, tol, solver="dopri5", **how):
    """The solution, or the error; and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = odeint(field, x0, [0.0, end], solver=solver, rtol=tol, atol=tol, **how)
        except StepBudgetError as error:
            found = error
    assert all(issubclass(each.category, RoundingWarning) for each in caught)
    return found, [str(each.message) for each in caught]


@pytest.mark.parametrize("name", ["dopri5", "dopri8", "bosh3"])
@pytest.mark.parametrize("level", [1e-5, 1e-10])
def test_noise_is_measured(level, name):
    """Its level; and the error that it makes: 0 but for it, since this field is constant."""
    draws, x0 = np.random.default_rng(1), start(400)

    def field(t, x):
        return 1 + level * mx.array(draws.standard_normal(x.shape), mx.float64)

    options = Options(SOLVERS[name], 1e-8, 1e-8, None, 1, None, 1.0, rms)
    taken = step(SOLVERS[name], field, 0.0, 0.1, x0, field(0.0, x0))
    noise = noise_of(field, taken, options)
    assert noise.level == pytest.approx(level, rel=0.15)
    error = rms(taken.error(1e-8, 1e-8)).item()
    assert noise.ratio == pytest.approx(error, rel=0.25)


def test_a_solve_that_noise_makes_long_says_so():
    """It needs fifty times the evaluations of the same without noise, or does not end."""
    x0, tol, times = start(), 1e-8, 0.5
    precise, none = solved(noisy(0.0), x0, times, tol, "dopri8")
    found, warned = solved(noisy(2e-6), x0, times, tol, "dopri8")
    assert not none and len(warned) == 1
    assert found.nfe > 50 * precise.nfe
    assert "vary at random by some 2e-06 of their size" in warned[0]
    error, _ = solved(noisy(2e-6), x0, times, tol / 10, "dopri8", max_steps=LOOK_EVERY + 30)
    assert "vary at random by some 2e-06" in str(error) and "stiff" not in str(error)


def test_the_rounding_of_mlx_in_float64():
    """Its cos and exp have seven digits; a float64 solve to ten takes their rest for structure."""

    def field(t, x):
        return mx.cos(x) * mx.exp(-x / 10) + mx.sin(t)

    error, _ = solved(
        field, mx.array([0.3], mx.float64), 10.0, 1e-10, "dopri8", max_steps=LOOK_EVERY + 30
    )
    assert "have seven digits" in str(error)


def test_noise_is_believed_after_several_looks_in_a_row(monkeypatch):
    """Each at the next step that is good; where one shows none, it all begins anew, later."""
    shown = [True] * (IN_A_ROW - 1) + [False] + [True] * IN_A_ROW
    looks, tries = iter(shown), []
    monkeypatch.setattr(
        "ode.walk.noise_of", lambda *_: tries.append(n) or Noise(1e-3, 1.0, next(looks))
    )
    taken = step(SOLVERS["dopri5"], lambda t, x: x, 0.5, 0.1, start(), start())
    watch, warned_at = Watch(None, None), None
    for n in range(3 * LOOK_EVERY):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watch.look(n, taken)
        if caught:
            assert warned_at is None and "t = 0.5," in str(caught[0].message)
            warned_at = n
    none_at = LOOK_EVERY + IN_A_ROW - 1
    again = none_at + LOOK_EVERY
    assert tries == [*range(LOOK_EVERY, none_at + 1), *range(again, again + IN_A_ROW)]
    assert warned_at == tries[-1] and "vary at random" in watch.advice


def van_der_pol(t, x):
    return mx.stack([x[1], 50 * (1 - x[0] * x[0]) * x[1] - x[0]])


def robertson(t, x):
    slow, middle, fast = 0.04 * x[0], 1e4 * x[1] * x[2], 3e7 * x[1] * x[1]
    return mx.stack([middle - slow, slow - middle - fast, fast])


STIFF = {
    "van der pol": (van_der_pol, [2.0, 0.0], 60.0),
    "robertson": (robertson, [1.0, 0.0, 0.0], 4.0),
    "linear": (lambda t, x: -1000 * (x - t * t), [1.0], 2.0),
}


@pytest.mark.parametrize("tol", [1e-6, 1e-9])
@pytest.mark.parametrize("name", STIFF)
def test_stiff_problems_are_not_taken_for_noise(name, tol):
    field, x0, end = STIFF[name]
    x0 = mx.array(x0, mx.float64)
    found, warned = solved(field, x0, end, tol, max_steps=LOOK_EVERY + 20, dense=False)
    assert not warned
    assert not isinstance(found, StepBudgetError) or "may be stiff" in str(found)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [mx.float32, mx.float64])
@pytest.mark.parametrize("tol", [1e-4, 1e-6, 1e-9])
@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize("name", STIFF)
def test_long_stiff_solves_are_not_taken_for_noise(name, solver, tol, dtype):
    """But where a thousandfold of float32's rounding is noise, as a solve in float64 tells."""
    if dtype == mx.float32 and tol < 1e-8:
        pytest.skip("float32 is noise at this tolerance")
    field, x0, end = STIFF[name]
    try:
        found, warned = solved(field, mx.array(x0, dtype), end, tol, solver, max_steps=2_000)
    except ArithmeticError:  # it ran off before
        return
    if warned and dtype == mx.float32:
        precise, warned = solved(field, mx.array(x0, mx.float64), end, tol, solver)
        assert found.nfe > 1.3 * precise.nfe
    assert not warned
