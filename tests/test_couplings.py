"""Plans against scipy, brute force, and the marginals they must have."""

import warnings
from itertools import pairwise, permutations

import mlx.core as mx
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import couplings
from cfm import METHODS
from couplings import COUPLINGS, SinkhornWarning, optimal_assignment, sinkhorn
from datasets import DATASETS


def samples(count, source="normal", target="8gaussians", seed=0):
    keys = mx.random.split(mx.random.key(seed), 2)
    return DATASETS[source].sample(count, keys[0]), DATASETS[target].sample(count, keys[1])


def cost(x0, x1):
    return float(np.sum((np.array(x0, np.float64) - np.array(x1, np.float64)) ** 2))


@pytest.mark.parametrize("seed", range(6))
def test_assignment_against_all_pairings(seed):
    costs = np.random.default_rng(seed).normal(size=(6, 6)) * 10.0 ** (seed - 3)
    best = min(sum(costs[i, j] for i, j in enumerate(order)) for order in permutations(range(6)))
    found = optimal_assignment(costs)
    assert sorted(found) == list(range(6))
    assert costs[np.arange(6), found].sum() == pytest.approx(best, rel=1e-12)


def awkward_costs():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(80, 2))
    far = points.copy()
    far[0] = 1e7
    yield "an outlier", cdist(points[::-1], far, "sqeuclidean")
    yield "duplicates", cdist(np.repeat(points[:8], 10, 0), points, "sqeuclidean")
    yield "all alike", np.ones((30, 30))
    yield "zeros", np.zeros((5, 5))
    yield "negative", -cdist(points, points[::-1], "sqeuclidean")
    yield "one", np.ones((1, 1))
    yield "two scales", cdist(points * [1e6, 1e-6], points[::-1] * [1e6, 1e-6], "sqeuclidean")


@pytest.mark.parametrize(
    ("what", "costs"), list(awkward_costs()), ids=lambda value: str(value)[:12]
)
def test_assignment_of_awkward_costs_against_scipy(what, costs):
    rows, columns = linear_sum_assignment(costs)
    found = optimal_assignment(costs)
    assert sorted(found) == list(range(len(costs)))
    least = costs[rows, columns].sum()
    assert costs[rows, found].sum() == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_assignment_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite costs"):
        optimal_assignment(np.array([[1.0, np.nan], [0.0, 1.0]]))


@pytest.mark.parametrize(("source", "target"), [("normal", "moons"), ("8gaussians", "spirals")])
def test_optimal_pairs_against_scipy(source, target):
    x0, x1 = samples(200, source, target)
    paired0, paired1 = METHODS["ot"]().couple(x0, x1, mx.random.key(0))
    assert mx.array_equal(paired0, x0)
    np.testing.assert_array_equal(  # every x1 once: the marginals are kept exactly
        np.sort(np.array(paired1), axis=0), np.sort(np.array(x1), axis=0)
    )
    costs = cdist(np.array(x0, np.float64), np.array(x1, np.float64), "sqeuclidean")
    least = costs[linear_sum_assignment(costs)].sum()
    assert cost(paired0, paired1) == pytest.approx(least, rel=1e-9)


def plan_of(x0, x1, regularization):
    f, g, costs = (np.array(part, np.float64) for part in sinkhorn(x0, x1, regularization))
    return np.exp((f[:, None] + g - costs) / regularization) / len(f) ** 2, costs


@pytest.mark.parametrize("regularization", [0.1, 0.5, 5.0, 1e4])
def test_sinkhorn_marginals(regularization):
    plan, _ = plan_of(*samples(128), regularization)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 128, rtol=1e-3)
    assert np.mean(np.abs(plan.sum(axis=0) * 128 - 1)) <= 1.1 * couplings.TOLERANCE


def test_sinkhorn_against_float64():
    """The plan itself, from the plain iteration on logarithms in numpy."""
    from scipy.special import logsumexp

    x0, x1 = samples(64)
    plan, costs = plan_of(x0, x1, 2.0)
    f, g = np.zeros(64), np.zeros(64)
    for _ in range(3000):
        g = -2 * (logsumexp((f[:, None] - costs) / 2, axis=0) - np.log(64))
        f = -2 * (logsumexp((g - costs) / 2, axis=1) - np.log(64))
    expected = np.exp((f[:, None] + g - costs) / 2) / 64**2
    assert np.abs(plan - expected).sum() < 0.01


def test_sinkhorn_approaches_the_exact_cost():
    x0, x1 = samples(128)
    above = []
    for regularization in (16.0, 4.0, 1.0, 0.25):
        plan, costs = plan_of(x0, x1, regularization)
        least = costs[linear_sum_assignment(costs)].mean()
        above.append((plan * costs).sum() / least - 1)
    assert all(later < earlier for earlier, later in pairwise(above))
    assert 0 < above[-1] < 0.02


def test_sinkhorn_says_when_it_has_not_converged(monkeypatch):
    monkeypatch.setattr(couplings, "MAX_SWEEPS", 20)
    with pytest.warns(SinkhornWarning, match=r"off by more than 1% .* larger sigma"):
        sinkhorn(*samples(128), 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sinkhorn(*samples(128), 50.0)


def test_entropic_pairs_follow_the_plan():
    """Frequencies of 4 000 draws against the plan's rows; each x0 once in every draw."""
    x0, x1 = samples(6)
    keys = mx.random.split(mx.random.key(1), 4000)
    match = COUPLINGS["entropic"](4.0).match
    many = [mx.broadcast_to(x, (4000, *x.shape)) for x in (x0, x1)]
    places = np.array(match(*many, keys)())
    plan, _ = plan_of(x0, x1, 4.0)
    for row in range(6):
        frequency = np.bincount(places[:, row], minlength=6) / 4000
        np.testing.assert_allclose(frequency, 6 * plan[row], atol=0.035)


def test_entropic_pairs_of_one_batch_and_of_many_are_the_same():
    method = METHODS["cfm"](coupling="entropic")
    keys = mx.random.split(mx.random.key(2), 3)
    batches = [samples(50, seed=seed) for seed in range(3)]
    stacked = [mx.stack(parts) for parts in zip(*batches, strict=True)]
    together = np.array(method.coupling.match(*stacked, keys)())
    for (x0, x1), key, places in zip(batches, keys, together, strict=True):
        alone = np.array(method.couple(x0, x1, key)[1])
        assert np.mean(np.all(alone == np.array(x1)[places], axis=1)) > 0.9


def test_entropic_without_regularization_is_exact():
    x0, x1 = samples(40)
    exact, limit = METHODS["ot"](), METHODS["sb"](sigma=0.0)
    for a, b in zip(exact.couple(x0, x1), limit.couple(x0, x1), strict=True):
        assert mx.array_equal(a, b)
    with pytest.raises(ValueError, match="regularization must be"):
        COUPLINGS["entropic"](-1.0)


@pytest.mark.parametrize("name", ["ot", "entropic"])
def test_couplings_bring_pairs_nearer(name):
    x0, x1 = samples(256, "8gaussians", "moons")
    paired = METHODS["cfm"](coupling=name).couple(x0, x1, mx.random.key(0))
    assert cost(*paired) < 0.7 * cost(x0, x1)
