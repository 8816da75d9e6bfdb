"""Make MLX fast on Linux: import this before `mlx`. Elsewhere it does nothing.

MLX's Linux wheel is linked with the reference BLAS, whose matrix products are some forty times
slower than OpenBLAS's. A library loaded earlier with global symbols takes its place, so an
OpenBLAS is looked for in the `cmeel-openblas` wheel of requirements.txt, then in the system.
`LIBRARY` is the path of the one in use, or None: everything works without, only slowly.

It is held to one thread unless OPENBLAS_NUM_THREADS says otherwise. Networks of this size gain
next to nothing from more, and threads that wait for each other by spinning make training five
times slower as soon as another program wants the processor.
"""

import ctypes
import importlib.metadata
import os
import sys
from pathlib import Path


def load_openblas() -> str | None:
    """Load the first OpenBLAS that will, with global symbols; its path, or None."""
    candidates = [*_files("cmeel-openblas", "libopenblas.so"), "libopenblas.so.0"]
    for prepare in (lambda: None, _offer_gfortran):
        for candidate in candidates:
            try:
                prepare()
                library = ctypes.CDLL(str(candidate), mode=ctypes.RTLD_GLOBAL)
            except OSError:
                continue
            if "OPENBLAS_NUM_THREADS" not in os.environ:
                library.openblas_set_num_threads(1)
            return str(candidate)
    return None


def _offer_gfortran():
    """Load the Fortran runtime that came with MLX under the name OpenBLAS asks for.

    The OpenBLAS wheel needs `libgfortran.so.5`, which few machines have. MLX's wheel carries
    one under a name of its own; a copy in memory with the plain name put back satisfies the
    dynamic linker.
    """
    for runtime in _files("mlx-cpu", "libquadmath*"):
        ctypes.CDLL(str(runtime))
    for runtime in _files("mlx-cpu", "libgfortran*"):
        own_name = runtime.name.encode()
        plain_name = b"libgfortran.so.5".ljust(len(own_name), b"\0")
        with open(os.memfd_create("libgfortran"), "wb", buffering=0) as copy:
            copy.write(runtime.read_bytes().replace(own_name, plain_name))
            ctypes.CDLL(f"/proc/self/fd/{copy.fileno()}", mode=ctypes.RTLD_GLOBAL)


def _files(distribution: str, pattern: str) -> list[Path]:
    """The files of an installed distribution whose names match."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(file.locate()) for file in files if file.match(pattern)]


wanted = sys.platform == "linux" and "mlx.core" not in sys.modules
LIBRARY = load_openblas() if wanted else None
