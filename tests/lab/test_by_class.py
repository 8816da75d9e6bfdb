"""Conditional runs: the classes of their points, what carries these, and how good they are."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from shared import the_error

from lab import densities, evaluation, following, store
from lab.by_class import by_class, evaluate, flat, share_right
from lab.classes import draw_labels, told
from lab.config import Config
from lab.settling import settle
from metrics import share_in_class
from odeint import odeint

EXACT = Config(network="exact", target="points.csv", label="kind", conditional=True, samples=60)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Numbers of few points, so that they take no time."""
    for name in ("by_class.EXCESS_PAIRS", "evaluation.EXCESS_PAIRS", "evaluation.W2_POINTS"):
        monkeypatch.setattr(f"lab.{name}", 64)
    monkeypatch.setattr("lab.by_class.W2_POINTS", 64)
    monkeypatch.setattr("lab.by_class.TRUE_POINTS", 500)
    monkeypatch.setattr("figures.subject.TARGET_POINTS", 500)
    monkeypatch.setattr("lab.following.PART", 50)


@pytest.fixture
def points(tmp_path, monkeypatch):
    """Three points of one class to one of another, far from it."""
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text("a,b,kind\n1,2,dog\n2,5,dog\n3,3,dog\n40,20,cat\n")


def exact_run(**changes):
    run = settle(replace(EXACT, **changes))
    return run, store.learn(run).field


def test_classes_are_drawn_in_the_proportions_of_the_target(points):
    run, _ = exact_run()
    labels = np.array(draw_labels(run, 400, mx.random.key(0)))
    assert run.classes == ("cat", "dog") and abs((labels == 0).sum() - 100) <= 1
    assert 20 < (labels[:200] == 0).sum() < 80  # in no order
    assert draw_labels(settle(Config()), 10, mx.random.key(0)) is None


def test_points_go_to_their_class_and_are_measured_there(points):
    """By the exact flow all are right; labels the other way round, none is."""
    run, field = exact_run()
    generated = evaluation.generate(run, field)
    ends, true = generated.paths[-1], run.target.points
    kinds = np.where(true[:, 0] > 20, 0, 1)
    nearest = kinds[cdist(ends, true).argmin(axis=1)]
    np.testing.assert_array_equal(nearest, generated.labels)
    found = by_class(run, field)
    assert [each.name for each in found] == ["cat", "dog"]
    assert all(each.right == each.right_of_true == 1 for each in found)
    assert share_right(run, found) == 1 and all(each.excess is None for each in found)
    assert all(each.distances.to_target < 30 for each in found)
    assert share_in_class(ends, 0, true, kinds) == pytest.approx((nearest == 0).mean())
    assert flat(evaluate(run, field)) == {
        "guidance": 1.0,
        "right": 1.0,
        **{f"{each.name}: {name}": n for each in found for name, n in each.numbers.items()},
    }
    wrong = by_class(run, lambda t, x, label=None: field(t, x, label=1 - label))
    assert share_right(run, wrong) == 0


def test_guidance_leads_points_by_both_fields(points):
    run, field = exact_run(guidance=2.5, solver="rk4", ode_steps=8)
    x0, label = run.source.sample(20, mx.random.key(1)), mx.arange(20) % 2
    found = following.solve(run, field, x0, [0.0, 1.0], None, label).x[-1]
    both = lambda t, x: -1.5 * field(t, x) + 2.5 * field(t, x, label=label)  # noqa: E731
    expected = odeint(both, x0, [0.0, 1.0], solver="rk4", steps=8).x[-1]
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=1e-3)
    assert told(run, field, None) is field
    assert run.flow.endswith(", guidance 2.5")


def test_the_density_of_all_is_the_mean_of_those_of_the_classes(points):
    run, field = exact_run(method="fm", sigma=0.4)
    x = np.array([[2.0, 3.0], [30.0, 15.0], [10.0, 10.0]])
    each = [densities.log_density(run, field, x, mx.array(k)) for k in (0, 1)]
    rows = densities.log_density(run, field, x, mx.array([1, 0, 1]))
    np.testing.assert_allclose(rows, [each[1][0], each[0][1], each[1][2]], atol=1e-3)
    expected = logsumexp([each[0] + np.log(0.25), each[1] + np.log(0.75)], axis=0)
    whole = densities.log_density(run, field, x)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    # and the exact flow of all ends at the points, blurred by σ
    z, scale = run.target.standardize(x)
    squares = cdist(np.array(z), run.target.standard_points, "sqeuclidean")
    true = logsumexp(-squares / 0.32, axis=1) - np.log(4 * 2 * np.pi * 0.16) - scale
    np.testing.assert_allclose(whole, true, atol=5e-3)


def test_samples_of_a_class_and_of_all(checkpoint, program):
    path = checkpoint("--conditional")

    def samples(*how):
        result = program("sample", path, "--out", "a.npy", *how)
        assert result.exit_code == 0, result.output
        return np.load("a.npy"), result.output

    upper, said = samples("-n", 30, "--class", "upper")
    assert upper.shape == (30, 2) and "30 points of class upper" in said
    lower, _ = samples("-n", 30, "--class", "lower")
    both, said = samples("-n", 40, "--log-prob")
    assert both.shape == (40, 4) and "classes     0 upper, 1 lower" in said
    of = both[:30, 3:] == 0  # the same starts, each by the flow of its class
    np.testing.assert_allclose(both[:30, :2], np.where(of, upper, lower), atol=1e-3)
    learned = store.load(path)
    density = densities.log_density(
        learned.run, learned.field, both[:, :2], mx.array(both[:, 3].astype(np.int32))
    )
    np.testing.assert_allclose(both[:, 2], density, atol=2e-2)
    far, said = samples("-n", 30, "--class", "upper", "--guidance", 3)
    assert np.abs(far - upper).max() > 0.01 and "guidance 3" in said
    sentence = the_error(program("sample", path, "--class", "left"))
    assert "--class" in sentence and "upper, lower" in sentence
    assert "--guidance" in the_error(program("sample", path, "--guidance", -1))


def test_a_flow_without_classes_is_asked_for_none(checkpoint, program):
    path = checkpoint()
    assert "without classes; train one by --conditional" in the_error(
        program("sample", path, "--class", "upper")
    )
    assert "--guidance" in the_error(program("evaluate", path, "--guidance", 2))
    assert "classes" not in json.loads(program("evaluate", path, "--json").output)


@pytest.mark.slow
def test_evaluate_tells_every_class(checkpoint, program):
    path = checkpoint("--conditional")
    numbers = json.loads(program("evaluate", path, "--json", "--guidance", 1.5).output)
    assert numbers["guidance"] == 1.5 and list(numbers["classes"]) == ["upper", "lower"]
    right = [each["right"] for each in numbers["classes"].values()]
    assert numbers["right"] == pytest.approx(np.mean(right)) and max(right) <= 1
    for each in numbers["classes"].values():
        assert each["w2_squared"] > each["w2_squared_of_true_samples"] > 0
        assert each["velocity_error"] > 0 and each["right_of_true_samples"] > 0.99
    assert "upper: w2_squared" in program("evaluate", path).output


def test_a_class_is_asked_for_when_its_file_is_gone(points, checkpoint, program):
    table = Path("points.csv").read_text()
    path = checkpoint("--target", "points.csv", "--label", "kind", "--conditional")
    Path("points.csv").unlink()
    result = program("sample", path, "--class", "cat", "-n", 5, "--out", "a.csv")
    assert result.exit_code == 0 and Path("a.csv").read_text().startswith("a,b\n")
    Path("points.csv").write_text(table.replace("cat", "cow"))
    sentence = the_error(program("sample", path))
    assert "are cow, dog now, and were cat, dog in training" in sentence


def test_a_conditional_flow_is_not_straightened(checkpoint, program):
    path = checkpoint("--conditional")
    assert "a rectified one is told no classes" in the_error(program("reflow", path))
    result = program("animate", path, "--samples", 8, "--out", "a.html")
    assert result.exit_code == 0, result.output
    page = Path("a.html").read_text(encoding="utf-8")
    assert '"names": ["upper", "lower"]' in page or '"names":["upper","lower"]' in page
