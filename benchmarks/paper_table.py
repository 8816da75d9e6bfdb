"""Tong et al. (2024), Table 2: how well, and along how short paths, each method carries.

    python benchmarks/paper_table.py [--seeds 5] [--steps 5000]

Four pairs of distributions, four methods, our default network; mean and standard deviation over
seeds of W2² (generated points to the target) and of the normalised path energy, both on 2 048
points. Beside them the paper's path energies, where they are known to us. `fm` starts from the
normal distribution only. As many networks are trained at once as there are cores; they are kept in
runs/, and what is found there is not trained again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import click
import mlx.core as mx
import numpy as np

from cfm import METHODS
from cli.progress import overall_progress
from datasets import DATASETS
from lab.comparison import one_a_core, train_at_once, training_costs
from lab.config import Config
from lab.run import Run, settle
from lab.store import learn
from machine.keys import EVALUATION, step_key
from metrics import path_energy, w2_squared
from odeint import odeint

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
COUNT, BATCH = 2048, 256


def measure(run: Run) -> tuple[float, float]:
    """W2² to the target and normalised path energy of one trained flow."""
    q0, q1, model = run.source, run.target, learn(run).field
    x0_key, x1_key, fresh_key = mx.random.split(step_key(run.config.seed, EVALUATION), 3)
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
    cells = [
        (name, *pair)
        for pair in PAIRS
        for name in COMPARED
        if METHODS[name]().normal_source <= DATASETS[pair[0]].standard_normal
    ]
    runs = [
        settle(Config(name, source, target, steps, batch_size=BATCH, seed=seed))
        for name, source, target in cells
        for seed in range(seeds)
    ]
    processes = one_a_core()
    with overall_progress(sum(training_costs(runs, processes)), "training") as show:
        train_at_once(runs, processes, retrain=False, show=show)
    with click.progressbar(runs, label="measuring", show_pos=True, file=sys.stderr) as bar:
        found = dict(zip(cells, np.array([*map(measure, bar)]).reshape(-1, seeds, 2), strict=True))
    print("| from → to | method | W2² | path energy, normalised | published |")
    print("|---|---|---|---|---|")
    for source, target in PAIRS:
        for name in COMPARED:
            if (name, source, target) not in found:
                continue
            values = found[name, source, target]
            means, spreads = values.mean(axis=0), values.std(axis=0, ddof=min(1, seeds - 1))
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spreads, strict=True)]
            published = PUBLISHED.get((name, source, target), "")
            row = [f"{source} → {target}", f"`{name}`", *cells, str(published)]
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
