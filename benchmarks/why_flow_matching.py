"""Why flow matching: what maximum likelihood and flow matching reach in the same seconds.

    python benchmarks/why_flow_matching.py

normal → checkerboard by our default network, trained by `cnf` (eight RK4 steps, exact divergence,
compiled) and by `cfm` without noise, for two seconds up to eighty each; every point of a
curve is a training of its own, with its learning rate falling to 0 at its end. Compilation is
not counted. Quality is W2² to the target, and the Kullback–Leibler divergence from it by fresh
samples. Printed as a table and drawn into media/why_flow_matching.png.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine.blas  # noqa: F401  before MLX

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
from figures.style import GENERATED, SOURCE, STYLE, save
from training import train

SOURCE_DATA, TARGET = DATASETS["normal"], DATASETS["checkerboard"]
SECONDS = (2, 5, 15, 40, 80)
COUNT = 2048
RATES = {"cnf": 2e-3, "cfm": 5e-3}  # at 5e-3 `cnf` fails after some five hundred steps
RIVALS = {
    "cnf": (MaximumLikelihood(SOURCE_DATA.log_prob, steps=8), "maximum likelihood", GENERATED),
    "cfm": (METHODS["cfm"](sigma=0.0), "flow matching", SOURCE),
}


def learned(name: str, steps: int):
    mx.random.seed(0)
    model, how = MLP(), {"steps": steps, "lr": RATES[name], "look_every": 10}
    history = train(model, RIVALS[name][0], SOURCE_DATA, TARGET, **how)
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
    for name in RIVALS:
        learned(name, 21)  # compiles
        rate = learned(name, 41)[1].steps_per_second
        for seconds in SECONDS:
            model, history = learned(name, max(2, round(rate * seconds)))
            row = history.seconds, history.steps, *quality(model)
            rate = history.steps_per_second
            curves.setdefault(name, []).append(row)
            print(
                f"| `{name}` | {row[0]:.0f} | {row[1]:,} | {row[2]:.3f} | {row[3]:.3f} |",
                flush=True,
            )
    draw(curves)


def draw(curves: dict[str, list]):
    """Both measures over seconds of training."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(7.6, 3.3), layout="constrained")
        for column, axes in enumerate(panels, 2):
            for name, (_, title, colour) in RIVALS.items():
                values = np.array(curves[name])
                axes.loglog(
                    values[:, 0], values[:, column], "o-", color=colour, lw=1.2, ms=3.5, label=title
                )
            axes.set_xlabel("seconds of training")
            axes.set_xticks(SECONDS, SECONDS)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("{x:g}")
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        panels[0].set_ylabel("$W_2^2$ to the target")
        panels[1].set_ylabel("Kullback–Leibler divergence, nats")
        panels[1].legend()
        figure.suptitle("normal to checkerboard, one network", fontsize=10)
        save(figure, Path(__file__).parents[1] / "media" / "why_flow_matching.png")


if __name__ == "__main__":
    main()
