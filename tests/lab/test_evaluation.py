"""Numbers about runs, for flows that are known: no network is trained here."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from lab import evaluation
from datasets import DATASETS
from main import main
from lab.run import settle


def a_run(*arguments):
    """The run that these options describe."""
    options = main.make_context("main.py", list(arguments)).params
    for name in ("figures", "out", "resume", "save_every"):
        options.pop(name)
    return settle(options)


def shift(t, x):
    return mx.array([3.0, -4.0]) + 0 * x


@pytest.fixture
def stretched(tmp_path):
    """A run to points whose two columns have scales 20 and 0.1."""
    rng = np.random.default_rng(0)
    points = rng.normal([100, -5], [20, 0.1], size=(2000, 2))
    path = tmp_path / "points.csv"
    np.savetxt(path, points, delimiter=",")
    return a_run("--target", str(path), "--samples", "600"), points


def test_paths_of_a_shift(tmp_path):
    run = a_run("--target", "normal", "--source", "normal", "--samples", "500")
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
    velocity = evaluation.velocity_in_units(run, lambda t, x: x)
    place = points[:4]
    np.testing.assert_allclose(velocity(0.3, place), place - points.mean(axis=0), rtol=1e-3)
    density = evaluation.log_density(run, lambda t, x: 0 * x, place)
    rest = (place - points.mean(axis=0)) / scale
    expected = -(rest**2).sum(axis=1) / 2 - np.log(2 * np.pi * scale.prod())
    np.testing.assert_allclose(density, expected, rtol=1e-4)
    (rows,) = evaluation.sample_in_parts(run, lambda t, x: 0 * x, 500, 1000, log_prob=True)
    rest = (rows[:, :2] - points.mean(axis=0)) / scale
    expected = -(rest**2).sum(axis=1) / 2 - np.log(2 * np.pi * scale.prod())
    np.testing.assert_allclose(rows[:, 2], expected, rtol=1e-4, atol=1e-4)


def test_samples_come_in_parts_that_differ():
    run = a_run("--source", "normal", "--target", "moons")
    parts = list(evaluation.sample_in_parts(run, shift, 250, 100))
    assert [len(part) for part in parts] == [100, 100, 50]
    assert len(np.unique(np.concatenate(parts)[:, 0])) == 250
    np.testing.assert_allclose(np.concatenate(parts).mean(axis=0), [3, -4], atol=0.3)


@pytest.mark.parametrize("solver", ["euler", "rk4"])
def test_densities_do_not_depend_on_the_solver(solver):
    fine = a_run("--source", "normal", "--target", "annulus")
    coarse = a_run("--source", "normal", "--target", "annulus", "--solver", solver)
    coarse = replace(coarse, config=coarse.config | {"ode_steps": 2})
    x = mx.random.normal((20, 2), key=mx.random.key(0))
    bend = lambda t, x: mx.tanh(x[:, ::-1]) - t * x  # noqa: E731
    np.testing.assert_array_equal(
        evaluation.log_density(fine, bend, x), evaluation.log_density(coarse, bend, x)
    )


@pytest.mark.parametrize("target", ["annulus", "checkerboard", "8gaussians"])
def test_a_likelihood_is_that_of_the_samples(target):
    """Of the standing normal distribution, against numpy; and never below the entropy."""
    run = a_run("--source", "normal", "--target", target, "--rtol", "0.1", "--atol", "0.1")
    likelihood = evaluation.likelihood_of_target(run, lambda t, x: 0 * x, 4000)
    x = np.array(run.target.sample(100_000, mx.random.key(5)), np.float64)
    nll = (x**2).sum(axis=1).mean() / 2 + np.log(2 * np.pi)
    assert likelihood.nll == pytest.approx(nll, rel=0.02)
    assert likelihood.gap == pytest.approx(likelihood.nll - likelihood.entropy)
    assert likelihood.gap > 0


def test_the_law_of_training():
    """Mean and covariance of xt for independent pairs, and short ways for paired ones."""
    run = a_run("--method", "vp", "--source", "normal", "--target", "normal")
    shown = evaluation.law_of_training(run, (0, 0.5, 1), 20_000)
    for xt in shown:  # variance-preserving: N(0, I) at every time
        np.testing.assert_allclose(np.cov(xt.T), np.eye(2), atol=0.04)
    ways = {}
    for method in ("cfm", "ot"):
        run = a_run("--method", method, "--source", "8gaussians", "--sigma", "0")
        start, end = evaluation.law_of_training(run, (0, 1), 2_000)
        ways[method] = ((end - start) ** 2).sum(axis=1).mean()
    assert ways["ot"] < 0.5 * ways["cfm"]


def test_work_precision_has_the_orders_of_the_solvers():
    run = a_run("--source", "normal", "--target", "moons")
    curves = evaluation.work_precision(run, lambda t, x: mx.tanh(x[:, ::-1]) - t * x)
    for name, order in (("euler", 1), ("midpoint", 2), ("heun", 2)):
        (nfe, error), (more, less) = curves[name][2:4]
        assert np.log(error / less) / np.log(more / nfe) == pytest.approx(order, abs=0.2)
    for nfe, error in curves["dopri5"]:
        assert nfe > 0 and error < 0.5
    assert curves["dopri5"][-1][1] < 1e-5 < curves["euler"][-1][1]


def test_units_far_from_zero(tmp_path):
    """Seconds since 1970: float32 knows them to a minute or two only."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1000, 2)) * [16, 1]
    found = []
    for name, offset in (("near", 0.0), ("far", 1.7e9)):
        path = tmp_path / f"{name}.csv"
        np.savetxt(path, points + np.array([offset, 0]), fmt="%.17g", delimiter=",")
        run = a_run("--target", str(path), "--samples", "300")
        still = evaluation.generate(run, lambda t, x: 0 * x)
        nll = evaluation.likelihood_of_target(run, lambda t, x: 0 * x, 300).nll
        least = evaluation.path_shape(run, shift).least
        found.append([still.distances.to_target, still.distances.best, nll, least])
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_training_is_shown_the_units_of_the_target(stretched):
    run, points = stretched
    start, end = evaluation.law_of_training(run, (0, 1), 3_000)
    np.testing.assert_allclose(end.std(axis=0), points.std(axis=0), rtol=0.1)
    np.testing.assert_allclose(start.std(axis=0), points.std(axis=0), rtol=0.1)


def test_densities_are_exact_and_estimates_repeat():
    run = a_run("--source", "normal", "--target", "moons")
    bend = lambda t, x: mx.tanh(x[:, ::-1]) - t * x  # noqa: E731
    (x0, x1, y0, y1), learned, _ = evaluation.densities(run, bend)
    x, y = (a + (b - a) * 0.5 / len(learned) for a, b in ((x0, x1), (y0, y1)))
    corner = np.exp(evaluation.log_density(run, bend, np.array([[x, y]])))
    assert learned[0, 0] == pytest.approx(corner[0], rel=1e-3)
    how = {"divergence": "hutchinson", "probes": 2}
    once, again = (evaluation.likelihood_of_target(run, bend, 50, **how).nll for _ in range(2))
    assert once == again


def test_samples_by_a_coarse_solver_have_the_density_of_the_flow():
    """At the places where they are, and not that of the coarse steps."""
    run = a_run("--source", "normal", "--target", "moons", "--solver", "euler", "--ode-steps", "3")
    bend = lambda t, x: mx.tanh(x[:, ::-1]) - t * x  # noqa: E731
    (rows,) = evaluation.sample_in_parts(run, bend, 40, 100, log_prob=True)
    np.testing.assert_allclose(
        rows[:, 2], evaluation.log_density(run, bend, rows[:, :2]), atol=1e-4
    )


@pytest.mark.parametrize("target", ["annulus", "checkerboard"])
def test_no_sample_is_outside_its_density(target):
    data = DATASETS[target]
    for seed in range(4):
        x = data.sample(500_000, mx.random.key(seed))
        assert mx.all(mx.isfinite(data.log_prob(x))).item()
