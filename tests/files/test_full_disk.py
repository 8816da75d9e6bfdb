"""Whatever is written is written whole or not at all: a full disk leaves what was there before."""

import resource
from contextlib import contextmanager

import mlx.core as mx
import numpy as np
import pytest
from matplotlib.figure import Figure

from cfm import METHODS
from datasets import DATASETS
from figures import film, style
from figures.exact_page import exact_page
from files.checkpoints import write_checkpoint
from files.rows import write_rows
from lab.comparison import Cell
from lab.config import Config
from lab.settling import settle
from lab.tables import markdown, write_csv, write_markdown

ROOM = 100  # bytes that a file may have before the disk is full
NAMES = ["a", "b"]


@contextmanager
def full_disk():
    """No file of this process can grow beyond a few bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def figure(out):
    drawn = Figure(figsize=(2, 2))
    drawn.subplots().plot([0, 1], [0, 1])
    drawn.canvas.draw()  # what is looked up at first use may be written down somewhere
    return lambda: style.save(drawn, out)


def animation(out):
    paths = np.random.default_rng(0).normal(size=(3, 20, 2))
    return lambda: film.animate(out, paths, title="", seconds=0.3, fps=10)


def page(out):
    points = np.zeros((4, 2)) + np.arange(4)[:, None]
    start = {"method": "cfm", "source": "normal", "target": "a", "n": 4, "sigma": None}
    targets = {"a": (points, NAMES)}
    return lambda: exact_page(out, METHODS, [DATASETS["normal"]], targets, title="", **start)


def cells():
    return [Cell(settle(Config()), failure="a failure that is long enough " * 10)]


def rows(out):
    return lambda: write_rows(out, iter(np.ones((2, 50, 2))), 100, NAMES, 9)


KINDS = {
    "figure.png": figure,
    "figure.pdf": figure,
    "figure.svg": figure,
    "film.gif": animation,
    "page.html": page,
    "table.md": lambda out: lambda: write_markdown(out, markdown(cells())),
    "table.csv": lambda out: lambda: write_csv(out, cells()),
    "samples.npy": rows,
    "samples.csv": rows,
    "run.safetensors": lambda out: lambda: write_checkpoint(out, {"a": mx.ones(99)}, {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk_leaves_what_was_there(tmp_path, name):
    out = tmp_path / name
    write = KINDS[name](out)
    with full_disk(), pytest.raises(OSError, match="File too large") as caught:
        write()
    assert caught.value.filename == str(out)
    assert not list(tmp_path.iterdir())
    out.write_text("the old one")
    with full_disk(), pytest.raises(OSError, match="File too large"):
        write()
    assert out.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [out]
    write()
    assert out.stat().st_size > ROOM
    assert list(tmp_path.iterdir()) == [out]
