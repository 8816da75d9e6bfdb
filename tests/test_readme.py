"""The README's examples run, and say what is true."""

import doctest
import re
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import odeint
from cfm import METHODS
from couplings import COUPLINGS
from datasets import DATASETS
from solver import SOLVERS

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
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
