"""Make MLX fast on Linux: import this before `mlx`. Elsewhere it does nothing.

MLX's Linux wheel is linked with the reference BLAS, whose matrix products are some forty times
slower than OpenBLAS's. SciPy's wheel brings an OpenBLAS that chooses its instructions by the
processor it finds, under names of its own: `scipy_cblas_sgemm` for `cblas_sgemm`. What the dynamic
linker knows globally before MLX is loaded takes the place of MLX's own, so it is given the plain
names, as a library in memory that holds nothing else. Where SciPy came otherwise, the system's
OpenBLAS serves. `LIBRARY` is the path of the one in use, or None: everything works without, only
slowly.

It is held to one thread unless OPENBLAS_NUM_THREADS says otherwise. Networks of this size gain
next to nothing from more, and threads that wait for each other by spinning make training five
times slower as soon as another program wants the processor.
"""

import ctypes
import importlib.util
import os
import struct
import sys
from pathlib import Path

PRODUCTS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")  # what MLX multiplies matrices by
PREFIX = "scipy_"


def load_openblas() -> str | None:
    """Load the first OpenBLAS there is where MLX will find it; its path, or None."""
    for path, prefix in [*((path, PREFIX) for path in _of_scipy()), ("libopenblas.so.0", "")]:
        try:
            library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            if prefix:
                _offer(library, path, prefix)
            if "OPENBLAS_NUM_THREADS" not in os.environ:
                library[f"{prefix}openblas_set_num_threads"](1)
        except (OSError, AttributeError):  # not to be loaded, or without a function
            continue
        return path
    return None


def _of_scipy() -> list[str]:
    """The OpenBLAS in SciPy's wheel, whose libraries lie beside the package."""
    spec = importlib.util.find_spec("scipy")
    folder = Path(spec.origin).parents[1] / "scipy.libs" if spec and spec.origin else None
    return [str(path) for path in sorted(folder.glob("libscipy_openblas*"))] if folder else []


def _offer(library: ctypes.CDLL, path: str, prefix: str):
    """Give the linker the plain names of the library's products."""
    places = {name: ctypes.cast(library[prefix + name], ctypes.c_void_p).value for name in PRODUCTS}
    with open(path, "rb") as file, open(os.memfd_create("blas"), "wb") as memory:
        memory.write(_names_alone(places, file.read(20)))
        memory.flush()
        ctypes.CDLL(f"/proc/self/fd/{memory.fileno()}", mode=ctypes.RTLD_GLOBAL)


def _names_alone(places: dict[str, int], like: bytes) -> bytes:
    """An ELF library of nothing but functions at absolute addresses, for the machine of another.

    Its parts (System V ABI, chapters 4 and 5): a header of 64 bytes, three segments of 56, the
    symbols of 24, a hash table of one chain, the names, and where the linker finds all these.

    Args:
        places: name → address in this process.
        like: the first 20 bytes of a library that runs here, which name the machine.
    """
    names, symbols = b"\0", [bytes(24)]
    for name, place in places.items():
        symbols.append(struct.pack("=IBBHQQ", len(names), 0x12, 0, 0xFFF1, place, 0))
        names += name.encode() + b"\0"
    count = len(symbols)
    chain = [1, count, 1, 0, *range(2, count), 0]
    parts = [b"".join(symbols), struct.pack(f"={len(chain)}I", *chain), names]
    at = [64 + 3 * 56]
    for part in parts:
        at.append(-(-(at[-1] + len(part)) // 16) * 16)
    # DT_SYMTAB, DT_HASH, DT_STRTAB, DT_STRSZ, DT_SYMENT, DT_NULL
    found = struct.pack("=12Q", 6, at[0], 4, at[1], 5, at[2], 10, len(names), 11, 24, 0, 0)
    end = at[3] + len(found)
    segments = [  # PT_LOAD, PT_DYNAMIC and PT_GNU_STACK, all to be read and written, none to be run
        struct.pack("=IIQQQQQQ", 1, 6, 0, 0, 0, end, end, 0x10000),
        struct.pack("=IIQQQQQQ", 2, 6, at[3], at[3], at[3], len(found), len(found), 8),
        struct.pack("=IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16),
    ]
    header = like[:7].ljust(16, b"\0") + struct.pack("=H", 3) + like[18:20]
    header += struct.pack("=IQQQIHHHHHH", 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    body = header + b"".join(segments)
    for part, place in zip([*parts, found], at, strict=True):
        body = body.ljust(place, b"\0") + part
    return body


wanted = sys.platform == "linux" and "mlx.core" not in sys.modules
LIBRARY = load_openblas() if wanted else None
