import machine.blas  # noqa: F401  before MLX, as every entry point does

import mlx.core as mx
import pytest


@pytest.fixture
def cpu():
    """Compute on the CPU, the one device with float64."""
    with mx.stream(mx.cpu):
        yield
