"""The README's examples run, and say what is true."""

import doctest
import re
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import odeint
from benchmarks.gallery import made
from cfm import METHODS
from couplings import COUPLINGS
from datasets import DATASETS
from main import main
from lab.store import checkpoint_path
from lab.run import settle
from solver import SOLVERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_examples_run():
    names = {}
    for block in BLOCKS:
        exec(block, names)
    decay, grown = np.exp(-1), names["end"]
    np.testing.assert_allclose(np.array(names["backwards"].x[-1]), [1, 2], atol=1e-4)
    np.testing.assert_allclose(np.array(names["by_twenty_steps"].x[-1]), [decay], rtol=1e-6)
    np.testing.assert_allclose(np.array(names["solution"].x["q"])[-1], np.cos(6), atol=1e-4)
    assert mx.grad(grown)(mx.array(0.5)).item() == pytest.approx(np.exp(0.5), rel=1e-5)
    np.testing.assert_allclose(np.array(names["again"]), np.array(names["density"]), atol=1e-3)
    assert names["error"].shape == (100,)
    assert len(BLOCKS) == 5


def test_the_example_of_odeint():
    assert doctest.testmod(odeint) == (0, 2)


def test_every_name_is_documented():
    for name in (*METHODS, "cnf", *SOLVERS, *DATASETS, *COUPLINGS):
        assert re.search(f"`[^`]*{re.escape(name)}`", README), name


def test_orders_and_costs_are_those_of_the_tableaus():
    rows = re.findall(r"^\| (`.*`) \| (\d) \| (\d+) \| (adaptive|fixed)", README, re.MULTILINE)
    listed = {}
    for names, order, cost, kind in rows:
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = (int(order), int(cost), kind == "adaptive")
    assert listed == {
        name: (tableau.order, tableau.stages - tableau.fsal, tableau.adaptive)
        for name, tableau in SOLVERS.items()
    }


def test_every_picture_is_light_and_has_its_command():
    files = [file for file, _ in made()]
    assert len(files) == len(set(files))
    linked = re.findall(r"\]\((media/[^)]+)\)", README)
    assert set(linked) == set(files)
    for file in files:
        size = (ROOT / file).stat().st_size
        assert size < (300_000 if file.endswith(".png") else 3_000_000), file


@pytest.mark.parametrize(("file", "command"), [pair for pair in made() if "main.py" in pair[1]])
def test_the_commands_of_pictures_are_accepted(file, command):
    """Parsed, but not run: that takes minutes."""
    _, *arguments = command.split()
    assert arguments[-2:] == ["--out", file]
    name, *others = arguments
    if name in main.commands:
        main.commands[name].make_context(name, others)
    else:
        main.make_context("main.py", arguments)


def test_the_checkpoint_of_the_examples_is_that_of_the_default_run():
    options = main.make_context("main.py", []).params
    for name in ("figures", "out", "resume", "save_every"):
        options.pop(name)
    path = str(checkpoint_path(settle(options)))
    for name in ("sample", "density", "animate", "evaluate"):
        assert f"python main.py {name} {path}" in main.commands[name].help


def test_every_command_has_an_example_in_help_and_here():
    for name, command in main.commands.items():
        assert f"python main.py {name} " in command.help
        assert f"`python main.py {name}" in README
    assert "python main.py --method vp --solver dopri5" in main.help
