"""Whoever does what docs/extending.md says has a method, a solver, … of their own, tested too."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from shared import QUICK

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BESIDE = re.compile(r"In `([\w/.]+)`, (before|after) `([^`\n]+)`:\n\n```py\n(.*?)```", re.DOTALL)
NEW = re.compile(r"In a new file `([\w/.]+)`:\n\n```py\n(.*?)```", re.DOTALL)
COMMANDS = re.findall(r"`python (main\.py --[^`]+)`", PAGE)
NAMES = ("smooth", "ssprk3", "milstein", "eight", "softsign", "ranked", "speed")


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project in which all of it was done."""
    root = tmp_path_factory.mktemp("extended") / "project"
    left = shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, root, ignore=left)
    for name, side, place, lines in BESIDE.findall(PAGE):
        text = (root / name).read_text(encoding="utf-8")
        assert text.count(f"{place}\n") == 1, place
        new = f"{lines}{place}\n" if side == "before" else f"{place}\n{lines}"
        (root / name).write_text(text.replace(f"{place}\n", new), encoding="utf-8")
    for name, lines in NEW.findall(PAGE):
        assert not (root / name).exists()
        (root / name).write_text(lines, encoding="utf-8")
    python(root, "docs/tables.py")
    return root


def python(root, *arguments):
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    how = {"cwd": root, "capture_output": True, "text": True, "env": environment}
    done = subprocess.run([sys.executable, *arguments], **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_is_one_entry_in_one_file():
    changed = [name for name, *_ in BESIDE.findall(PAGE)] + [name for name, _ in NEW.findall(PAGE)]
    one_each = [
        "solver.py",
        "datasets.py",
        "learning/layers.py",
        "couplings.py",
        "figures/kinds/speed.py",
    ]
    assert sorted(set(changed)) == sorted(["cfm.py", "sde.py", *one_each])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_has_them(extended, command):
    program, *options = shlex.split(command)
    quick = [*QUICK, "--ode-steps", "10"]
    assert "figure      media/" in python(extended, program, *quick, *options)


def test_the_manual_has_them(extended):
    pages = [path.read_text(encoding="utf-8") for path in (extended / "docs").glob("*.md")]
    for name in NAMES[:-1]:
        assert any(f"| `{name}` |" in page for page in pages), name


def test_the_suite_tests_them(extended):
    """By itself: every new name is in tests that pass, and none of them fails."""
    names = ("cfm", "exact", "solver", "odeint", "sde", "datasets", "models", "couplings")
    chosen = [f"tests/test_{name}.py" for name in names] + ["tests/figures/test_figures.py"]
    how = ["-v", "-p", "no:cacheprovider", "-k", " or ".join(NAMES)]
    output = python(extended, "-m", "pytest", *how, *chosen)
    for name in NAMES:
        assert re.search(rf"\[(?:[^\]]*-)?{name}\b.*PASSED", output), name


@pytest.mark.slow
def test_the_whole_suite_passes_with_them(extended):
    """All but the tests that would do this again."""
    python(extended, "-m", "pytest", "-q", "--ignore", "tests/test_extending.py")
