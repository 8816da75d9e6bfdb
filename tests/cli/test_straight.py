"""Reflow, maps and budgets on the command line: what they say, and what they refuse."""

import csv
import json
import re
from pathlib import Path

import pytest
from shared import newest, options_of, the_error

from lab import budget, reflow
from maps import MAPS

QUICK = ("--steps", "20", "--batch-size", "32", "--samples", "64")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(reflow, "PAIRS", 256)
    monkeypatch.setattr(budget, "HISTOGRAM_POINTS", 200)
    monkeypatch.setattr(budget, "EVALUATIONS", (1, 4))
    monkeypatch.setattr(budget, "TOLERANCES", (1e-1, 1e-2))


def test_reflow_in_rounds(program, checkpoint):
    first = checkpoint()
    done = program("reflow", first, "--rounds", "2", *QUICK)
    assert done.exit_code == 0, done.output
    rows = re.findall(r"^(cfm|reflow|reflow2) +[\d.]+ ", done.output, re.MULTILINE)
    assert rows == ["cfm", "reflow", "reflow2"]
    last = newest()
    assert last.name.startswith("reflow2_8gaussians_moons_seed0_")
    assert Path(options_of(last)["ancestors"][0]["checkpoint"]) == first
    found = program("reflow", first, "--rounds", "2", *QUICK)
    assert found.output.count("found in") == 2
    numbers = json.loads(program("evaluate", last, "--json").stdout)
    assert numbers["method"] == "reflow" and numbers["excess_loss"] is None
    assert program("sample", last, "-n", "5").exit_code == 0


def test_reflow_refuses(program, checkpoint):
    assert "'runs/no' cannot be read" in the_error(program("reflow", "runs/no"))
    assert "a map and no flow" in the_error(program("reflow", checkpoint("--method", "flowmap")))
    assert "so no coupling" in the_error(program("--method", "reflow", "--coupling", "ot"))
    assert "--rounds" in the_error(program("reflow", newest(), "--rounds", "0"))


def test_reflow_is_a_method_too(run):
    run("--method", "reflow")
    assert sorted(path.name.split("_")[0] for path in Path("runs").iterdir()) == ["cfm", "reflow"]
    assert Path("media/trajectories_reflow_dopri5.png").exists()


def test_a_rectified_flow_goes_on_only_with_its_flow(program, checkpoint):
    first = checkpoint()
    assert program("reflow", first, *QUICK, "--save-every", "10").exit_code == 0
    last = newest()
    first.unlink()
    done = program("--resume", last)
    assert done.exit_code == 0 and "found in" in done.output
    assert "does not exist" in the_error(program("reflow", first))


@pytest.mark.parametrize("method", MAPS)
def test_maps(run, method, program):
    assert "NFE 1 (1 steps" in run("--method", method, "--source", "normal").output
    assert "NFE 4 (4 steps" in run("--method", method, "--ode-steps", "4").output
    numbers = json.loads(program("evaluate", newest(), "--json", "--ode-steps", "3").stdout)
    assert (numbers["nfe"], numbers["solver"], numbers["nll"]) == (3, "euler", None)
    figures = ("samples", "loss")
    run("--method", method, *(part for figure in figures for part in ("--figure", figure)))
    for figure in figures:
        assert Path("media", f"{figure}_{method}_euler.png").exists()


def test_what_maps_refuse(run, program, checkpoint):
    path = checkpoint("--method", "meanflow", "--source", "normal")
    for arguments, why in (
        (["density", path], "log-densities are those of a flow"),
        (["sample", path, "--log-prob"], "log-densities are those of a flow"),
        (["evaluate", path, "--solver", "dopri5"], "no error to choose steps by"),
        (["sample", path, "--solver", "rk4"], "no velocities between its steps"),
        (["--method", "meanflow", "--figure", "density"], "log-densities are those of a flow"),
        (["--method", "meanflow", "--figure", "workprecision"], "no solver follows"),
        (["--method", "flowmap", "--network", "exact"], "not for 'flowmap'"),
        (["--method", "flowmap", "--network", "concatsquash"], "maps have two"),
        (["--method", "flowmap", "--regress", "marginal"], "independent pairs"),
        (["--method", "flowmap", "--power", "2"], "'flowmap' has no power"),
    ):
        assert why in the_error(program(*arguments)), arguments


def test_a_comparison_takes_checkpoints(program, checkpoint):
    first = checkpoint()
    program("reflow", first, *QUICK)
    arguments = (newest(), "--solver", "euler", "--solver", "rk4", "--samples", "64")
    shared = ("--method", "meanflow", *QUICK, "--width", "8", "--json")
    done = program("compare", *arguments, first, *shared)
    assert done.exit_code == 0, done.output
    rows = [(row["method"], row["solver"], row["nfe"]) for row in json.loads(done.stdout)["rows"]]
    both = [("euler", 100), ("rk4", 400)]
    assert rows == [
        ("meanflow", "euler", 1),
        *(("reflow", *each) for each in both),
        *(("cfm", *each) for each in both),
    ]
    done = program("compare", *arguments, "--figure", "budget", "--json")
    assert done.exit_code == 0, done.output
    assert [row["nfe"] for row in json.loads(done.stdout)["rows"]] == [1, 4, 4]
    assert Path("media/budget.png").exists()
    assert "two true samples" in Path("media/budget.md").read_text()
    kept = list(csv.DictReader(Path("media/budget.csv").read_text().splitlines()))
    assert {row["method"] for row in kept} == {"reflow"} and float(kept[0]["divergence"]) > 0


def test_what_a_comparison_refuses(program, checkpoint):
    first = checkpoint()
    other = checkpoint("--target", "scurve")
    assert "no comparison" in the_error(program("compare", first, other))
    twice = the_error(program("compare", first, "--method", "cfm"))
    assert "two flows of 'cfm'" in twice
    assert "cannot be read" in the_error(program("compare", "runs/no"))
    budget = ("compare", first, "--figure", "budget")
    assert "--nfe" in the_error(program(*budget, "--nfe", "4"))
    assert "--ode-steps" in the_error(program(*budget, "--ode-steps", "4"))
