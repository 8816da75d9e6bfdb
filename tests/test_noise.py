"""The score against the mixture's own, and the law of noisy paths against the flow's."""

from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import kstest, norm

from cfm import METHODS
from datasets import DATASETS
from exact import exact_velocity
from metrics import score_error
from models import build, describe
from noise import NoisyFlow, VelocityScore, score_of
from sde import sdeint
from training import train

SIGMA = 0.3
NORMAL = DATASETS["normal"]
POINTS = np.array([[2.0, 0.0], [-1.0, 1.5], [-1.0, -1.0]])


def independent(name, sigma=SIGMA):
    return METHODS[name](sigma=sigma, coupling="independent")


def coefficients(method, t):
    """(α, β, σ) at t, in float64."""
    with mx.stream(mx.cpu):
        values, _ = method.schedule(mx.array([[t]], mx.float64))
        return [value.item() for value in values]


def log_density(method, source, t, x):
    """log p_t at x (N, D), of all pairs of a component of the source and a point."""
    alpha, beta, sigma = coefficients(method, t)
    variance = (beta * source.mixture.std) ** 2 + sigma**2
    means = np.array(source.mixture.means, np.float64)[:, None]
    rest = x[:, None, None] - alpha * POINTS - beta * means
    logits = -(rest**2).sum(axis=-1) / (2 * variance)
    return logsumexp(logits, axis=(1, 2))


def its_gradient(method, source, t, x, step=1e-3):
    """By differences of fourth order in float64, right to 1e-9 here."""
    columns = []
    for unit in step * np.eye(2):
        near, far = (
            log_density(method, source, t, x + k * unit)
            - log_density(method, source, t, x - k * unit)
            for k in (1, 2)
        )
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("sigma", [0.1, SIGMA])
@pytest.mark.parametrize("name", METHODS)
def test_the_score_of_a_velocity_is_the_gradient_of_the_log_density(name, sigma, cpu):
    method = independent(name, sigma)
    field = exact_velocity(method, NORMAL, POINTS)
    x = np.random.default_rng(0).normal(size=(9, 2)) * 1.5
    for t in (0.0, 0.01, 0.25, 0.5, 0.75, 0.9):
        expected = its_gradient(method, NORMAL, t, x)
        at = mx.array(t, mx.float64), mx.array(x, mx.float64)
        # MLX's sine of float64 is right to 1e-7, and of `vp` and `cosine`
        close = {"rtol": 1e-5 if name in ("vp", "cosine") else 1e-6, "atol": 1e-6}
        if not (t < method.schedule.margin):  # nearer than that, the exact velocity stands still
            got = np.array(VelocityScore(method, field)(*at))
            np.testing.assert_allclose(got, expected, **close)
        np.testing.assert_allclose(np.array(field.score(*at)), expected, **close)
        np.testing.assert_allclose(
            np.array(score_of(method, NORMAL, field)(*at)), np.array(field.score(*at))
        )


@pytest.mark.parametrize("name", METHODS)
def test_the_score_of_other_sources(name, cpu):
    source, method = DATASETS["8gaussians"], independent(name)
    field = exact_velocity(method, source, POINTS)
    x = np.random.default_rng(0).normal(size=(9, 2)) * 3
    for t in (0.0, 0.5, 0.9):
        if name == "fm":
            continue
        got = field.score(mx.array(t, mx.float64), mx.array(x, mx.float64))
        expected = its_gradient(method, source, t, x, 1e-4)
        np.testing.assert_allclose(np.array(got), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_ends(name):
    """At 0 the score is that of the (blurred) source, at 1 of the blurred points, if of any."""
    x = mx.array([[0.5, -0.3], [2.0, 1.0]])
    for sigma in (0.0, SIGMA):
        method = independent(name, sigma)
        score = VelocityScore(method, exact_velocity(method, NORMAL, POINTS))
        _, beta, spread = coefficients(method, 0.0)
        np.testing.assert_allclose(
            np.array(score(0.0, x)), -np.array(x) / (beta**2 + spread**2), rtol=1e-4
        )
        alpha, beta, spread = coefficients(method, 1.0)
        at_rest = alpha - coefficients(method, 1 - 1e-4)[0] < 1e-6
        if beta**2 + spread**2 < 1e-12 or at_rest:
            with pytest.raises(ValueError, match="no score at t = 1"):
                score(1.0, x)
        else:
            expected = its_gradient(method, NORMAL, 1.0, np.array(x, np.float64))
            np.testing.assert_allclose(np.array(score(mx.array([1.0]), x)), expected, rtol=1e-3)


@pytest.mark.parametrize("sigma", [0.0, SIGMA])
@pytest.mark.parametrize("name", METHODS)
def test_noise_begins_as_asked_and_nothing_blows_up(name, sigma):
    """And in the drift an error of the velocity counts at most twice."""
    method, x = independent(name, sigma), mx.random.normal((50, 2), key=mx.random.key(0))

    def along(field):
        flow = NoisyFlow(method, VelocityScore(method, field), field, 1.5)
        times = [0.0, 1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6, 1.0]
        return np.array([flow.drift(mx.array(t), x) for t in times]), [
            flow.diffusion(mx.array(t), x).item() for t in times
        ]

    field = exact_velocity(method, NORMAL, POINTS)
    drift, noise = along(field)
    wrong, _ = along(lambda t, x: field(t, x) + 1.0)
    assert np.isfinite(drift).all()
    assert noise[:3] == pytest.approx([1.5] * 3)
    assert all(np.diff(noise) <= 1e-6)
    if coefficients(method, 1.0)[1] < 1e-6:  # in `fm` some of x0 is left
        assert noise[-1] < 0.06
    off = (wrong - drift)[1:-1]  # in float32, 1 beside the score has few digits
    assert off.min() > 1 - 1e-2
    assert off.max() < 2 + 1e-2


def test_noise_is_no_stronger_than_a_narrow_source_bears():
    """Or steps overshoot: nothing blurs the points that this flow ends at."""
    source, method = DATASETS["8gaussians"], independent("vp", 0.0)
    field, x0 = exact_velocity(method, source, POINTS), source.sample(256, mx.random.key(0))

    def off(spread):
        flow = NoisyFlow(method, field.score, field, 1.0, spread)
        how = {"solver": "euler-maruyama", "steps": 100, "key": mx.random.key(1)}
        ends = np.array(sdeint(flow.drift, flow.diffusion, x0, [0.0, 1.0], **how).x[-1])
        apart = np.linalg.norm(ends[:, None] - POINTS, axis=-1).min(axis=1)
        return np.sqrt(np.mean(apart**2))

    assert off(source.mixture.std) < 0.05 < 1 < off(1.0)


@dataclass(frozen=True)
class Wrong(NoisyFlow):
    """With a drift of v + wrong · ½ g² s."""

    factor: float = 1.0

    def drift(self, t, x):
        right, velocity = super().drift(t, x), self.field(t, x)
        return velocity + self.factor * (right - velocity)


def least_p(name, strength, count, steps=32, factor=1.0, solver="stochastic-heun", key=7):
    """The least p-value of nine Kolmogorov–Smirnov tests: at t = 0.25, 0.5, 1 in three directions.

    The law of xt along a direction is a mixture of Gaussians, whose distribution function is
    known, so that only the noisy paths are left to chance.
    """
    method = independent(name)
    field = exact_velocity(method, NORMAL, POINTS)
    flow = Wrong(method, VelocityScore(method, field), field, strength, factor=factor)
    start, noise = mx.random.split(mx.random.key(key))
    x0 = coefficients(method, 0.0)
    x0 = mx.random.normal((count, 2), key=start) * (x0[1] ** 2 + x0[2] ** 2) ** 0.5
    times = [0.0, 0.25, 0.5, 1.0]
    how = {"steps": steps, "solver": solver, "key": noise}
    paths = np.array(sdeint(flow.drift, flow.diffusion, x0, times, **how).x)
    found = []
    for t, x in zip(times[1:], paths[1:], strict=True):
        alpha, beta, sigma = coefficients(method, t)
        width = (beta**2 + sigma**2) ** 0.5
        for direction in ([1, 0], [0, 1], [0.6, -0.8]):
            means = alpha * POINTS @ direction

            def law(y, means=means, width=width):
                return norm.cdf((y[:, None] - means) / width).mean(axis=1)

            found.append(kstest(x @ direction, law).pvalue)
    return min(found)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_noise_leaves_the_law_as_it_is(strength):
    """At p > 1e-3 in each of nine tests of 4 000 points: an error of 0.03 in a distribution
    function would be seen. A drift without the score, of twice or of minus it is."""
    assert least_p("cfm", strength, 4000) > 1e-3


@pytest.mark.parametrize(
    "factor", [2.0, *(pytest.param(f, marks=pytest.mark.slow) for f in (0.0, -1.0))]
)
def test_a_wrong_drift_is_seen(factor):
    assert least_p("cfm", 1.0, 4000, factor=factor) < 1e-6


def test_paths_that_are_not_known_are_not_guessed():
    field = lambda t, x: x  # noqa: E731
    for method, source, complaint in (
        (METHODS["cfm"](), DATASETS["8gaussians"], "N\\(0, I\\) alone, and '8gaussians'"),
        (METHODS["ot"](), NORMAL, "independent pairs alone, and these are 'ot'"),
        (METHODS["sb"](), NORMAL, "these are 'entropic'"),
    ):
        with pytest.raises(ValueError, match=complaint):
            score_of(method, source, field)


def test_the_loss_of_two_heads(cpu):
    """E (v − ut)² + E (σ(t) s + ε)², in numpy; without a second head the first part alone."""
    method = METHODS["sf2m"](sigma=0.7)
    x0, x1, noise = mx.random.normal((3, 64, 2), key=mx.random.key(0))
    t = mx.random.uniform(0.01, 0.99, shape=(64, 1), key=mx.random.key(1))
    xt, ut = method.sample(t, x0, x1, noise)

    class Heads:
        def __call__(self, t, x):
            return 2 * x

        def score(self, t, x):
            return t - x

    shown = mx.concatenate([ut, noise], axis=1)
    models = Heads(), lambda t, x: 2 * x
    found, alone = (method.error(model, t, xt, shown).item() for model in models)
    t, ut, xt, noise = (np.array(each, np.float64) for each in (t, ut, xt, noise))
    first = np.mean((2 * xt - ut) ** 2)
    second = np.mean((0.7 * np.sqrt(t * (1 - t)) * (t - xt) + noise) ** 2)
    assert found == pytest.approx(first + second, rel=1e-5)
    assert alone == pytest.approx(first, rel=1e-5)
    # what training shows is what the loss expects
    key = mx.random.key(2)
    drawn_t, drawn = method.draw(x0.shape, key)
    expected = method.sample(drawn_t, x0, x1, drawn)
    _, xt, shown = method.examples(x0, x1, key)
    for got, wanted in ((xt, expected[0]), (shown[:, :2], expected[1]), (shown[:, 2:], drawn)):
        assert mx.allclose(got, wanted)


def test_scores_are_learned():
    """By the second head as well as told by the velocity, and better with more training."""
    errors = {}
    for name in ("sf2m", "cfm"):
        for steps in (10, 300):
            method = independent(name, 0.5)
            mx.random.seed(0)
            shape = {"dim": 2, "width": 32, "depth": 2}
            model = build(
                {
                    "network": "mlp",
                    "shape": shape,
                    "learns_source": False,
                    "learns_score": method.learns_score,
                }
            )
            assert build(describe(model)).parameters().keys() == model.parameters().keys()
            points = replace(NORMAL, draw=_some)
            train(model, method, NORMAL, points, steps=steps, batch_size=512)
            exact = exact_velocity(method, NORMAL, POINTS)
            score = score_of(method, NORMAL, model)
            on = method, NORMAL, points, 2048, mx.random.key(5)
            assert score_error(exact.score, exact.score, *on) == 0
            assert score_error(lambda t, x: 0 * x, exact.score, *on) == 1
            errors[name, steps] = score_error(score, exact.score, *on)
    for name in ("sf2m", "cfm"):
        assert errors[name, 300] < min(0.5, errors[name, 10] / 2), errors


def _some(count, key):
    places = mx.random.randint(0, len(POINTS), (count,), key=key)
    return mx.array(POINTS, mx.float32)[places]
