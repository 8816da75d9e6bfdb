"""Two real processes that train one network, begun by `mlx.launch`."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shared import PROGRAM

from lab import store
from lab.config import Config
from lab.settling import settle
from machine import ranks

LAUNCH = Path(sys.executable).parent / "mlx.launch"
SMALL = ["--width", "8", "--depth", "1", "--samples", "64"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def launched(*arguments, before=()) -> subprocess.Popen:
    """The main job in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [LAUNCH, "-n", "2", "-p", port, "--backend", "ring", *before]
    return subprocess.Popen(
        [*map(str, command), sys.executable, str(PROGRAM), *SMALL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_one_process_is_alone():
    """It has all rows, and nothing is asked of anyone."""
    rows = mx.zeros((5, 1))
    assert ranks.count() == 1 and ranks.is_first()
    own, share = ranks.own_rows(rows, rows)
    assert share == 1 and own[0] is rows
    assert ranks.summed({"a": rows}, 1.0)["a"] is rows and ranks.from_first(rows) is rows
    assert ranks.any_of_all(True) and not ranks.any_of_all(False)
    assert ranks.number_of_first(7) == 7


class Group:
    """What MLX tells one of several processes."""

    def __init__(self, rank: int, size: int):
        self.rank, self.size = lambda: rank, lambda: size


def test_rows_are_shared_out(monkeypatch):
    """Every row once, whatever the number; what is no batch of rows goes to all."""

    rows, seen, shares = mx.arange(11)[:, None], [], []
    for rank in range(3):
        monkeypatch.setattr(ranks, "_group", lambda rank=rank: Group(rank, 3))
        (own, _), share = ranks.own_rows(rows, rows)
        assert share == len(own) / 11
        seen, shares = seen + own.flatten().tolist(), [*shares, share]
        for others in (rows[:4], mx.arange(11)):
            whole, share = ranks.own_rows(rows, others)
            assert whole[0] is rows and share == 1 / 3
    assert seen == list(range(11)) and sum(shares) == pytest.approx(1)


def test_parts_of_a_mean_add_up_to_it(monkeypatch):
    """Weighted by their rows: the gradient of the mean over a batch that cannot be halved."""
    x, w = mx.random.normal((7, 2), key=mx.random.key(0)), mx.array([0.3, -1.2])
    gradient = mx.grad(lambda w, x: mx.mean(mx.tanh(x @ w)))
    total = 0
    for rank in range(2):
        monkeypatch.setattr(ranks, "_group", lambda rank=rank: Group(rank, 2))
        (own,), share = ranks.own_rows(x)
        total = total + share * gradient(w, own)
    np.testing.assert_allclose(total, gradient(w, x), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [["--method", "cfm"], ["--method", "ot"], ["--method", "meanflow"], ["--regress", "marginal"]],
)
def test_two_processes_learn_the_weights_of_one(program, how):
    """Up to rounding, with batches that cannot be halved; and only one of them speaks and keeps."""
    how = [*how, "--steps", "60", "--batch-size", "65"]
    assert program(*SMALL, *how).exit_code == 0
    (path,) = Path("runs").iterdir()
    alone = mx.load(str(path))
    path.unlink()
    process = launched(*how)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and output.count("checkpoint ") == 1, output + errors
    assert list(Path("runs").iterdir()) == [path]
    together = mx.load(str(path))
    assert together.keys() == alone.keys()
    for name, expected in alone.items():
        np.testing.assert_allclose(together[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_what_only_the_first_has_is_enough(program):
    """A training goes on to the weights it would have had, though the second has no runs/."""
    how = ["--steps", "60", "--batch-size", "65"]
    assert program(*SMALL, *how).exit_code == 0
    (path,) = Path("runs").iterdir()
    alone = mx.load(str(path))
    path.unlink()

    def stop(history):
        if history.steps == 30:
            signal.raise_signal(signal.SIGINT)

    run = settle(Config(width=8, depth=1, steps=60, batch_size=65))
    assert store.learn(run, stop, save_every=30).history.interrupted
    process = launched(*how, before=apart())
    output, errors = process.communicate(timeout=300)
    assert "60 steps, resumed after 30" in output, output + errors
    assert list(Path("runs").iterdir()) == [path] and not Path("elsewhere/runs").exists()
    together = mx.load(str(path))
    for name in alone.keys() - {"losses.step", "losses.loss"}:  # looked at elsewhere, too
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-3, atol=1e-4, err_msg=name)


def apart() -> list[str]:
    """What to begin the processes by so that the second is in a folder of its own."""
    Path("elsewhere").mkdir()
    Path("one.sh").write_text('[ "$MLX_RANK" = 1 ] && cd elsewhere\nexec "$@"\n')
    return ["bash", "one.sh"]


@pytest.mark.slow
def test_a_straightened_flow_learns_from_the_first_process():
    """Only that has the flow to learn from; the pairs are the same for all."""
    process = launched("--method", "reflow", "--steps", "20", "--batch-size", "64")
    output, errors = process.communicate(timeout=300)
    assert "reflow_" in output and output.count("checkpoint ") == 1, output + errors
    assert len(list(Path("runs").iterdir())) == 2


def begun(*options) -> subprocess.Popen:
    """A long training in two processes, as soon as it has kept something."""
    process = launched("--steps", "100000", "--batch-size", "64", "--save-every", "100", *options)
    began = time.monotonic()
    while not list(Path("runs").glob("*_step*")) and time.monotonic() - began < 200:
        time.sleep(0.2)
    return process


def number_of(launcher: int, rank: int) -> int:
    """The process of that rank, a child of the launcher."""
    children = Path(f"/proc/{launcher}/task").glob("*/children")
    for number in " ".join(each.read_text() for each in children).split():
        if f"MLX_RANK={rank}".encode() in Path(f"/proc/{number}/environ").read_bytes().split(b"\0"):
            return int(number)
    raise LookupError(rank)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_one_ends_the_other(rank):
    """With one sentence, and what was kept last; from there the same command goes on."""
    process = begun()
    os.kill(number_of(process.pid, rank), signal.SIGKILL)
    output, errors = process.communicate(timeout=300)
    (kept,) = Path("runs").glob("*.safetensors")
    sentence = f"another process of this training ended, and so all do; {kept} is kept"
    assert errors.count("Error: ") == 1 and sentence in errors
    assert "Traceback" not in output + errors


@pytest.mark.slow
def test_ctrl_c_stops_both_at_the_same_step():
    process = begun()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=300)
    assert len(list(Path("runs").iterdir())) == 1


@pytest.mark.slow
def test_bad_input_is_answered_once():
    """By the first process, whichever finds it out first."""
    output, errors = launched("--steps", "0").communicate(timeout=300)
    assert errors.count("Error: ") == 1 and "'0' is not a whole number" in errors
    assert not output


@pytest.mark.slow
def test_one_that_cannot_begin_says_why():
    """Where another machine lacks a file that the first has, both say what they know."""
    Path("points.csv").write_text("x,y\n" + "".join(f"{n},{n % 7}\n" for n in range(50)))
    process = launched("--target", "points.csv", before=apart())
    _, errors = process.communicate(timeout=300)
    assert "'points.csv' cannot be read: it does not exist" in errors


def test_commands_are_for_one_process(program, monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 2)
    done = program("datasets")
    assert done.exit_code == 2 and "'datasets' is done by one process" in done.output
