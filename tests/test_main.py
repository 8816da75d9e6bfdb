"""The main job, as a process and in this one."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.image
import mlx.core as mx
import numpy as np
import pytest
from shared import PROGRAM, after_ctrl_c, newest, options_of

import couplings
from cfm import METHODS
from couplings import COUPLINGS
from datasets import DATASETS
from likelihood import MaximumLikelihood
from main import main
from odeint import StepBudgetError
from solver import SOLVERS
from training import load_checkpoint, load_training

CNF = ("--method", "cnf", "--steps", "3", "--train-ode-steps", "2")


def test_the_line_that_must_always_work(tmp_path):
    """As a process, as a user would: nothing but lines in a pipe, figure and checkpoint there."""
    arguments = ["--method", "vp", "--solver", "dopri5", "--steps", "300"]
    command = [sys.executable, str(PROGRAM), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not set("\r\b\x1b") & set(done.stdout + done.stderr)
    figure = tmp_path / "media" / "trajectories_vp_dopri5.png"
    assert matplotlib.image.imread(figure).std() > 0.05
    checkpoint = Path(re.search(r"checkpoint +(\S+)", done.stdout)[1])
    config = options_of(tmp_path / checkpoint)
    assert (config["method"], config["solver"], config["trained_steps"]) == ("vp", "dopri5", 300)
    assert (config["source"], config["target"]) == ("8gaussians", "moons")
    for pattern in (
        r"300 steps, [\d.]+ s, [\d,]+ steps/s",
        r"NFE (\d+) \((\d+) steps accepted, (\d+) rejected\)",
        r"W2² +[\d.]+ ± [\d.]+ to fresh samples of moons; two true samples are [\d.]+ apart",
        r"figure +media/trajectories_vp_dopri5.png",
    ):
        assert re.search(pattern, done.stdout), pattern


@pytest.mark.parametrize("method", METHODS)
def test_methods(run, method):
    run("--method", method)
    assert Path("media", f"trajectories_{method}_dopri5.png").exists()


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(run, solver):
    """The exact field of a single point needs no training, and tells what is to be told."""
    output = run(
        "--network", "exact", "--points", "1", "--solver", solver, "--ode-steps", "5"
    ).output
    tableau = SOLVERS[solver]
    nfe = 5 * (tableau.stages - 1) + 1 if tableau.fsal else 5 * tableau.stages
    assert f"NFE {nfe} (5 steps accepted, 0 rejected)" in output


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_on_either_side(run, name):
    assert f"fresh samples of {name}" in run("--source", name, "--target", name).output


def test_fm_starts_from_the_normal_distribution(checkpoint):
    assert options_of(checkpoint("--method", "fm"))["source"] == "normal"
    assert Path("media/trajectories_fm_dopri5.png").exists()


def test_any_path_with_any_coupling(run):
    for coupling, make in COUPLINGS.items():
        conditional = ["--conditional"] if make(1.0).by_class else []
        run("--method", "vp", "--coupling", coupling, *conditional)
    assert len(list(Path("runs").iterdir())) == len(COUPLINGS)
    run("--method", "poly", "--power", "3")
    run("--method", "sb", "--sigma", "0")


def test_the_exact_field_draws_and_saves_nothing(run):
    output = run("--network", "exact", "--points", "5", "--method", "vp").output
    assert "exact, from 8gaussians to 5 points of moons" in output
    assert Path("media", "trajectories_vp_exact5_dopri5.png").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_users_own_points(run, dim):
    """Standardized for the flow, and in the file's units in the numbers."""
    table = [5000, 2, -7][:dim] + np.random.default_rng(0).normal(size=(300, dim)) * 100
    np.savetxt("own.csv", table, delimiter=",", header="a,b,c"[: 2 * dim - 1], comments="")
    for network in ("mlp", "exact"):
        output = run("--target", "own.csv", "--network", network).output
        apart = float(re.search(r"two true samples are ([\d.e+]+) apart", output)[1])
        assert 1 < apart < 1e5
        assert "in squared units of 'own.csv'" in output and "points drawn again from" in output
        columns = f"columns: {', '.join('abc'[:dim])}\n"
        assert re.search(rf"^target      300 points of own.*; {columns}", output, re.MULTILINE)
    units = options_of(newest())["target_units"]
    np.testing.assert_allclose(units["mean"], table.mean(axis=0))
    np.testing.assert_allclose(units["scale"], table.std(axis=0))
    assert Path("media/trajectories_cfm_normal_own_dopri5.png").exists()


def test_columns_of_a_file(program, checkpoint):
    """Chosen by name and by number, and named in the samples."""
    table = np.random.default_rng(0).normal([3, 40, 500], size=(300, 3))
    np.savetxt("own.csv", table, delimiter=",", header="mass,length,time", comments="")
    for columns in ("time,mass", "3,1"):
        path = checkpoint("--target", "own.csv", "--columns", columns)
        mean = options_of(path)["target_units"]["mean"]
        np.testing.assert_allclose(mean, table.mean(axis=0)[[2, 0]])
    assert program("sample", path, "-n", "5", "--out", "a.csv").exit_code == 0
    assert Path("a.csv").read_text().splitlines()[0] == "time,mass"
    wrong = run_error(program, "--target", "own.csv", "--columns", "wide")
    assert "'--columns'" in wrong and "no column 'wide'; it has mass, length, time" in wrong
    assert "--columns" in run_error(program, "--columns", "1")


def run_error(program, *arguments) -> str:
    result = program(*arguments)
    assert result.exit_code == 2
    return result.output


def test_the_excess_loss_is_reported_where_it_is_known(run):
    pattern = r"excess +loss of fresh pairs ([\d.]+), least possible ([\d.]+) ± .* off by [\d.]+%"
    loss, least = map(float, re.search(pattern, run().output).groups())
    assert 0 < least < loss
    assert "least possible" not in run("--method", "ot").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--source", "trainable-normal", "--network", "concatsquash"],
        ["--divergence", "hutchinson", "--probes", "2", "--gradient", "checkpoint"],
        ["--train-solver", "dopri5", "--gradient", "adjoint", "--steps", "1"],
        ["--target", "gaussian4d", "--schedule", "one-cycle", "--optimizer", "adamw"],
    ],
)
def test_continuous_normalising_flows(program, checkpoint, arguments):
    """Trained, sampled, drawn, saved; and read back for its density."""
    result = program("density", checkpoint(*CNF, *arguments), "--samples", "50")
    assert result.exit_code == 0, result.output
    assert re.search(r"NLL +[\d.]+ ± [\d.]+ nats, of 50 fresh samples", result.output)


def test_marginal_velocities_are_shown(run):
    """Then the loss is far below that of pairs; and it is another training, in another file."""
    arguments = ("--steps", "60", "--batch-size", "256")
    losses = []
    for more in ((), ("--regress", "marginal")):
        output = run(*arguments, *more, "--figure", "loss").output
        losses.append(float(re.search(r"; loss ([\d.]+)", output)[1]))
    assert losses[1] < 0.8 * losses[0]
    assert len(list(Path("runs").iterdir())) == 2


def test_figures_are_called_after_what_was_chosen(run):
    run("--figure", "loss", "--figure", "trajectories", "--figure", "loss")
    run("--source", "normal")
    drawn = {path.name for path in Path("media").iterdir()}
    assert drawn == {
        "loss_cfm_dopri5.png",
        "trajectories_cfm_dopri5.png",
        "trajectories_cfm_normal_moons_dopri5.png",
    }


def test_a_plan_that_does_not_converge_is_said_once(run, monkeypatch):
    monkeypatch.setattr(couplings, "MAX_SWEEPS", 10)
    result = run("--method", "sb", "--sigma", "0.01", "--steps", "60")
    assert (
        result.output.count("Warning: the entropic plan pairs some points by a law still off") == 1
    )


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_out(run, suffix):
    run("--out", f"here/there/figure{suffix}")
    assert Path(f"here/there/figure{suffix}").stat().st_size > 1000


def test_what_is_trained_is_found_again(run):
    """With the same numbers; unless options, or the wish, are others."""

    def distance(*arguments):
        output = run(*arguments).output
        return re.search(r"W2² +(\S+)", output)[1], "found in runs/cfm_8gaussians_moons" in output

    first, found = distance("--seed", "3")
    assert not found
    path = newest()
    trained = path.stat().st_mtime_ns
    assert distance("--seed", "3", "--figure", "loss") == (first, True)
    assert newest() == path and path.stat().st_mtime_ns > trained  # the newest again
    assert distance("--seed", "3", "--solver", "rk4")[1]
    assert distance("--seed", "3", "--retrain") == (first, False)
    assert distance("--seed", "4")[0] != first
    assert not distance("--seed", "3", "--lr", "0.001")[1]
    assert len(list(Path("runs").iterdir())) == 3


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_very_short_runs(run, steps):
    output = run("--steps", steps).output
    assert f"training    {steps} steps" in output and " 0 steps/s" not in output


def test_options_without_effect_are_answered(run):
    """Each by a sentence, on the standard error stream; those with an effect by none."""
    idle = {
        "--rtol": "euler takes 100 equal steps",
        "--train-solver": "only --method cnf",
        "--regularization": "only entropic pairs",
        "--probes": "only --method cnf",
    }
    values = {"--rtol": "1e-3", "--train-solver": "rk4", "--regularization": "2", "--probes": "1"}
    given = [part for pair in values.items() for part in pair]
    said = run("--solver", "euler", "--sigma", "0.2", *given).stderr
    for option, why in idle.items():
        assert re.search(rf"^Warning: {option} has no effect: {why}.*\.$", said, re.MULTILINE)
    assert "--sigma" not in said and "--batch-size" not in said
    said = run("--network", "exact").stderr
    for option in ("--steps", "--batch-size", "--width", "--depth"):
        assert f"{option} has no effect: the exact field" in said
    idle = run("--probes", "5", "--gradient", "adjoint", "--regularization", "2")
    assert "found in runs/" not in idle.output  # the first of these options
    assert "found in runs/" in run().output  # the same training without them
    effective = run("--method", "sb", "--regularization", "2", "--rtol", "1e-3").stderr
    assert "Warning" not in effective


def test_a_failed_solve_keeps_the_checkpoint(run, monkeypatch):
    def fail(*args, **kwargs):
        raise StepBudgetError("10 steps did not reach t = 1; raise max_steps", 0.5, 0.1)

    monkeypatch.setattr("lab.following.odeint", fail)
    output = run(fails=1).output
    assert "Error: Following the flow failed: 10 steps did not reach t = 1" in output
    assert "Traceback" not in output
    assert len(list(Path("runs").iterdir())) == 1


@pytest.mark.parametrize("error", [ValueError("no such font"), OSError(28, "No space left")])
def test_a_failed_drawing_names_the_checkpoint(run, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("figures.registry.Figure.draw", fail)
    (sentence,) = [line for line in run(fails=1).output.splitlines() if line.startswith("Error: ")]
    assert re.search("no such font|No space left", sentence) and str(newest()) in sentence
    assert ("FLOW_MATCHING_TRACEBACK" in sentence) is isinstance(error, ValueError)


def test_the_traceback_behind_a_sentence(run, monkeypatch):
    def mistaken(*_):
        raise ValueError("no such font")

    monkeypatch.setattr("figures.registry.Figure.draw", mistaken)
    monkeypatch.setenv("FLOW_MATCHING_TRACEBACK", "1")
    assert ", in mistaken\n" in run(fails=1).stderr


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (RuntimeError("[metal::malloc] Unable to allocate 10 bytes."), False),
        (RuntimeError("[Compile::eval_cpu] Failed to compile function f: no g++"), False),
        (MemoryError(), False),
        (RuntimeError("There is no Stream(cpu, 1) in current thread."), True),
        (RecursionError("out of memory of stack"), True),
    ],
)
def test_a_mistake_of_our_own_hides_behind_no_sentence(run, monkeypatch, error, is_ours):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("main.learn", fail)
    result = run(fails=1)
    assert (result.exception is error) is is_ours
    assert ("Error: computing failed: " in result.stderr) is not is_ours


def test_a_failed_solve_in_training_keeps_the_last_good_weights(run, monkeypatch):
    """Also in place of what was kept on the way at the same step; training could go on from it."""
    steps = []

    def fail(self, model, x1, key=None):
        steps.append(1)
        if len(steps) > 13:
            raise StepBudgetError("10 steps did not reach t = 1", 0.5, 0.1)
        return mx.mean(mx.square(model(0.5, x1)))

    monkeypatch.setattr(MaximumLikelihood, "error", fail)
    adaptive = ("--method", "cnf", "--train-solver", "bosh3", "--save-every", "10")
    for kept in (10, 20):  # the second time it goes on from the first
        output = run(*adaptive, fails=1).output
        assert f"the solver failed by step {kept + 4}: 10 steps did not reach" in output
        assert str(newest()) in output and load_training(newest())[2].step == kept
        del steps[:]


def test_a_diverging_run_keeps_the_last_good_weights(run, monkeypatch):
    monkeypatch.setattr(
        "cfm.Method.error", lambda self, model, t, xt, ut: model(0.0, xt).sum() * 1e39
    )
    output = run(fails=1).output
    assert "smaller --lr" in output and str(newest()) in output
    assert options_of(newest())["trained_steps"] == load_training(newest())[2].step == 0


def test_ctrl_c_stops_saves_and_draws(tmp_path):
    command = ("--steps", "20000", "--samples", "64", "--batch-size", "256", "--width", "64")
    code, output, errors = after_ctrl_c(tmp_path, *command, shown="training ")
    assert code == 0, errors
    assert "stopped by Ctrl-C" in output
    assert (tmp_path / "media" / "trajectories_cfm_dopri5.png").exists()
    (checkpoint,) = (tmp_path / "runs").iterdir()
    assert 0 < options_of(checkpoint)["trained_steps"] < 20_000


PRESSING = """
import os, signal, sys

class Pressing:
    def find_spec(name, *_):
        if name == os.environ["PRESSED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressing)
"""


@pytest.mark.parametrize("module", ["machine.blas", "mlx.core", "numpy", "cli.compare"])
def test_ctrl_c_in_imports_says_nothing(tmp_path, module):
    """The key is pressed when a module is about to be imported, whatever the machine's speed."""
    (tmp_path / "sitecustomize.py").write_text(PRESSING)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--network", "exact"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "PRESSED_AT": module},
    )
    assert (done.returncode, done.stdout + done.stderr) == (-signal.SIGINT, "")


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_whole_files(tmp_path):
    arguments = ["--steps", "100000", "--save-every", "5", "--samples", "32", "--width", "256"]
    for wait in np.random.default_rng(0).uniform(3, 6, size=6):
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(wait)
        process.kill()
        process.wait()
        kept = [path for path in (tmp_path / "runs").glob("*") if not path.name.startswith(".")]
        assert kept
        for path in kept:
            step = int(path.stem.rpartition("_step")[2])
            assert load_training(path)[2].step == step


def test_help():
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(PROGRAM), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert time.perf_counter() - began < 10  # the promise is one second; machines are noisy
    for name in (*METHODS, *SOLVERS, *DATASETS, "python main.py --method vp --solver dopri5"):
        assert name in done.stdout
    sections = re.findall(r"^(\w[\w ]+):$", done.stdout, re.MULTILINE)
    assert sections[:2] == ["Commands", "What most people need"]
    first = done.stdout.partition("What most people need:")[2].partition("\n\n")[0]
    needed = re.findall(r"^  --([a-z-]+)", first, re.MULTILINE)
    assert needed == ["method", "source", "target", "steps", "solver", "figure"]


def test_version(program):
    assert re.search(r"\d+\.\d+\.\d+", program("--version").output)


def test_options_of_the_design_are_there():
    expected = (
        "method solver source target sigma steps batch-size lr seed network width depth "
        "activation ode-steps rtol atol samples device out"
    )
    names = {option for param in main.params for option in param.opts}
    assert {f"--{name}" for name in expected.split()} <= names


@pytest.mark.parametrize(
    "option", [["--schedule", "constant"], ["--weight-decay", "1"], ["--lr", "0.01"]]
)
def test_options_of_training_reach_it(checkpoint, option):
    """Two runs that differ in one of them learn different weights."""
    first, second = (load_checkpoint(path)[0] for path in (checkpoint(), checkpoint(*option)))
    assert not mx.allclose(first.layers[0].weight, second.layers[0].weight, atol=1e-5)
