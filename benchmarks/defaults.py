"""Which training defaults are best: W2² and speed of one change at a time from the defaults.

    python benchmarks/defaults.py [--seeds 3] [--only PATTERN]

Carries 8gaussians to moons with `cfm` and `vp`. W2² is a mean over four draws of 2 048 points
(one draw scatters by some 0.005), then a median over seeds.
"""

import sys
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import click
import mlx.core as mx
import numpy as np

from cfm import METHODS, Method
from datasets import DATASETS
from metrics import w2_squared
from models import MLP
from odeint import odeint
from training import train

SOURCE, TARGET = DATASETS["8gaussians"], DATASETS["moons"]
DRAWS = 4

CONSTANT = {"schedule": "constant"}

# name → (arguments of MLP, arguments of train)
TRIED = {
    "defaults": ({}, {}),
    "selu": ({"activation": "selu"}, {}),
    "silu": ({"activation": "silu"}, {}),
    "tanh": ({"activation": "tanh"}, {}),
    "relu": ({"activation": "relu"}, {}),
    "t alone": ({"frequencies": 0}, {}),
    "1 wave": ({"frequencies": 1}, {}),
    "6 waves": ({"frequencies": 6}, {}),
    "width 96": ({"width": 96}, {}),
    "width 128": ({"width": 128}, {}),
    "depth 2": ({"depth": 2}, {}),
    "depth 4": ({"depth": 4}, {}),
    "lr 1e-3": ({}, {"lr": 1e-3}),
    "lr 1e-2": ({}, {"lr": 1e-2}),
    "constant lr": ({}, CONSTANT),
    "no averaging": ({}, {"average": 0.0}),
    "constant lr, no averaging": ({}, CONSTANT | {"average": 0.0}),
    "t not stratified": ({}, {"independent_times": True}),
    "batch 512": ({}, {"batch_size": 512}),
    "5 000 steps": ({}, {"steps": 5_000}),
    "20 000 steps": ({}, {"steps": 20_000}),
}


class IndependentTimes(Method):
    """A method whose loss draws every time by itself."""

    def draw(self, shape, key):
        t_key, noise_key = mx.random.split(key)
        t = mx.random.uniform(shape=(shape[0], 1), key=t_key)
        return t, mx.random.normal(shape, key=noise_key)


def measure(method_name: str, seed: int, network: dict, settings: dict):
    """(W2², steps a second) of one run."""
    method, settings = METHODS[method_name](), dict(settings)
    if settings.pop("independent_times", False):
        method = IndependentTimes(**{f.name: getattr(method, f.name) for f in fields(method)})
    mx.random.seed(seed)
    model = MLP(**network)
    history = train(model, method, SOURCE, TARGET, seed=seed, **settings)
    distances = []
    for draw in range(DRAWS):
        x0_key, x1_key = mx.random.split(mx.random.key(1000 + draw))
        x1 = odeint(model, SOURCE.sample(2048, x0_key), [0.0, 1.0]).x[-1]
        distances.append(w2_squared(x1, TARGET.sample(2048, x1_key)))
    return np.mean(distances), history.steps_per_second


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", default="", help="Settings whose name contains this.")
def main(seeds, only):
    print("| setting | cfm W2² | vp W2² | steps/s |\n|---|---|---|---|")
    for name, setting in TRIED.items():
        if only not in name:
            continue
        runs = {
            method: [measure(method, seed, *setting) for seed in range(seeds)]
            for method in ("cfm", "vp")
        }
        w2 = [np.median([w2 for w2, _ in runs[method]]) for method in runs]
        rate = np.median([rate for method in runs for _, rate in runs[method]])
        print(f"| {name} | {w2[0]:.3f} | {w2[1]:.3f} | {rate:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
