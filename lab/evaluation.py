"""How good a run's flow is, in numbers.

Every number is in the units of the target, except losses, which are in those the network sees.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from exact import nearly_exact_velocity
from lab.classes import draw_labels, label_keys, told
from lab.config import CNF
from lab.densities import likelihood_of_target, no_log_density
from lab.following import W2_DRAWS, follow, labels_of_paths, noise_keys, solve
from lab.run import Run
from machine.keys import PATH_SHAPE, evaluation_keys, step_key
from metrics import (
    ExcessLoss,
    FlowDistances,
    energy_and_displacement,
    excess_loss,
    flow_distances,
    score_error,
    w2_squared,
)
from noise import score_of
from odeint import Solution

W2_POINTS = 2048  # a draw at most, since the exact assignment takes cubic time
EXCESS_PAIRS = 4096  # for the excess loss


@dataclass(frozen=True)
class Generated:
    """What a flow made of fresh source samples, and how good it is.

    Attributes:
        solution: the flow of the samples, in the units the network sees.
        paths: (FRAMES, N, D), the same in the target's units.
        seconds: wall time of the solve.
        distances: from the target, in its units.
        labels: (N,), the class of each sample; None if there are no classes.
    """

    solution: Solution
    paths: np.ndarray
    seconds: float
    distances: FlowDistances
    labels: np.ndarray | None = None


def generate(run: Run, field, best: float | None = None) -> Generated:
    """Carry fresh source samples to the target and measure how near they come to it.

    `best` is the distance of two true samples, if another run to the same target has found it.
    """
    # Whatever is compiled at first use, for as many points, is compiled in a short solve, and not
    # counted below.
    few = {"steps": run.solving["steps"] and 1, "rtol": 1.0, "atol": 1.0}
    follow(run, field, run.config.samples, **few)
    began = time.perf_counter()
    solution = follow(run, field, run.config.samples)
    seconds = time.perf_counter() - began
    keys = zip(noise_keys(run)[1:], label_keys(run, W2_DRAWS), strict=True)
    distances = target_distances(run, lambda x0: _ends(run, field, x0, *next(keys)), best)
    labels = labels_of_paths(run, run.config.samples)
    labels = None if labels is None else np.array(labels)
    return Generated(solution, run.target.restore(solution.x), seconds, distances, labels)


def target_distances(run: Run, flow: Callable, best: float | None) -> FlowDistances:
    """How near a flow, of source points to generated ones, comes to the run's target."""
    count = min(run.config.samples, W2_POINTS)
    keys = mx.random.split(evaluation_keys(run.config.seed)[1], W2_DRAWS)
    return flow_distances(flow, run.source, run.target, count, keys, best)


def _ends(run: Run, field, x0, key, label_key) -> np.ndarray:
    """Where the flow carries x0, in the target's units."""
    labels = draw_labels(run, len(x0), label_key)
    return run.target.restore(solve(run, field, x0, [0.0, 1.0], key, labels, dense=False).x[-1])


def best_field(run: Run):
    """The field that a perfect network would learn, or None where it is not known."""
    if run.method.name == CNF:
        return None
    cloud_key, _ = mx.random.split(evaluation_keys(run.config.seed)[2])
    return nearly_exact_velocity(run.method, run.source, run.target, cloud_key)


def excess(run: Run, field) -> ExcessLoss | None:
    """How near the field is to the exact one, where that is known and is not the field itself."""
    best = None if run.is_exact else best_field(run)
    return best and excess_loss(field, best, *_fresh_pairs(run))


def score_off(run: Run, field) -> float | None:
    """How far the score is off the exact one, see `metrics.score_error`; likewise."""
    best = None if run.is_exact or run.no_score else best_field(run)
    score = best and score_of(run.method, run.source, field)
    return best and score_error(score, best.score, *_fresh_pairs(run))


def _fresh_pairs(run: Run) -> tuple:
    """Of what, how many and by which key pairs are drawn to compare a field with the exact one."""
    _, key = mx.random.split(evaluation_keys(run.config.seed)[2])
    return run.method, run.source, run.target.standardized(), EXCESS_PAIRS, key


@dataclass(frozen=True)
class PathShape:
    """How costly and how straight a flow's paths are.

    Attributes:
        energy: ∫ E‖v‖² dt, a squared distance in the target's units.
        normalized_energy: |energy − W2²| / W2², with W2² between source and target; 0 for optimal
            transport (Tong et al. 2024, section 4.1).
        straightness: ∫ E‖(x1 − x0) − v‖² dt; 0 for straight paths at constant speed (Liu et al.
            2023).
        least: that W2², the least energy that any flow can have.
    """

    energy: float
    normalized_energy: float
    straightness: float
    least: float


def path_shape(run: Run, field, least: float | None = None) -> PathShape:
    """Measure the paths of fresh source samples.

    `least` is W2² between source and target, if another run between them has found it.
    """
    x0_key, x1_key = mx.random.split(step_key(run.config.seed, PATH_SHAPE))
    count = min(run.config.samples, W2_POINTS)
    x0 = run.source.sample(count, x0_key)
    scale = mx.array(run.target.unit, mx.float32)
    field = told(run, run.followed(field), labels_of_paths(run, count))
    energy, displacement = energy_and_displacement(field, x0, scale, **run.solving)
    if least is None:
        least = w2_squared(run.target.restore(x0), run.target.sample_exactly(count, x1_key))
    return PathShape(energy, abs(energy - least) / least, energy - displacement, least)


OF_LIKELIHOOD = ("nll", "nll_error", "entropy", "kl_divergence", "kl_divergence_error")


def evaluate(run: Run, model) -> dict:
    """All numbers of a run, None where one is not defined: `of_solver` and `of_network`.

    Losses and likelihoods are the network's; the others depend on how its flow is solved.
    """
    return of_solver(run, model, generate(run, model)) | of_network(run, model)


def of_solver(run: Run, field, generated: Generated, least: float | None = None) -> dict:
    """The numbers that depend on how the flow is followed; `least` see `path_shape`."""
    solution, distances = generated.solution, generated.distances
    # with noise, points do not follow the velocity, and their paths have no finite length
    shape = None if run.config.diffusion else path_shape(run, field, least)
    return {
        "samples": run.config.samples,
        "solver": run.solving["solver"],
        "diffusion": run.config.diffusion,
        "ode_steps": run.solving["steps"],
        "rtol": run.config.rtol,
        "atol": run.config.atol,
        "nfe": solution.nfe,
        "accepted": solution.accepted,
        "rejected": solution.rejected,
        "sampling_seconds": generated.seconds,
        "w2_squared": distances.to_target,
        "w2_squared_error": distances.error,
        "w2_squared_of_true_samples": distances.best,
        "path_energy": shape and shape.energy,
        "least_path_energy": shape and shape.least,
        "normalized_path_energy": shape and shape.normalized_energy,
        "straightness": shape and shape.straightness,
    }


def of_network(run: Run, field) -> dict:
    """The numbers that are the field's own: excess loss, and likelihood, unless there is noise."""
    found = excess(run, field)
    likelihood = None
    if not no_log_density(run):
        likelihood = likelihood_of_target(run, field, W2_POINTS)
    return {
        "least_loss": found and found.floor,
        "excess_loss": found and found.excess,
        "excess_loss_error": found and found.excess_error,
        "velocity_error": found and found.velocity_error,
        "score_error": score_off(run, field),
        "nll": likelihood and likelihood.nll,
        "nll_error": likelihood and likelihood.nll_error,
        "nll_reason": likelihood and likelihood.infinite,
        "entropy": likelihood and likelihood.entropy,
        "kl_divergence": likelihood and likelihood.gap,
        "kl_divergence_error": likelihood and likelihood.gap_error,
    }
