"""What machine this is and what was found on it, for a report."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import mlx.core as mx

from machine import blas, kernels

PACKAGES = ("mlx", "numpy", "scipy", "matplotlib", "click")
EXTENSIONS = ("avx512f", "avx2", "avx", "sve", "asimd", "sse2")  # of a CPU, the widest first
SWITCHES = ("MLX_ENABLE_TF32", "FLOW_MATCHING_NATIVE", "OPENBLAS_NUM_THREADS")


def facts() -> dict[str, str]:
    """Names and values of all that numbers and speed may depend on."""
    device = mx.default_device()
    found = {
        "system": f"{platform.platform()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "device": f"{device.type.name}, {mx.device_info(device).get('device_name', 'unnamed')}",
    }
    if sys.platform == "linux":
        found["instructions"] = next((e for e in EXTENSIONS if e in _flags()), "unknown")
        found["BLAS"] = blas.LIBRARY or "MLX's own, which is slow: none other was found"
        found["kernels"] = str(kernels.FOLDER or "as MLX builds them: no g++ was found, or wanted")
    if settings := [f"{name}={os.environ[name]}" for name in SWITCHES if name in os.environ]:
        found["settings"] = ", ".join(settings)
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _processor() -> str:
    """Its name, where the system tells it."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _flags() -> set[str]:
    lines = [line for line in _cpuinfo() if line.startswith(("flags", "Features"))]
    return set(lines[0].partition(":")[2].split()) if lines else set()


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
