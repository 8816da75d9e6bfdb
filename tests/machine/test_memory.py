"""Memory on Linux: what was free a moment ago is used again, without clearing its pages."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FAULTS = """
import resource, {first}
import mlx.core as mx
x = mx.zeros((512, 512))
def touched(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with mx.stream(mx.cpu):
        for _ in range(times):
            mx.eval([x + n for n in range(64)])
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touched(20)
print(touched(20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere nothing is changed")
def test_arrays_do_not_have_their_pages_cleared_again():
    """64 arrays of 1 MB are 16 384 pages; without us most are touched anew every time."""
    ours, plain = (
        int(subprocess.check_output([sys.executable, "-c", FAULTS.format(first=first)], cwd=ROOT))
        for first in ("machine", "sys")
    )
    assert ours < 1_000 < 100_000 < plain, (ours, plain)
