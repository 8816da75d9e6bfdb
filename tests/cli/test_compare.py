"""Methods against solvers, from the command line."""

import csv
import json
import os
import re
import signal
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shared import QUICK, after_ctrl_c, newest, options_of, the_error

from lab import comparison, store
from lab.config import Config
from odeint import StepBudgetError
from solver import SOLVERS


AT_ONCE = ("--processes", "2")


@pytest.fixture
def compare(program):
    """The command `compare`, small; one training at a time unless told otherwise."""
    return lambda *arguments: program("compare", *QUICK, "--processes", "1", *arguments)


@pytest.fixture
def here(monkeypatch):
    """Forbid to train in this process."""
    monkeypatch.setattr("lab.store.train", lambda *_, **__: pytest.fail("trained here"))


def table():
    with Path("media/compare.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_method_is_trained_once_and_solved_by_all(compare):
    result = compare("--method", "cfm", "--method", "ot", "--solver", "euler", "--solver", "bosh3")
    assert result.exit_code == 0, result.output
    assert len(list(Path("runs").iterdir())) == 2
    rows = table()
    assert [(row["method"], row["solver"]) for row in rows] == [
        ("cfm", "euler"),
        ("cfm", "bosh3"),
        ("ot", "euler"),
        ("ot", "bosh3"),
    ]
    first, second = rows[:2]
    assert first["excess_loss"] == second["excess_loss"]
    assert first["nll"] == second["nll"]
    assert first["w2_squared"] != second["w2_squared"]
    assert (first["nfe"], rows[2]["excess_loss"]) == ("100", "")
    printed = Path("media/compare.md").read_text(encoding="utf-8")
    assert printed in result.output
    cells = [cell.strip() for cell in printed.splitlines()[4].split("|")][3:-1]
    names = ["nfe", "w2_squared", "normalized_path_energy", "straightness", "excess_loss", "nll"]
    for name, cell in zip(names, cells, strict=False):
        assert float(cell.split(" ± ")[0]) == pytest.approx(float(first[name]), rel=1e-2), name
    assert Path("media/compare.png").stat().st_size > 20_000


def test_numbers_are_those_of_evaluate(compare, program):
    """One by one from the checkpoint, without what cells share."""
    how = ["--source", "normal", "--seeds", "2", "--ode-steps", "4"]
    compare("--method", "vp", "--solver", "rk4", "--solver", "midpoint", *how)
    for row in table():
        (path,) = Path("runs").glob(f"*_seed{row['seed']}_*")
        assert int(row["nfe"]) == 4 * SOLVERS[row["solver"]].stages
        arguments = ["evaluate", str(path), "--json", "--solver", row["solver"]]
        alone = json.loads(program(*arguments, "--ode-steps", "4").stdout)
        for name in ("w2_squared", "w2_squared_of_true_samples", "normalized_path_energy", "nll"):
            assert float(row[name]) == pytest.approx(alone[name], rel=1e-4), name


def test_equal_evaluations(compare):
    solvers = [name for name, tableau in SOLVERS.items() if not tableau.adaptive]
    chosen = [part for name in (*solvers, "bosh3") for part in ("--solver", name)]
    assert compare("--method", "cfm", "--nfe", "24", *chosen).exit_code == 0
    found = {row["solver"]: int(row["nfe"]) for row in table()}
    assert found.pop("bosh3") > 24
    assert found == dict.fromkeys(solvers, 24)
    refused = the_error(compare("--method", "cfm", "--nfe", "10", "--solver", "rk4"))
    assert "--nfe" in refused and "no multiple of 4" in refused


def test_seeds_give_mean_and_deviation(compare):
    compare("--method", "cfm", "--solver", "euler", "--seeds", "3", "--seed", "4")
    rows = table()
    assert [row["seed"] for row in rows] == ["4", "5", "6"]
    values = np.array([float(row["normalized_path_energy"]) for row in rows])
    printed = Path("media/compare.md").read_text(encoding="utf-8")
    cells = [cell.strip() for cell in printed.splitlines()[-1].split("|")]
    for shown, value in zip(
        cells[5].split(" ± "), (values.mean(), values.std(ddof=1)), strict=True
    ):
        half = 0.5 * 10.0 ** -len(shown.partition(".")[2])
        assert float(shown) == pytest.approx(value, abs=1.001 * half)


def test_what_is_trained_is_found_again(compare, program):
    """By another comparison, and where the main job has trained it."""
    arguments = ("--method", "cfm", "--solver", "euler")
    assert program(*QUICK, "--method", "cfm").exit_code == 0
    trained = newest().read_bytes()
    compare(*arguments)
    rows = table()
    compare(*arguments, "--solver", "heun")
    assert table()[0]["w2_squared"] == rows[0]["w2_squared"]
    assert newest().read_bytes() == trained and len(list(Path("runs").iterdir())) == 1
    compare(*arguments, "--retrain")
    assert newest().read_bytes() != trained  # other seconds
    compare(*arguments, "--lr", "0.02")
    assert len(list(Path("runs").iterdir())) == 2


def test_interrupted_training_goes_on(compare, monkeypatch):
    looks = []

    def look(train):
        def pressing(*arguments, on_look, **how):
            def press(history):
                looks.append(history.steps)
                if len(looks) == 6:  # 1, 10, 20, 30, then 1 and 10 of the second method
                    os.kill(os.getpid(), signal.SIGINT)
                on_look(history)

            return train(*arguments, on_look=press, **how)

        return pressing

    monkeypatch.setattr("lab.store.LOOK_EVERY", 10)
    monkeypatch.setattr("lab.store.train", look(store.train))
    arguments = ("--method", "cfm", "--method", "vp", "--solver", "euler", "--solver", "heun")
    result = compare(*arguments)
    assert result.exit_code == 130
    assert "stopped by Ctrl-C. Of 2 networks 1 are trained, of 4 solves 2 are done" in result.output
    assert [row["method"] for row in table()] == ["cfm", "cfm"]
    part = next(Path("runs").glob("vp*_step10*"))
    again = compare(*arguments)
    assert again.exit_code == 0, again.output
    assert looks[6:] == [11, 20, 30]
    assert len(table()) == 4 and not part.exists()
    (whole,) = Path("runs").glob("vp*")
    assert options_of(whole)["trained_steps"] == 30
    before = {path: path.read_bytes() for path in Path("media").iterdir()}
    looks.clear()
    partial = compare(*arguments, "--retrain")
    assert partial.exit_code == 130 and "are left as they were" in partial.output
    assert {path: path.read_bytes() for path in Path("media").iterdir()} == before
    assert "| cfm | euler |" in partial.output  # what there is of it is printed


def test_one_source_for_all(compare):
    assert compare("--method", "cfm", "--method", "fm", "--solver", "euler").exit_code == 0
    assert all("_normal_moons_" in path.name for path in Path("runs").iterdir())


def test_options_go_to_the_methods_that_have_them(compare):
    arguments = ["--method", "poly", "--method", "cnf", "--power", "3", "--train-ode-steps", "2"]
    result = compare(*arguments, "--steps", "3", "--sigma", "0.2", "--solver", "euler")
    assert result.exit_code == 0, result.output
    configs = {c["method"]: c for c in map(options_of, Path("runs").iterdir())}
    assert configs["poly"]["power"] == 3 and configs["cnf"]["power"] is None
    assert configs["poly"]["sigma"] == 0.2 and configs["cnf"]["sigma"] is None


def test_seeds_that_failed_are_counted(compare, monkeypatch):
    generate = comparison.generate

    def fail(run, *arguments):
        if run.config.seed > 1:
            raise StepBudgetError("10 steps did not reach t = 1; raise max_steps", 0.5, 0.1)
        return generate(run, *arguments)

    monkeypatch.setattr("lab.comparison.generate", fail)
    for first, mark in ((0, r"\S+ ± \S+ \(2\)"), (1, r"[\d.]+ \(1\)")):
        result = compare(
            "--method", "cfm", "--solver", "heun", "--seeds", "3", "--seed", str(first)
        )
        assert re.search(rf"\| cfm \| heun \|[^|]*\| {mark} \|", result.output), result.output


def test_a_failed_solve_is_a_gap(compare, monkeypatch):
    generate = comparison.generate

    def fail(run, *arguments):
        if run.config.solver == "heun":
            raise StepBudgetError("10 steps did not reach t = 1; raise max_steps", 0.5, 0.1)
        return generate(run, *arguments)

    monkeypatch.setattr("lab.comparison.generate", fail)
    result = compare("--method", "cfm", "--solver", "heun", "--solver", "euler")
    assert result.exit_code == 0, result.output
    assert "cfm with heun failed: 10 steps did not" in result.output
    assert "| cfm | heun | – |" in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "cmf"], ["--method", "cfm"]),
        (["--solver", "rk5"], ["--solver", "rk4"]),
        (["--power", "2"], ["--power", "poly"]),
        (["--network", "exact"], ["--network", "exact"]),
        (["--nfe", "20", "--ode-steps", "5"], ["--nfe", "--ode-steps"]),
        (["--seeds", "0"], ["--seeds"]),
        (["--out", "a.txt"], ["--out", ".png"]),
    ],
)
def test_bad_input(compare, arguments, words):
    sentence = the_error(compare(*arguments))
    for word in words:
        assert word in sentence


def test_the_table_says_of_what_it_is(compare):
    result = compare("--method", "cfm", "--solver", "euler", "--seeds", "2", "--seed", "3")
    first = Path("media/compare.md").read_text(encoding="utf-8").splitlines()[0]
    best = np.mean([float(row["w2_squared_of_true_samples"]) for row in table()])
    assert first.startswith("8gaussians to moons, seeds 3 to 4; W2² between two true samples is")
    assert float(re.search(r"samples is (\d+\.\d+)", first)[1]) == pytest.approx(best, rel=0.05)
    assert first in result.output


def test_json_is_the_table_and_nothing_else(compare):
    result = compare("--method", "cfm", "--solver", "euler", "--solver", "rk4", "--json")
    found = json.loads(result.stdout)
    rows = found["rows"]
    assert (found["source"], found["target"]) == ("8gaussians", "moons")
    for row, kept in zip(rows, table(), strict=True):
        assert row.keys() == kept.keys()
        for name, value in row.items():
            assert str(value) == kept[name] or (value is None and kept[name] == "")
    assert "normalized path energy" in Path("media/compare.md").read_text(encoding="utf-8")
    assert "normalized_path_energy" in rows[0]


def _without_seconds(rows):
    return [{name: row[name] for name in row if "seconds" not in name} for row in rows]


def test_trainings_at_once_are_those_of_one_after_the_other(compare, request):
    arguments = ("--method", "cfm", "--method", "ot", "--solver", "euler", "--seeds", "2")
    alone = compare(*arguments)
    rows, files = table(), {path: path.read_bytes() for path in Path("runs").iterdir()}
    arrays = {path: mx.load(str(path)) for path in files}
    request.getfixturevalue("here")
    together = compare(*arguments, "--retrain", *AT_ONCE)
    assert (alone.exit_code, together.exit_code) == (0, 0), together.output
    assert _without_seconds(table()) == _without_seconds(rows)
    assert {*Path("runs").iterdir()} == files.keys() and len(files) == 4
    for path, content in files.items():
        assert path.read_bytes() != content  # other seconds
        again = mx.load(str(path))
        assert again.keys() == arrays[path].keys()
        assert all(mx.array_equal(again[name], arrays[path][name]) for name in again)


def test_failures_of_trainings_at_once_are_told(compare, here):
    """Every step takes the weights times −9."""
    grown = ("--lr", "1", "--schedule", "constant", "--weight-decay", "10")
    result = compare("--method", "cfm", "--solver", "euler", "--seeds", "2", *grown, *AT_ONCE)
    assert result.exit_code == 1
    assert result.output.count("cfm with euler failed in 2 seeds: the loss or the weights ran") == 1
    assert "nothing could be compared" in result.output


def killed(job, tell):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_training_is_told_in_a_sentence(compare, monkeypatch):
    monkeypatch.setattr(comparison, "_learn_apart", killed)
    result = compare("--method", "cfm", "--method", "vp", "--solver", "euler", *AT_ONCE)
    assert result.exit_code == 1
    (sentence,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert "ended by SIGKILL" in sentence and "the same command goes on" in sentence


def test_one_training_needs_no_process(compare, monkeypatch):
    monkeypatch.setattr(comparison, "at_once", lambda *_: pytest.fail("began a process"))
    for seeds in ("1", "2"):  # the first is found the second time
        arguments = ("--method", "cfm", "--solver", "euler", "--seeds", seeds, *AT_ONCE)
        assert compare(*arguments).exit_code == 0
    assert len(table()) == 2


def test_as_many_at_once_as_cores_but_one_on_a_gpu(monkeypatch):
    monkeypatch.setattr(comparison, "cores", lambda: [0, 2, 5])
    with mx.stream(mx.cpu):
        assert comparison.one_a_core() == 3
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    assert comparison.one_a_core() == 1


def test_ctrl_c_keeps_what_is_trained_at_once(tmp_path):
    quick = ["--samples", "64", "--width", "8", "--batch-size", "32", "--steps", "20000"]
    methods = ["--method", "cfm", "--method", "vp"]
    command = ("compare", *methods, *quick, *AT_ONCE)
    code, output, errors = after_ctrl_c(tmp_path, *command, shown="compare ")
    assert (code, output) == (130, ""), errors
    said = "Error: stopped by Ctrl-C. Of 2 networks 0 are trained, of 6 solves 0 are done. What"
    assert errors.splitlines()[-1].startswith(said)
    assert "Traceback" not in errors
    steps = {path.name.split("_")[0]: options_of(path) for path in (tmp_path / "runs").iterdir()}
    assert steps.keys() == {"cfm", "vp"}
    assert all(0 < config["trained_steps"] < 20_000 for config in steps.values())


def test_couplings_are_compared_by_how_well_classes_come_out(compare, monkeypatch):
    monkeypatch.setattr("lab.by_class.EXCESS_PAIRS", 16)
    monkeypatch.setattr("lab.by_class.TRUE_POINTS", 200)
    pairs = ["--coupling", "independent", "--coupling", "conditional-ot", "--coupling", "ot"]
    options = ["--method", "cfm", *pairs, "--solver", "euler", "--ode-steps", "3"]
    result = compare("--figure", "classes", "--conditional", *options)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(Path("media/classes.csv").read_text("utf-8").splitlines()))
    assert [row["method"] for row in rows] == ["cfm", "cfm-conditional-ot", "cfm-ot"]
    for row in rows:
        right = [float(row[f"{name}: right"]) for name in ("upper", "lower")]
        assert float(row["right"]) == pytest.approx(np.mean(right))
        assert float(row["upper: w2_squared"]) > 0
    head = "| method | solver | NFE | W2² | right | W2² of upper | right of upper |"
    assert head in Path("media/classes.md").read_text(encoding="utf-8")
    assert Path("media/classes.png").exists()
    assert "--conditional" in the_error(compare("--figure", "classes", "--method", "cfm"))


def test_a_method_without_pairs_is_compared_once():
    methods, couplings = ["vp", "reflow"], ["independent", "ot"]
    planned = comparison.plan(Config(), methods, ["euler"], 1, None, (), couplings)
    assert [runs[0].label for runs in planned] == ["vp", "vp-ot", "reflow"]
    assert [runs[0].title for runs in planned][1].endswith(", exact optimal transport")
