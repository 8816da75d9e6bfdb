"""Tong et al. (2024), Table 2: how well, and along how short paths, each method carries.

    python benchmarks/paper_table.py [--seeds 5] [--steps 5000]

Four pairs of distributions, four methods, our default network; mean and standard deviation over
seeds of W2² (generated points to the target) and of the normalised path energy, both on 2 048
points. Beside them the paper's path energies, where they are known to us. `fm` starts from the
normal distribution only. Takes about twenty minutes on two cores.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import click
import mlx.core as mx
import numpy as np

from cfm import METHODS
from datasets import DATASETS
from metrics import path_energy, w2_squared
from models import MLP
from odeint import odeint
from machine.keys import EVALUATION, step_key
from training import train

PAIRS = (
    ("normal", "8gaussians"),
    ("moons", "8gaussians"),
    ("normal", "moons"),
    ("normal", "scurve"),
)
COMPARED = ("ot", "sb", "cfm", "fm")
PUBLISHED = {
    ("ot", "normal", "8gaussians"): 0.018,
    ("cfm", "normal", "8gaussians"): 0.222,
    ("ot", "moons", "8gaussians"): 0.053,
    ("cfm", "moons", "8gaussians"): 2.738,
}
COUNT = 2048


def measure(name: str, source: str, target: str, steps: int, seed: int) -> tuple[float, float]:
    """W2² to the target and normalised path energy of one trained flow."""
    mx.random.seed(seed)
    q0, q1, model = DATASETS[source], DATASETS[target], MLP()
    train(model, METHODS[name](), q0, q1, steps=steps, seed=seed)
    x0_key, x1_key, fresh_key = mx.random.split(step_key(seed, EVALUATION), 3)
    x0 = q0.sample(COUNT, x0_key)
    generated = odeint(model, x0, [0.0, 1.0], dense=False).x[-1]
    distance = w2_squared(generated, q1.sample(COUNT, x1_key))
    least = w2_squared(x0, q1.sample(COUNT, fresh_key))
    return distance, abs(path_energy(model, x0) - least) / least


@click.command()
@click.option("--seeds", default=5, show_default=True, help="Networks for each cell.")
@click.option("--steps", default=5000, show_default=True, help="Updates of each.")
def main(seeds: int, steps: int):
    """Print the table."""
    jobs = [
        (name, *pair, seed)
        for seed in range(seeds)
        for pair in PAIRS
        for name in COMPARED
        if METHODS[name]().normal_source <= DATASETS[pair[0]].standard_normal
    ]
    found = {}
    with click.progressbar(jobs, label="training", show_pos=True, file=sys.stderr) as bar:
        for name, source, target, seed in bar:
            cell = found.setdefault((name, source, target), [])
            cell.append(measure(name, source, target, steps, seed))
    print("| from → to | method | W2² | path energy, normalised | published |")
    print("|---|---|---|---|---|")
    for source, target in PAIRS:
        for name in COMPARED:
            if (name, source, target) not in found:
                continue
            values = np.array(found[name, source, target])
            means, spreads = values.mean(axis=0), values.std(axis=0, ddof=min(1, seeds - 1))
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spreads, strict=True)]
            published = PUBLISHED.get((name, source, target), "")
            row = [f"{source} → {target}", f"`{name}`", *cells, str(published)]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
