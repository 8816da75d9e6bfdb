"""MLX's matrix products, with the BLAS found and with none."""

import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from machine import blas

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is loaded")
def test_the_wheel_of_requirements_is_found():
    assert blas.LIBRARY is not None
    assert "openblas" in blas.LIBRARY


def test_products_and_decompositions_are_right():
    a = np.random.default_rng(0).normal(size=(130, 70)).astype(np.float32)
    np.testing.assert_allclose(np.array(mx.array(a) @ mx.array(a).T), a @ a.T, atol=1e-4)
    u, s, vt = mx.linalg.svd(mx.array(a), stream=mx.cpu)
    np.testing.assert_allclose(np.array((u[:, :70] * s) @ vt[:70]), a, atol=1e-4)


def test_without_any_everything_works():
    program = (
        "import ctypes, importlib.metadata\n"
        "def fail(*args, **kwargs): raise OSError('nothing to load')\n"
        "ctypes.CDLL, importlib.metadata.files = fail, lambda name: []\n"
        "from machine import blas; assert blas.LIBRARY is None\n"
        "import mlx.core as mx; print((mx.ones((3, 3)) @ mx.ones((3, 3))).sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "27.0", done.stderr
