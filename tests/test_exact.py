"""The exact field against numpy, against what it must generate, and against networks."""

import itertools

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import ks_2samp

import exact
from machine import streams
from cfm import METHODS
from datasets import DATASETS, load_points, standard_normal
from exact import exact_velocity, nearly_exact_velocity
from metrics import excess_loss, w2_squared
from models import MLP
from odeint import odeint
from training import train

SIGMA = 0.3
POINTS = np.array(DATASETS["moons"].sample(40, mx.random.key(0)), np.float64)


def independent(name, sigma=SIGMA):
    return METHODS[name](sigma=sigma, coupling="independent")


def in_numpy(method, source, points, t, x):
    """The posterior mean of ut, by one sum over all pairs of component and point."""
    schedule, s = method.schedule, source.mixture.std
    with mx.stream(mx.cpu):
        t = mx.array([[max(t, schedule.margin)]], mx.float64)
        (alpha, beta, sigma), (d_alpha, d_beta, d_sigma) = [
            [value.item() for value in curves] for curves in schedule(t)
        ]
    variance = beta**2 * s**2 + sigma**2
    slope = beta * d_beta * s**2 + sigma * d_sigma
    means = np.array(source.mixture.means, np.float64)
    rest = x[:, None, None] - alpha * points - beta * means[:, None]
    logits = -(rest**2).sum(axis=-1) / (2 * variance)
    weights = np.exp(logits - logsumexp(logits, axis=(1, 2), keepdims=True))
    velocities = d_alpha * points + d_beta * means[:, None] + slope / variance * rest
    return (weights[..., None] * velocities).sum(axis=(1, 2))


@pytest.mark.parametrize("source", ["normal", "8gaussians"])
@pytest.mark.parametrize("name", METHODS)
def test_against_numpy(name, source):
    source = DATASETS[source]
    field = exact_velocity(independent(name), source, POINTS)
    x = np.random.default_rng(0).normal(size=(9, 2)) * 3
    for t in (0.0, 0.2, 0.5, 0.9, 0.99):
        expected = in_numpy(independent(name), source, POINTS, t, x)
        got = np.array(field(mx.array(t), mx.array(x, mx.float32)))
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_in_float64(cpu):
    x = np.random.default_rng(0).normal(size=(9, 2)) * 3
    field = exact_velocity(independent("cfm"), DATASETS["8gaussians"], POINTS.astype(np.float32))
    got = field(mx.array(0.7, mx.float64), mx.array(x, mx.float64))
    points = POINTS.astype(np.float32).astype(np.float64)
    expected = in_numpy(independent("cfm"), DATASETS["8gaussians"], points, 0.7, x)
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-11)


@pytest.mark.parametrize("name", METHODS)
def test_every_row_has_its_own_time(name):
    field = exact_velocity(independent(name), DATASETS["normal"], POINTS)
    x, t = mx.random.normal((5, 2)), mx.array([0.0, 0.3, 0.5, 0.9, 1.0])
    rows = [field(t[i], x[i : i + 1])[0] for i in range(5)]
    for times in (t, t[:, None]):
        np.testing.assert_allclose(
            np.array(field(times, x)), np.array(mx.stack(rows)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("sigma", [0.0, 1e-160, 1e-30, 1e-19, SIGMA])
@pytest.mark.parametrize("name", METHODS)
def test_finite_at_the_ends_and_far_away(name, sigma):
    field = exact_velocity(independent(name, sigma), DATASETS["8gaussians"], POINTS)
    x = mx.concatenate([mx.array(POINTS, mx.float32), mx.array([[0.0, 0.0], [300.0, -200.0]])])
    for t in (0.0, 1e-7, 0.5, 1 - 1e-7, 1.0):
        assert np.isfinite(np.array(field(mx.array(t), x))).all()


def test_a_width_that_float32_cannot_tell_from_none_is_none():
    """The field of such a σ is that of σ = 0, at the end of the way too."""
    x = mx.random.normal((50, 2), key=mx.random.key(0))
    fields = [
        exact_velocity(independent("cfm", sigma), DATASETS["normal"], POINTS)
        for sigma in (0.0, 1e-30, 1e-9)
    ]
    for t in (0.3, 0.999, 1.0):
        none, *others = (np.array(field(mx.array(t), x)) for field in fields)
        for other in others:
            np.testing.assert_allclose(other, none, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_flow_generates_the_points(name):
    """And blurs them where σ(1) is not 0: W2² to the target as between two true samples."""
    count = 1000
    method = METHODS[name](coupling="independent")
    field = exact_velocity(method, DATASETS["normal"], POINTS)
    x0 = DATASETS["normal"].sample(count, mx.random.key(1))
    generated = np.array(odeint(field, x0, [0.0, 0.999], dense=False).x[-1], np.float64)
    rng = np.random.default_rng(0)
    blur = method.std(1.0).item()

    def draw():
        return POINTS[rng.integers(0, 40, count)] + blur * rng.normal(size=(count, 2))

    true = draw()
    assert w2_squared(generated, true) < 3 * np.mean([w2_squared(draw(), true) for _ in range(5)])


@pytest.mark.parametrize("name", METHODS)
def test_the_flow_has_the_law_of_xt_at_every_time(name):
    """Kolmogorov–Smirnov tests between solved and sampled xt, in three directions.

    Where σ(0) is not 0, xt starts as the blurred source, and so must the flow.
    """
    count, method, source = 3000, independent(name), DATASETS["8gaussians"]
    points = mx.array(POINTS, mx.float32)

    def sampled(time, key):
        keys = mx.random.split(key, 3)
        x1 = points[mx.random.randint(0, 40, (count,), key=keys[1])]
        noise = mx.random.normal((count, 2), key=keys[2])
        return method.sample(time, source.sample(count, keys[0]), x1, noise)[0]

    times, keys = [0.0, 0.3, 0.6, 0.9], mx.random.split(mx.random.key(5), 4)
    field = exact_velocity(method, source, points)
    solved = np.array(odeint(field, sampled(0.0, keys[0]), times, rtol=1e-4, atol=1e-4).x)
    for time, key, found in zip(times[1:], keys[1:], solved[1:], strict=True):
        expected = np.array(sampled(time, key))
        for direction in ([1, 0], [0, 1], [0.6, -0.8]):
            assert ks_2samp(found @ direction, expected @ direction).pvalue > 1e-3


def test_blocks_change_nothing_and_bound_the_memory(monkeypatch):
    x = mx.random.normal((512, 2), key=mx.random.key(1))
    points = DATASETS["moons"].sample(20_000, mx.random.key(2))
    monkeypatch.setattr(streams, "ROWS", 10**9)
    field = exact_velocity(independent("cfm"), DATASETS["normal"], points)
    mx.eval(x, points)
    memory, results = [], []
    for places, some in ((exact.PLACES, exact.POINTS), (10**9, 10**9)):
        monkeypatch.setattr(exact, "PLACES", places)
        monkeypatch.setattr(exact, "POINTS", some)
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        results.append(np.array(field(mx.array(0.8), x)))
        memory.append(mx.get_peak_memory() - before)
    np.testing.assert_allclose(*results, atol=1e-4)
    assert memory[0] < memory[1] / 5  # 10 million weights are 41 MB


def test_gradients_through_the_exact_field():
    field = exact_velocity(independent("cfm"), DATASETS["8gaussians"], POINTS)
    x, step = mx.array([[0.5, -0.3], [2.0, 1.0]]), 1e-2
    gradient = mx.grad(lambda x: mx.sum(field(mx.array(0.6), x)[:, 0]))(x)
    for axis in range(2):
        shift = mx.array([[step * (axis == 0), step * (axis == 1)]])
        ends = [field(mx.array(0.6), x + sign * shift)[:, 0] for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(
            np.array(gradient[:, axis]), np.array(slope), rtol=0.02, atol=0.02
        )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((METHODS["ot"](), DATASETS["normal"], POINTS), "independent pairs only"),
        ((METHODS["cfm"](), DATASETS["moons"], POINTS), "isotropic Gaussians"),
        ((METHODS["cfm"](), DATASETS["normal"], POINTS[:, :1]), "points must be"),
        ((METHODS["cfm"](), DATASETS["normal"], POINTS[:0]), "points must be"),
        ((METHODS["cfm"](), DATASETS["normal"], POINTS * np.nan), "must be finite"),
    ],
)
def test_refusals(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        exact_velocity(*arguments)


def test_gaussian_to_gaussian_in_closed_form():
    """From N(0, 1) to N(m, s²) by cfm without noise, xt is Gaussian: u is linear in x."""
    mean, std = 1.5, 0.5
    source = standard_normal(1)
    field = exact_velocity(METHODS["cfm"](sigma=0.0), source, [[mean]], std)
    x = mx.linspace(-2, 3, 7)[:, None]
    for t in (0.0, 0.4, 1.0):
        variance = (1 - t) ** 2 + t**2 * std**2
        slope = (-(1 - t) + t * std**2) / variance
        expected = mean + slope * (np.array(x) - t * mean)
        np.testing.assert_allclose(np.array(field(mx.array(t), x)), expected, atol=1e-5)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("8gaussians", "checkerboard")]


@pytest.mark.parametrize("target", ["moons", *SLOW])
def test_networks_come_nearer_to_the_exact_field_with_training(target):
    method, source, target = METHODS["cfm"](), DATASETS["normal"], DATASETS[target]
    best = nearly_exact_velocity(method, source, target, mx.random.key(0))
    fits = []
    for steps in (100, 1500):
        mx.random.seed(0)
        model = MLP(width=32, depth=2)
        train(model, method, source, target, steps=steps)
        fits.append(excess_loss(model, best, method, source, target, 2000, mx.random.key(1)))
    early, late = fits
    assert late.velocity_error < 0.6 * early.velocity_error
    assert late.excess < early.excess / 2
    for fit in fits:
        assert fit.excess == pytest.approx(fit.loss - fit.floor)
        assert fit.excess > -3 * fit.excess_error
    # the exact field itself has no excess, and the floor cannot be undercut
    perfect = excess_loss(best, best, method, source, target, 2000, mx.random.key(1))
    assert (perfect.excess, perfect.velocity_error) == (0, 0)


def test_the_floor_of_gaussians_in_closed_form():
    """N(0, 1) → N(0, s²) without noise: Var[ut | xt] = s² / ((1 − t)² + t² s²), over t."""
    std = 0.5
    source, method = standard_normal(1), METHODS["cfm"](sigma=0.0)

    class Narrow:
        def sample(self, n, key):
            return std * source.sample(n, key)

    best = exact_velocity(method, source, [[0.0]], std)
    fit = excess_loss(best, best, method, source, Narrow(), 20_000, mx.random.key(0))
    t = (np.arange(10_000) + 0.5) / 10_000
    expected = np.mean(std**2 / ((1 - t) ** 2 + t**2 * std**2))
    assert abs(fit.floor - expected) < 4 * fit.floor_error
    assert fit.floor_error < 0.02


def test_where_no_exact_field_is_known(tmp_path):
    key = mx.random.key(0)
    normal, moons = DATASETS["normal"], DATASETS["moons"]
    assert nearly_exact_velocity(METHODS["ot"](), normal, moons, key) is None
    assert nearly_exact_velocity(METHODS["cfm"](), moons, normal, key) is None
    four = DATASETS["gaussian4d"]
    assert nearly_exact_velocity(METHODS["cfm"](), standard_normal(4), four, key) is None
    np.save(tmp_path / "p.npy", 100 + 7 * POINTS)
    own = load_points(tmp_path / "p.npy")
    field = nearly_exact_velocity(METHODS["cfm"](), normal, own, key)
    np.testing.assert_allclose(
        np.array(field.target.means), own.standard_points, rtol=1e-5, atol=1e-6
    )


def test_the_end_of_a_curved_path_is_its_end():
    """At t = 1 nothing is left of the source, however narrow the path: u = ẋ of the only point."""
    method = METHODS["vp"](sigma=1e-3)
    field = exact_velocity(method, DATASETS["8gaussians"], np.array([[1.0, 2.0]]))
    x = mx.random.normal((50, 2), key=mx.random.key(0))
    u = np.array(field(mx.array(1.0), x))
    # β' = −π/2 times the source's mean, which is 0 as all components are as likely
    np.testing.assert_allclose(u, 0, atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("source", ["normal", "8gaussians"])
def test_the_marginal_velocity_of_a_group_is_the_exact_field_of_its_points(name, source):
    """Of one group, and of one after the other where there are more, in the places of the pairs."""
    method, source, count = independent(name), DATASETS[source], 2 * exact.GROUP
    x0, x1 = (d.sample(count, mx.random.key(k)) for k, d in ((0, source), (1, DATASETS["moons"])))
    t, xt, marginal = exact.on_marginal(method, source).examples(x0, x1, mx.random.key(2))
    same_t, same_xt, _ = method.examples(x0, x1, mx.random.key(2))
    assert mx.allclose(t, same_t, atol=1e-4) and mx.allclose(xt, same_xt, atol=1e-2)
    for group in (slice(exact.GROUP), slice(exact.GROUP, None)):
        field = exact_velocity(method, source, x1[group])
        inner = np.array((t[group] > 2e-3) & (t[group] < 1 - 2e-3))[:, 0]  # `sb` has margins
        expected = np.array(field(t[group], xt[group]))[inner]
        found = np.array(marginal[group])[inner]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-3)


def test_marginal_velocities_teach_faster():
    """In as many steps, and to a loss of nearly nothing; in one batch as in a vmapped several."""
    source, target, method = DATASETS["8gaussians"], DATASETS["moons"], METHODS["vp"]()
    errors, losses = [], []
    for each in (method, exact.on_marginal(method, source)):
        mx.random.seed(0)
        model = MLP(width=32)
        history = train(model, each, source, target, steps=1000, batch_size=64)
        best = nearly_exact_velocity(method, source, target, mx.random.key(0))
        found = excess_loss(model, best, method, source, target, 2048, mx.random.key(1))
        errors.append(found.velocity_error)
        losses.append(history.losses[-1][1])
    assert errors[1] < 0.95 * errors[0]
    assert losses[1] < 0.7 * losses[0]


def test_what_has_no_marginal_velocity():
    for method, source in (("ot", "normal"), ("cfm", "moons")):
        with pytest.raises(ValueError, match="independent pairs and a source of isotropic"):
            exact.on_marginal(METHODS[method](), DATASETS[source])


def with_classes(target, method, source="8gaussians"):
    """The nearly exact field of a dataset of parts."""
    field = nearly_exact_velocity(method, DATASETS[source], DATASETS[target], mx.random.key(0))
    assert len(field.of_class) == len(DATASETS[target].parts)
    return field


OF_CLASSES = [*itertools.product(["moons", "8gaussians"], ["cfm", "vp", "sb"]), ("pinwheel", "cfm")]


@pytest.mark.parametrize(("target", "name"), OF_CLASSES)
def test_the_fields_of_classes_make_up_that_of_the_whole(name, target):
    """u = Σ p(c | xt) u_c and ∇ log p = Σ p(c | xt) ∇ log p_c, wherever x is."""
    field = with_classes(target, independent(name))
    x = 3 * mx.random.normal((40, 2), key=mx.random.key(1))
    for t in map(mx.array, (0.01, 0.4, 0.8, 0.95)):
        posterior = mx.exp(field.class_log_prob(t, x))
        np.testing.assert_allclose(np.array(mx.sum(posterior, axis=1)), 1, atol=1e-5)
        assert 0.05 < mx.mean(posterior[:, 0]).item() < 0.8  # so that it is a mean at all
        for whole, parts in (
            (field(t, x), [each(t, x) for each in field.of_class]),
            (field.score(t, x), [each.score(t, x) for each in field.of_class]),
        ):
            mean = mx.sum(posterior[..., None] * mx.stack(parts, axis=1), axis=1)
            scale = mx.max(mx.abs(mx.stack(parts))).item()
            np.testing.assert_allclose(np.array(mean), np.array(whole), atol=2e-5 * scale)


@pytest.mark.parametrize(("target", "least"), [("moons", 1e-6), ("pinwheel", 0.01)])
def test_the_field_of_a_class_is_that_of_the_part_alone(target, least):
    """Where that has its points; only nearly, if it is made of other samples."""
    method, t, source = METHODS["cfm"](), mx.array(0.6), DATASETS["8gaussians"]
    field, keys = with_classes(target, method), mx.random.split(mx.random.key(1), 3)
    for each, part in zip(field.of_class, DATASETS[target].parts, strict=True):
        ends = source.sample(60, keys[0]), part.sample(60, keys[1])
        x, _ = method.sample(t, *ends, mx.zeros((60, 2)))
        alone = nearly_exact_velocity(method, source, part, keys[2])(t, x)
        assert mx.mean(mx.square(alone - each(t, x))) < least * mx.mean(mx.square(alone))


def test_a_label_chooses_the_field_of_every_row():
    field, t = with_classes("pinwheel", METHODS["cfm"]()), mx.array(0.6)
    x, label = mx.random.normal((60, 2)), np.arange(60) % 5
    got = np.array(field(t, x, mx.array(label)))
    for k, each in enumerate(field.of_class):
        np.testing.assert_array_equal(got[label == k], np.array(each(t, x))[label == k])
    assert mx.array_equal(field(t, x, mx.array(3)), field.of_class[3](t, x))
    with pytest.raises(ValueError, match="have no classes"):
        field.of_class[0](t, x, mx.array(label))


def test_log_densities_against_numpy(cpu):
    """Of xt; at t = 0 those of the source, and of the classes by Bayes' rule from their shares."""
    method, source = independent("cfm", 0.0), DATASETS["8gaussians"]
    labels = np.arange(40) % 5 // 2  # shares 2/5, 2/5 and 1/5
    points = POINTS.astype(np.float32)
    field = exact_velocity(method, source, points, labels=labels)
    x = np.random.default_rng(0).normal(size=(9, 2)) * 3
    means, s = np.array(source.mixture.means, np.float64), source.mixture.std
    at = mx.array(x, mx.float64)
    for t in (0.0, 0.5, 0.9):
        centres = t * points.astype(np.float64) + (1 - t) * means[:, None]
        variance = (1 - t) ** 2 * s**2
        squares = np.square(x[:, None, None] - centres).sum(axis=3)
        each = -squares / (2 * variance) - np.log(2 * np.pi * variance)
        joint = np.stack([logsumexp(each[..., labels == k], axis=(1, 2)) for k in range(3)], axis=1)
        whole = logsumexp(joint, axis=1) - np.log(8 * 40)
        got = field.log_prob(mx.array(t, mx.float64), at)
        np.testing.assert_allclose(np.array(got), whole, rtol=1e-6)
        posterior = joint - logsumexp(joint, axis=1, keepdims=True)
        found = field.class_log_prob(mx.array(t, mx.float64), at)
        np.testing.assert_allclose(np.array(found), posterior, rtol=1e-6, atol=1e-6)
    assert np.allclose(field.log_prob(mx.array(0.0, mx.float64), at), source.log_prob(at))


@pytest.mark.parametrize("labels", [[0] * 39, [0] * 39 + [2], [[0]] * 40])
def test_labels_that_do_not_fit(labels):
    with pytest.raises(ValueError, match="a class of every point"):
        exact_velocity(METHODS["cfm"](), DATASETS["normal"], POINTS, labels=labels)


def test_points_of_a_file_have_the_fields_of_their_classes(tmp_path):
    kinds = ["cat" if row[0] > 0 else "dog" for row in POINTS]
    rows = [f"{a},{b},{kind}" for (a, b), kind in zip(POINTS, kinds, strict=True)]
    (tmp_path / "p.csv").write_text("a,b,kind\n" + "\n".join(rows))
    data = load_points(tmp_path / "p.csv", label="kind")
    field = nearly_exact_velocity(METHODS["cfm"](), DATASETS["normal"], data, None)
    x, t = mx.random.normal((7, 2), key=mx.random.key(0)), mx.array(0.7)
    for each, part in zip(field.of_class, data.parts, strict=True):
        alone = nearly_exact_velocity(METHODS["cfm"](), DATASETS["normal"], part, None)
        assert mx.array_equal(each(t, x), alone(t, x))
