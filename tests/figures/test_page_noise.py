"""Noise along the flow in the page of the exact field: its law, its paths, and its motions."""

import math
from itertools import product

import mlx.core as mx
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import kstest, norm

from cfm import METHODS
from datasets import DATASETS
from exact import NEAREST, exact_velocity
from figures import exact_page
from figures.exact_page import with_independent_pairs
from noise import NoisyFlow
from sde import sdeint
from tests.figures.browser import in_a_browser
from tests.figures.sample_pages import POINTS, an_exact

pytestmark = [pytest.mark.slow, in_a_browser]
PARTICLES = 2000  # many times those of a reader's page, for what statistics can tell
DIRECTIONS = [(1, 0), (0, 1), (0.6, 0.8)]
FEW = "t=0.4&n=1&shows="  # what is drawn soon
FURTHEST = 2.1 / math.sqrt(PARTICLES)  # Kolmogorov's distance: 3 in 10 000 true samples are farther


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_page, "PARTICLES", PARTICLES)
        return an_exact(
            tmp_path_factory.mktemp("page"),
            source=DATASETS["8gaussians"],
            makers=with_independent_pairs(),
            method="cfm",
        )


def trails(hands, solver, fragment):
    """Their times (T,), and the places (T, N, 2) of the particles there, in the state of a link."""
    times, places = hands.evaluate(
        """([name, fragment]) => {
          start(heard(fragment));
          lab.trails[name].solve(Infinity);
          return [lab.trails[name].times, [...lab.trails[name].places]];
        }""",
        [solver, fragment],
    )
    return np.array(times), np.reshape(places, (-1, len(times), 2)).transpose(1, 0, 2)


def distance(places, centres, v, direction):
    """Kolmogorov's, along a direction, from a mixture of equal Gaussians of variance v."""
    middles = centres @ direction

    def share_below(x):
        return norm.cdf((x[:, None] - middles) / math.sqrt(v)).mean(axis=1)

    return kstest(places @ direction, share_below).statistic


@pytest.mark.parametrize("method, sigma", [("cfm", 0.1), ("vp", 0), ("sb", 0.5), ("poly", 0.2)])
def test_the_law_is_that_of_the_flow(visit, method, sigma):
    """With noise as without, on the way as at the end: the mixture that the field is made of."""
    hands, schedule = visit(FEW), METHODS[method](sigma).schedule
    for source, noise in product(("normal", "8gaussians"), (0, 0.5, 2)):
        chosen = f"method={method}&sigma={sigma}&source={source}&target=some&n=6&shows="
        times, places = trails(hands, "fine", f"{chosen}&diffusion={noise}")
        mixture = DATASETS[source].mixture
        for at, direction in product((8, 16, 24, 32), DIRECTIONS):
            t = mx.array([[min(times[at], 1 - max(schedule.margin, NEAREST))]])
            alpha, beta, width = (curve.item() for curve in schedule(t)[0])
            v = (beta * mixture.std) ** 2 + width**2
            centres = (alpha * POINTS[:6, None] + beta * np.array(mixture.means)).reshape(-1, 2)
            found = distance(places[at], centres, v, np.array(direction))
            assert found < FURTHEST, (source, noise, times[at], direction)


@pytest.mark.parametrize("source, std", [("source=normal", 1), ("means=0.5,0&std=0.4", 0.4)])
def test_so_much_of_the_start_is_forgotten(visit, source, std, noise=1):
    """To one point from one Gaussian all is Gaussian: x keeps e^(−½ ∫ g²/v) of where it began."""
    chosen = f"{source}&points=1,1&sigma=0.2&diffusion={noise}&shows="
    times, places = trails(visit(FEW), "fine", chosen)
    mean = np.array([0.0 if std == 1 else 0.5, 0])

    def rate(t):  # of the straight path, whose noise is at most 2 s² (1 − t)/t
        return min(noise**2, 2 * std**2 * (1 - t) / max(t, 1e-9)) / (((1 - t) * std) ** 2 + 0.2**2)

    start = places[0] - mean
    for at in (4, 12, 20, 28, 32):
        t = times[at]
        rest = places[at] - t * np.array([1, 1]) - (1 - t) * mean
        kept = np.exp(-quad(rate, 0, t, limit=200)[0] / 2)
        correlation = (rest * start).mean() / math.sqrt((rest**2).mean() * (start**2).mean())
        assert correlation == pytest.approx(kept, abs=3 / math.sqrt(2 * PARTICLES) + 0.01)


@pytest.mark.parametrize("method", ["cfm", "vp", "poly"])
def test_steps_of_euler_are_the_programs(visit, cpu, method):
    """Of Euler and Maruyama, by `NoisyFlow` and `sdeint`, along the same Brownian motion."""
    chosen = f"source=normal&method={method}&sigma=0.2&target=some&n=5&steps=7"
    hands = visit(FEW)
    times, places = trails(hands, "euler", f"{chosen}&diffusion=1.2&shows=")
    moved = hands.evaluate("""() => Array.from({ length: 7 }, (_, step) =>
      data.noise.map((_, i) => increment(i, step / 7, (step + 1) / 7)))""")
    made = with_independent_pairs()[method](0.2)
    field = exact_velocity(made, DATASETS["normal"], POINTS[:5])
    flow = NoisyFlow(made, field.score, field, 1.2, field.source.std)
    x0, increments = (mx.array(np.array(each, np.float32)) for each in (places[0], moved))
    expected = sdeint(
        flow.drift, flow.diffusion, x0, times, solver="euler-maruyama", increments=increments
    )
    np.testing.assert_allclose(places, np.array(expected.x), atol=2e-3)


def test_more_steps_come_nearer_to_the_fine_paths(visit):
    """Both follow one Brownian motion, not only one law."""
    hands = visit(FEW)

    def ends(solver, steps=1):
        chosen = f"source=normal&points=1,1&sigma=0.1&steps={steps}&diffusion=2&shows="
        return trails(hands, solver, chosen)[1][-1]

    fine = ends("fine")
    some, more = (np.linalg.norm(ends("euler", n) - fine, axis=1).mean() for n in (20, 40))
    assert more < 0.03
    assert some / more == pytest.approx(2, abs=0.25)


def test_motions_are_brownian(visit):
    hands = visit(FEW)
    found = hands.evaluate("""() => [0, 0.25, 0.25 + 1 / 2048, 0.5, 1].map((t) =>
      data.noise.map((_, i) => increment(i, 0, t)))""")
    moved = np.diff(found, axis=0)  # (4, N, 2)
    lengths = np.array([0.25, 1 / 2048, 0.25 - 1 / 2048, 0.5])
    normals = (moved / np.sqrt(lengths)[:, None, None]).transpose(0, 2, 1).reshape(8, PARTICLES)
    assert all(kstest(each, norm.cdf).pvalue > 1e-3 for each in normals)
    beside = np.concatenate([normals, np.roll(normals, 1, axis=1)])  # the next particle's, too
    np.testing.assert_allclose(np.corrcoef(beside), np.eye(16), atol=4 / math.sqrt(PARTICLES))
