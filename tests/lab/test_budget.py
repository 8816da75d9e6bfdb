"""Budgets: what is spent is what was asked for, and quality is measured as it says."""

import numpy as np
import pytest

from lab import budget
from lab.comparison import Cell
from lab.config import Config
from lab.settling import settle, solved_by
from metrics import histogram_divergence, w2_squared
from odeint import odeint
from solver import SOLVERS

RUN = settle(Config(network="exact", points=3, samples=64))


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_is_spent_is_at_most_the_budget(solver):
    """In evaluations that `odeint` counts, and more of them would be more than the budget."""
    tableau, x0 = SOLVERS[solver], RUN.source.sample(3)
    spent = []
    for run in budget.budgets(solved_by(RUN, solver, None)):
        if run.solving["steps"] is None:
            assert tableau.adaptive and run.config.rtol == run.config.atol
            continue
        solution = odeint(lambda t, x: x, x0, [0.0, 1.0], dense=False, **run.solving)
        spent.append(solution.nfe)
    if not tableau.adaptive:
        room = [b for b in budget.EVALUATIONS if b >= tableau.stages]
        assert len(spent) == len(room)
        for nfe, most in zip(spent, room, strict=True):
            assert most - tableau.stages < nfe <= most
    if solver == "euler":
        assert spent == [1, 2, 4, 8, 16, 32, 64, 128, 256]


def test_a_map_spends_all_of_its_budget():
    run = settle(Config(method="meanflow"))
    assert run.solving["steps"] == 1
    assert [each.solving["steps"] for each in budget.budgets(run)] == [*budget.EVALUATIONS]


def test_divergence_of_histograms_against_its_definition():
    """Of two uniform laws it is log of the ratio of their areas; outside is a cell of its own."""
    rng, box = np.random.default_rng(0), ((-1, -1), (1, 1))
    wide = rng.uniform(-1, 1, (400_000, 2))
    half = wide[wide[:, 0] < 0]
    assert histogram_divergence(half, wide, box) == pytest.approx(np.log(2), abs=0.01)
    outside = np.concatenate([wide[:1000], wide[:1000] + 5])
    assert histogram_divergence(wide[:1000], outside, box, 2) == pytest.approx(np.log(2), abs=0.02)
    # by hand: 3 points in 2 cells of 4 and beyond, against 2 points, half a one added to each of 5
    true, made = np.array([[-0.5, -0.5], [-0.5, -0.5], [0.5, 0.5]]), np.array([[0.5, 0.5], [3, 3]])
    expected = 2 / 3 * np.log((2 / 3) / (0.5 / 4.5)) + 1 / 3 * np.log((1 / 3) / (1.5 / 4.5))
    assert histogram_divergence(true, made, box, 2) == pytest.approx(expected)
    assert histogram_divergence(wide, rng.uniform(-1, 1, (400_000, 2)), box) < 2500 / 400_000 * 1.2


def test_quality_is_that_of_the_flow(monkeypatch):
    """One Euler step of a field that is known, by hand."""
    monkeypatch.setattr(budget, "HISTOGRAM_POINTS", 500)
    run = solved_by(RUN, "euler", 1)
    numbers = budget._quality(run, lambda t, x: 0 * x + 50, {})
    assert numbers["nfe"] == 1
    start = np.array(run.source.sample(64)) + 50
    near = w2_squared(start, run.target.sample_exactly(64))
    assert numbers["w2_squared"] == pytest.approx(near, rel=0.05)  # all is far away
    assert numbers["divergence"] > 5 > numbers["divergence_of_true_samples"]


def test_curves_join_seeds():
    def cell(seed, nfe, value, **options):
        run = settle(Config(method="meanflow", seed=seed, ode_steps=nfe, **options))
        return Cell(run, {"nfe": nfe, "w2_squared": value})

    found = budget.curves([cell(0, 2, 1.0), cell(1, 2, 3.0), cell(0, 1, 5.0)], "w2_squared")
    np.testing.assert_array_equal(found["meanflow", "map"], [[1, 5, 5, 5], [2, 2, 1, 3]])
    assert not budget.curves([cell(0, 1, 1.0)], "divergence")


def test_noise_has_a_budget_too():
    """Two evaluations a step of stochastic Heun, and the noise that was asked for."""
    run = settle(Config(source="normal", diffusion=0.5))
    tried = [each.config for each in budget.budgets(run)]
    assert [config.ode_steps for config in tried] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert {(config.solver, config.diffusion) for config in tried} == {("stochastic-heun", 0.5)}
