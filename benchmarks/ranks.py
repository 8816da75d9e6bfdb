"""When several processes pay: steps a second over the batch, beside those of one process.

    python benchmarks/ranks.py [--processes 2] [--hosts 10.0.0.1,10.0.0.2] [--repeats 3]

Our default network, 8gaussians → moons, by `mlx.launch` and MLX's ring. Without --hosts all
processes are on this machine, which shows what it costs to add up; with them, what other machines
bring. One process and several take turns, and the fastest of the repeats counts: what slows a run
down besides is the machine's other work.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
LAUNCH = str(Path(sys.executable).parent / "mlx.launch")
BATCHES = (512, 2_048, 8_192, 32_768)
PAIRS = 2**20  # in a training of large batches; of small ones `MOST` steps are enough
LEAST, MOST = 30, 500  # steps


def rate(batch: int, launch: list[str]) -> float:
    """Steps a second without the first, which compiles, as the main job prints them."""
    steps = min(MOST, max(LEAST, PAIRS // batch))
    run = [sys.executable, str(ROOT / "main.py"), "--steps", str(steps), "--samples", "64"]
    with tempfile.TemporaryDirectory() as folder:
        how = {"cwd": folder, "capture_output": True, "text": True}
        done = subprocess.run([*launch, *run, "--batch-size", str(batch)], **how)
    found = re.search(r"([\d,]+) steps/s", done.stdout)
    if not found:
        raise SystemExit(f"no training in:\n{done.stdout}{done.stderr}")
    return float(found[1].replace(",", ""))


@click.command()
@click.option("--processes", default=2, show_default=True, help="On this machine.")
@click.option("--hosts", help="Machines, as mlx.launch has them; this one if not given.")
@click.option("--repeats", default=3, show_default=True, help="Trainings, of which one counts.")
def main(processes: int, hosts: str | None, repeats: int):
    """Print the table, a line as soon as it is known."""
    where = ["--hosts", hosts] if hosts else ["-n", str(processes)]
    several = hosts.count(",") + 1 if hosts else processes
    launch = [LAUNCH, "--backend", "ring", *where]
    print(f"| batch | one process, steps/s | {several} processes, steps/s | gain |")
    print("|---|---|---|---|", flush=True)
    for batch in BATCHES:
        one, together = (max(r) for r in zip(*turns(batch, launch, repeats), strict=True))
        print(f"| {batch:,} | {one:.3g} | {together:.3g} | {together / one:.2f} × |", flush=True)


def turns(batch: int, launch: list[str], repeats: int):
    """(rate of one process, rate of several), several times."""
    for _ in range(repeats):
        yield rate(batch, []), rate(batch, launch)


if __name__ == "__main__":
    main()
