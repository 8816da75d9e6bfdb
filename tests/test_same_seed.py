"""The same seed on the same machine gives the same bits, in a fresh process, whatever else was
asked for beside them: what docs/solving.md promises.
"""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shared import QUICK

from datasets import DATASETS
from models import MLP
from odeint import odeint
from solver import SOLVERS

ROOT = Path(__file__).parents[1]
# Runs the program with one list of arguments after the other, in a process of its own.
RUNNER = """
import json, sys
import machine
from click.testing import CliRunner
from main import main
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
"""


def in_fresh_processes(tmp_path, *commands) -> list[Path]:
    """A folder for each list of commands, in which a process has run them; all at once."""
    folders = [tmp_path / str(number) for number in range(len(commands))]
    begun = []
    for folder, each in zip(folders, commands, strict=True):
        folder.mkdir()
        run = [sys.executable, "-c", RUNNER, json.dumps([[*map(str, one)] for one in each])]
        begun.append(subprocess.Popen(run, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}))
    assert [process.wait() for process in begun] == [0] * len(begun)
    return folders


def weights(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the one checkpoint in a folder, but the losses: those depend on the looks."""
    (path,) = folder.glob("runs/*.safetensors")
    arrays = mx.load(str(path)).items()
    return {name: np.array(array) for name, array in arrays if not name.startswith("losses")}


def assert_same(found: list[dict]):
    first, *others = found
    for other in others:
        assert first.keys() == other.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], other[name], err_msg=name)


TRAININGS = [
    [],
    *(
        pytest.param(how, marks=pytest.mark.slow)
        for how in (
            ["--method", "sb"],
            ["--conditional", "--coupling", "conditional-ot"],
            ["--method", "ot", "--target", "pinwheel", "--optimizer", "adamw"],
            ["--method", "cnf", "--steps", "4", "--train-ode-steps", "2"],
            ["--method", "cnf", "--steps", "4", "--divergence", "hutchinson"],
            ["--regress", "marginal", "--network", "concatsquash"],
        )
    ),
]


@pytest.mark.parametrize("how", TRAININGS, ids=" ".join)
def test_weights_samples_and_figures(tmp_path, how):
    """Whatever figures are asked for, how many samples, how often training is kept or looked at."""
    run, figure = [*QUICK, *how], ["--out", "a.png"]
    end = ["--solver", "dopri5", "--out", "a.npy"]
    plain = [[*run, *figure], ["sample", "--last", *end, "-n", 40]]
    otherwise = [
        [*run, "--figure", "loss", "--samples", 17, "--solver", "rk4", "--save-every", 2],
        [*run, *figure],
        ["sample", "--last", *end, "-n", 23],
    ]
    one, other = in_fresh_processes(tmp_path, plain, otherwise)
    assert_same([weights(one), weights(other)])
    np.testing.assert_array_equal(np.load(one / "a.npy")[:23], np.load(other / "a.npy"))
    assert (one / "a.png").read_bytes() == (other / "a.png").read_bytes()


@pytest.mark.slow
def test_tables(tmp_path):
    """Whatever other methods, solvers and seeds are compared, and by however many processes."""
    few = ["compare", *QUICK, "--method", "vp", "--method", "ot", "--solver", "euler"]
    more = [*few, "--method", "cfm", "--solver", "dopri5", "--seeds", 2]
    commands = [
        [[*of, "--processes", processes, "--out", "a.png"]]
        for of, processes in ((few, 1), (few, 2), (more, 2))
    ]
    tables = []
    for folder in in_fresh_processes(tmp_path, *commands):
        with (folder / "a.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        tables.append({(row["method"], row["solver"], row["seed"]): row for row in rows})
    few, again, more = tables
    assert len(few) == 2 and len(more) == 12 and few.keys() == again.keys()
    for other in (again, more):
        for key, row in few.items():
            timed = [name for name in row if name.endswith("seconds")]
            assert len(timed) == 2
            for name in row.keys() - timed:
                assert row[name] == other[key][name], name


@pytest.mark.parametrize("name", SOLVERS)
def test_the_number_of_output_times_changes_no_bit(name):
    """Of the state at the end, nor of what the solver has done."""
    mx.random.seed(0)
    model, x0 = MLP(width=16, depth=2), DATASETS["moons"].sample(50, mx.random.key(0))
    steps = None if SOLVERS[name].adaptive else 12
    two, many, uneven = (
        odeint(model, x0, times, solver=name, steps=steps)
        for times in ([0.0, 1.0], np.linspace(0, 1, 61), [0.0, 0.1, 0.11, 0.111, 1.0])
    )
    for other in (many, uneven):
        assert mx.array_equal(two.x[-1], other.x[-1])
        assert (two.nfe, two.accepted, two.rejected) == (other.nfe, other.accepted, other.rejected)
