"""When several processes pay: steps a second over the batch, for one process and for two.

    python benchmarks/ranks.py [--hosts 10.0.0.1,10.0.0.2]

Our default network, 8gaussians → moons, 200 steps. Without --hosts both processes are on this
machine, which shows what the adding up costs; with them, what another machine brings.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BATCHES = (512, 2_048, 8_192, 32_768)
LAUNCH = str(Path(sys.executable).parent / "mlx.launch")


def rate(batch: int, launch: list[str]) -> float:
    """Steps a second, as the main job prints them."""
    run = [sys.executable, str(ROOT / "main.py"), "--steps", "200", "--batch-size", str(batch)]
    with tempfile.TemporaryDirectory() as folder:
        how = {"cwd": folder, "capture_output": True, "text": True, "check": True}
        done = subprocess.run([*launch, *run, "--samples", "64"], **how)
    return float(re.search(r"([\d,]+) steps/s", done.stdout)[1].replace(",", ""))


def main(hosts: list[str]):
    launch = [LAUNCH, "--backend", "ring", *(hosts or ["-n", "2"])]
    print("| batch | one process, steps/s | two | two over one |\n|---|---|---|---|")
    for batch in BATCHES:
        one, two = rate(batch, []), rate(batch, launch)
        print(f"| {batch:,} | {one:.0f} | {two:.0f} | {two / one:.2f} × |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
