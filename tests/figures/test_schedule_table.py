"""The tables of schedules, held to the schedules themselves at times that are not in them."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from cfm import METHODS, Schedule
from figures.schedule_table import MOST_TIMES, TOLERANCE, schedule_table
from tests.figures.sample_pages import MAKERS, squared

rng = np.random.default_rng(0)


def at(table, t, sigma):
    """Values and slopes (3, N) of a table at one σ."""
    values, slopes = table.at(t)
    powers = sigma ** np.arange(len(values), dtype=float)
    return np.tensordot(powers, values, 1), np.tensordot(powers, slopes, 1)


def of_schedule(method, t):
    """The same (3, N) from a method's own schedule, in float64."""
    curves = method.schedule(mx.array(t[:, None], mx.float64))
    return [np.concatenate([np.array(curve) for curve in kind], axis=1).T for kind in curves]


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.7])
@pytest.mark.parametrize("name", MAKERS)
def test_a_table_is_its_schedule(cpu, name, sigma):
    """For every σ, from the first of its times to the last; sines of MLX are right to 1e-7."""
    table = schedule_table(MAKERS[name])
    assert table.why_fixed == ""
    margin = MAKERS[name]().schedule.margin
    assert (table.times[0], table.times[-1]) == (margin, 1 - margin)
    t = np.append(table.times, rng.uniform(margin, 1 - margin, 2000))
    (values, slopes), (expected, rates) = at(table, t, sigma), of_schedule(MAKERS[name](sigma), t)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    # 1.05: the error is largest a little off the places where it was looked at
    assert np.max(np.abs(slopes - rates) / (1 + np.abs(rates))) < 1.05 * TOLERANCE * (1 + sigma)


@pytest.mark.parametrize("name", MAKERS)
def test_slopes_are_those_of_the_values(name):
    table = schedule_table(MAKERS[name])
    middles = (table.times[1:] + table.times[:-1]) / 2
    step = 1e-3 * np.diff(table.times)
    rise = table.at(middles + step)[0] - table.at(middles - step)[0]
    np.testing.assert_allclose(rise / (2 * step), table.at(middles)[1], rtol=1e-5, atol=1e-7)


def unchanged(sigma=None):
    return replace(METHODS["poly"](0.2), sigma=0.2 if sigma is None else sigma)


def positive(sigma=None):
    if sigma == 0:
        raise ValueError("sigma must be more than 0, not 0.0")
    return METHODS["cfm"](sigma)


def without(sigma=None):
    return replace(METHODS["vp"](), sigma=None)


@pytest.mark.parametrize(
    ("make", "sigma", "why"),
    [
        (squared, 0.3, "not linear in σ"),
        (unchanged, 0.3, "do not depend on σ"),
        (positive, 0.3, "cannot take every σ"),
        (without, None, "has no σ"),
    ],
)
def test_a_sigma_that_cannot_be_changed(cpu, make, sigma, why):
    """The table is that of the one σ given, and says why."""
    table = schedule_table(make, sigma)
    assert why in table.why_fixed and len(table.values) == 1
    t = rng.uniform(size=50)
    np.testing.assert_allclose(at(table, t, 7.0)[0], of_schedule(make(sigma), t)[0], atol=1e-6)


def test_what_bends_without_end_has_an_end():
    """A curve that no table could follow gets as many times as there may be."""
    wild = replace(METHODS["cfm"](), schedule=Schedule(lambda t: mx.sin(1e5 * t), lambda t: 1 - t))
    assert MOST_TIMES / 3 < len(schedule_table(lambda sigma: wild).times) <= MOST_TIMES


def test_an_infinite_slope_asks_for_a_margin(cpu):
    schedule = Schedule(mx.sqrt, lambda t: 1 - t)
    steep = replace(METHODS["cfm"](), schedule=schedule)
    with pytest.raises(ValueError, match=r"of cfm or its slope is infinite.* margin"):
        schedule_table(lambda sigma: steep)
    held = replace(steep, schedule=replace(schedule, margin=1e-4))
    table = schedule_table(lambda sigma: held)
    t = rng.uniform(1e-4, 1 - 1e-4, 500)
    np.testing.assert_allclose(at(table, t, 0.0)[0][0], t**0.5, atol=1e-6)
