"""The commands about a trained flow: sample, density, evaluate, animate."""

import json
import math
import re
from pathlib import Path

import matplotlib.image
import mlx.core as mx
import numpy as np
import pytest
from shared import QUICK, newest, the_error

from lab import following, store
from likelihood import log_prob
from odeint import StepBudgetError, odeint


def test_sample(program, checkpoint):
    path = checkpoint("--source", "normal", "--seed", "3")
    assert program("sample", "--last", "-n", "500", "--out", "a.npy").exit_code == 0
    rows = np.load("a.npy")
    assert rows.shape == (500, 2)
    how = ["-n", "500", "--log-prob", "--rtol", "1e-6", "--atol", "1e-6", "--out", "b.csv"]
    assert program("sample", path, *how).exit_code == 0
    assert Path("b.csv").read_text().splitlines()[0] == "x1,x2,log_prob"
    with_density = np.loadtxt("b.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(with_density[:, :2], rows, atol=1e-3)
    learned = store.load(path)
    again = log_prob(
        learned.field, mx.array(with_density[:, :2], mx.float32), learned.run.source.log_prob
    )
    np.testing.assert_allclose(with_density[:, 2], np.array(again), atol=1e-3)
    assert program("sample", path, "-n", "9", "--seed", "4").exit_code == 0
    other = np.load(Path("runs", f"{path.stem}_samples.npy"))
    assert not np.isclose(other, rows[:9]).any()


def test_samples_in_many_parts(program, checkpoint, monkeypatch):
    """Fewer are the first of more, in every format, and are where the flow carries them."""
    path = checkpoint("--source", "normal")
    monkeypatch.setattr(following, "PART", 50)
    for count, out in ((120, "a.npy"), (120, "a.csv"), (7, "few.npy")):
        assert program("sample", path, "-n", count, "--log-prob", "--out", out).exit_code == 0
    rows = np.load("a.npy")
    np.testing.assert_array_equal(np.load("few.npy"), rows[:7])
    np.testing.assert_allclose(np.loadtxt("a.csv", delimiter=",", skiprows=1), rows, rtol=1e-8)
    learned = store.load(path)
    still = following.sample_in_parts(learned.run, lambda t, x: 0 * x, 120)
    starts = mx.array(np.concatenate(list(still)))
    x = odeint(learned.field, starts, [0.0, 1.0], rtol=1e-6, atol=1e-6).x[-1]
    np.testing.assert_allclose(rows[:, :2], np.array(x), atol=1e-4)


@pytest.mark.parametrize("error", [StepBudgetError("too many", 0.5, 0.1), KeyboardInterrupt()])
@pytest.mark.parametrize("out", ["a.npy", "new/a.csv"])
def test_samples_that_are_not_finished_leave_no_file(program, checkpoint, monkeypatch, out, error):
    path, solves = checkpoint(), []
    before = [file for file in Path().rglob("*") if file.is_file()]

    def solve(*arguments, **how):
        solves.append(arguments)
        if len(solves) == 3:
            raise error
        return odeint(*arguments, **how)

    monkeypatch.setattr(following, "PART", 50)
    monkeypatch.setattr(following, "odeint", solve)
    done = program("sample", path, "-n", "1000", "--out", out)
    stopped = isinstance(error, KeyboardInterrupt)
    assert done.exit_code == (130 if stopped else 1) and len(solves) == 3
    assert ("stopped by Ctrl-C" if stopped else "too many") in done.output
    assert [file for file in Path().rglob("*") if file.is_file()] == before


def test_samples_of_users_points_are_in_their_units(program, checkpoint):
    """Also when the file is gone; and the density is that per unit of the file."""
    points = np.random.default_rng(0).normal([100, -5], [20, 0.1], size=(400, 2))
    np.savetxt("points.csv", points, delimiter=",", header='"mass, kg",x', comments="")
    path = checkpoint("--target", "points.csv", "--steps", "400", "--width", "32")
    Path("points.csv").unlink()
    done = program("sample", path, "-n", "2000", "--log-prob", "--out", "s.csv")
    assert done.exit_code == 0, done.output
    assert Path("s.csv").read_text().splitlines()[0] == '"mass, kg",x,log_prob'
    rows = np.loadtxt("s.csv", delimiter=",", skiprows=1)
    assert np.all(np.abs(rows[:, :2].mean(axis=0) - [100, -5]) < [5, 0.03])
    np.testing.assert_allclose(rows[:, :2].std(axis=0), [20, 0.1], rtol=0.2)
    entropy = np.log(2 * np.pi * np.e) + np.log(20 * 0.1)
    assert -rows[:, 2].mean() == pytest.approx(entropy, abs=0.2)
    assert "points.csv is not there" in the_error(program("evaluate", path))


def test_evaluate(program, checkpoint):
    path = checkpoint("--source", "normal", "--target", "annulus", "--steps", "300")
    numbers = json.loads(program("evaluate", path, "--json").stdout)
    assert numbers["nll"] >= numbers["entropy"] == pytest.approx(np.log(2 * np.pi) + 0.9, abs=0.05)
    assert numbers["kl_divergence"] == pytest.approx(numbers["nll"] - numbers["entropy"])
    assert numbers["solver"] == "dopri5" and numbers["nfe"] > 20
    assert numbers["config"]["batch_size"] == 32 and numbers["trained_steps"] == 300
    idle = program("evaluate", "--last", "--json", "--solver", "rk4", "--rtol", "1e-3")
    assert "Warning: --rtol has no effect" in idle.stderr
    coarse = json.loads(idle.stdout)
    assert (coarse["nfe"], coarse["solver"], coarse["ode_steps"]) == (400, "rk4", 100)
    assert coarse["nll"] == numbers["nll"]  # the flow's own, whatever solver
    in_words = program("evaluate", path).stdout
    assert all(name in in_words for name in numbers if name != "config")


def test_an_infinite_likelihood_is_said_and_is_no_number(program, checkpoint):
    """The flow of a source with an edge cannot make all points of the target."""
    path = checkpoint("--source", "checkerboard", "--target", "moons")
    result = program("evaluate", path, "--json")
    assert result.exit_code == 0, result.output
    numbers = json.loads(result.stdout, parse_constant=pytest.fail)
    assert numbers["nll"] is None and numbers["nll_error"] is None
    assert re.fullmatch(
        "infinite: the flow cannot make [1-9]\\d* of 2,048 fresh samples of moons",
        numbers["nll_reason"],
    )
    for result in (program("evaluate", path), program("density", path)):
        assert result.exit_code == 0, result.output
        assert "infinite: the flow cannot make" in result.output
        assert "inf " not in result.output and "nan" not in result.output


def test_a_command_does_not_speak_of_options_that_it_has_not(program, checkpoint):
    np.savetxt("a.csv", np.random.default_rng(0).normal(size=(50, 2)), delimiter=",")
    path = checkpoint("--target", "a.csv")
    for text in ("x,y\n1,cat\n2,dog\n", "1,2,3\n3,4,4\n"):
        Path("a.csv").write_text(text)
        sentence = the_error(program("sample", path))
        assert "'CHECKPOINT'" in sentence and "'a.csv'" in sentence
        assert "--target" not in sentence and "--columns" not in sentence


def test_other_points_in_the_same_file_are_trained_anew(program):
    """Even with the same mean and scale."""
    line, trained = np.arange(-20.0, 21), []
    for column in (line, -line):
        np.savetxt("a.csv", np.stack([line, column], axis=1), delimiter=",")
        how = ["--target", "a.csv", "--method", "cfm", "--solver", "euler"]
        assert program("compare", *QUICK, *how).exit_code == 0
        trained.append(newest())
    first, last = trained
    assert first != last
    assert "is not what it was" in program("evaluate", first).stderr
    assert "is not what it was" not in program("evaluate", last).stderr


@pytest.mark.parametrize("target", ["checkerboard", "moons", "own.csv"])
def test_density(program, checkpoint, target):
    np.savetxt("own.csv", 1000 + 50 * np.random.default_rng(0).normal(size=(200, 1)))
    path = checkpoint(
        *("--target", target, "--source", "normal", "--steps", "200", "--width", "32")
    )
    result = program("density", path, "--out", "density.png")
    assert result.exit_code == 0, result.output
    assert matplotlib.image.imread("density.png").std() > 0.05
    nll, error = map(float, re.search(r"NLL +([\d.]+) ± ([\d.]+)", result.output).groups())
    if target == "checkerboard":
        entropy = float(re.search(r"entropy +([\d.]+)", result.output)[1])
        assert entropy == pytest.approx(math.log(32), abs=1e-4)
        assert nll > entropy - 3 * error
        gap, error = map(float, re.search(r"KL +([\d.]+) ± ([\d.]+)", result.output).groups())
        assert gap == pytest.approx(nll - entropy, abs=error)
    if target == "own.csv":  # in the units of the file: log(50 √(2πe)), and a little
        assert math.log(50) + 1.3 < nll < math.log(50) + 1.8


@pytest.mark.parametrize(
    ("trained", "arguments", "words"),
    [
        (["--method", "ot"], ["--probes", "0"], ["--probes"]),
        (["--method", "ot"], ["--divergence", "precise"], ["--divergence", "exact, hutchinson"]),
        (["--method", "ot"], ["--out", "a.jpeg"], ["--out", "a.jpeg"]),
        (["--source", "moons"], [], ["the source 'moons' has no log-density"]),
        (["--target", "gaussian4d"], ["--out", "a.png"], ["--out", "4 dimensions"]),
        (["--target", "lost.csv"], [], ["lost.csv is not there"]),
    ],
)
def test_density_of_what_has_none(program, checkpoint, trained, arguments, words):
    np.savetxt("lost.csv", np.arange(10.0))
    path = checkpoint(*trained)
    Path("lost.csv").unlink()
    sentence = the_error(program("density", path, *arguments))
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("suffix", [".gif", ".html"])
def test_animate(program, checkpoint, suffix):
    checkpoint()
    done = program("animate", "--last", "--seconds", "0.5", "--out", f"flow{suffix}")
    assert done.exit_code == 0, done.output
    assert Path(f"flow{suffix}").stat().st_size > 10_000
