"""A correlated Gaussian in four dimensions, learned from 1 000 samples.

    python benchmarks/gaussian4d.py

N(0, I) is carried to N(μ, L Lᵀ) of the dataset `gaussian4d`, of which 1 000 points are known. The
table has the relative errors ‖μ̂ − μ‖/‖μ‖ and ‖Σ̂ − Σ‖/‖Σ‖ of 100 000 generated points, against the
true μ and Σ, for

- the setting of a write-up on flow matching: ConcatSquash of four layers of width 4, AdamW at
  1e-3 with decay 0.1, the whole sample in every batch, straight paths, 7 000 steps; the last five
  hundred steps are noisy, so their spread is given too;
- our defaults with the same paths, in a quarter of those steps;
- both networks by maximum likelihood.

What 1 000 points allow is the error of their own mean and covariance, and of bootstrap samples.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import mlx.core as mx
import numpy as np

from cfm import METHODS
from datasets import DATASETS, a_few_points, standard_normal
from likelihood import MaximumLikelihood
from models import MLP, ConcatSquash
from odeint import odeint
from training import train

KNOWN, GENERATED, BOOTSTRAPS = 1_000, 100_000, 1_000
TARGET, NORMAL = DATASETS["gaussian4d"], standard_normal(4)
TRUE = np.array(TARGET.sample(4_000_000, mx.random.key(99)), np.float64)
MEAN, COVARIANCE = TRUE.mean(axis=0), np.cov(TRUE.T)
SAMPLE = a_few_points(TARGET, KNOWN, mx.random.key(1))


@dataclass
class WholeSample:
    """All the points in every batch, in random order."""

    rows: mx.array

    def sample(self, n, key):
        return self.rows[mx.random.permutation(n, key=key)]


def errors(x) -> tuple[float, float]:
    x = np.asarray(x, np.float64)
    mean = np.linalg.norm(x.mean(axis=0) - MEAN) / np.linalg.norm(MEAN)
    covariance = np.linalg.norm(np.cov(x.T) - COVARIANCE) / np.linalg.norm(COVARIANCE)
    return float(mean), float(covariance)


def generated(model):
    x0 = NORMAL.sample(GENERATED, mx.random.key(7))
    return odeint(model, x0, [0.0, 1.0], dense=False).x[-1]


def learn(model, method, target, looks: int, **settings):
    """Train; errors at about `looks` times on the way, those at the end, and seconds."""
    steps, seen = settings["steps"], []

    def look(history):
        if history.steps > steps * (len(seen) + 1) / looks and history.steps < steps:
            began = time.perf_counter()
            seen.append((history.steps, *errors(generated(model))))
            paused.append(time.perf_counter() - began)

    paused, began = [], time.perf_counter()
    train(model, method, NORMAL, target, on_look=look, look_every=max(1, steps // 70), **settings)
    seconds = time.perf_counter() - began - sum(paused)
    return seen, errors(generated(model)), seconds


def main():
    """Print what the sample allows, and the table."""
    own = errors(SAMPLE.points)
    rng = np.random.default_rng(0)
    centre, spread = SAMPLE.points.mean(axis=0), np.cov(SAMPLE.points.T)
    resampled = []
    for _ in range(BOOTSTRAPS):
        x = SAMPLE.points[rng.integers(0, KNOWN, KNOWN)]
        resampled.append(
            (
                np.linalg.norm(x.mean(axis=0) - centre) / np.linalg.norm(MEAN),
                np.linalg.norm(np.cov(x.T) - spread) / np.linalg.norm(COVARIANCE),
            )
        )
    middle, high = np.quantile(resampled, [0.5, 0.95], axis=0)
    print(f"the 1 000 points themselves: mean {own[0]:.3f}, covariance {own[1]:.3f}")
    print(
        f"bootstrap of them: mean {middle[0]:.3f} (95%: {high[0]:.3f}), "
        f"covariance {middle[1]:.3f} (95%: {high[1]:.3f})\n"
    )
    straight, whole = METHODS["cfm"](sigma=0.0), WholeSample(mx.array(SAMPLE.points, mx.float32))
    write_up = {"batch_size": KNOWN, "lr": 1e-3, "schedule": "constant", "weight_decay": 0.1}
    write_up |= {"optimizer": "adamw"}
    ours = {"batch_size": 256, "optimizer": "adam"}
    small = lambda: ConcatSquash(dim=4, width=4, depth=3)  # noqa: E731
    cnf = MaximumLikelihood(NORMAL.log_prob, steps=8)
    rows = {
        "write-up: ConcatSquash, flow matching": (
            *(small, straight, whole, 28),
            {**write_up, "steps": 7_000, "average": 0.0},
        ),
        "ours, flow matching": (
            lambda: MLP(dim=4, width=64),
            straight,
            SAMPLE,
            7,
            {**ours, "steps": 1_750},
        ),
        "write-up's network, maximum likelihood": (
            *(small, cnf, whole, 5),
            {**write_up, "lr": 1e-2, "schedule": "cosine", "weight_decay": 0.0, "steps": 1_000},
        ),
        "ours, maximum likelihood": (
            lambda: MLP(dim=4, width=64),
            cnf,
            SAMPLE,
            5,
            {**ours, "steps": 500},
        ),
    }
    print("| | steps | seconds | mean | covariance | on the way: step, mean, covariance |")
    print("|---|---|---|---|---|---|")
    for name, (make, method, target, looks, settings) in rows.items():
        mx.random.seed(0)
        seen, end, seconds = learn(make(), method, target, looks, **settings)
        shown = seen[:: max(1, len(seen) // 4)]
        way = "; ".join(f"{step:,}: {a:.3f}, {b:.3f}" for step, a, b in shown)
        if looks > 20:
            late = np.array([row[1:] for row in seen[-7:]])
            way += f"; last quarter {late[:, 0].min():.3f}–{late[:, 0].max():.3f}, "
            way += f"{late[:, 1].min():.3f}–{late[:, 1].max():.3f}"
        row = f"| {name} | {settings['steps']:,} | {seconds:.0f} | {end[0]:.3f} | {end[1]:.3f}"
        print(f"{row} | {way} |", flush=True)


if __name__ == "__main__":
    main()
