"""Whatever ends training, what was kept is whole, and goes on to the same weights, bit for bit."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from shared import PROGRAM, arrays_of

from training import load_training

pytestmark = pytest.mark.slow
MOMENTS = 100
SMALL = ["--steps", "6000", "--batch-size", "32", "--samples", "32", "--width", "8", "--depth", "1"]
COMMAND = [sys.executable, str(PROGRAM), *SMALL, "--save-every", "50"]


def start(folder: Path, **how) -> subprocess.Popen:
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(COMMAND, cwd=folder, **streams, **how)


def finished(folder: Path) -> dict[str, bytes]:
    """The weights once the same command has gone on to its end."""
    process = start(folder)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    return learned(folder)


def learned(folder: Path) -> dict[str, bytes]:
    (path,) = kept(folder)
    return arrays_of(path.read_bytes())


def kept(folder: Path) -> list[Path]:
    """The checkpoints in the folder; each must be whole, and named after its step."""
    paths = [path for path in (folder / "runs").glob("*") if not path.name.startswith(".")]
    for path in paths:
        step = path.stem.rpartition("_step")[2] if "_step" in path.stem else 6000
        assert load_training(path)[2].step == int(step)
    return paths


def once_trained(folder: Path, process: subprocess.Popen):
    """Wait until something is kept."""
    while not list((folder / "runs").glob("[!.]*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What uninterrupted training comes to, and the seconds that the program takes."""
    began = time.monotonic()
    return finished(tmp_path_factory.mktemp("whole")), time.monotonic() - began


@pytest.fixture
def weights(uninterrupted):
    return uninterrupted[0]


def test_kills_at_any_moment(tmp_path, uninterrupted):
    weights, seconds = uninterrupted
    for wait in np.random.default_rng(0).uniform(0, seconds, size=MOMENTS):
        process = start(tmp_path)
        try:
            errors = process.communicate(timeout=wait)[1]
            assert process.returncode == 0, errors
            assert learned(tmp_path) == weights
            for path in (tmp_path / "runs").iterdir():
                path.unlink()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kept(tmp_path)
    assert finished(tmp_path) == weights


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        (["SIGTERM"], 143),
        (["SIGHUP"], 129),
        (["SIGINT"], 0),
        (["SIGINT", "SIGINT"], 0),
        (["SIGHUP", "SIGTERM"], 129),
    ],
)
def test_signals(tmp_path, weights, signals, code):
    """Two that are 20 ms apart are one."""
    process = start(tmp_path)
    once_trained(tmp_path, process)
    for name in signals:
        process.send_signal(getattr(signal, name))
        time.sleep(0.02)
    errors = process.communicate()[1]
    assert process.returncode == code and "Traceback" not in errors, errors
    (path,) = kept(tmp_path)
    assert "_step" in path.name
    assert finished(tmp_path) == weights


@pytest.mark.skipif(sys.platform != "linux", reason="sizes of files are limited on Linux")
def test_a_full_disk(tmp_path, weights):
    """A limit on the size of files stands for it; what was kept before stays, and is whole."""
    import resource

    process = start(tmp_path)
    once_trained(tmp_path, process)
    process.kill()
    process.communicate()
    before = {path: path.read_bytes() for path in kept(tmp_path)}
    least = min(map(len, before.values()))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (least - 9, least - 9))  # noqa: E731
    process = start(tmp_path, preexec_fn=limit)
    errors = process.communicate()[1]
    assert process.returncode == 1 and "Traceback" not in errors
    assert re.search(r"Error: 'runs/.*safetensors': File too large", errors)
    assert {path: path.read_bytes() for path in kept(tmp_path)} == before
    assert finished(tmp_path) == weights
