"""Why flow matching: what maximum likelihood and flow matching reach in the same seconds.

    python benchmarks/why_flow_matching.py

normal → checkerboard by our default network, trained by `cnf` (eight RK4 steps, exact divergence,
compiled) and by `cfm` without noise, for two seconds up to three quarters of a minute; every point
of a curve is the mean of three trainings of its own, one a seed, whose learning rates fall to 0 at
their ends. Compilation is not counted. Quality is W2² to the target, and the Kullback–Leibler
divergence from it by fresh samples. Printed as a table, with the deviation over the seeds, and
drawn into media/why_flow_matching.png, with a band from the least to the greatest of them. It
takes about ten minutes.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import machine  # noqa: F401  before MLX

import mlx.core as mx
import numpy as np

from cfm import METHODS
from datasets import DATASETS
from likelihood import MaximumLikelihood, log_prob
from metrics import quoted, w2_squared
from models import MLP
from odeint import odeint
from figures.style import GENERATED, SOURCE, drawing, plain_log, set_title
from training import train

SOURCE_DATA, TARGET = DATASETS["normal"], DATASETS["checkerboard"]
SECONDS = (2, 5, 15, 45)
SEEDS = range(3)
COUNT = 2048
RATES = {"cnf": 2e-3, "cfm": 5e-3}  # at 5e-3 `cnf` fails after some five hundred steps
RIVALS = {
    "cnf": (MaximumLikelihood(SOURCE_DATA.log_prob, steps=8), "maximum likelihood", GENERATED),
    "cfm": (METHODS["cfm"](sigma=0.0), "flow matching", SOURCE),
}


def learned(name: str, steps: int, seed: int = 0):
    mx.random.seed(seed)
    model, how = MLP(width=64), {"steps": steps, "look_every": 10, "seed": seed}
    how |= {"optimizer": "adam", "lr": RATES[name], "batch_size": 256}
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
            found = []
            for seed in SEEDS:
                model, history = learned(name, max(2, round(rate * seconds)), seed)
                rate = history.steps_per_second
                found.append((history.seconds, history.steps, *quality(model)))
            curves.setdefault(name, []).append(found)
            (time, steps, w2, kl), spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=1)
            print(
                f"| `{name}` | {time:.0f} | {steps:,.0f} | {quoted(w2, spread[2])} "
                f"| {quoted(kl, spread[3])} |",
                flush=True,
            )
    draw({name: np.array(found) for name, found in curves.items()})


def draw(curves: dict[str, np.ndarray], out=ROOT / "media" / "why_flow_matching.png"):
    """Both measures over seconds of training: (seconds, seeds, 4) for each rival."""
    with drawing(out, 7.6, 3.4) as figure:
        panels = figure.subplots(1, 2)
        for column, axes in enumerate(panels, 2):
            for name, (_, title, colour) in RIVALS.items():
                seconds, values = curves[name][..., 0].mean(axis=1), curves[name][..., column]
                look = {"color": colour, "lw": 1.2, "ms": 3.5, "label": title}
                axes.loglog(seconds, values.mean(axis=1), "o-", **look)
                band = values.min(axis=1), values.max(axis=1)
                axes.fill_between(seconds, *band, color=colour, alpha=0.25, lw=0)
            axes.set_xlabel("seconds of training")
            axes.set_xticks(SECONDS, SECONDS)
            plain_log(axes.yaxis, [curve[..., column] for curve in curves.values()])
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        panels[0].set_ylabel("W₂² to the target")
        panels[1].set_ylabel("Kullback–Leibler divergence, nats")
        panels[1].legend()
        set_title(figure, f"normal to checkerboard, one network, {len(SEEDS)} seeds")


if __name__ == "__main__":
    main()
