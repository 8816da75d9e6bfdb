"""The figure of guidance draws what it says, and its numbers are those of the manual."""

import html
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from datasets import load_points, standard_normal
from exact import nearly_exact_velocity
from figures.kinds import guidance
from figures.registry import FIGURES
from figures.subject import Subject
from lab.config import Config
from lab.settling import settle
from lab.store import learn
from metrics import w2_squared

NASTY = "a_$b$<c> 50%"


def exact(**options) -> Subject:
    """An exact flow, of which only what the figure needs is known."""
    run = settle(Config(network="exact", source="normal", **options))
    return Subject(run, learn(run).field, None, None, None)


def test_sharpened_samples_have_the_moments_of_the_density():
    """Of eight Gaussians that noise has made overlap; by sums over a grid."""
    subject = exact(target="8gaussians", sigma=1.5, points=400)
    field, end = subject.field, mx.array(1.0)
    line = np.linspace(-13, 13, 131)
    grid = mx.array(np.stack(np.meshgrid(line, line), axis=2).reshape(-1, 2), mx.float32)
    log_p, log_class = field.log_prob(end, grid), field.class_log_prob(end, grid)[:, 2]
    means = []
    for weight in (1, 4):
        p = np.exp(np.array(log_p + weight * log_class, np.float64))
        p, x = p / p.sum(), np.array(grid, np.float64)
        mean = p @ x
        spread = np.sqrt(p @ (x - mean) ** 2)
        found = guidance.sharpened(subject, 2, weight, 1000, mx.random.key(0))
        assert found.shape == (1000, 2)
        np.testing.assert_allclose(found.mean(axis=0), mean, atol=4 * spread.max() / 1000**0.5)
        np.testing.assert_allclose(found.std(axis=0), spread, rtol=0.1)
        means.append(mean)
    assert np.abs(means[1] - means[0]).max() > 0.5  # so that the power is seen at all


def test_a_guided_flow_is_the_class_at_1_and_no_sharpened_density_beyond():
    """Of two moons, as in docs/mathematics.md: sharpening leaves them, and guidance does not."""
    subject = exact(target="moons", points=512, samples=400)
    x0 = subject.run.source.sample(400, mx.random.key(3))
    apart = {}
    for weight in (1, 4):
        aims = guidance.sharpened(subject, 0, weight, 400, mx.random.key(1))
        apart[weight] = w2_squared(guidance.ends(subject, 0, weight, x0), aims)
        other = guidance.sharpened(subject, 0, 1, 400, mx.random.key(2))
        assert w2_squared(other, aims) < 0.3  # 0.04 of 1,024 points
    assert apart[1] < 0.3
    assert 3 < apart[4] < 7
    sure = subject.field.class_log_prob(mx.array(1.0), mx.array(aims, mx.float32))[:, 0]
    assert mx.mean(mx.exp(sure)).item() > 0.999  # the moons leave nothing to sharpen
    ends, aims = (points + 1 for points in (guidance.ends(subject, 0, 4, x0), aims))  # around 0
    share = [np.mean(np.arctan2(y, x) < 0.4 * np.pi) for x, y in (ends.T, aims.T)]
    assert share[0] < 0.06 and share[1] > 0.35  # two fifths of the moon, next to the other
    assert 3.1 < np.hypot(*ends.T).mean() < 3.3 and abs(np.hypot(*aims.T).mean() - 3) < 0.05


@pytest.mark.parametrize("dim", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_it_is_drawn_of_points_with_a_label(tmp_path, monkeypatch, dim):
    """In units of their own, with names letter by letter."""
    monkeypatch.setattr(guidance, "WEIGHTS", (1, 2))
    rng, names = np.random.default_rng(0), [NASTY, "wide", "deep"][:dim]
    rows = rng.normal(size=(60, dim)) * 20 + 100
    lines = [",".join(map(str, row)) + f",{NASTY if row[0] > 100 else 'other'}" for row in rows]
    (tmp_path / "p.csv").write_text("\n".join([",".join([*names, "kind"]), *lines]))
    subject = labelled(tmp_path / "p.csv")
    FIGURES["guidance"].draw(tmp_path / "a.svg", subject)
    words = html.unescape((tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert NASTY in words and "other" in words
    assert ("first two of 3 dimensions" in words) == (dim == 3)


def labelled(path) -> Subject:
    """The exact flow to a file's points, which have a label in the column `kind`."""
    target = load_points(path, label="kind")
    some = settle(Config(network="exact", points=4, samples=40))
    run = replace(some, source=standard_normal(target.dim), target=target)
    field = nearly_exact_velocity(run.method, run.source, target, None)
    return Subject(run, field, None, None, None)


def test_what_it_refuses():
    for options, words in (
        ({"target": "moons"}, "use --network exact"),
        ({"target": "annulus", "network": "exact"}, "'4 points of annulus' has none"),
    ):
        run = settle(Config(**options, points=4 if "network" in options else None))
        assert words in FIGURES["guidance"].refusal(run)
