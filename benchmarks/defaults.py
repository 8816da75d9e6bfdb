"""Which training defaults are best: one change at a time from the defaults.

    python benchmarks/defaults.py [--seeds 1] [--only PATTERN]

Three tasks: 8gaussians to moons with `vp` and `cfm`, of which one sees how far the velocity is off
the exact field's, and normal to checkerboard with `cfm` and σ = 0.02, of which one sees the
Kullback–Leibler divergence of fresh points in nats. Steps are chosen so that every setting trains
for about as long, as far as its name does not say otherwise; seconds are of `vp`. Medians over
seeds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import click
import mlx.core as mx
import numpy as np

from cfm import METHODS, Method
from datasets import DATASETS
from exact import nearly_exact_velocity, on_marginal
from likelihood import log_prob
from metrics import excess_loss
from models import MLP, Plain
from training import train

TASKS = {
    "vp": (METHODS["vp"](), DATASETS["8gaussians"], DATASETS["moons"]),
    "cfm": (METHODS["cfm"](), DATASETS["8gaussians"], DATASETS["moons"]),
    "checkerboard": (METHODS["cfm"](sigma=0.02), DATASETS["normal"], DATASETS["checkerboard"]),
}

# name → (what makes the network, its arguments, arguments of train)
TRIED = {
    "defaults": (MLP, {}, {}),
    "before: 64 wide, t's waves, Adam 5e-3, 256": (
        MLP,
        {"width": 64, "waves_of_x": 0},
        {"optimizer": "adam", "batch_size": 256, "steps": 12_000},
    ),
    "literature: plain, Adam 1e-3, 256": (
        Plain,
        {},
        {"optimizer": "adam", "lr": 1e-3, "batch_size": 256, "steps": 10_000},
    ),
    "Adam 5e-3": (MLP, {}, {"optimizer": "adam", "steps": 1_600}),
    "Adam 1e-2": (MLP, {}, {"optimizer": "adam", "lr": 1e-2, "steps": 1_600}),
    "Adam 2e-2": (MLP, {}, {"optimizer": "adam", "lr": 2e-2, "steps": 1_600}),
    "Muon 7.5e-3": (MLP, {}, {"lr": 7.5e-3}),
    "Muon 3e-2": (MLP, {}, {"lr": 3e-2}),
    "no waves of x": (MLP, {"waves_of_x": 0}, {}),
    "3 waves of x": (MLP, {"waves_of_x": 3}, {}),
    "5 waves of x": (MLP, {"waves_of_x": 5}, {}),
    "no waves of t": (MLP, {"waves_of_t": 0}, {}),
    "width 64": (MLP, {"width": 64}, {"steps": 2_600}),
    "width 96": (MLP, {"width": 96}, {"steps": 1_900}),
    "width 192": (MLP, {"width": 192}, {"steps": 800}),
    "depth 2": (MLP, {"depth": 2}, {"steps": 2_000}),
    "depth 4": (MLP, {"depth": 4}, {"steps": 1_050}),
    "tanh": (MLP, {"activation": "tanh"}, {}),
    "silu": (MLP, {"activation": "silu"}, {"steps": 1_250}),
    "batch 512": (MLP, {}, {"batch_size": 512, "steps": 4_000}),
    "batch 1024": (MLP, {}, {"batch_size": 1024, "steps": 2_300}),
    "batch 4096": (MLP, {}, {"batch_size": 4096, "steps": 750}),
    "constant rate": (MLP, {}, {"schedule": "constant"}),
    "no averaging": (MLP, {}, {"average": 0.0}),
    "more t near 1": (MLP, {}, {"late": True}),
    "marginal velocities": (MLP, {}, {"marginal": True}),
    "twice the steps": (MLP, {}, {"steps": 2_800}),
    "five times the steps": (MLP, {}, {"steps": 7_000}),
}


class Late(Method):
    """A method that draws times of density t + 1/2."""

    def draw(self, shape, key):
        t, noise = super().draw(shape, key)
        return mx.sqrt(0.25 + 2 * t) - 0.5, noise


def measure(task: str, seed: int, make, network: dict, settings: dict) -> tuple[float, float]:
    """How far one network is off, and the seconds it took."""
    (method, source, target), settings = TASKS[task], dict(settings)
    shown = Late(**vars(method)) if settings.pop("late", False) else method
    shown = on_marginal(method, source) if settings.pop("marginal", False) else shown
    mx.random.seed(seed)
    model = make(**network)
    history = train(model, shown, source, target, seed=seed, **settings)
    keys = mx.random.split(mx.random.key(seed + 1000), 2)
    if task == "checkerboard":
        x = target.sample(4096, keys[0])
        off = mx.mean(target.log_prob(x) - log_prob(model, x, source.log_prob)).item()
    else:
        best = nearly_exact_velocity(method, source, target, keys[0])
        off = excess_loss(model, best, method, source, target, 8192, keys[1]).velocity_error
    return off, history.seconds


@click.command()
@click.option("--seeds", default=1, show_default=True)
@click.option("--only", default="", help="Settings whose name contains this.")
def main(seeds, only):
    heads = ("setting", "`vp`, velocity off by", "`cfm`", "checkerboard, nats", "s")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, setting in TRIED.items():
        if only not in name:
            continue
        found = {
            task: np.median([measure(task, seed, *setting) for seed in range(seeds)], axis=0)
            for task in TASKS
        }
        off = [found[task][0] for task in TASKS]
        cells = f"{off[0]:.1%} | {off[1]:.1%} | {off[2]:.3f} | {found['vp'][1]:.1f}"
        print(f"| {name} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
