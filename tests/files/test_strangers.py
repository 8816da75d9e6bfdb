"""Files that strangers bring: each is answered with a sentence, at once, in little memory, and
nothing in it is executed.
"""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shared import spoiled

from files.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from files.tables import read_table
from training import load_training, save_checkpoint
from models import MLP

ROOT = Path(__file__).parents[2]
TABLE = np.random.default_rng(0).normal(size=(20, 2))
# reads files in a process of its own; prints what was said of each, and its memory in MB
READER = """
import json, resource, signal, sys
from files.tables import read_table
from training import load_training
signal.alarm(30)
unit = 2**20 if sys.platform == "darwin" else 2**10
before, said = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
for path in sys.argv[1:]:
    try:
        (load_training if path.endswith(".safetensors") else read_table)(path)
    except ValueError as error:
        said.append(str(error))
print(json.dumps([said, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit]))
"""


def npy(shape, rows=TABLE) -> bytes:
    """A .npy file of this table that claims to have another shape."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + rows.tobytes()


def npz(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as parts:
        parts.writestr(name, content)
    return file.getvalue()


def bomb(megabytes: int) -> bytes:
    """The head and the directory of a .npz file that unpacks to so much."""
    content = bytearray(npz("a.npy", bytes(10**5)))
    size = content.index(b"PK\1\2") + 24  # where its one entry has it
    content[size : size + 4] = (megabytes * 10**6).to_bytes(4, "little")
    return bytes(content)


def small_checkpoint(path):
    """A checkpoint of a few numbers."""
    save_checkpoint(path, MLP(width=2, depth=1, waves_of_t=0, waves_of_x=0), {"trained_steps": 3})
    return path


def declaring(path, **about):
    """A checkpoint whose checksum is right, and whose first array is declared to be another."""
    content = small_checkpoint(path).read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    first = next(name for name in header if name != "__metadata__")
    header[first] |= about
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(signed(len(text).to_bytes(8, "little") + text + content[8 + size :]))


def signed(content: bytes) -> bytes:
    from hashlib import sha256

    before, mark, after = content.partition(b'"sha256":"')
    digest = sha256(before + mark + b"0" * 64 + after[64:]).hexdigest()
    return before + mark + digest.encode() + after[64:]


def test_refusals_are_quick_and_take_little_memory(tmp_path):
    """Pipes, devices, bombs, files of terabytes, and what only claims to be large."""
    said = {}

    def add(name, sentence, content=None, length=None):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        if length:
            with path.open("ab") as file:
                file.truncate(length)  # a file with a hole takes no room
        said[path] = sentence

    for suffix in ("csv", "npy", "npz", "safetensors"):
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        add(f"pipe.{suffix}", "a device or a pipe")
        (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
        add(f"zero.{suffix}", "a device or a pipe")
        (tmp_path / f"loop.{suffix}").symlink_to(f"loop.{suffix}")
        add(f"loop.{suffix}", "cannot be read")
    for suffix in ("csv", "npy", "npz"):
        most = 50 if suffix == "csv" else 500
        add(f"long.{suffix}", f"more than the {most} MB", b"1,2\n", length=10**12)
    add("long.safetensors", "no safetensors file", b"", length=10**12)
    add("header.safetensors", "no safetensors", (10**11).to_bytes(8, "little") + b"{", 10**12)
    deep = b'{"a":' + b"[" * 10**6
    add("deep.safetensors", "no safetensors", len(deep).to_bytes(8, "little") + deep)
    add("bomb.npz", "1,600 MB, more than the 500 MB", bomb(1600))
    add("shape.npy", "not a file of numbers", npy((10**12, 2)))
    add("shape.npz", "not a file of numbers", npz("a.npy", npy((10**12, 2))))
    add("wide.npy", "must hold a table", npy((0, 10**12)))
    add("rows.npy", "not a file of numbers", npy((10**9, 2)))
    for name, about in (
        ("a", {"shape": [10**12]}),
        ("b", {"shape": [10**9, 10**9, 10**9]}),
        ("c", {"shape": [10**9], "data_offsets": [0, 4 * 10**9]}),
        ("d", {"shape": [-1], "data_offsets": [8, 4]}),
    ):
        declaring(tmp_path / f"{name}.safetensors", **about)
        add(f"{name}.safetensors", "no safetensors file, or not a whole one")
    for name, shape in (
        ("depth", {"depth": 10**7}),
        ("width", {"width": 10**12}),
        ("waves", {"waves_of_x": 10**9}),
        ("kind", {"depth": "many"}),
        ("kind2", {"depth": 1.0}),
    ):
        path = small_checkpoint(tmp_path / f"{name}.safetensors")
        spoiled(path, lambda arrays, words, shape=shape: _shaped(words, shape))
        add(path.name, "is damaged")
    spoiled(
        small_checkpoint(tmp_path / "layer.safetensors"),
        lambda arrays, words: words.update(config='{"a":' * 10**5),
    )
    add("layer.safetensors", "is damaged")
    path = small_checkpoint(tmp_path / "list.safetensors")
    content = path.read_bytes().replace(b"layers.1.weight", b"layers.9999999999.weight")
    grown = int.from_bytes(content[:8], "little") + 9
    path.write_bytes(signed(grown.to_bytes(8, "little") + content[8:]))
    add(path.name, "no safetensors file")
    reader = [sys.executable, "-c", READER, *map(str, said)]
    done = subprocess.run(reader, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, megabytes = json.loads(done.stdout)
    for (path, sentence), answer in zip(said.items(), found, strict=True):
        assert sentence in answer and str(path) in answer
        assert len(answer) < len(str(path)) + 200 and "\n" not in answer
    assert megabytes < 100


def _shaped(words, shape):
    network = json.loads(words["network"])
    network["shape"] |= shape
    words["network"] = json.dumps(network)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_every_bit_of_a_checkpoint_counts(tmp_path, every):
    """Whichever one is flipped, and wherever the file is cut or grown."""
    path = tmp_path / "run.safetensors"
    write_checkpoint(path, {"a": mx.array([1.0, 2.0])}, {"note": "x"})
    good = path.read_bytes()
    read_checkpoint(path)
    flipped = (
        good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :]
        for place in range(len(good))
        for bit in range(place % every, 8, every)
    )
    cut = (good[:length] for length in range(0, len(good), every))
    for content in (*flipped, *cut, good + b"\0", good + good):
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)


@pytest.mark.slow
def test_every_bit_of_a_run_counts(tmp_path):
    path = small_checkpoint(tmp_path / "run.safetensors")
    good, rng = path.read_bytes(), np.random.default_rng(0)
    load_training(path)
    for _ in range(20_000):
        content = bytearray(good)
        for place in rng.integers(0, len(good), size=rng.integers(1, 4)):
            content[place] ^= rng.integers(1, 256)
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_training(path)


TABLES = {
    ".npy": npy(TABLE.shape),
    ".npz": npz("a.npy", npy(TABLE.shape)),
    ".csv": "\n".join(["mass,length", *(f"{a:.3f},{b:.3f}" for a, b in TABLE)]).encode(),
}


def _changed(path: Path, times: int):
    """Read a table of which some bytes are others, or missing: an answer, or other numbers."""
    good, rng = TABLES[path.suffix], np.random.default_rng(1)
    for _ in range(times):
        content = bytearray(good)
        for place in rng.integers(0, len(good), size=rng.integers(1, 4)):
            content[place] ^= rng.integers(1, 256)
        path.write_bytes(content[: rng.integers(len(good))] if rng.random() < 0.2 else content)
        try:
            points, names = read_table(path)
            assert points.shape[1] == len(names) and np.isfinite(points).all()
        except ValueError as error:
            sentence = str(error)
            assert str(path) in sentence and "\n" not in sentence
            assert len(sentence) < len(str(path)) + 250


@pytest.mark.parametrize("suffix", TABLES)
def test_changed_tables(tmp_path, suffix):
    _changed(tmp_path / f"a{suffix}", 150)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", TABLES)
def test_many_changed_tables(tmp_path, suffix):
    _changed(tmp_path / f"a{suffix}", 20_000)


class Trap:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_no_pickle_is_executed(tmp_path):
    pickled = pickle.dumps(Trap())
    objects = io.BytesIO()
    np.save(objects, np.array([Trap(), Trap()], dtype=object), allow_pickle=True)
    for name, content in (
        ("a.csv", pickled),
        ("a.npy", pickled),
        ("a.npz", pickled),
        ("b.npy", objects.getvalue()),
        ("b.npz", npz("a.npy", objects.getvalue())),
        ("c.npz", npz("a.pkl", pickled)),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=r"a file of numbers|a text file|no number|hold"):
            read_table(tmp_path / name)
    path = tmp_path / "a.safetensors"
    for content in (pickled, objects.getvalue()):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="no safetensors file"):
            load_training(path)
    spoiled(small_checkpoint(path), lambda arrays, words: words.update(config=pickled.hex()))
    with pytest.raises(CheckpointError, match="damaged"):
        load_training(path)
