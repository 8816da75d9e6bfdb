"""How good a flow is for how many evaluations of its network.

For each of `EVALUATIONS` a fixed solver, or a map, takes as many equal steps as that allows. An
adaptive solver is asked for tolerances, and what it took is what it costs.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np

from lab.classes import draw_labels, label_keys
from lab.comparison import Cell
from lab.evaluation import target_distances
from lab.following import W2_DRAWS, noise_keys, solve
from lab.run import Run
from lab.settling import solved_by
from lab.tables import heading
from machine.keys import evaluation_keys
from metrics import histogram_divergence, quoted
from odeint import OdeError
from sde import SDE_SOLVERS
from solver import SOLVERS

EVALUATIONS = tuple(2**k for k in range(9))  # 1, 2, 4 … 256
TOLERANCES = tuple(10.0**-k for k in range(1, 6))
HISTOGRAM_POINTS = 20_000  # of each histogram
MARGIN = 1 / 8  # of the target's box, on each side, that the histogram has beyond it


def budgets(run: Run) -> Iterator[Run]:
    """The run with ever more evaluations, by its own solver."""
    solver, noise = run.config.solver, run.config.diffusion
    tableau = None if noise else SOLVERS[solver]
    if tableau and tableau.adaptive and not run.config.ode_steps:
        yield from (
            replace(run, config=replace(run.config, rtol=each, atol=each)) for each in TOLERANCES
        )
        return
    once = tableau.fsal if tableau else 0  # evaluations that are not of a step alone
    each = tableau.stages - once if tableau else SDE_SOLVERS[solver].evaluations
    for most in EVALUATIONS:
        if steps := (most - once) // each:
            yield solved_by(run, solver, steps, noise)


def measured(run: Run, field, network: Callable, known: dict) -> Iterator[Cell]:
    """A cell for every budget, with the number of evaluations and the quality.

    `network` is not asked; `known` has what true samples are apart, for a target and a seed.
    """
    for each in budgets(run):
        try:
            yield Cell(each, _quality(each, field, known))
        except OdeError as error:
            yield Cell(each, failure=str(error))


def _quality(run: Run, field, known: dict) -> dict:
    """The numbers of one budget."""
    evaluations, keys = [], iter(noise_keys(run))
    label_key = iter(label_keys(run, 1 + W2_DRAWS))

    def flow(x0):
        labels = draw_labels(run, len(x0), next(label_key))
        solution = solve(run, field, x0, [0.0, 1.0], next(keys), labels, dense=False)
        evaluations.append(solution.nfe)
        return run.target.restore(solution.x[-1])

    best, best_divergence = known.get(run.config.seed, (None, None))
    distances = target_distances(run, flow, best)
    numbers = {
        "nfe": float(np.mean(evaluations)),
        "w2_squared": distances.to_target,
        "w2_squared_error": distances.error,
        "w2_squared_of_true_samples": distances.best,
    }
    if run.target.dim == 2:
        x0_key, *two = mx.random.split(evaluation_keys(run.config.seed)[2], 3)
        true, others = (run.target.sample_exactly(HISTOGRAM_POINTS, key) for key in two)
        box = _box(true)
        made = flow(run.source.sample(HISTOGRAM_POINTS, x0_key))
        if best_divergence is None:
            best_divergence = histogram_divergence(true, others, box)
        numbers["divergence"] = histogram_divergence(true, made, box)
        numbers["divergence_of_true_samples"] = best_divergence
    known[run.config.seed] = distances.best, best_divergence
    return numbers


def _box(points) -> np.ndarray:
    """(low, high), (2, D): the box around points, and a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.stack([low - MARGIN * (high - low), high + MARGIN * (high - low)])


def curves(cells: list[Cell], name: str) -> dict[tuple[str, str], np.ndarray]:
    """(method, solver) → rows (NFE, mean over seeds, least, greatest) of a number, by NFE.

    The steps of a map are its own, and called "map".
    Where seeds took another number of evaluations for the same tolerance, NFE is their mean.
    """
    found: dict = {}
    for cell in cells:
        if cell.numbers.get(name) is None:
            continue
        config = cell.run.config
        effort = config.ode_steps or -config.rtol
        solver = "map" if cell.run.is_map else config.solver
        points = found.setdefault((cell.run.label, solver), {})
        points.setdefault(effort, []).append((cell.numbers["nfe"], cell.numbers[name]))
    return {
        flow: np.array(
            sorted(
                (float(nfe.mean()), float(values.mean()), float(values.min()), float(values.max()))
                for nfe, values in (np.array(pairs).T for pairs in points.values())
            )
        )
        for flow, points in found.items()
    }


def markdown(cells: list[Cell]) -> str:
    """The tables: W2², and the divergence of histograms where there are some."""
    parts = [heading(cells)]
    for name, title in (("w2_squared", "W2²"), ("divergence", "divergence of histograms, nats")):
        found = curves(cells, name)
        if not found:
            continue
        floor = np.mean([c.numbers[f"{name}_of_true_samples"] for c in cells if c.numbers])
        parts += ["", f"{title}; two true samples: {quoted(floor, digits=2)}", ""]
        parts += ["| method | solver | evaluations: mean over seeds |", "|---|---|---|"]
        for (method, solver), rows in found.items():
            shown = ", ".join(f"{nfe:.0f}: {mean:.3g}" for nfe, mean, *_ in rows)
            parts.append(f"| {method} | {solver} | {shown} |")
    return "\n".join(parts) + "\n"
