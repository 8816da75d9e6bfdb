"""A checkpoint is whole, or is refused with a sentence."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from files.checkpoints import FORMAT, VERSION, CheckpointError, read_checkpoint, write_checkpoint

TREES = {"model": {"layers": [{"weight": mx.arange(6.0).reshape(2, 3)}, {"weight": mx.ones(2)}]}}


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "run.safetensors"
    write_checkpoint(path, TREES, {"note": "σ = 0.1"})
    trees, words = read_checkpoint(path)
    assert words["note"] == "σ = 0.1"
    for (name, leaf), (other, found) in zip(tree_flatten(TREES), tree_flatten(trees), strict=True):
        assert name == other and mx.array_equal(leaf, found)
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]


def test_it_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    write_checkpoint(path, TREES, {})
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(mx, "save_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(path, {"model": mx.zeros(3)}, {})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def _with_words(path, **words):
    mx.save_safetensors(str(path), {"a": mx.ones(3)}, words)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text("weights"), "cannot be read"),
        (_with_words, "not a checkpoint of this program"),
        (lambda path: _with_words(path, format=FORMAT, version="9"), "its format is 9"),
        (lambda path: _with_words(path, format=FORMAT), "its format is unknown"),
        (lambda path: _truncated(path), "by its checksum, it is not as it was written"),
    ],
)
def test_what_is_no_checkpoint(tmp_path, spoil, complaint):
    path = tmp_path / "x.safetensors"
    spoil(path)
    with pytest.raises(CheckpointError, match=complaint):
        read_checkpoint(path)
    assert VERSION.isdigit()


def _truncated(path):
    write_checkpoint(path, TREES, {})
    path.write_bytes(path.read_bytes()[:-10])


def test_garbage_is_told(tmp_path):
    """Bytes of a good file overwritten at random: an error of ours, or a file that still reads."""
    path, rng = tmp_path / "run.safetensors", np.random.default_rng(0)
    write_checkpoint(path, TREES, {"note": "x"})
    good = path.read_bytes()
    for _ in range(40):
        content = bytearray(good)
        for place in rng.integers(0, len(content), size=3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            assert str(path) in str(error)
