import machine  # noqa: F401  before MLX, as every entry point does

import signal
from pathlib import Path

import mlx.core as mx
import pytest
from click.testing import CliRunner
from shared import QUICK, newest

from machine.interrupts import SIGNALS

# a shell has what it begins in the background ignore Ctrl-C, which many tests press, and nohup a
# terminal that is closed
for number in SIGNALS:
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cpu():
    """Compute on the CPU, the one device with float64."""
    with mx.stream(mx.cpu):
        yield


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The program in an empty folder: its arguments, as of the shell, give click's result."""
    from figures.style import STYLE
    from main import main

    monkeypatch.setitem(STYLE, "savefig.dpi", 50)  # few dots are drawn twice as fast
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def run(program):
    """The main job, small; it must succeed unless `fails` gives its exit code."""

    def run(*arguments, fails: int = 0):
        result = program(*QUICK, *arguments)
        assert result.exit_code == fails, result.output
        return result

    return run


@pytest.fixture
def checkpoint(run):
    """Train a small run with these options, and say where it is kept."""

    def checkpoint(*arguments) -> Path:
        run(*arguments)
        return newest()

    return checkpoint
