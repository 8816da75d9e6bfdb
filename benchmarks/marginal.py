"""What it buys to show a network mean velocities instead of those of single pairs.

    python benchmarks/marginal.py

8gaussians to moons, `vp`, the default network, trained on pairs and on marginal velocities
(`--regress marginal`). Over the steps: how far the velocity of the averaged weights is off the
exact field's, and how noisy a batch's gradient is, √(E|g − ḡ|²), ḡ the mean over 32 batches.
Printed with the seconds of trainings that nobody looks at, and drawn into media/marginal.png.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import machine  # noqa: F401  before MLX

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from cfm import METHODS
from datasets import DATASETS
from exact import nearly_exact_velocity, on_marginal
from figures.style import GENERATED, SOURCE, drawing, plain_log, set_title
from metrics import excess_loss
from models import MLP
from training import train

FROM, TO, METHOD = DATASETS["8gaussians"], DATASETS["moons"], METHODS["vp"]()
STEPS, BATCH, EVERY, BATCHES = 1_400, 2_048, 100, 32
BEST = nearly_exact_velocity(METHOD, FROM, TO, mx.random.key(10**6))
SHOWN = {"pairs": METHOD, "marginal velocities": on_marginal(METHOD, FROM)}


def noise(model, method) -> float:
    """How far the gradients of single batches are from their mean."""
    gradients = []
    for key in mx.random.split(mx.random.key(7), BATCHES):
        x0_key, x1_key, key = mx.random.split(key, 3)
        examples = method.examples(FROM.sample(BATCH, x0_key), TO.sample(BATCH, x1_key), key)
        _, gradient = nn.value_and_grad(model, method.error)(model, *examples)
        leaves = [leaf.reshape(-1) for _, leaf in tree_flatten(gradient)]
        gradients.append(np.array(mx.concatenate(leaves), np.float64))
    mean = np.mean(gradients, axis=0)
    spread = np.sum((gradients - mean) ** 2) / (BATCHES - 1)
    return float(np.sqrt(spread))


def learned(method, **how):
    mx.random.seed(0)
    model = MLP()
    return train(model, method, FROM, TO, steps=STEPS, batch_size=BATCH, **how)


def curves(method) -> np.ndarray:
    """(step, velocity error, noise of the gradient), (looks, 3)."""
    found, probe = [], MLP()

    def look(history):
        probe.update(history.state.averaged)
        off = excess_loss(probe, BEST, METHOD, FROM, TO, 8_192, mx.random.key(3)).velocity_error
        probe.update(history.state.weights)
        found.append((history.steps, off, noise(probe, method)))

    learned(method, on_save=look, save_every=EVERY)
    return np.array(found)


def main():
    found = {name: curves(method) for name, method in SHOWN.items()}
    print("| shown | s | velocity off by | noise of a gradient, in the middle |\n|---|---|---|---|")
    for name, method in SHOWN.items():
        seconds, curve = learned(method).seconds, found[name]
        middle = curve[len(curve) // 2, 2]
        print(f"| {name} | {seconds:.1f} | {curve[-1, 1]:.1%} | {middle:.2f} |")
    with drawing(ROOT / "media" / "marginal.png", 6.6, 2.8) as figure:
        panels = figure.subplots(1, 2)
        for name, colour in zip(SHOWN, (SOURCE, GENERATED), strict=True):
            steps, off, noises = found[name].T
            panels[0].plot(steps, 100 * off, color=colour, label=name)
            panels[1].plot(steps, noises, color=colour, label=name)
        for panel, label in zip(panels, ("velocity off by, %", "noise of a gradient"), strict=True):
            panel.set(xlabel="training step", ylabel=label, yscale="log")
            plain_log(panel.yaxis, np.concatenate([line.get_ydata() for line in panel.lines]))
        panels[0].legend()
        set_title(figure, "8gaussians to moons, vp: shown single pairs, and their means")


if __name__ == "__main__":
    main()
