"""Numbers about runs, for flows that are known: no network is trained here."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from lab import evaluation
from lab.config import Config
from lab.run import settle


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
    density = evaluation.log_density(run, lambda t, x: 0 * x, place)
    rest = (place - points.mean(axis=0)) / scale
    expected = -(rest**2).sum(axis=1) / 2 - np.log(2 * np.pi * scale.prod())
    np.testing.assert_allclose(density, expected, rtol=1e-4)
    (rows,) = evaluation.sample_in_parts(run, lambda t, x: 0 * x, 500, 1000, log_prob=True)
    rest = (rows[:, :2] - points.mean(axis=0)) / scale
    expected = -(rest**2).sum(axis=1) / 2 - np.log(2 * np.pi * scale.prod())
    np.testing.assert_allclose(rows[:, 2], expected, rtol=1e-4, atol=1e-4)


def test_samples_come_in_parts_that_differ():
    run = a_run(source="normal", target="moons")
    parts = list(evaluation.sample_in_parts(run, shift, 250, 100))
    assert [len(part) for part in parts] == [100, 100, 50]
    assert len(np.unique(np.concatenate(parts)[:, 0])) == 250
    np.testing.assert_allclose(np.concatenate(parts).mean(axis=0), [3, -4], atol=0.3)


@pytest.mark.parametrize("solver", ["euler", "rk4"])
def test_densities_do_not_depend_on_the_solver(solver):
    fine = a_run(source="normal", target="annulus")
    coarse = a_run(source="normal", target="annulus", solver=solver)
    coarse = replace(coarse, config=replace(coarse.config, ode_steps=2))
    x = mx.random.normal((20, 2), key=mx.random.key(0))
    bend = lambda t, x: mx.tanh(x[:, ::-1]) - t * x  # noqa: E731
    np.testing.assert_array_equal(
        evaluation.log_density(fine, bend, x), evaluation.log_density(coarse, bend, x)
    )


@pytest.mark.parametrize("target", ["annulus", "checkerboard", "8gaussians"])
def test_a_likelihood_is_that_of_the_samples(target):
    """Of the standing normal distribution, against numpy; and never below the entropy."""
    run = a_run(source="normal", target=target, rtol=0.1, atol=0.1)
    likelihood = evaluation.likelihood_of_target(run, lambda t, x: 0 * x, 4000)
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
        nll = evaluation.likelihood_of_target(run, lambda t, x: 0 * x, 300).nll
        least = evaluation.path_shape(run, shift).least
        found.append([still.distances.to_target, still.distances.best, nll, least])
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_estimates_repeat():
    run = a_run(source="normal", target="moons")
    bend = lambda t, x: mx.tanh(x[:, ::-1]) - t * x  # noqa: E731
    how = {"divergence": "hutchinson", "probes": 2}
    once, again = (evaluation.likelihood_of_target(run, bend, 50, **how).nll for _ in range(2))
    assert once == again


def test_samples_by_a_coarse_solver_have_the_density_of_the_flow():
    """At the places where they are, and not that of the coarse steps."""
    run = a_run(source="normal", target="moons", solver="euler", ode_steps=3)
    bend = lambda t, x: mx.tanh(x[:, ::-1]) - t * x  # noqa: E731
    (rows,) = evaluation.sample_in_parts(run, bend, 40, 100, log_prob=True)
    np.testing.assert_allclose(
        rows[:, 2], evaluation.log_density(run, bend, rows[:, :2]), atol=1e-4
    )
