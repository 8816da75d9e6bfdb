"""Straight flows and maps: what few evaluations are enough for.

    python benchmarks/straight.py [--seeds 1] [--only reflow|maps]

Three tables, means over seeds, of networks by their defaults, which are kept in runs/ and found
there again. First 8gaussians → moons: the flow of `cfm`, straightened once and twice, beside that
of `ot`; second normal → three targets: W2² of `meanflow` and `flowmap` with 1, 2 and 4 evaluations
over that of dopri5 on the flow of `cfm`. W2² is the mean of three draws of 2 048 points.

Third the divergence of `histogram_divergence`: 50 × 50 equal cells over [−5, 5]² and one for what
lies outside, 50 000 points of the checkerboard, squares of side 2 in [−4, 4]², against as many
generated ones. That is the grid, to scale, of the replication it is compared with
(github.com/NathanVanier/flow-map-self-distillation, Lagrangian, 30 000 steps of 2 048 pairs). Its
code sums p log(p / q) over densities, not over the shares of cells, and its own limit of chance
would then be 1.6, above what it reports: the scale of its numbers is not certain.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import click
import mlx.core as mx
import numpy as np

from datasets import DATASETS
from lab.config import Config
from lab.evaluation import generate, path_shape
from lab.reflow import reflowed
from lab.settling import settle, solved_by
from lab.store import Learned, learn
from machine.keys import step_key
from metrics import histogram_divergence
from odeint import odeint

TARGETS = ("8gaussians", "moons", "checkerboard")
STEPS = (1, 2, 4, 8, 16)
PUBLISHED = (0.4576, 0.4298, 0.3515, 0.2651, 0.2508)
BOARD, POINTS = ((-5, -5), (5, 5)), 50_000


def distance(learned: Learned, solver: str, steps: int | None) -> float:
    return generate(solved_by(learned.run, solver, steps), learned.field).distances.to_target


def row(*cells):
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def shown(values, form: str = ".3g") -> str:
    spread = f" ± {np.std(values, ddof=1):.1g}" if len(values) > 1 else ""
    return f"{np.mean(values):{form}}{spread}"


def straightened(seeds: int):
    """Every flow in numbers, the straightened ones after the one they learned from."""
    row("flow", "straightness", "path energy", "least", "W2², one Euler step", "W2², dopri5")
    row(*["---"] * 6)
    found: dict = {}
    for seed in range(seeds):
        flows = [learn(settle(Config(method="cfm", seed=seed)))]
        for _ in range(2):
            before = flows[-1]
            flows.append(learn(reflowed(before.run, before.field, before.path)))
        flows.append(learn(settle(Config(method="ot", seed=seed))))
        for flow in flows:
            shape = path_shape(solved_by(flow.run, "dopri5", None), flow.field)
            numbers = [shape.straightness, shape.energy, shape.least]
            numbers += [distance(flow, "euler", 1), distance(flow, "dopri5", None)]
            found.setdefault(flow.run.label, []).append(numbers)
    for label, numbers in found.items():
        row(f"`{label}`", *map(shown, zip(*numbers, strict=True)))


def maps(seeds: int):
    """Few evaluations of a map over many of a flow; then the checkerboard's histograms."""
    boards: dict = {}
    row("normal →", "method", "1", "2", "4", "dopri5 on `cfm`", "1, over it", "4, over it")
    row(*["---"] * 8)
    for target in TARGETS:
        config = Config(source="normal", target=target)
        known = [learn(settle(replace(config, seed=seed))) for seed in range(seeds)]
        best = [distance(flow, "dopri5", None) for flow in known]
        for method in ("meanflow", "flowmap"):
            each = [learn(settle(replace(config, method=method, seed=s))) for s in range(seeds)]
            by_steps = [[distance(one, "euler", steps) for one in each] for steps in (1, 2, 4)]
            over = [f"{np.mean(by_steps[k]) / np.mean(best):.2f} ×" for k in (0, 2)]
            row(target, f"`{method}`", *map(shown, by_steps), shown(best), *over)
            if target == "checkerboard":
                boards[method] = each
    print()
    row("evaluations", *STEPS)
    row(*["---"] * (1 + len(STEPS)))
    for method, each in boards.items():
        found = [[board(one, steps) for one in each] for steps in STEPS]
        row(f"`{method}`", *(shown(values, ".3f") for values in found))
    row("the replication", *PUBLISHED)
    target = DATASETS["checkerboard"]
    true = [board_of(target, step_key(9, k)) for k in (0, 1)]
    print(f"\nTwo true samples are {histogram_divergence(*true, BOARD):.3f} apart.")


def board_of(target, key) -> np.ndarray:
    return target.sample_exactly(POINTS, key)


def board(learned: Learned, steps: int) -> float:
    """The divergence of one map's histogram."""
    run = solved_by(learned.run, "euler", steps)
    x0 = run.source.sample(POINTS, step_key(9, 2))
    x1 = odeint(run.followed(learned.field), x0, [0.0, 1.0], dense=False, **run.solving).x[-1]
    mx.eval(x1)
    true = board_of(run.target, step_key(9, 0))
    return histogram_divergence(true, run.target.restore(x1), BOARD)


@click.command()
@click.option("--seeds", default=1, show_default=True, help="Trainings of every flow.")
@click.option("--only", default="", help="reflow or maps.")
def main(seeds: int, only: str):
    """Print the tables."""
    if only != "maps":
        straightened(seeds)
        print()
    if only != "reflow":
        maps(seeds)


if __name__ == "__main__":
    main()
