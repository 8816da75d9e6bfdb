"""Why flow matching: what maximum likelihood and flow matching reach in the same seconds.

    python benchmarks/why_flow_matching.py

normal → checkerboard by our default network, trained by `cnf` (eight RK4 steps, exact divergence,
compiled) and by `cfm` without noise, for a few seconds up to two minutes each; every point of a
curve is a training of its own, with its learning rate falling to 0 at its end. Compilation is
not counted. Quality is W2² to the target, and the Kullback–Leibler divergence from it by fresh
samples. Printed as a table and drawn into media/why_flow_matching.png.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import blas  # noqa: F401  before MLX

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mlx.core as mx
import numpy as np

from cfm import METHODS
from datasets import DATASETS
from likelihood import MaximumLikelihood, log_prob
from metrics import w2_squared
from models import MLP
from odeint import odeint
from plots import GENERATED, SOURCE, STYLE
from training import train

SOURCE_DATA, TARGET = DATASETS["normal"], DATASETS["checkerboard"]
SECONDS = (2, 5, 10, 20, 40, 80, 120)
COUNT = 2048
RIVALS = {
    "cnf": (MaximumLikelihood(SOURCE_DATA.log_prob, steps=8), "maximum likelihood", GENERATED),
    "cfm": (METHODS["cfm"](sigma=0.0), "flow matching", SOURCE),
}


def learned(method, steps: int):
    mx.random.seed(0)
    model = MLP()
    history = train(model, method, SOURCE_DATA, TARGET, steps=steps, look_every=10)
    return model, history


def quality(model) -> tuple[float, float]:
    """W2² and Kullback–Leibler divergence."""
    x0, x1 = (data.sample(COUNT, mx.random.key(k)) for k, data in ((3, SOURCE_DATA), (4, TARGET)))
    generated = odeint(model, x0, [0.0, 1.0], dense=False).x[-1]
    log_q = log_prob(model, x1, SOURCE_DATA.log_prob)
    return w2_squared(generated, x1), float(mx.mean(TARGET.log_prob(x1) - log_q))


def main():
    """Print the table and draw the curves."""
    print("| | seconds | steps | W2² | divergence, nats |\n|---|---|---|---|---|")
    curves = {}
    for name, (method, _, _) in RIVALS.items():
        learned(method, 21)  # compiles
        rate = learned(method, 41)[1].steps_per_second
        for seconds in SECONDS:
            model, history = learned(method, max(2, round(rate * seconds)))
            row = history.seconds, history.steps, *quality(model)
            rate = history.steps_per_second
            curves.setdefault(name, []).append(row)
            print(
                f"| `{name}` | {row[0]:.0f} | {row[1]:,} | {row[2]:.3f} | {row[3]:.3f} |",
                flush=True,
            )
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained")
        for column, axes in enumerate(panels, 2):
            for name, (_, title, colour) in RIVALS.items():
                values = np.array(curves[name])
                axes.loglog(
                    values[:, 0], values[:, column], "o-", color=colour, lw=1.2, ms=3.5, label=title
                )
            axes.set_xlabel("seconds of training")
        panels[0].set_ylabel("$W_2^2$ to the target")
        panels[1].set_ylabel("Kullback–Leibler divergence, nats")
        panels[1].legend()
        figure.suptitle("normal to checkerboard, one network", fontsize=10)
        figure.savefig(Path(__file__).parents[1] / "media" / "why_flow_matching.png")


if __name__ == "__main__":
    main()
