"""Streams that are full, closed or know few letters end no work."""

import os
import signal
import subprocess
import sys

import pytest
from shared import PROGRAM, QUICK

from cli.streams import Steady

linux = pytest.mark.skipif(sys.platform != "linux", reason="it has /dev/full")


def test_letters_that_a_stream_has_not(tmp_path):
    with Steady((tmp_path / "a").open("wb"), encoding="cp1252", errors="backslashreplace") as out:
        out.write("W2² → 0")
    assert (tmp_path / "a").read_bytes() == b"W2\xb2 \\u2192 0"


@linux
def test_what_cannot_be_written_is_known_and_no_more():
    with Steady(open("/dev/full", "wb"), encoding="utf-8") as out:
        for _ in range(3):
            assert out.write("lost") == 4
            out.flush()
    assert "No space left" in out.trouble


WORK = """
import sys
sys.path.insert(0, sys.argv[1])
from cli import streams
streams.steady()
print("W2² → 0", flush=True)
print("training 10%", file=sys.stderr, flush=True)
open("kept", "w").write("whole")
streams.leave(0)
"""


@linux
@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("", 0),
        (">/dev/full", 1),
        (">&-", 1),
        ("2>/dev/full", 0),
        ("2>&-", 0),
        (">&- 2>&-", 1),
        ("<&- >&- 2>&-", 1),
        ("| true", 1),
        ("2>&1 >log | true", 0),
    ],
)
def test_work_goes_on(tmp_path, where, code):
    """Whatever becomes of its streams; results that could not be shown are told at the end."""
    (tmp_path / "work.py").write_text(WORK, encoding="utf-8")
    command = f'(sleep 0.1; exec "{sys.executable}" work.py "{PROGRAM.parent}") {where}'
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    assert done.returncode == code, done.stderr
    assert (tmp_path / "kept").read_text() == "whole"
    told = b"Error: the results could not be shown: " in done.stderr
    assert told == (code == 1 and "2>&-" not in where)
    if not where:
        assert done.stdout == b"W2\xb2 \\u2192 0\n"


def shell(folder, line, **environment):
    return subprocess.run(
        ["bash", "-c", f'"{sys.executable}" "{PROGRAM}" {line}'],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


@linux
@pytest.mark.slow
def test_results_that_cannot_be_shown(tmp_path):
    """Everything is done, and then said; in an environment where hardly anything is right."""
    hostile = {"MPLBACKEND": "nonsense", "TMPDIR": "/nowhere"}
    done = shell(tmp_path, f"{' '.join(QUICK)} --out a.png >/dev/full", **hostile)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: the results could not be shown: No sp")
    assert (tmp_path / "a.png").stat().st_size > 1000 and list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_closed_pipes(tmp_path):
    small = "--steps 12000 --batch-size 32 --samples 64 --width 8"
    for pipe, code in (("2>&1 >log | head -1", 0), ("| true", 1), (">&-", 1), (">&- 2>&-", 1)):
        done = shell(tmp_path, f"{small} --retrain {pipe}; exit ${{PIPESTATUS[0]}}")
        assert done.returncode == code, (pipe, done.stdout, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr
        (path,) = (tmp_path / "runs").iterdir()
        assert "_step" not in path.name
        path.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_keeps_what_was_learned(tmp_path, name):
    number = getattr(signal, name)
    command = [sys.executable, str(PROGRAM), "--steps", "20000", "--samples", "64"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("training ")
    process.send_signal(number)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1].startswith(f"Error: stopped by {name}. What was learned is kept")
    (kept,) = (tmp_path / "runs").iterdir()
    assert "_step" in kept.name
