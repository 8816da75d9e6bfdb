import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import matplotlib.image
import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner

import couplings
from lab import store as runs
from cfm import METHODS
from files.checkpoints import load_checkpoint, load_training
from couplings import COUPLINGS
from datasets import DATASETS
from likelihood import log_prob
from main import main
from odeint import StepBudgetError
from solver import SOLVERS

QUICK = ["--steps", "30", "--batch-size", "32", "--samples", "64", "--width", "8", "--depth", "1"]
CNF = ("--method", "cnf", "--steps", "3", "--train-ode-steps", "2")
PROGRAM = Path(__file__).parents[1] / "main.py"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [*QUICK, *arguments])


def test_the_line_that_must_always_work(tmp_path):
    """As a process, as a user would: nothing but lines in a pipe, figure and checkpoint there."""
    arguments = ["--method", "vp", "--solver", "dopri5", "--steps", "300"]
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not set("\r\b\x1b") & set(done.stdout + done.stderr)
    figure = tmp_path / "media" / "trajectories_vp_dopri5.png"
    assert matplotlib.image.imread(figure).std() > 0.05
    checkpoint = Path(re.search(r"checkpoint +(\S+)", done.stdout)[1])
    _, config = load_checkpoint(tmp_path / checkpoint)
    assert (config["method"], config["solver"], config["trained_steps"]) == ("vp", "dopri5", 300)
    assert config["source"] == "8gaussians"
    assert config["target"] == "moons"
    for pattern in (
        r"300 steps, [\d.]+ s, [\d,]+ steps/s",
        r"NFE (\d+) \((\d+) steps accepted, (\d+) rejected\)",
        r"W2² +[\d.]+ ± [\d.]+ to fresh samples of moons; two true samples are [\d.]+ apart",
        r"figure +media/trajectories_vp_dopri5.png",
    ):
        assert re.search(pattern, done.stdout), pattern
    assert "training 300 of 300 steps  loss" in done.stderr


@pytest.mark.parametrize("method", METHODS)
def test_methods(run, method):
    result = run("--method", method)
    assert result.exit_code == 0, result.output
    assert Path("media", f"trajectories_{method}_dopri5.png").exists()


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(run, solver):
    result = run("--solver", solver, "--ode-steps", "5")
    assert result.exit_code == 0, result.output
    tableau = SOLVERS[solver]
    nfe = 5 * (tableau.stages - 1) + 1 if tableau.fsal else 5 * tableau.stages
    assert f"NFE {nfe} (5 steps accepted, 0 rejected)" in result.output


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_on_either_side(run, name):
    result = run("--source", name, "--target", name)
    assert result.exit_code == 0, result.output
    assert f"fresh samples of {name}" in result.output


def test_fm_starts_from_the_normal_distribution(run):
    result = run("--method", "fm")
    (checkpoint,) = Path("runs").iterdir()
    assert load_checkpoint(checkpoint)[1]["source"] == "normal", result.output


def test_any_path_with_any_coupling(run):
    for coupling in COUPLINGS:
        result = run("--method", "vp", "--coupling", coupling)
        assert result.exit_code == 0, result.output
    assert len(list(Path("runs").iterdir())) == len(COUPLINGS)
    for arguments in (["--method", "poly", "--power", "3"], ["--method", "sb", "--sigma", "0"]):
        assert run(*arguments).exit_code == 0


def test_the_exact_field_draws_and_saves_nothing(run):
    result = run("--network", "exact", "--points", "5", "--method", "vp")
    assert result.exit_code == 0, result.output
    assert "exact, from 8gaussians to 5 points of moons" in result.output
    assert Path("media", "trajectories_vp_exact_dopri5.png").exists()
    assert not Path("runs").exists()


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_users_own_points(run, dim):
    """Standardized for the flow, and in the file's units in the numbers."""
    table = [5000, 2, -7][:dim] + np.random.default_rng(0).normal(size=(300, dim)) * 100
    np.savetxt("own.csv", table, delimiter=",", header="a,b,c"[: 2 * dim - 1], comments="")
    for network in ("mlp", "exact"):
        result = run("--target", "own.csv", "--network", network)
        assert result.exit_code == 0, result.output
        apart = float(re.search(r"two true samples are ([\d.e+]+) apart", result.output)[1])
        assert 1 < apart < 1e5
    (checkpoint,) = Path("runs").iterdir()
    units = load_checkpoint(checkpoint)[1]["units"]
    np.testing.assert_allclose(units["mean"], table.mean(axis=0))
    np.testing.assert_allclose(units["scale"], table.std(axis=0))


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
        ["--target", "gaussian4d", "--schedule", "one-cycle", "--weight-decay", "0.1"],
    ],
)
def test_continuous_normalising_flows(run, arguments):
    """Trained, sampled, drawn, saved; and read back for its density."""
    result = run(*CNF, *arguments)
    assert result.exit_code == 0, result.output
    assert Path("media", "trajectories_cnf_dopri5.png").exists()
    (checkpoint,) = Path("runs").iterdir()
    result = CliRunner().invoke(main, ["density", str(checkpoint), "--samples", "50"])
    assert result.exit_code == 0, result.output
    assert re.search(r"NLL +[\d.]+ ± [\d.]+ nats, of 50 fresh samples", result.output)


@pytest.mark.parametrize("target", ["checkerboard", "moons", "own.csv"])
def test_density(run, target):
    np.savetxt("own.csv", 1000 + 50 * np.random.default_rng(0).normal(size=(200, 1)))
    run("--target", target, "--source", "normal", "--steps", "200", "--width", "32")
    (checkpoint,) = Path("runs").iterdir()
    result = CliRunner().invoke(main, ["density", str(checkpoint), "--out", "density.png"])
    assert result.exit_code == 0, result.output
    assert matplotlib.image.imread("density.png").std() > 0.05
    nll, error = map(float, re.search(r"NLL +([\d.]+) ± ([\d.]+)", result.output).groups())
    if target == "checkerboard":
        entropy = float(re.search(r"entropy +([\d.]+)", result.output)[1])
        assert entropy == pytest.approx(math.log(32), abs=1e-4)
        assert nll > entropy - 3 * error
        gap = float(re.search(r"KL +([\d.]+)", result.output)[1])
        assert gap == pytest.approx(nll - entropy, abs=1e-3)
    if target == "own.csv":  # in the units of the file: log(50 √(2πe)), and a little
        assert math.log(50) + 1.3 < nll < math.log(50) + 1.8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["gone.safetensors"],
            ["CHECKPOINT", "'gone.safetensors' cannot be read: it does not exist"],
        ),
        (["text.safetensors"], ["CHECKPOINT", "no safetensors file"]),
        (["ot", "--probes", "0"], ["--probes"]),
        (["ot", "--divergence", "precise"], ["--divergence", "exact, hutchinson"]),
        (["ot", "--out", "a.jpeg"], ["--out", "a.jpeg"]),
        (["moons"], ["the source has no log-density"]),
        (["4d", "--out", "a.png"], ["--out", "4 dimensions"]),
        (["lost"], ["lost.csv is not there"]),
    ],
)
def test_density_of_what_has_none(run, arguments, words):
    name, *others = arguments
    Path("text.safetensors").write_text("weights")
    np.savetxt("lost.csv", np.arange(10.0))
    made = {
        "ot": ["--method", "ot"],
        "moons": ["--source", "moons"],
        "4d": ["--target", "gaussian4d"],
        "lost": ["--target", "lost.csv"],
    }
    if name in made:
        run(*made[name])
        ((name),) = map(str, Path("runs").iterdir())
    Path("lost.csv").unlink()
    result = CliRunner().invoke(main, ["density", name, *others])
    assert result.exit_code == 2, result.output
    (sentence,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    for word in words:
        assert word in sentence


def test_several_figures(run):
    result = run("--figure", "loss", "--figure", "trajectories", "--figure", "loss")
    assert result.exit_code == 0, result.output
    for figure in ("loss", "trajectories"):
        assert matplotlib.image.imread(f"media/{figure}_cfm_dopri5.png").std() > 0.05


def test_a_plan_that_does_not_converge_is_said_once(run, monkeypatch):
    monkeypatch.setattr(couplings, "MAX_SWEEPS", 10)
    result = run("--method", "sb", "--sigma", "0.01", "--steps", "60")
    assert result.exit_code == 0, result.output
    assert result.output.count("Warning: the entropic plan's marginals are still off") == 1


def test_the_gallery(run, tmp_path):
    result = CliRunner().invoke(main, ["datasets"])
    assert result.exit_code == 0, result.output
    for name, data in DATASETS.items():
        assert f"{name} " in result.output
        assert data.description in result.output
    assert matplotlib.image.imread("media/datasets.png").std() > 0.05


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_out(run, suffix):
    result = run("--out", f"here/there/figure{suffix}")
    assert result.exit_code == 0, result.output
    assert Path(f"here/there/figure{suffix}").stat().st_size > 1000


def test_the_same_seed_gives_the_same_numbers(run):
    def distance(*arguments):
        return re.search(r"W2² +([\d.]+)", run(*arguments).output)[1]

    assert distance("--seed", "3") == distance("--seed", "3")
    assert distance("--seed", "3") != distance("--seed", "4")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_very_short_runs(run, steps):
    result = run("--steps", str(steps))
    assert result.exit_code == 0, result.output
    assert f"training {steps} of {steps} steps" in result.output


def test_runs_of_different_settings_do_not_overwrite_each_other(run):
    for arguments in ([], ["--lr", "0.001"], ["--width", "9"], []):
        run(*arguments)
    assert len(list(Path("runs").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "vq"], ["--method", "'vq'", "Did you mean 'vp'?", "cfm, vp, fm, ot, sb"]),
        (["--solver", "dopri55"], ["--solver", "Did you mean 'dopri5'?"]),
        (["--source", "8gaussian"], ["--source", "Did you mean '8gaussians'?"]),
        (["--target", "moon"], ["--target", "Did you mean 'moons'?"]),
        (["--activation", "zilu"], ["--activation", "Did you mean 'silu'?"]),
        (["--network", "xyz"], ["--network", "There are mlp"]),
        (["--steps", "0"], ["--steps", "0"]),
        (["--steps", "many"], ["--steps", "'many' is not a whole number from 1 to 10000000"]),
        (["--width", "2.5"], ["--width", "'2.5' is not a whole number"]),
        (["--lr", "fast"], ["--lr", "'fast' is not a finite number from 0 to 1"]),
        (["--steps", "1e12"], ["--steps"]),
        (["--batch-size", "-1"], ["--batch-size", "-1"]),
        (["--batch-size", "1000000000"], ["--batch-size"]),
        (["--width", "0"], ["--width"]),
        (["--depth", "0"], ["--depth"]),
        (["--samples", "0"], ["--samples"]),
        (["--samples", "1000000000"], ["--samples"]),
        (["--ode-steps", "0"], ["--ode-steps"]),
        (["--rtol", "0"], ["--rtol"]),
        (["--rtol", "1e-9"], ["--rtol", "1e-08"]),
        (["--atol", "-1e-5"], ["--atol"]),
        (["--rtol", "nan"], ["--rtol", "not a finite number from"]),
        (["--sigma", "nan"], ["--sigma", "not a finite number from"]),
        (["--sigma", "-0.1"], ["--sigma"]),
        (["--sigma", "inf"], ["--sigma"]),
        (["--lr", "0"], ["--lr"]),
        (["--lr", "inf"], ["--lr"]),
        (["--lr", "nan"], ["--lr", "not a finite number from"]),
        (["--seed", "-1"], ["--seed"]),
        (["--method", "fm", "--source", "moons"], ["--source", "'moons'", "--source normal"]),
        (["--coupling", "otp"], ["--coupling", "independent, ot, entropic"]),
        (["--power", "3"], ["--power", "'cfm' has no power"]),
        (["--method", "ot", "--batch-size", "50000"], ["--batch-size", "50,000", "4,096"]),
        (["--target", "moonz"], ["--target", "'moons'", "or a file ending in one of .csv"]),
        (["--target", "gone.csv"], ["--target", "'gone.csv' cannot be read"]),
        (
            ["--target", "gaussian4d", "--source", "moons"],
            ["--source", "'moons' has 2 dimensions", "has 4", "--source normal"],
        ),
        (["--source", "gaussian4d"], ["--source", "'gaussian4d' has 4 dimensions"]),
        ([*CNF, "--source", "moons"], ["--source", "'moons' has no log-density"]),
        ([*CNF, "--sigma", "0.1"], ["--sigma", "'cnf' has no paths"]),
        ([*CNF, "--network", "exact"], ["--network", "not for 'cnf'"]),
        (["--source", "trainable-normal"], ["--source", "--method cnf"]),
        (["--schedule", "cosin"], ["--schedule", "Did you mean 'cosine'?"]),
        (["--gradient", "adjoin"], ["--gradient", "Did you mean 'adjoint'?"]),
        (["--points", "5"], ["--points", "--network exact"]),
        (["--network", "exact", "--method", "ot"], ["--network", "independent pairs only"]),
        (["--network", "exact", "--source", "moons"], ["--network", "isotropic Gaussians"]),
        (["--network", "exact", "--figure", "loss"], ["--figure", "not trained"]),
        (["--figure", "loss", "--figure", "trajectories", "--out", "a.png"], ["--out", "one file"]),
        (["datasets"], ["stands before 'datasets'"]),
        (["--device", "gpu0"], ["--device", "gpu0"]),
        (["--out", "figure.jpeg"], ["--out", "figure.jpeg", ".png, .pdf, .svg"]),
        (["--out", "figure"], ["--out", ".png, .pdf, .svg"]),
        (["--out", "/proc/figure.png"], ["--out", "/proc/figure.png", "cannot be written"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_bad_input(run, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    (sentence,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    for word in words:
        assert word in sentence
    assert not list(Path().iterdir()), "something was made before the error was found"


def test_a_device_that_is_not_there(run, monkeypatch):
    monkeypatch.setattr("arguments.mx.is_available", lambda device: False)
    result = run("--device", "gpu")
    assert result.exit_code == 2
    assert "'gpu' is not there; use cpu or auto" in result.output


def test_out_in_the_way(run):
    Path("file").write_text("")
    Path("folder.png").mkdir()
    for out in ("file/figure.png", "folder.png"):
        result = run("--out", out)
        assert result.exit_code == 2
        assert out in result.output


def test_runs_in_the_way(run):
    Path("runs").write_text("")
    result = run()
    assert result.exit_code == 2
    assert "runs" in result.output


def test_a_failed_solve_keeps_the_checkpoint(run, monkeypatch):
    def fail(*args, **kwargs):
        raise StepBudgetError("10 steps did not reach t = 1; raise max_steps", 0.5, 0.1)

    monkeypatch.setattr("evaluation.odeint", fail)
    result = run()
    assert result.exit_code == 1
    assert "Error: Following the flow failed: 10 steps did not reach t = 1" in result.output
    assert "Traceback" not in result.output
    assert len(list(Path("runs").iterdir())) == 1


def test_a_diverging_run_keeps_the_last_good_weights(run, monkeypatch):
    monkeypatch.setattr(
        "cfm.Method.pair_loss", lambda self, model, x0, x1, key: model(0.0, x0).sum() * 1e39
    )
    result = run()
    assert result.exit_code == 1
    assert "smaller --lr" in result.output
    (checkpoint,) = Path("runs").iterdir()
    assert load_checkpoint(checkpoint)[1]["trained_steps"] == 0


def test_ctrl_c_stops_saves_and_draws(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "--steps", "20000", "--samples", "64"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "training 2,000 of 20,000 steps" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "stopped by Ctrl-C" in output
    assert (tmp_path / "media" / "trajectories_cfm_dopri5.png").exists()
    (checkpoint,) = (tmp_path / "runs").iterdir()
    assert 0 < load_checkpoint(checkpoint)[1]["trained_steps"] < 20_000


def test_help():
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(PROGRAM), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert time.perf_counter() - began < 10  # the promise is one second; machines are noisy
    for name in (*METHODS, *SOLVERS, *DATASETS, "python main.py --method vp --solver dopri5"):
        assert name in done.stdout


def test_options_of_the_design_are_there():
    expected = (
        "method solver source target sigma steps batch-size lr seed network width depth "
        "activation ode-steps rtol atol samples device out"
    )
    names = {option for param in main.params for option in param.opts}
    assert {f"--{name}" for name in expected.split()} <= names


def _interrupted_at(monkeypatch, step: int):
    """Ctrl-C when training has come so far."""

    @contextmanager
    def pressing(steps):
        yield lambda history: history.steps >= step and os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("runs.LOOK_EVERY", 10)
    monkeypatch.setattr("main.training_progress", pressing)


def test_resume_ends_where_the_whole_run_does(run, monkeypatch):
    arguments = ["--method", "ot", "--seed", "5"]
    assert run(*arguments).exit_code == 0
    (whole,) = Path("runs").iterdir()
    expected = whole.read_bytes()
    whole.unlink()
    with monkeypatch.context() as patched:
        _interrupted_at(patched, 10)
        assert "10 steps of 30: stopped by Ctrl-C" in run(*arguments).output
    (part,) = Path("runs").iterdir()
    assert part.stem == f"{whole.stem}_step10"
    again = CliRunner().invoke(main, ["--resume", str(part), "--solver", "rk4", "--samples", "32"])
    assert again.exit_code == 0, again.output
    assert "30 steps, resumed after 10" in again.output and "with rk4" in again.output
    assert list(Path("runs").iterdir()) == [whole]
    ours, theirs = (safetensors(content)[1] for content in (whole.read_bytes(), expected))
    assert ours == theirs
    done = CliRunner().invoke(main, ["--resume", str(whole)])
    assert done.exit_code == 0 and "30 steps, all done before" in done.output
    assert load_checkpoint(whole)[1]["solver"] == "rk4"
    assert CliRunner().invoke(main, ["--resume", str(whole), "--solver", "heun"]).exit_code == 0
    assert load_checkpoint(whole)[1]["solver"] == "rk4"


def safetensors(content: bytes):
    """The header of a file, and name → bytes of all arrays but the history's."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    arrays = {
        name: content[8 + size + about["data_offsets"][0] : 8 + size + about["data_offsets"][1]]
        for name, about in header.items()
        if name != "__metadata__" and not name.startswith("losses")
    }
    return header, arrays


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lr", "0.1"], ["--lr", "0.1", "0.005"]),
        (["--method", "vp"], ["--method", "vp", "cfm"]),
        (["--width", "9"], ["--width", "9", "8"]),
        (["--steps", "40"], ["--steps", "40", "30"]),
    ],
)
def test_resumed_training_goes_on_as_it_began(run, arguments, words):
    run()
    (path,) = Path("runs").iterdir()
    result = CliRunner().invoke(main, ["--resume", str(path), *arguments])
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    same = CliRunner().invoke(main, ["--resume", str(path), "--width", "8", "--lr", "0.005"])
    assert same.exit_code == 0, same.output


def test_nothing_to_resume(run):
    for content, word in ((b"weights", "cannot be read"), (None, "cannot be read")):
        if content:
            Path("x.safetensors").write_bytes(content)
        result = run("--resume", "x.safetensors" if content else "y.safetensors")
        assert result.exit_code == 2
        assert word in result.output and "--resume" in result.output


def test_training_on_other_points_is_not_resumed(run):
    points = np.random.default_rng(0).normal(size=(50, 2))
    np.savetxt("a.csv", points, delimiter=",")
    run("--target", "a.csv")
    (path,) = Path("runs").iterdir()
    resume = ["--resume", str(path), "--samples", "16"]
    assert CliRunner().invoke(main, resume).exit_code == 0
    for other in (points + np.array([0, 1e-9]), None):
        if other is None:
            Path("a.csv").unlink()
        else:
            np.savetxt("a.csv", other, delimiter=",")
        result = CliRunner().invoke(main, resume)
        assert result.exit_code == 2 and "'a.csv' is not what it was" in result.output


def test_saving_on_the_way_leaves_one_file(run, monkeypatch):
    kept = []
    keep = runs.keep
    monkeypatch.setattr("runs.keep", lambda *a: kept.append(keep(*a)) or kept[-1])
    result = run("--save-every", "8")
    assert result.exit_code == 0, result.output
    steps = [load_checkpoint(kept[-1])[1]["trained_steps"]]
    assert [path.stem.rpartition("_step")[2] for path in kept[:-1]] == ["8", "16", "24"]
    assert steps == [30] and list(Path("runs").iterdir()) == [kept[-1]]


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


def test_sample(run):
    run("--source", "normal", "--seed", "3")
    (path,) = Path("runs").iterdir()
    ours = CliRunner()
    done = ours.invoke(main, ["sample", str(path), "-n", "500", "--out", "a.npy"])
    assert done.exit_code == 0, done.output
    rows = np.load("a.npy")
    assert rows.shape == (500, 2)
    how = ["sample", str(path), "-n", "500", "--log-prob", "--rtol", "1e-6", "--atol", "1e-6"]
    assert ours.invoke(main, [*how, "--out", "b.csv"]).exit_code == 0
    assert Path("b.csv").read_text().splitlines()[0] == "x1,x2,log_prob"
    with_density = np.loadtxt("b.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(with_density[:, :2], rows, atol=1e-3)
    loaded, model = runs.load(path)
    again = log_prob(model, mx.array(with_density[:, :2], mx.float32), loaded.source.log_prob)
    np.testing.assert_allclose(with_density[:, 2], np.array(again), atol=1e-3)
    assert ours.invoke(main, ["sample", str(path), "-n", "9", "--seed", "4"]).exit_code == 0
    other = np.load(Path("runs", f"{path.stem}_samples.npy"))
    assert not np.isclose(other, rows[:9]).any()


def test_samples_of_users_points_are_in_their_units(run):
    """Also when the file is gone; and the density is that per unit of the file."""
    points = np.random.default_rng(0).normal([100, -5], [20, 0.1], size=(400, 2))
    np.savetxt("points.csv", points, delimiter=",")
    run("--target", "points.csv", "--steps", "400", "--width", "32")
    Path("points.csv").unlink()
    (path,) = Path("runs").iterdir()
    done = CliRunner().invoke(main, ["sample", str(path), "-n", "2000", "--log-prob"])
    assert done.exit_code == 0, done.output
    rows = np.load(Path("runs", f"{path.stem}_samples.npy"))
    assert np.all(np.abs(rows[:, :2].mean(axis=0) - [100, -5]) < [5, 0.03])
    np.testing.assert_allclose(rows[:, :2].std(axis=0), [20, 0.1], rtol=0.2)
    entropy = np.log(2 * np.pi * np.e) + np.log(20 * 0.1)
    assert -rows[:, 2].mean() == pytest.approx(entropy, abs=0.2)
    lost = CliRunner().invoke(main, ["evaluate", str(path)])
    assert lost.exit_code == 2 and "points.csv is not there" in lost.output


def test_evaluate(run):
    run("--source", "normal", "--target", "annulus", "--steps", "300")
    (path,) = Path("runs").iterdir()
    done = CliRunner().invoke(main, ["evaluate", str(path), "--json"])
    assert done.exit_code == 0, done.output
    numbers = json.loads(done.stdout)
    assert numbers["nll"] >= numbers["entropy"] == pytest.approx(np.log(2 * np.pi) + 0.9, abs=0.05)
    assert numbers["kl_divergence"] == pytest.approx(numbers["nll"] - numbers["entropy"])
    assert numbers["solver"] == "dopri5" and numbers["nfe"] > 20
    other = ["evaluate", str(path), "--json", "--solver", "rk4", "--ode-steps", "3"]
    coarse = json.loads(CliRunner().invoke(main, other).stdout)
    assert (coarse["nfe"], coarse["solver"]) == (12, "rk4")
    assert coarse["nll"] == numbers["nll"]  # the flow's own, whatever solver
    in_words = CliRunner().invoke(main, ["evaluate", str(path)]).stdout
    assert all(name in in_words for name in numbers)


@pytest.mark.parametrize(
    "option", [["--schedule", "constant"], ["--weight-decay", "1"], ["--lr", "0.01"]]
)
def test_options_of_training_reach_it(run, option):
    """Two runs that differ in one of them learn different weights."""
    run(), run(*option)
    first, second = (load_checkpoint(path)[0] for path in Path("runs").iterdir())
    assert not mx.allclose(first.layers[0].weight, second.layers[0].weight, atol=1e-5)


def test_other_points_in_the_same_file_are_trained_anew(run):
    """Even with the same mean and scale."""
    line = np.arange(-20.0, 21)
    for column in (line, -line):
        np.savetxt("a.csv", np.stack([line, column], axis=1), delimiter=",")
        compared = ["compare", *QUICK, "--target", "a.csv", "--method", "cfm", "--solver", "euler"]
        assert CliRunner().invoke(main, compared).exit_code == 0
    assert len(list(Path("runs").iterdir())) == 2
    last = max(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime)
    first = next(path for path in Path("runs").iterdir() if path != last)
    assert "is not what it was" in CliRunner().invoke(main, ["evaluate", str(first)]).output
    assert "is not what it was" not in CliRunner().invoke(main, ["evaluate", str(last)]).output
