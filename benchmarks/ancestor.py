"""Training speed against the plain loop this program grew out of, side by side in one run.

    python benchmarks/ancestor.py [--rounds 5]

The plain loop: two hidden layers of 64 with SELU, batch 512, 8gaussians → moons along the
variance-preserving path; samples drawn eagerly (the Gaussians by
`mx.random.multivariate_normal`), Adam, a compiled loss and gradient, and the loss
fetched to the host after every step. As a user would have installed it, it runs on the BLAS in
MLX's wheel, which on Linux is the reference one; both loops are measured with OpenBLAS too.

Every measurement is a process of its own, since the BLAS is chosen when MLX is loaded. The sides
take turns, and the medians over the rounds are printed.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

WIDTH, DEPTH, BATCH, WARM_UP, STEPS = 64, 2, 512, 20, 600

# name → (loop, activation, BLAS)
SIDES = {
    "plain loop, MLX's own BLAS": ("plain", "selu", "own"),
    "plain loop, OpenBLAS": ("plain", "selu", "openblas"),
    "ours, the same network": ("ours", "selu", "openblas"),
    "ours, isru": ("ours", "isru", "openblas"),
}


def plain_loop(activation: str) -> float:
    """Steps a second of the loop written as one would at first."""
    import math
    from functools import partial

    import mlx.core as mx
    import mlx.nn as nn
    import mlx.optimizers as optim

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(3, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2)]

        def __call__(self, t, x):
            h = mx.concatenate([x, t], axis=1)
            for layer in self.layers[:-1]:
                h = getattr(nn, activation)(layer(h))
            return self.layers[-1](h)

    angles = mx.arange(8) * (math.pi / 4)
    centres = 5 * mx.stack([mx.cos(angles), mx.sin(angles)], axis=1)

    def eight_gaussians(n):
        noise = mx.random.multivariate_normal(mx.zeros(2), 0.1 * mx.eye(2), [n], stream=mx.cpu)
        return centres[mx.random.randint(0, 8, (n,))] + noise

    def moons(n):
        angle = math.pi * mx.random.uniform(shape=(n // 2,))
        upper = mx.stack([mx.cos(angle), mx.sin(angle)], axis=1)
        lower = mx.stack([1 - mx.cos(angle), 0.5 - mx.sin(angle)], axis=1)
        return 3 * (mx.concatenate([upper, lower]) + 0.05 * mx.random.normal((n, 2))) - 1

    def loss_function(model, t, x0, x1):
        alpha, beta = mx.sin(math.pi / 2 * t), mx.cos(math.pi / 2 * t)
        ut = math.pi / 2 * (beta * x1 - alpha * x0)
        return mx.mean(mx.square(model(t, alpha * x1 + beta * x0) - ut))

    model, optimizer = Network(), optim.Adam(learning_rate=1e-3)
    state = [model.state, optimizer.state]
    value_and_grad = nn.value_and_grad(model, loss_function)

    @partial(mx.compile, inputs=state, outputs=state)
    def step(t, x0, x1):
        loss, gradient = value_and_grad(model, t, x0, x1)
        optimizer.update(model, gradient)
        return loss

    for n in range(WARM_UP + STEPS):
        if n == WARM_UP:
            began = time.perf_counter()
        t, x0, x1 = mx.random.uniform(shape=(BATCH, 1)), eight_gaussians(BATCH), moons(BATCH)
        loss = step(t, x0, x1)
        mx.eval(state)
        loss.item()
    return STEPS / (time.perf_counter() - began)


def our_loop(activation: str) -> float:
    """Steps a second of `training.train` on a network of the same size."""
    from cfm import METHODS
    from datasets import DATASETS
    from models import MLP
    from training import train

    model = MLP(width=WIDTH, depth=DEPTH, activation=activation, waves_of_t=0, waves_of_x=0)
    source, target = DATASETS["8gaussians"], DATASETS["moons"]
    how = {"steps": STEPS, "batch_size": BATCH, "optimizer": "adam"}
    history = train(model, METHODS["vp"](), source, target, **how)
    return history.steps_per_second


def measure(loop: str, activation: str, library: str) -> float:
    command = [sys.executable, __file__, loop, activation, library]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main(rounds: int):
    import numpy as np

    for side in SIDES.values():
        measure(*side)  # so that every kernel is built
    rates = {name: [] for name in SIDES}
    for _ in range(rounds):
        for name, side in SIDES.items():
            rates[name].append(measure(*side))
    medians = {name: np.median(values) for name, values in rates.items()}
    own, openblas = list(medians.values())[:2]
    print("| loop | steps/s | over the plain one | over it with OpenBLAS |\n|---|---|---|---|")
    for name, rate in medians.items():
        print(f"| {name} | {rate:,.0f} | {rate / own:.1f} × | {rate / openblas:.1f} × |")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        loop, activation, library = sys.argv[1:]
        if library == "openblas":
            from machine import blas

            assert blas.LIBRARY or sys.platform != "linux", "no OpenBLAS to measure with"
        print({"plain": plain_loop, "ours": our_loop}[loop](activation))
    else:
        main(int(sys.argv[2]) if sys.argv[1:2] == ["--rounds"] else 5)
