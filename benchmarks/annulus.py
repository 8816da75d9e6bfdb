"""The annulus from N(0, I): a plain setting, and ours beside it.

    python benchmarks/annulus.py

Radii uniform on [2, 3], angles uniform. The plain setting: three hidden layers of 64 with ELU,
time as one more input, Adam at a constant 1e-2, batch 256, 10 000 steps, straight paths, 50 Euler
steps. Ours: the defaults, by independent pairs and by optimal transport. Printed: the fraction of
100 000 generated points with radius in [1.95, 3.05], and the distance of their radii's
distribution from the true one (Kolmogorov–Smirnov), mean and deviation over three seeds. Drawn
into media/annulus_radius.png: the histograms.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import machine  # noqa: F401  before MLX

import mlx.core as mx
import numpy as np
from scipy.stats import kstest

from cfm import METHODS
from datasets import DATASETS
from models import MLP
from odeint import odeint
from figures.style import GENERATED, INK, SOURCE, TARGET, drawing, set_title
from training import train

COUNT, SEEDS = 100_000, range(3)
PLAIN = {"optimizer": "adam", "lr": 1e-2, "schedule": "constant", "average": 0.0}
PLAIN |= {"batch_size": 256, "steps": 10_000}
PAIRED = {"batch_size": 256, "steps": 4_000, "lr": 5e-3}
NETWORK = {"width": 64, "activation": "elu", "waves_of_t": 0, "waves_of_x": 0}
# name → (method, network, training, solver, its steps)
SETTINGS = {
    "plain, 50 Euler steps": ("cfm", NETWORK, PLAIN, "euler", 50),
    "plain, dopri5": ("cfm", NETWORK, PLAIN, "dopri5", None),
    "ours, 50 Euler steps": ("cfm", {}, {}, "euler", 50),
    "ours, dopri5": ("cfm", {}, {}, "dopri5", None),
    "ours, `ot`, 50 Euler steps": ("ot", {}, PAIRED, "euler", 50),
    "ours, `ot`, dopri5": ("ot", {}, PAIRED, "dopri5", None),
}


def radii(model, solver: str, steps: int | None) -> np.ndarray:
    x0 = DATASETS["normal"].sample(COUNT, mx.random.key(11))
    x = odeint(model, x0, [0.0, 1.0], solver=solver, steps=steps, dense=False).x[-1]
    return np.linalg.norm(np.array(x), axis=1)


def main():
    """Print the table and draw the histograms."""
    trained = {}
    print("| | inside [1.95, 3.05] | Kolmogorov–Smirnov | steps/s |")
    print("|---|---|---|---|")
    drawn = {}
    for name, (method, network, settings, solver, steps) in SETTINGS.items():
        found = []
        for seed in SEEDS:
            key = (method, str(network), str(settings), seed)
            if key not in trained:
                mx.random.seed(seed)
                model = MLP(**network)
                ends = DATASETS["normal"], DATASETS["annulus"]
                path = METHODS[method](sigma=0.0)
                history = train(model, path, *ends, seed=seed, **settings)
                trained[key] = model, history.steps_per_second
            model, rate = trained[key]
            radius = radii(model, solver, steps)
            inside = np.mean((radius >= 1.95) & (radius <= 3.05))
            found.append((inside, kstest(radius, "uniform", (2, 1)).statistic, rate))
            drawn.setdefault(name, radius)
        (inside, distance, rate), spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
        print(
            f"| {name} | {inside:.3f} ± {spread[0]:.3f} | {distance:.3f} ± {spread[1]:.3f} "
            f"| {rate:.0f} |",
            flush=True,
        )
    draw(drawn)


def draw(radii: dict[str, np.ndarray], out=ROOT / "media" / "annulus_radius.png"):
    """The histograms of the first seed's radii, over the true density."""
    with drawing(out, 5.2, 3.6) as figure:
        axes = figure.subplots()
        axes.fill_between([2, 3], 1, fc=TARGET, ec=INK, lw=0.6, label="true")
        edges = np.linspace(1.6, 3.4, 91)
        looks = {
            "plain, 50 Euler steps": (INK, ":"),
            "ours, 50 Euler steps": (SOURCE, "--"),
            "ours, `ot`, dopri5": (GENERATED, "-"),
        }
        for name, (colour, style) in looks.items():
            heights, _ = np.histogram(radii[name], edges)
            heights = heights / (len(radii[name]) * np.diff(edges))
            middles = (edges[1:] + edges[:-1]) / 2
            axes.plot(middles, heights, style, color=colour, lw=1.2, label=name.replace("`", ""))
        axes.set(xlim=(1.6, 3.4), ylim=(0, None), xlabel="radius", ylabel="density")
        figure.legend(loc="outside lower center", ncols=2)
        set_title(figure, "Radii of points generated for the annulus, first seed")


if __name__ == "__main__":
    main()
