"""MLX's matrix products, with the BLAS found and with none."""

import ctypes
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from machine import blas

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is loaded")
def test_what_the_linker_finds_is_the_library_of_scipy():
    assert "scipy_openblas" in blas.LIBRARY
    library = ctypes.CDLL(blas.LIBRARY)
    for name in blas.PRODUCTS:
        found, meant = ctypes.CDLL(None)[name], library[blas.PREFIX + name]
        assert (
            ctypes.cast(found, ctypes.c_void_p).value == ctypes.cast(meant, ctypes.c_void_p).value
        )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is loaded")
def test_it_chooses_its_instructions_by_the_processor():
    """One that was built for the newest processors alone ends the program on all others."""
    library = ctypes.CDLL(blas.LIBRARY)
    config = library[f"{blas.PREFIX}openblas_get_config"]
    config.restype = ctypes.c_char_p
    assert b"DYNAMIC_ARCH" in config()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.complex64])
def test_products_of_every_kind(kind):
    draw = np.random.default_rng(0)
    a = draw.normal(size=(130, 70)).astype(kind)
    if kind == np.complex64:
        a = a + 1j * a[::-1]
    ours = mx.array(a, getattr(mx, np.dtype(kind).name))
    found = mx.matmul(ours, ours.T, stream=mx.cpu)
    atol = 1e-12 if kind == np.float64 else 1e-4
    np.testing.assert_allclose(np.array(found), a @ a.T, atol=atol)


def test_decompositions_are_right():
    a = np.random.default_rng(0).normal(size=(130, 70)).astype(np.float32)
    u, s, vt = mx.linalg.svd(mx.array(a), stream=mx.cpu)
    np.testing.assert_allclose(np.array((u[:, :70] * s) @ vt[:70]), a, atol=1e-4)


def test_without_any_everything_works():
    program = (
        "import ctypes\n"
        "def fail(*args, **kwargs): raise OSError('nothing to load')\n"
        "ctypes.CDLL = fail\n"
        "from machine import blas; assert blas.LIBRARY is None\n"
        "import mlx.core as mx; print((mx.ones((3, 3)) @ mx.ones((3, 3))).sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "27.0", done.stderr
