"""What kernels compiled for this processor gain, side by side with MLX's own.

    python benchmarks/native_kernels.py [--rounds 5]

Training steps of a network of 3×64 (`vp`, 8gaussians to moons, 256 pairs a step, Adam), a solve of
10 000 points by dopri5 at 1e-5, log-densities of 2 000, and what a training on a machine without
any kernels takes more than the next one. Every side is a process of its own; the sides take turns,
and medians are printed.
"""

import json
import os
import sys
import tempfile
import time

from peers import in_turns, timed

SIDES = {"MLX's kernels": ("ours", "0"), "native kernels": ("ours", "1")}
STEPS = 3_000


def ours(native: str):
    """Time one side; print its report as JSON."""
    os.environ["FLOW_MATCHING_NATIVE"] = native
    with tempfile.TemporaryDirectory() as empty:
        first = _first_run(empty, STEPS // 30)
    import machine  # noqa: F401  before MLX

    import mlx.core as mx

    from datasets import DATASETS
    from likelihood import log_prob
    from odeint import odeint

    model, history = _train(STEPS)
    x = DATASETS["8gaussians"].sample(10_000, mx.random.key(0))
    solve, _ = timed(lambda: mx.eval(odeint(model, x, [0.0, 1.0], dense=False).x))
    normal = DATASETS["normal"].log_prob
    density, _ = timed(lambda: mx.eval(log_prob(model, x[:2000], normal)))
    print(json.dumps([history.steps_per_second, solve, density, first]))


def _train(steps: int):
    import machine  # noqa: F401  before MLX

    import mlx.core as mx

    from cfm import METHODS
    from datasets import DATASETS
    from models import MLP
    from training import train

    mx.random.seed(0)
    model, how = MLP(width=64, waves_of_x=0), {"optimizer": "adam", "batch_size": 256}
    ends = DATASETS["8gaussians"], DATASETS["moons"]
    history = train(model, METHODS["vp"](), *ends, steps=steps, **how)
    return model, history


def _first_run(empty: str, steps: int) -> float:
    """Seconds of a training, in a process without any kernels, beyond those of a second one."""
    import subprocess

    environment = os.environ | {"XDG_CACHE_HOME": empty, "TMPDIR": empty}
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        command = [sys.executable, __file__, "train", str(steps)]
        subprocess.run(command, env=environment, check=True)
        seconds.append(time.perf_counter() - began)
    return seconds[0] - seconds[1]


def main(rounds: int):
    import numpy as np

    reports = in_turns(__file__, SIDES, sys.executable, rounds)
    print(
        "| | training, steps/s | a solve, s | densities, s | compiling, s |\n|---|---|---|---|---|"
    )
    for side, found in reports.items():
        rate, solve, density, first = np.median(found, axis=0)
        print(f"| {side} | {rate:,.0f} | {solve:.3f} | {density:.3f} | {first:.1f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["ours"]:
        ours(sys.argv[2])
    elif sys.argv[1:2] == ["train"]:
        _train(int(sys.argv[2]))
    else:
        main(int(sys.argv[2]) if sys.argv[1:2] == ["--rounds"] else 5)
