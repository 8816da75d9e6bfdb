"""Numbers about runs, for flows that are known: no network is trained here."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from lab import densities, evaluation, following
from lab.config import Config
from lab.settling import settle
from likelihood import EXACT_DIMENSIONS, log_prob
from models import MLP
from odeint import odeint


def a_run(**options):
    """The run that these options describe."""
    return settle(Config(**options))


def shift(t, x):
    return mx.array([3.0, -4.0]) + 0 * x


@pytest.fixture
def stretched(tmp_path):
    """A run to points whose two columns have scales 20 and 0.1."""
    rng = np.random.default_rng(0)
    points = rng.normal([100, -5], [20, 0.1], size=(2000, 2))
    path = tmp_path / "points.csv"
    np.savetxt(path, points, delimiter=",")
    return a_run(target=str(path), samples=600), points


def test_paths_of_a_shift(tmp_path):
    run = a_run(target="normal", source="normal", samples=500)
    shape = evaluation.path_shape(run, shift)
    assert shape.energy == pytest.approx(25, rel=1e-4)
    assert shape.straightness == pytest.approx(0, abs=1e-3)
    assert shape.normalized_energy == pytest.approx(abs(25 - shape.least) / shape.least)
    assert evaluation.path_shape(run, shift, least=5.0).normalized_energy == pytest.approx(4, 1e-4)


def test_everything_is_in_the_units_of_the_target(stretched):
    """The identity as a flow: standard normal points, restored, are nearly those of the file."""
    run, points = stretched
    scale = points.std(axis=0)
    still = evaluation.generate(run, lambda t, x: 0 * x)
    np.testing.assert_allclose(still.paths[-1].std(axis=0), scale, rtol=0.1)
    assert still.distances.to_target == pytest.approx(still.distances.best, rel=3)
    moved = evaluation.path_shape(run, lambda t, x: mx.array([1.0, 1.0]) + 0 * x)
    assert moved.energy == pytest.approx((scale**2).sum(), rel=1e-4)
    place = points[:4]
    density = densities.log_density(run, lambda t, x: 0 * x, place)
    rest = (place - points.mean(axis=0)) / scale
    expected = -(rest**2).sum(axis=1) / 2 - np.log(2 * np.pi * scale.prod())
    np.testing.assert_allclose(density, expected, rtol=1e-4)
    (rows,) = following.sample_in_parts(run, lambda t, x: 0 * x, 500, log_prob=True)
    rest = (rows[:, :2] - points.mean(axis=0)) / scale
    expected = -(rest**2).sum(axis=1) / 2 - np.log(2 * np.pi * scale.prod())
    np.testing.assert_allclose(rows[:, 2], expected, rtol=1e-4, atol=1e-4)


def bend(t, x):
    return mx.tanh(x[:, ::-1]) - t * x


def sampled(run, field, count, **how):
    return np.concatenate(list(following.sample_in_parts(run, field, count, **how)))


def test_samples_come_in_parts_that_differ(monkeypatch):
    monkeypatch.setattr(following, "PART", 100)
    run = a_run(source="normal", target="moons")
    parts = list(following.sample_in_parts(run, shift, 250))
    assert [len(part) for part in parts] == [100, 100, 50]
    assert len(np.unique(np.concatenate(parts)[:, 0])) == 250
    np.testing.assert_allclose(np.concatenate(parts).mean(axis=0), [3, -4], atol=0.3)


@pytest.mark.parametrize("source", ["normal", "8gaussians", "annulus"])
@pytest.mark.parametrize("log_prob", [False, True])
def test_fewer_samples_are_the_first_of_more(source, log_prob, monkeypatch):
    """Though their starts are spread over the source, and steps are chosen by many together."""
    monkeypatch.setattr(following, "PART", 100)
    run = a_run(source=source, target="moons", rtol=1e-2, atol=1e-2)
    many = sampled(run, bend, 250, log_prob=log_prob)
    for few in (1, 99, 100, 101, 200):
        np.testing.assert_array_equal(sampled(run, bend, few, log_prob=log_prob), many[:few])
    np.testing.assert_array_equal(sampled(run, bend, 250)[:, :2], many[:, :2])


@pytest.mark.parametrize("how", [{"rtol": 0.1, "atol": 0.1}, {"solver": "heun", "ode_steps": 7}])
def test_samples_are_solved_by_the_steps_of_the_first(how, monkeypatch):
    monkeypatch.setattr(following, "PART", 100)
    run = a_run(source="normal", target="moons", **how)
    starts = mx.array(sampled(run, lambda t, x: 0 * x, 300)).split(3)
    first = odeint(bend, starts[0], [0.0, 1.0], **run.solving)
    how = run.solving | {"steps": first.steps}
    ends = [np.array(odeint(bend, x0, [0.0, 1.0], **how).x[-1]) for x0 in starts]
    np.testing.assert_array_equal(sampled(run, bend, 300), np.concatenate(ends))


def test_samples_are_as_exact_as_the_tolerances(monkeypatch):
    """Those of all parts, though the steps are one part's; and so are their densities."""
    monkeypatch.setattr(following, "PART", 100)
    run = a_run(source="normal", target="moons")
    starts = mx.array(sampled(run, lambda t, x: 0 * x, 1000))
    exact = odeint(bend, starts, [0.0, 1.0], solver="dopri8", steps=40).x[-1]
    rows = sampled(run, bend, 1000, log_prob=True)
    np.testing.assert_allclose(rows[:, :2], np.array(exact), atol=5e-5)
    density = log_prob(bend, exact, run.source.log_prob, solver="dopri8", steps=40)
    np.testing.assert_allclose(rows[:, 2], np.array(density), atol=2e-4)


@pytest.mark.parametrize("log_prob", [False, True])
def test_memory_does_not_grow_with_the_samples(log_prob, monkeypatch):
    monkeypatch.setattr(following, "PART", 1000)
    run, model = a_run(source="normal", target="moons", rtol=0.1, atol=0.1), MLP(width=8, depth=1)

    def peak(count):
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        for _ in following.sample_in_parts(run, model, count, log_prob):
            pass
        return mx.get_peak_memory() - before

    assert peak(60_000) < 1.3 * peak(3000)


def test_samples_without_a_density(tmp_path):
    """Refused before anything is solved."""
    wide = np.random.default_rng(0).normal(size=(4, EXACT_DIMENSIONS + 1))
    np.save(tmp_path / "wide.npy", wide)
    for target, source, words in (
        ("annulus", "moons", "the source 'moons' has no log-density"),
        (str(tmp_path / "wide.npy"), "normal", f"{EXACT_DIMENSIONS + 1} dimensions"),
    ):
        run = a_run(target=target, source=source)
        with pytest.raises(ValueError, match=words):
            next(following.sample_in_parts(run, None, 10, log_prob=True))


@pytest.mark.parametrize("solver", ["euler", "rk4"])
def test_densities_do_not_depend_on_the_solver(solver):
    fine = a_run(source="normal", target="annulus")
    coarse = a_run(source="normal", target="annulus", solver=solver)
    coarse = replace(coarse, config=replace(coarse.config, ode_steps=2))
    x = mx.random.normal((20, 2), key=mx.random.key(0))
    np.testing.assert_array_equal(
        densities.log_density(fine, bend, x), densities.log_density(coarse, bend, x)
    )


@pytest.mark.parametrize("target", ["annulus", "checkerboard", "8gaussians"])
def test_a_likelihood_is_that_of_the_samples(target):
    """Of the standing normal distribution, against numpy; and never below the entropy."""
    run = a_run(source="normal", target=target, rtol=0.1, atol=0.1)
    likelihood = densities.likelihood_of_target(run, lambda t, x: 0 * x, 4000)
    x = np.array(run.target.sample(100_000, mx.random.key(5)), np.float64)
    nll = (x**2).sum(axis=1).mean() / 2 + np.log(2 * np.pi)
    assert likelihood.nll == pytest.approx(nll, rel=0.02)
    assert likelihood.gap == pytest.approx(likelihood.nll - likelihood.entropy)
    assert likelihood.gap > 0


def test_units_far_from_zero(tmp_path):
    """Seconds since 1970: float32 knows them to a minute or two only."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1000, 2)) * [16, 1]
    found = []
    for name, offset in (("near", 0.0), ("far", 1.7e9)):
        path = tmp_path / f"{name}.csv"
        np.savetxt(path, points + np.array([offset, 0]), fmt="%.17g", delimiter=",")
        run = a_run(target=str(path), samples=300)
        still = evaluation.generate(run, lambda t, x: 0 * x)
        nll = densities.likelihood_of_target(run, lambda t, x: 0 * x, 300).nll
        least = evaluation.path_shape(run, shift).least
        found.append([still.distances.to_target, still.distances.best, nll, least])
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_estimates_repeat():
    run = a_run(source="normal", target="moons")
    how = {"divergence": "hutchinson", "probes": 2}
    once, again = (densities.likelihood_of_target(run, bend, 50, **how).nll for _ in range(2))
    assert once == again


def test_samples_by_a_coarse_solver_have_the_density_of_the_flow():
    """At the places where they are, and not that of the coarse steps."""
    run = a_run(source="normal", target="moons", solver="euler", ode_steps=3)
    (rows,) = following.sample_in_parts(run, bend, 40, log_prob=True)
    np.testing.assert_allclose(rows[:, 2], densities.log_density(run, bend, rows[:, :2]), atol=1e-4)
