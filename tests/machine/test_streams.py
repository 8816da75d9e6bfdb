import mlx.core as mx
import numpy as np
import pytest

from machine import streams as parallel
from models import MLP


@pytest.fixture
def two_parts(monkeypatch):
    streams = [mx.cpu, mx.new_thread_local_stream(mx.cpu)]
    monkeypatch.setattr(parallel, "_streams", lambda: streams)


@pytest.mark.parametrize("t", [0.3, mx.array(0.3), "rows", "column"])
def test_parts_are_the_whole(two_parts, monkeypatch, t):
    rows = 2 * parallel.ROWS + 101
    x = mx.random.normal((rows, 2))
    if isinstance(t, str):
        t = mx.random.uniform(shape=(rows,) if t == "rows" else (rows, 1))
    model = MLP()
    in_parts = np.array(model(t, x))
    monkeypatch.setattr(parallel, "ROWS", rows)
    np.testing.assert_allclose(in_parts, np.array(model(t, x)), atol=1e-5)


def test_parts_of_several_results(two_parts, monkeypatch):
    rows = 2 * parallel.ROWS + 1
    x, directions = mx.random.normal((rows, 2)), mx.random.normal((rows, 3, 2))
    model = MLP()
    in_parts = model.with_jvp(0.3, x, directions)
    monkeypatch.setattr(parallel, "ROWS", rows)
    for part, whole in zip(in_parts, model.with_jvp(0.3, x, directions), strict=True):
        np.testing.assert_allclose(np.array(part), np.array(whole), atol=1e-5)


def test_parts_share_one_gradient(two_parts, monkeypatch):
    x = mx.random.normal((2 * parallel.ROWS, 2))
    model = MLP()

    def gradient():
        return np.array(mx.grad(lambda x: mx.sum(model(0.5, x) ** 2))(x))

    in_parts = gradient()
    monkeypatch.setattr(parallel, "ROWS", len(x))
    np.testing.assert_allclose(in_parts, gradient(), rtol=1e-4, atol=1e-5)


def test_each_part_has_a_stream_of_its_own(two_parts):
    seen = []

    class Recorder:
        @parallel.rowwise
        def __call__(self, t, x):
            seen.append((mx.default_stream(mx.cpu), len(x)))
            return x

    x = mx.arange(2.0 * (2 * parallel.ROWS + 1)).reshape(-1, 2)
    np.testing.assert_array_equal(np.array(Recorder()(0.0, x)), np.array(x))
    (first, rows), (second, others) = seen
    assert first != second and rows + others == len(x)
    seen.clear()
    Recorder()(0.0, x[:10])
    assert [rows for _, rows in seen] == [10]


def test_a_part_is_not_cut_again(two_parts):
    """Not even where it has rows enough for it; but the next whole is."""
    lengths = []

    def inner(x):
        lengths.append(len(x))
        return x

    def outer(x):
        return mx.concatenate(parallel.in_parts(inner, 10, x))

    x = mx.arange(100.0)
    for _ in range(2):
        found = mx.concatenate(parallel.in_parts(outer, 10, x))
        np.testing.assert_array_equal(np.array(found), np.array(x))
    parallel.in_parts(inner, 10, x)
    assert lengths == [51, 49] * 3


def test_no_two_parts_are_equally_long(monkeypatch):
    """Nor is one empty, even of as few things as there are cores."""
    streams = [mx.cpu, *(mx.new_thread_local_stream(mx.cpu) for _ in range(7))]
    for cores in range(2, 9):
        monkeypatch.setattr(parallel, "_streams", lambda cores=cores: streams[:cores])
        for count in (cores * 17, cores * 17 + 5, 999):
            lengths = parallel.in_parts(len, 17, mx.arange(count))
            assert sum(lengths) == count and len(set(lengths)) == len(lengths) and min(lengths) > 0
        assert parallel.in_parts(len, 1, mx.arange(cores)) == [1] * cores
