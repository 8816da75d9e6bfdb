"""What holds for every coupling; plans against scipy, brute force, and their marginals."""

import warnings
from itertools import pairwise, permutations

import mlx.core as mx
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import ks_2samp

import couplings
from cfm import METHODS
from couplings import (
    COUPLINGS,
    SinkhornWarning,
    batch_by_batch,
    in_threads,
    of_a_flow,
    optimal_assignment,
    sinkhorn,
)
from datasets import DATASETS


def samples(count, source="normal", target="8gaussians", seed=0):
    keys = mx.random.split(mx.random.key(seed), 2)
    return DATASETS[source].sample(count, keys[0]), DATASETS[target].sample(count, keys[1])


def cost(x0, x1):
    return float(np.sum((np.array(x0, np.float64) - np.array(x1, np.float64)) ** 2))


def batches(count, size, seed=0):
    """(x0, x1, keys) of many batches."""
    x0, x1 = (x.reshape(count, size, 2) for x in samples(count * size, seed=seed))
    return x0, x1, mx.random.split(mx.random.key(seed), count)


def places_of(name, x0, x1, keys):
    match = COUPLINGS[name](2.0).match
    stay = np.tile(np.arange(x0.shape[1]), (len(x0), 1))
    return np.array(match(x0, x1, keys)()) if match else stay


@pytest.mark.parametrize("size", [1, 64])
@pytest.mark.parametrize("name", COUPLINGS)
@pytest.mark.filterwarnings("error")
def test_every_coupling_gives_places(name, size):
    """The same for many batches as for each alone, and the same again with the same keys."""
    x0, x1, keys = batches(40, size)
    places = places_of(name, x0, x1, keys)
    assert places.shape == (40, size) and np.issubdtype(places.dtype, np.integer)
    assert places.min() >= 0 and places.max() < size
    np.testing.assert_array_equal(places, places_of(name, x0, x1, keys))
    method, alike = METHODS["cfm"](coupling=name, regularization=2.0), []
    for i in range(5):
        same_x0, paired = method.couple(x0[i], x1[i], keys[i])
        assert mx.array_equal(same_x0, x0[i])  # each once: the source's marginal is kept
        alike.append(np.array(paired) == np.array(x1[i])[places[i]])
    assert np.mean(alike) > 0.9  # an iteration ends when all batches are good enough


@pytest.mark.parametrize("name", COUPLINGS)
def test_every_coupling_keeps_the_target_on_average(name):
    x0, x1, keys = batches(40, 64, seed=1)
    places = mx.array(places_of(name, x0, x1, keys))
    paired = np.array(mx.take_along_axis(x1, places[..., None], axis=1)).reshape(-1, 2)
    for direction in ([1, 0], [0, 1], [0.6, -0.8]):
        assert ks_2samp(paired @ direction, np.array(x1).reshape(-1, 2) @ direction).pvalue > 0.01


@pytest.mark.parametrize("matching", [batch_by_batch, in_threads])
def test_a_function_of_one_batch_sees_its_own(matching):
    x0, x1, keys = batches(7, 5)

    def pair(x0, x1, key):
        ranks = np.argsort(np.argsort(np.array(x0[:, 0])))
        return np.roll(np.argsort(np.array(x1[:, 1])), int(key[1]) % 5)[ranks]

    places = np.array(matching(pair)(x0, x1, keys)())
    expected = [pair(*batch) for batch in zip(*map(np.array, (x0, x1, keys)), strict=True)]
    np.testing.assert_array_equal(places, expected)


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
    """The plan and its costs, solved beside another batch, which needs but a few iterations."""
    solved = sinkhorn(*(mx.stack([x / 1000, x]) for x in (x0, x1)), regularization)
    f, g, costs = (np.array(part[1], np.float64) for part in solved)
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


@pytest.mark.parametrize("regularization", [0.05, 0.2, 0.5, 2.0])
def test_every_point_is_paired_by_the_law_of_the_converged_plan(regularization):
    """Total variation of the plan's rows from those of float64, iterated to the end."""
    from scipy.special import logsumexp

    x0, x1 = samples(96, seed=3)
    plan, costs = plan_of(x0, x1, regularization)
    f, g, width = np.zeros(96), np.zeros(96), costs.max()
    while width > regularization:
        width = max(width / 2, regularization)
        for _ in range(2000 if width == regularization else 50):
            f = -width * logsumexp((g - costs) / width, axis=1)
            g = -width * logsumexp((f[:, None] - costs) / width, axis=0)
    logs = (g - costs) / regularization
    rows = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    off = np.abs(plan / plan.sum(axis=1, keepdims=True) - rows).sum(axis=1) / 2
    assert off.max() < 0.02 and off.mean() < 0.003


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
    with pytest.warns(SinkhornWarning, match=r"a law still off by [\d]+% .* larger sigma"):
        sinkhorn(*batches(1, 128)[:2], 0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(couplings, "MAX_SWEEPS", 40)
        sinkhorn(*batches(1, 128)[:2], 50.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [2, 5, 8])
def test_small_batches_are_done_when_only_rounding_changes_them(monkeypatch, size):
    """Whose potentials change by rounding for ever, and not by less and less."""
    monkeypatch.setattr(couplings, "MAX_SWEEPS", 1_000)
    for regularization in (0.02, 0.5, 2.0):
        sinkhorn(*batches(100, size)[:2], regularization)


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("regularization", [1e-320, 1e-160, 1e-30, 1e-9, 1e-7])
def test_a_regularization_that_float32_cannot_tell_from_none_is_none(regularization):
    """Below a millionth of the largest cost; Sinkhorn's iteration would overflow, or collapse."""
    x0, x1 = mx.random.normal((2, 40, 2), key=mx.random.key(0)) * 3
    x1 = mx.concatenate([x0[:1], x1[1:]])  # at no distance from one of them
    (pairs, exact) = (
        METHODS["cfm"](coupling=name, regularization=epsilon).couple(x0, x1, mx.random.key(1))[1]
        for name, epsilon in (("entropic", regularization), ("ot", None))
    )
    assert mx.array_equal(pairs, exact)
    sigma = (regularization / 2) ** 0.5  # a bridge of that regularization
    assert mx.array_equal(METHODS["sb"](sigma).couple(x0, x1, mx.random.key(1))[1], exact)


def test_entropic_without_regularization_is_exact():
    x0, x1 = samples(40)
    exact, limit = METHODS["ot"](), METHODS["sb"](sigma=0.0)
    for a, b in zip(exact.couple(x0, x1), limit.couple(x0, x1), strict=True):
        assert mx.array_equal(a, b)
    with pytest.raises(ValueError, match="regularization must be"):
        COUPLINGS["entropic"](-1.0)


def test_pairs_of_a_flow_are_drawn_evenly_from_its_table():
    """Each of 8 pairs an eighth of the time, and none of them torn apart."""
    table = mx.arange(8.0)[:, None]
    x0, x1 = of_a_flow(table, 10 * table).draw(800, mx.random.key(0))
    assert mx.array_equal(x1, 10 * x0)
    counts = np.bincount(np.array(x0[:, 0]).astype(int), minlength=8)
    assert np.abs(counts - 100).max() <= 1  # evenly: a draw from every 800th of the table
    with pytest.raises(ValueError, match="not known yet"):
        of_a_flow().draw(3, mx.random.key(0))


@pytest.mark.parametrize("name", ["ot", "entropic"])
def test_couplings_bring_pairs_nearer(name):
    x0, x1 = samples(256, "8gaussians", "moons")
    paired = METHODS["cfm"](coupling=name).couple(x0, x1, mx.random.key(0))
    assert cost(*paired) < 0.7 * cost(x0, x1)


def by_class(count, size=64, source="8gaussians", target="moons"):
    """Batches, and the classes of their x1: left and right, two to one."""
    x0, x1 = samples(count * size, source, target, seed=5)
    x0, x1 = (x.reshape(count, size, 2) for x in (x0, x1))
    classes = (x1[..., 0] > 1).astype(mx.int32)
    return x0, x1, mx.random.split(mx.random.key(5), count), classes


def test_transport_by_class_is_that_with_a_large_cost_of_other_classes():
    """C²OT's cost |x0 − x1|² + w [c0 ≠ c1], x0 having the class of the x1 that it came with."""
    x0, x1, keys, classes = by_class(3)
    found = np.array(COUPLINGS["conditional-ot"]().match(x0, x1, keys, classes)())
    for places, a, b, c in zip(found, *map(np.array, (x0, x1, classes)), strict=True):
        costs = cdist(a.astype(np.float64), b, "sqeuclidean")
        weighed = costs + 1e6 * (c[:, None] != c)
        rows, columns = linear_sum_assignment(weighed)
        assert sorted(places) == list(range(64)) and (c[places] == c).all()
        assert costs[rows, places].sum() == pytest.approx(costs[rows, columns].sum(), rel=1e-9)


def test_transport_by_class_costs_more_than_transport_and_less_than_none():
    x0, x1, keys, classes = by_class(20)
    spent = []
    for name in ("ot", "conditional-ot", "independent"):
        method = METHODS["cfm"](coupling=name)
        pairs = [method.couple(*batch)[:2] for batch in zip(x0, x1, keys, classes, strict=True)]
        spent.append([cost(*pair) for pair in pairs])
    transport, within, none = np.array(spent)
    assert (transport <= within * (1 + 1e-9)).all() and (within < 0.9 * none).all()
    assert transport.mean() < 0.9 * within.mean()


@pytest.mark.parametrize(("name", "kept"), [("conditional-ot", True), ("ot", False)])
def test_what_a_class_sees_of_the_source(name, kept):
    """Of 80 × 64 pairs about 2 200 are of the smaller class, and Kolmogorov–Smirnov tells a law
    from the source's at the 1% level if they are 0.04 apart anywhere. By `ot` they are by 0.2."""
    x0, x1, keys, classes = by_class(80)
    method, seen = METHODS["cfm"](coupling=name), []
    for batch in zip(x0, x1, keys, classes, strict=True):
        a, _, c = map(np.array, method.couple(*batch))
        seen.append(a[c == 1])
    seen = np.concatenate(seen)
    assert 1800 < len(seen) < 2600
    source = np.array(DATASETS["8gaussians"].sample(20_000, mx.random.key(7)))
    for direction in ([1, 0], [0.6, 0.8]):
        test = ks_2samp(seen @ direction, source @ direction)
        assert test.pvalue > 0.01 if kept else test.statistic > 0.2
