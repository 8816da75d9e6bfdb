"""What holds for every entry of `DATASETS`, closed forms for those known, and a user's points."""

import json
import math
from dataclasses import asdict
import os

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import ks_2samp, multivariate_normal, qmc

from datasets import DATASETS, Units, a_few_points, load_points, standard_normal
from lab.config import Config
from lab.settling import settle
from machine.keys import as_key, step_key, stratified

N = 40_000


def points(name, seed=0, n=N):
    return np.array(DATASETS[name].sample(n, mx.random.key(seed)), np.float64)


# closed forms: mean, covariance
CIRCLE = 25 / 2 + 0.1  # variance of a point on a circle of radius 5, blurred by variance 0.1
MOMENTS = {
    "normal": ([0, 0], np.eye(2)),
    "8gaussians": ([0, 0], CIRCLE * np.eye(2)),
    # half circles of radius 3: E cos = 0, E sin = ±2/π, E cos² = E sin² = 1/2
    "moons": (
        [0.5, -0.25],
        [
            [9 / 2 + 9 / 4 + 0.15**2, 9 / 2 * (1 / 4 - 2 / math.pi)],
            [9 / 2 * (1 / 4 - 2 / math.pi), 9 / 2 + 9 / 16 - 9 / math.pi + 0.15**2],
        ],
    ),
    # E r² = 19/3 for r uniform on [2, 3]
    "annulus": ([0, 0], 19 / 6 * np.eye(2)),
    # ∫ over a from −3π/2 to 3π/2 of 3 (sin a, ±(cos a − 1))
    "scurve": (
        [0, 0],
        [
            [9 / 2 + 0.15**2, -3 / math.pi],
            [-3 / math.pi, 9 * (3 / 2 + 4 / (3 * math.pi)) + 0.15**2],
        ],
    ),
    # uniform in both coordinates; the squares' centres have mean product 1
    "checkerboard": ([0, 0], [[16 / 3, 1], [1, 16 / 3]]),
    # E r² = 4 (1 + 0.3² + 0.1²)
    "pinwheel": ([0, 0], 2.2 * np.eye(2)),
    "circles": ([0, 0], (5 + 0.15**2) * np.eye(2)),
}


def curve_moments(position):
    """By quadrature, of a curve (n,) → (n, 2) over [0, 1] blurred by 0.15."""
    x = position((np.arange(100_000) + 0.5) / 100_000)
    return x.mean(axis=0), np.cov(x.T) + 0.15**2 * np.eye(2)


def spirals(u):
    angle = 3 * np.pi * np.sqrt(u)
    arm = 5 * np.sqrt(u) * np.stack([np.cos(angle), np.sin(angle)])
    return np.concatenate([arm, -arm], axis=1).T


def swissroll(u):
    angle = 1.5 * np.pi * (1 + 2 * u)
    return (angle / (0.9 * np.pi) * np.stack([np.cos(angle), np.sin(angle)])).T


MOMENTS["spirals"] = curve_moments(spirals)
MOMENTS["swissroll"] = curve_moments(swissroll)
RNG = np.random.default_rng(4)
MU, FACTOR = RNG.uniform(size=4), np.tril(RNG.uniform(size=(4, 4)))
MOMENTS["gaussian4d"] = MU, FACTOR @ FACTOR.T


def test_no_moments_are_left_over():
    """A dataset without them here is tested by what holds for all of them."""
    assert MOMENTS.keys() <= DATASETS.keys()


@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name):
    mean, covariance = MOMENTS[name]
    x = points(name)
    spread = np.sqrt(np.max(covariance))
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 * spread / math.sqrt(N))
    tolerance = 6 * spread**2 / math.sqrt(N)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=tolerance)


@pytest.mark.parametrize("name", DATASETS)
def test_samples(name):
    dataset = DATASETS[name]
    assert dataset.name == name
    assert dataset.description
    x = dataset.sample(5, mx.random.key(3))
    assert x.shape == (5, dataset.dim)
    assert x.dtype == mx.float32
    assert mx.array_equal(x, dataset.sample(5, mx.random.key(3)))
    assert not mx.array_equal(x, dataset.sample(5, mx.random.key(4)))
    assert dataset.sample(1).shape == (1, dataset.dim)
    mx.random.seed(7)
    first, second = dataset.sample(5), dataset.sample(5)
    assert not mx.array_equal(first, second)
    mx.random.seed(7)
    assert mx.array_equal(first, dataset.sample(5))


def test_a_number_that_is_rounded_up_to_one_is_of_the_last_component(monkeypatch):
    monkeypatch.setattr("data.distributions.stratified", lambda n, key: mx.ones(n))
    x = np.array(DATASETS["8gaussians"].sample(100, mx.random.key(0)))
    last = np.array(DATASETS["8gaussians"].mixture.means[-1])
    assert np.linalg.norm(x - last, axis=1).max() < 6 * DATASETS["8gaussians"].mixture.std


def test_dimensions_are_counted_from_one():
    assert DATASETS["gaussian4d"].columns == ("x1", "x2", "x3", "x4")


@pytest.mark.parametrize("name", DATASETS)
def test_the_order_of_a_sample_is_random(name):
    """Any part of a sample is a sample: the two halves have the same moments."""
    x = points(name)
    first, second = x[: N // 2].mean(axis=0), x[N // 2 :].mean(axis=0)
    spread = np.sqrt(np.max(np.var(x, axis=0)))
    np.testing.assert_allclose(first, second, atol=9 * spread / math.sqrt(N))


@pytest.mark.parametrize("name", DATASETS)
def test_pairs_of_samples_are_independent(name):
    x, y = points(name, 0), points(name, 1)
    spread = np.max(np.var(x, axis=0))
    cross = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0)) / N
    assert np.abs(cross).max() < 5 * spread / math.sqrt(N)


def shadows(x):
    """Points (N, D) as seen from a few directions, each (N,)."""
    return (x @ np.random.default_rng(0).normal(size=(x.shape[1], 3))).T


@pytest.mark.parametrize("name", DATASETS)
def test_each_point_alone_has_the_same_law_as_many(name):
    """Kolmogorov–Smirnov between samples of one point and one sample of many points."""
    keys = mx.random.split(mx.random.key(1), 4000)
    alone = mx.vmap(lambda key: DATASETS[name].sample(1, key)[0])(keys)
    for one, many in zip(shadows(np.array(alone)), shadows(points(name)), strict=True):
        assert ks_2samp(one, many).statistic < 0.035


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].log_prob])
def test_densities_integrate_to_one_and_are_those_of_the_samples(name):
    """Integrals of p, p x, p x² and p log p, by quasi-Monte Carlo, against means of a sample."""
    dataset, x = DATASETS[name], points(name)
    wide = multivariate_normal(x.mean(axis=0), 1.5 * np.cov(x.T))
    y = qmc.MultivariateNormalQMC(wide.mean, wide.cov, seed=0).random(2**17)

    def log_prob(x):
        return np.array(dataset.log_prob(mx.array(x, mx.float32)), np.float64)

    def moments(x, log_p):
        inside = np.where(np.isfinite(log_p), log_p, 0.0)
        return np.column_stack([np.ones(len(x)), x, x**2, inside])

    log_p = log_prob(y)
    weights = np.exp(log_p - wide.logpdf(y))
    of_density = (weights[:, None] * moments(y, log_p)).mean(axis=0)
    log_p = log_prob(x)
    assert np.isfinite(log_p).all()
    of_sample, spread = (f(moments(x, log_p), axis=0) for f in (np.mean, np.std))
    tolerance = 5 * spread / math.sqrt(N) + 4e-3 * np.maximum(1, np.abs(of_sample))
    assert np.all(np.abs(of_density - of_sample) < tolerance)


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].mixture])
def test_mixtures_have_their_density(name):
    x, mixture = points(name, n=50) + 0.3, DATASETS[name].mixture
    means, count = np.array(mixture.means, np.float64), len(mixture.means)
    each = [multivariate_normal(mean, mixture.std**2).logpdf(x) for mean in means]
    expected = logsumexp(each, axis=0) - math.log(count)
    got = DATASETS[name].log_prob(mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-4, atol=1e-4)
    normal = count == 1 and mixture.std == 1 and not means.any()
    assert DATASETS[name].standard_normal == normal


def test_log_prob_of_gaussian4d_against_scipy():
    x = points("gaussian4d", n=50)
    expected = multivariate_normal(MU, FACTOR @ FACTOR.T).logpdf(x)
    got = DATASETS["gaussian4d"].log_prob(mx.array(x, mx.float32))
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-4, atol=1e-4)


def test_densities_that_must_be_there():
    known = {name for name, data in DATASETS.items() if data.log_prob}
    assert {"normal", "8gaussians", "annulus", "checkerboard", "gaussian4d"} <= known


def test_checkerboard_has_its_squares():
    x = points("checkerboard")
    square = np.floor((x + 4) / 2).astype(int)
    assert square.min() == 0
    assert square.max() == 3
    assert np.all(square.sum(axis=1) % 2 == 0)
    counts = np.unique(square, axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert np.all(counts == N // 8)
    log_prob = DATASETS["checkerboard"].log_prob
    assert np.all(np.array(log_prob(mx.array(x, mx.float32))) == np.float32(-np.log(32)))
    outside = mx.array([[-3.0, -1.0], [5.0, 5.0], [-5.0, -5.0]])
    assert np.all(np.array(log_prob(outside)) == -np.inf)


@pytest.mark.parametrize("name", [n for n, d in DATASETS.items() if d.mixture or d.outline])
def test_mixtures_and_outlines_have_the_law_of_the_samples(name):
    dataset = DATASETS[name]
    mixture = dataset.mixture or dataset.outline(1024)
    rng = np.random.default_rng(0)
    y = np.array(mixture.means)[rng.integers(0, len(mixture.means), N)]
    y = y + mixture.std * rng.normal(size=y.shape)
    for one, other in zip(shadows(points(name)), shadows(y), strict=True):
        assert ks_2samp(one, other).statistic < 0.015


@pytest.mark.parametrize("dim", [1, 3])
def test_standard_normal_in_any_dimension(dim):
    normal = standard_normal(dim)
    x = normal.sample(20_000, mx.random.key(0))
    assert x.shape == (20_000, dim)
    np.testing.assert_allclose(np.cov(np.array(x).T), np.eye(dim).squeeze(), atol=0.04)
    expected = -dim / 2 * math.log(2 * math.pi) - np.sum(np.array(x) ** 2, axis=1) / 2
    np.testing.assert_allclose(np.array(normal.log_prob(x)), expected, atol=1e-4)


def test_points_are_drawn_with_replacement(tmp_path):
    table = np.array([[1.0, 10.0], [2.0, 30.0], [4.0, 50.0]])
    np.save(tmp_path / "p.npy", table)
    data = load_points(tmp_path / "p.npy")
    assert (data.name, data.dim, data.log_prob) == ("p", 2, None)
    x = np.array(data.sample(3000, mx.random.key(0)))
    rows, counts = np.unique(x, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows, table)
    assert np.all(np.abs(counts - 1000) < 130)
    assert mx.array_equal(data.sample(9, mx.random.key(1)), data.sample(9, mx.random.key(1)))


def test_points_are_standardized_and_mapped_back(tmp_path):
    """Far from 0 and of very different scales, where float32 alone would lose them."""
    rng = np.random.default_rng(0)
    table = np.stack([1e9 + 1e-3 * rng.normal(size=500), 1e-4 * rng.normal(size=500)], axis=1)
    np.save(tmp_path / "p.npy", table)
    data = load_points(tmp_path / "p.npy")
    np.testing.assert_allclose(data.unit, table.std(axis=0))
    z = data.standardized().sample(20_000, mx.random.key(0))
    np.testing.assert_allclose(np.array(z).mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.array(z).std(axis=0), 1, atol=0.03)
    back = data.standardized().restore(data.standard_points)
    np.testing.assert_allclose(back, table, rtol=1e-15, atol=1e-7)
    exactly = data.sample_exactly(50, mx.random.key(0))
    assert np.abs(exactly[:, None] - table).max(axis=-1).min(axis=1).max() < 1e-6
    seen, log_volume = data.standardize(table)
    np.testing.assert_allclose(np.array(seen), data.standard_points, atol=1e-5)
    assert log_volume == pytest.approx(np.log(table.std(axis=0)).sum())
    assert DATASETS["moons"].standardized() is DATASETS["moons"]


def test_points_are_seen_in_the_units_of_training(tmp_path):
    """Whatever has become of their file, as long as it has as many columns."""
    path = tmp_path / "p.csv"
    path.write_text("a,b,c\n1,2,cat\n3,6,dog\n")
    first = load_points(path, ["b", "a"])
    units = Units.from_json(json.loads(json.dumps(asdict(first.units))))
    assert units == Units((4.0, 2.0), (2.0, 1.0), ("b", "a"), units.digest)
    again = load_points(path, ["b", "a"], units)
    assert again.known and again.unchanged and again.units == units
    path.write_text("b,a\n14,3\n10,4\n")
    other = load_points(path, None, units)
    assert other.known and not other.unchanged
    np.testing.assert_array_equal(other.standard_points, [[5, 1], [3, 2]])
    path.write_text("1\n2\n")
    with pytest.raises(ValueError, match="is 1 now, and was 2 in training"):
        load_points(path, None, units)
    path.unlink()
    forgotten = load_points(path, ["b", "a"], units)
    assert (forgotten.dim, forgotten.columns) == (2, ("b", "a"))
    assert not forgotten.known and not forgotten.unchanged
    np.testing.assert_array_equal(forgotten.standardized().restore([[1.0, -1.0]]), [[6, 1]])
    with pytest.raises(ValueError, match=r"p\.csv is not there"):
        forgotten.sample(3)
    with pytest.raises(ValueError, match="cannot be read"):
        load_points(path, ["b", "a"])


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [1.0]},
        {"mean": 1.0},
        {"mean": ["one", 2.0]},
        {"scale": [1.0, 0.0]},
        {"scale": [1.0, math.nan]},
        {"columns": []},
        {"speed": 1},
        {"classes": ["p", "q"]},
        {"classes": ["p", "q"], "counts": [3, 0]},
    ],
)
def test_damaged_units(change):
    kept = {"mean": [0.0, 1.0], "scale": [1.0, 2.0], "columns": ["a", "b"], "digest": "0"}
    kept |= {"classes": [], "counts": []}
    assert Units.from_json(kept).scale == (1.0, 2.0)
    for damaged in (kept | change, {}, [1, 2], "units"):
        with pytest.raises(ValueError):
            Units.from_json(damaged)


def test_a_few_points(tmp_path):
    few = a_few_points(DATASETS["gaussian4d"], 7, mx.random.key(0))
    assert few.points.shape == (7, 4)
    np.testing.assert_array_equal(few.standard_points, few.points)
    assert few.unchanged and few.columns == DATASETS["gaussian4d"].columns
    np.save(tmp_path / "p.npy", np.arange(20.0).reshape(10, 2))
    data = load_points(tmp_path / "p.npy")
    all_of_them = a_few_points(data, 10, mx.random.key(0))
    np.testing.assert_array_equal(np.sort(all_of_them.points, axis=0), data.points)
    assert a_few_points(data, 100, mx.random.key(0)).name == "10 points of p"
    assert a_few_points(data, 2, mx.random.key(0)).name == "2 points of p"
    assert a_few_points(data, 1, mx.random.key(0)).name == "1 point of p"
    run = settle(Config(target=str(tmp_path / "p.npy"), network="exact", points=100))
    assert run.config.points == 10 and run.target.name == "10 points of p"
    some = a_few_points(data, 4, mx.random.key(0))
    assert len({tuple(row) for row in some.points}) == 4
    assert (some.units.mean, some.units.scale) == (data.units.mean, data.units.scale)
    assert some.unchanged


def test_annulus_is_between_its_radii():
    radius = np.hypot(*points("annulus").T)
    assert radius.min() >= 2 - 1e-5
    assert radius.max() <= 3 + 1e-5
    assert np.mean(radius < 2.25) == pytest.approx(0.25, abs=1e-3)
    outside = mx.array([[0.0, 0.0], [1.9, 0.0], [0.0, 3.1]])
    assert np.all(np.array(DATASETS["annulus"].log_prob(outside)) == -np.inf)


def test_moons_lie_on_their_half_circles():
    x = points("moons")
    upper = np.abs(np.hypot(x[:, 0] + 1, x[:, 1] + 1) - 3)
    lower = np.abs(np.hypot(x[:, 0] - 2, x[:, 1] - 0.5) - 3)
    assert np.quantile(np.minimum(upper, lower), 0.999) < 4 * 0.15


def test_stratified_numbers_are_even_and_shuffled():
    u = np.array(stratified(1000, mx.random.key(0)))
    assert np.array_equal(np.sort(np.floor(u * 1000)), np.arange(1000))
    assert abs(np.corrcoef(u, np.arange(1000))[0, 1]) < 0.1
    means = [np.array(stratified(1, mx.random.key(k)))[0] for k in range(400)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.06)


def test_keys():
    keys = {tuple(step_key(seed, n).tolist()) for seed in (0, 1, 2**31 - 1) for n in range(5)}
    assert len(keys) == 15
    key = mx.random.key(5)
    assert as_key(key) is key
    assert not mx.array_equal(as_key(), as_key())


def test_a_file_of_any_name_has_one_that_other_files_can_have(tmp_path):
    """Not longer than file systems allow, and text, whatever bytes it is made of."""
    long, bytes_ = "ü" * 120, os.fsdecode(b"caf\xe9")
    for stem, name in (("moons.v2", "moons.v2"), (long, "ü" * 40 + "…"), (bytes_, "caf�")):
        path = tmp_path / f"{stem}.csv"
        path.write_text("1,2\n3,4\n")
        points = load_points(path)
        assert points.name == name and points.dim == 2
        path.unlink()
        assert load_points(path, units=points.units).name == name


PARTED = [name for name in DATASETS if DATASETS[name].parts]
NAMED = {
    "moons": ("upper", "lower"),
    "circles": ("inner", "outer"),
    "spirals": ("1", "2"),
    "pinwheel": ("1", "2", "3", "4", "5"),
    "checkerboard": ("a1", "c1", "b2", "d2", "a3", "c3", "b4", "d4"),
}


def by_geometry(name, x):
    """The part that a point lies in or is nearest to, from what the descriptions say."""
    if name == "8gaussians":
        return np.round(np.arctan2(x[:, 1], x[:, 0]) / (math.pi / 4)).astype(int) % 8
    if name == "moons":
        upper = np.abs(np.hypot(x[:, 0] + 1, x[:, 1] + 1) - 3) + 9 * (x[:, 1] < -1.8)
        lower = np.abs(np.hypot(x[:, 0] - 2, x[:, 1] - 0.5) - 3) + 9 * (x[:, 1] > 1.3)
        return (lower < upper).astype(int)
    if name == "circles":
        return (np.hypot(*x.T) > 3).astype(int)
    if name == "spirals":
        arm = spirals((np.arange(2000) + 0.5) / 2000)
        nearest = np.square(x[:, None] - arm[::4]).sum(axis=2).argmin(axis=1)
        return (nearest >= len(arm) // 8).astype(int)
    if name == "pinwheel":
        radius, angle = np.hypot(*x.T), np.arctan2(x[:, 1], x[:, 0])
        turned = angle - 0.25 * np.exp(radius / 2)
        return np.round(turned / (2 * math.pi / 5)).astype(int) % 5
    column, row = np.floor((x + 4) / 2).astype(int).T
    return np.array(
        [NAMED[name].index("abcd"[c] + "1234"[r]) for c, r in zip(column, row, strict=True)]
    )


@pytest.mark.parametrize("name", PARTED)
def test_classes_are_those_of_the_places(name):
    """As geometry tells them, but for the few points that noise carries over."""
    dataset, key = DATASETS[name], mx.random.key(2)
    x, which = dataset.sample_with_classes(2000, key)
    assert which.dtype == mx.int32 and which.shape == (2000,)
    assert mx.array_equal(x, dataset.sample(2000, key))
    assert dataset.classes == NAMED.get(name, dataset.classes)
    wrong = by_geometry(name, np.array(x, np.float64)) != np.array(which)
    assert wrong.mean() < 0.004
    counts = np.bincount(np.array(which), minlength=len(dataset.classes))
    assert np.all(counts == 2000 // len(dataset.classes))  # evenly spread


@pytest.mark.parametrize("name", PARTED)
def test_parts_have_the_law_of_their_class(name):
    """Their samples, their mixtures or outlines, and their densities, which make up the whole's."""
    dataset = DATASETS[name]
    x, which = dataset.sample_with_classes(N, mx.random.key(0))
    probe = x[:300] + 0.2
    for k, part in enumerate(dataset.parts):
        assert dataset.part(k) is part and part.name == dataset.classes[k]
        of_class = np.array(x, np.float64)[np.array(which) == k]
        alone = np.array(part.sample(len(of_class), mx.random.key(1)), np.float64)
        for one, other in zip(shadows(of_class), shadows(alone), strict=True):
            assert ks_2samp(one, other).statistic < 3.1 / math.sqrt(len(alone))
        mixture = part.mixture or (part.outline and part.outline(512))
        assert (mixture is None) == ((dataset.mixture or dataset.outline) is None)
        if mixture is not None:
            rng = np.random.default_rng(0)
            y = np.array(mixture.means)[rng.integers(0, len(mixture.means), len(alone))]
            y = y + mixture.std * rng.normal(size=y.shape)
            for one, other in zip(shadows(of_class), shadows(y), strict=True):
                assert ks_2samp(one, other).statistic < 3.1 / math.sqrt(len(alone))
        assert (part.log_prob is None) == (dataset.log_prob is None)
    if dataset.log_prob:
        each = [np.array(part.log_prob(probe), np.float64) for part in dataset.parts]
        whole = logsumexp(each, axis=0) - math.log(len(each))
        np.testing.assert_allclose(np.array(dataset.log_prob(probe)), whole, atol=1e-4, rtol=1e-5)


def test_a_dataset_without_parts_has_no_classes():
    assert DATASETS["annulus"].classes == DATASETS["normal"].classes == ()
    with pytest.raises(ValueError, match="annulus has no parts, and so no classes"):
        DATASETS["annulus"].sample_with_classes(3)


def test_points_have_the_classes_of_their_label(tmp_path):
    """In all units, drawn as without them; each class by itself; and a few of them."""
    path = tmp_path / "p.csv"
    rows = [(1.0, 100.0, "dog"), (2.0, 300.0, "cat"), (4.0, 500.0, "dog"), (7.0, 0.0, "cat")]
    path.write_text("a,b,kind\n" + "".join(f"{a},{b},{kind}\n" for a, b, kind in rows))
    data, key = load_points(path, label="kind"), mx.random.key(0)
    assert (data.classes, data.columns) == (("cat", "dog"), ("a", "b"))
    plain = load_points(path, ["a", "b"])
    assert (data.units.mean, data.units.scale) == (plain.units.mean, plain.units.scale)
    of = {a: kind for a, _, kind in rows}
    for seen in (data, data.standardized()):
        x, which = seen.sample_with_classes(500, key)
        assert mx.array_equal(x, seen.sample(500, key))
        a = data.restore(x)[:, 0] if seen is not data else np.array(x)[:, 0]
        told = [data.classes[k] for k in np.array(which)]
        assert [of[value] for value in a.round().tolist()] == told
        for k in range(2):
            drawn = np.array(seen.part(k).sample(100, key))
            np.testing.assert_array_equal(
                np.unique(drawn, axis=0), np.unique(np.array(x)[np.array(which) == k], axis=0)
            )
    assert data.unchanged and load_points(path, None, data.units, label="kind").unchanged
    assert data.shares.tolist() == [0.5, 0.5] and DATASETS["moons"].shares.tolist() == [0.5, 0.5]
    path.write_text(path.read_text().replace("cat", "cow"))
    assert not load_points(path, None, data.units, label="kind").unchanged
    few = a_few_points(data, 3, key)
    assert len(few.points) == 3 and few.unchanged
    assert [of[a] for a in few.points[:, 0]] == [few.classes[k] for k in few.labels]
    assert a_few_points(data, 1, key).classes in (("cat",), ("dog",))
    path.unlink()  # what is left is known of the checkpoint
    gone = load_points(path, None, Units.from_json(json.loads(json.dumps(asdict(data.units)))))
    assert gone.classes == data.classes and gone.shares.tolist() == [0.5, 0.5]
    few = a_few_points(DATASETS["moons"], 9, key)
    x, which = DATASETS["moons"].sample_with_classes(9, key)
    np.testing.assert_array_equal(few.points, np.array(x, np.float64))
    assert [few.classes[k] for k in few.labels] == [NAMED["moons"][k] for k in np.array(which)]
