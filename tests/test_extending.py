"""What the README says one adds for a method, a solver, a dataset of one's own does it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDITIONS = re.findall(r"In `(\w+\.py)`, after `([^`]+)`:\n\n```py\n(.*?)```", README, re.DOTALL)
COMMAND = re.search(r"Then `python (main.py [^`]+)`", README)[1].split()


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the program with the README's lines in it."""
    root = tmp_path_factory.mktemp("extended")
    for path in ROOT.glob("*.py"):
        shutil.copy(path, root)
    for name, place, lines in ADDITIONS:
        source = (root / name).read_text(encoding="utf-8")
        assert source.count(f"{place}\n") == 1, place
        (root / name).write_text(source.replace(f"{place}\n", f"{place}\n{lines}"), "utf-8")
    return root


def python(root, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_three_are_there(extended):
    assert [name for name, _, _ in ADDITIONS] == ["cfm.py", "solver.py", "datasets.py"]
    quick = ["--steps", "200", "--width", "16", "--samples", "64", "--ode-steps", "10"]
    output = python(extended, *COMMAND, *quick)
    assert "NFE 30" in output and "samples of eight" in output
    assert (extended / "media" / "trajectories_smooth_ssprk3.png").exists()
    assert "eight" in python(extended, "main.py", "datasets")


def test_the_suite_tests_them(extended):
    """The tests of orders, endpoints and velocities find the new entries by themselves."""
    shutil.copytree(ROOT / "tests", extended / "tests")
    shutil.copy(ROOT / "pyproject.toml", extended)
    chosen = [f"tests/test_{name}.py" for name in ("cfm", "exact", "solver", "odeint", "datasets")]
    options = ["-v", "-p", "no:cacheprovider", "-k", "smooth or ssprk3 or eight"]
    output = python(extended, "-m", "pytest", *options, *chosen)
    for name in ("smooth", "ssprk3", "eight"):
        assert len(re.findall(rf"\[{name}\b.*PASSED", output)) >= 2, name
