"""Jobs in processes: all done, stopped together, and no process left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from machine import processes
from machine.interrupts import deferred_interrupt
from machine.processes import ProcessError, at_once

linux = pytest.mark.skipif(sys.platform != "linux", reason="cores are held on Linux only")
DEADLINE = 30  # seconds, for what happens soon or never

if multiprocessing.parent_process():  # a thread that is there before any job, like those of MLX
    threading.Thread(target=time.sleep, args=(DEADLINE,), daemon=True).start()


def wait_until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def squared(job, tell):
    """Its number squared; the first waits for the second, and so both are at work at once."""
    folder, number = job
    os.system("echo unseen >&2; echo unseen")
    tell(-number)
    Path(folder, str(number)).touch()
    wait_until(Path(folder, "2").exists)
    return number**2, os.getpid()


def until_interrupted(folder, tell):
    """Keep what was done until Ctrl-C, as training does; or end, as the folder's name says."""
    if folder == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if folder == "full":
        raise OSError(28, "No space left on device")
    Path(folder, f"{os.getpid()}.begun").touch()
    with deferred_interrupt() as pressed:
        while not pressed:
            tell("more")
            time.sleep(0.01)
    Path(folder, f"{os.getpid()}.kept").touch()


def stubborn(folder, tell):
    """Go on after Ctrl-C."""
    with deferred_interrupt():
        while True:
            tell(os.getpid())
            time.sleep(0.01)


def affinities(job, tell):
    """The cores that every thread may use: while two jobs are at work, and when one is done."""

    def now():
        threads = [int(path.name) for path in Path("/proc/self/task").iterdir()]
        return [os.sched_getaffinity(thread) for thread in threads]

    (folder, is_last), first = job, now()
    tell("begun")
    Path(folder, f"{os.getpid()}.begun").touch()
    wait_until(lambda: now() != first if is_last else len(found(folder, "begun")) == 2)
    return first, now()


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # where nobody has asked for its end yet, it is a zombie
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def found(folder: Path, suffix: str) -> set[int]:
    return {int(path.stem) for path in folder.glob(f"*.{suffix}")}


def test_all_jobs_are_done_by_as_many_processes_as_asked_for(tmp_path, capfd):
    heard, jobs = [], [(tmp_path, number) for number in (1, 2, 3, 4, 5)]
    results = at_once(squared, jobs, 2, lambda *news: heard.append(news))
    assert [result for result, _ in results] == [1, 4, 9, 16, 25]
    assert heard == [(0, -1), (1, -2), (2, -3), (3, -4), (4, -5)]
    workers = {process for _, process in results}
    assert len(workers) == 2 and os.getpid() not in workers
    assert not any(map(is_alive, workers))
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_lets_all_finish(tmp_path):
    def hear(number, what):
        if len(found(tmp_path, "begun")) == 2 and not pressed:
            pressed.append(number)
            os.kill(os.getpid(), signal.SIGINT)

    pressed = []
    with pytest.raises(KeyboardInterrupt):
        at_once(until_interrupted, [tmp_path] * 3, 2, hear)
    workers = found(tmp_path, "begun")
    assert found(tmp_path, "kept") == workers and len(workers) == 2
    assert not any(map(is_alive, workers))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_twice_ends_all(tmp_path):
    workers = set()

    def hear(number, process):
        workers.add(process)
        if len(workers) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        at_once(stubborn, [tmp_path] * 2, 2, hear)
    assert not any(map(is_alive, workers))


@pytest.mark.parametrize(
    ("way", "words"), [("killed", "by SIGKILL"), ("full", "OSError.*No space left")]
)
def test_the_end_of_one_stops_the_others(tmp_path, way, words):
    with pytest.raises(ProcessError, match=words):
        at_once(until_interrupted, [tmp_path, way, tmp_path], 2, lambda *news: None)
    workers = found(tmp_path, "begun")
    assert found(tmp_path, "kept") == workers and len(workers) == 1
    assert not any(map(is_alive, workers))


@pytest.mark.parametrize("how", ["Ctrl-C at a terminal", "kill -9"])
def test_none_outlives_its_parent(tmp_path, how):
    """At a terminal, Ctrl-C goes to a whole group of processes; each is to get it once."""
    code = (
        "import sys, machine.processes, test_processes as t\n"
        "machine.processes.at_once(t.until_interrupted, sys.argv[1:] * 2, 2, lambda *news: None)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: len(found(tmp_path, "begun")) == 2)
    if how == "kill -9":
        parent.kill()
    else:
        os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(DEADLINE) == (-signal.SIGKILL if how == "kill -9" else -signal.SIGINT)
    workers = found(tmp_path, "begun")
    wait_until(lambda: not any(map(is_alive, workers)))
    assert found(tmp_path, "kept") == workers


@linux
def test_each_has_its_core_until_another_is_free(tmp_path, monkeypatch):
    ours = processes.cores()[:2]
    if len(ours) < 2:
        pytest.skip("there is one core only")
    monkeypatch.setattr(processes, "cores", lambda: ours)
    jobs = [(tmp_path, False), (tmp_path, True)]
    (first, _), (second, last) = at_once(affinities, jobs, 2, lambda *news: None)
    assert len(first) > 1 and len(second) > 1  # threads
    assert [*first, *second] in [
        [{one}] * len(first) + [{other}] * len(second) for one, other in (ours, ours[::-1])
    ]
    assert last == [set(ours)] * len(last)
