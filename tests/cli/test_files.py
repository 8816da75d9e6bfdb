"""No command writes over what it reads, nor over what it did not say it would write."""

import os
from pathlib import Path

import numpy as np
import pytest
from shared import QUICK, newest, the_error

LONG = "a" * 250


@pytest.fixture
def points():
    """A user's points, under three names, and notes; they must stay what they are."""
    np.savetxt("points.csv", np.random.default_rng(0).normal(size=(40, 2)), delimiter=",")
    np.save("points.npy", np.loadtxt("points.csv", delimiter=","))
    Path("link.npy").symlink_to("points.npy")
    Path("notes.md").write_text("mine")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    yield
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (["--target", "points.csv", "--out", "points.png"], "'points.csv', which is read"),
        (["--out", "notes.png"], "'notes.md' would be written over a file that is no such table"),
        (
            ["--out", "points.png"],
            "'points.csv' would be written over a file that is no such table",
        ),
    ],
)
def test_tables_of_compare(program, points, out, words):
    compare = ("compare", *QUICK, "--processes", "1", "--method", "cfm", "--solver", "euler")
    sentence = the_error(program(*compare, *out))
    assert words in sentence and "--out" in sentence
    assert not Path("runs").exists()


def test_samples_over_the_points_of_the_flow(program, checkpoint, points):
    path = checkpoint("--target", "points.npy")
    for out in ("points.npy", "link.npy", "../" + Path.cwd().name + "/points.npy"):
        assert "which is read here" in the_error(program("sample", path, "--out", out))
    Path("flow.npy").symlink_to(path)
    kept = path.read_bytes()
    assert "which is read here" in the_error(program("sample", path, "--out", "flow.npy"))
    assert path.read_bytes() == kept


def test_names_that_would_fail_after_training(program):
    """Each is refused before; where no folder is, too."""
    Path("loop.png").symlink_to("loop.png")
    os.mkfifo("pipe.png")
    before = set(Path().iterdir())
    for out in ("loop.png", "pipe.png", f"new/{LONG}.png{'.png' * 10}"):
        assert "cannot be written" in the_error(program(*QUICK, "--out", out))
    name = os.fsdecode(b"b\xff.csv")
    assert "not in UTF-8" in the_error(program(*QUICK, "--target", name))
    assert set(Path().iterdir()) == before


def test_checkpoints_that_could_not_be_kept(run, program):
    run()
    whole = newest()
    whole.unlink()
    whole.mkdir()
    assert whole.name in the_error(program(*QUICK))
