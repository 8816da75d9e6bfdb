"""Whatever the command line: no traceback, no part of a file, no file of a user lost."""

import os
import sys
import warnings
from pathlib import Path

import mlx.core as mx
import pytest
from click.testing import CliRunner
from command_lines import (
    as_a_process,
    check,
    command_lines,
    contents,
    in_this_process,
    make_files,
)
from hypothesis import HealthCheck, given, seed, settings
from shared import QUICK

from datasets import DATASETS
from figures.style import STYLE
from main import main

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes among files")
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder full of files, and everything small; MLX compiles nothing, which would take long."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("fuzz"))
        for name, value in {
            "figures.subject.TARGET_POINTS": 200,
            "lab.following.PART": 50,
            "lab.evaluation.W2_POINTS": 8,
            "lab.evaluation.EXCESS_PAIRS": 8,
            "lab.by_class.EXCESS_PAIRS": 8,
            "lab.by_class.W2_POINTS": 8,
            "lab.by_class.TRUE_POINTS": 20,
            "lab.checks.POINTS": 20,
            "lab.checks.STEPS": 2,
            "cli.datasets.GALLERY_POINTS": 20,
            "figures.kinds.density.CELLS": 10,
            "cli.datasets.DATASETS": {name: DATASETS[name] for name in ("moons", "gaussian4d")},
        }.items():
            patched.setattr(name, value)
        patched.setitem(STYLE, "savefig.dpi", 20)
        mx.disable_compile()
        checkpoints = {}
        for target in ("moons", "points.csv"):
            Path("points.csv").write_text("a,b\n1,2\n3,5\n4,4\n")
            told = ["--conditional"] if target == "moons" else []
            done = CliRunner().invoke(main, [*QUICK, "--target", target, *told, "--out", "a.png"])
            assert done.exit_code == 0, done.output
            (path,) = Path("runs").iterdir()
            name = "flow" if target == "moons" else "points"
            checkpoints[f"{name}.safetensors"] = path.read_bytes()
            path.unlink()
        Path("a.png").unlink()
        make_files(checkpoints)
        Path("runs", "flow.safetensors").write_bytes(checkpoints["flow.safetensors"])
        yield contents()
        mx.enable_compile()


def run(folder: dict[str, bytes], program=in_this_process, more=(), begin=None, **how):
    names = sorted({*folder, "gone.csv", "folder.csv", "loop.npy", "link.npy", *more})

    @seed(begin)
    @settings(**QUIET | how)
    @given(line=command_lines(names))
    def holds(line):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(line, folder, program)

    holds()


@pytest.mark.parametrize("begin", range(10))
def test_some_command_lines(folder, begin):
    run(folder, begin=begin, max_examples=30)


@pytest.mark.slow
def test_many_command_lines(folder):
    run(folder, max_examples=2_000)


@pytest.mark.slow
def test_some_processes(folder):
    """Names of any bytes, too, which click's own runner cannot show."""
    run(folder, as_a_process, more=[os.fsdecode(b"b\xff.csv")], max_examples=30)
