"""The machine: a fast BLAS, native kernels, memory, all of a CPU's cores, random keys, Ctrl-C.

Nothing here knows what is computed. To be fast on Linux, MLX must be loaded after this package;
whatever imports MLX in this project imports this first.
"""

import sys
import warnings

if sys.platform == "linux" and "mlx.core" in sys.modules:
    warnings.warn(
        "MLX was imported before this project could make it fast on Linux; import one of the "
        "project's modules, or `machine`, before mlx",
        stacklevel=2,
    )

from machine import blas, kernels, memory  # noqa: F401
