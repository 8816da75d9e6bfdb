"""Linux: have freed memory wait for its next use. Elsewhere: nothing.

MLX asks for memory anew for every array, and glibc gives large pieces back to the system as soon as
they are free, so that every page of every array is cleared again when it is first touched, which
can take longer than the arithmetic. Where glibc keeps them, up to `KEPT`, log-densities of 10 000
points by the default network take three quarters of the time.
"""

import ctypes
import sys

KEPT = 2**30  # bytes at the end of the heap that may lie free
LARGE = 2**25  # bytes of a piece that is got from the system and given back by itself; the most
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed():
    """Have glibc keep what is freed; a C library of another kind stays as it is."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(TRIM_THRESHOLD, KEPT)
    mallopt(MMAP_THRESHOLD, LARGE)


if sys.platform == "linux":
    keep_freed()
