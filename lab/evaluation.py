"""What a run's flow does with fresh samples, and how good that is.

Every number is in the units of the target, except losses, which are in those the network sees.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from exact import nearly_exact_velocity
from likelihood import EXACT_DIMENSIONS, log_prob, velocity_and_divergence
from metrics import (
    ExcessLoss,
    FlowDistances,
    energy_and_displacement,
    flow_distances,
    excess_loss,
    mean_and_error,
    score_error,
    w2_squared,
)
from noise import NoisyFlow, score_of
from odeint import Solution, odeint
from sde import sdeint
from machine.keys import CLASSES, NOISE, PATH_SHAPE, PROBES, SAMPLES, evaluation_keys, step_key
from lab.classes import draw_labels, label_keys, told
from lab.config import CNF
from lab.run import Run

FRAMES = 101  # times at which paths are reported
TOLERANCE = 1e-5  # of densities, at most
PART = 10_000  # points that are drawn and solved together, however many are asked for
W2_POINTS = 2048  # a draw at most, since the exact assignment takes cubic time
W2_DRAWS = 3
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


def solve(run: Run, field, x0, times, key, labels=None, **how) -> Solution:
    """The flow of x0 (N, D) by the run's solver; if there is noise along it, the key decides it.

    `labels` are the classes of the points, () or (N,), if they have some; `how` takes the place of
    the run's own arguments of `odeint`.
    """
    how, field = run.solving | how, told(run, field, labels)
    if not run.config.diffusion:
        return odeint(run.followed(field), x0, times, **how)
    score = score_of(run.method, run.source, field)
    flow = NoisyFlow(run.method, score, field, run.config.diffusion)
    how = {name: how[name] for name in ("solver", "steps")}
    return sdeint(flow.drift, flow.diffusion, x0, times, key=key, **how)


def _follow(run: Run, field, count: int, **how) -> Solution:
    """The flow of fresh source samples, in the units the network sees."""
    x0 = run.source.sample(count, evaluation_keys(run.config.seed)[0])
    key, labels = noise_keys(run)[0], labels_of_paths(run, count)
    solution = solve(run, field, x0, np.linspace(0, 1, FRAMES), key, labels, **how)
    mx.eval(solution.x)
    return solution


def paths(run: Run, field) -> np.ndarray:
    """(FRAMES, N, D): the ways of fresh source samples, in the target's units."""
    return run.target.restore(_follow(run, field, run.config.samples).x)


def labels_of_paths(run: Run, count: int):
    """The classes (N,) of the points whose ways are shown; None if there are no classes."""
    return draw_labels(run, count, label_keys(run, 1)[0])


def generate(run: Run, field, best: float | None = None) -> Generated:
    """Carry fresh source samples to the target and measure how near they come to it.

    `best` is the distance of two true samples, if another run to the same target has found it.
    """
    # Whatever is compiled at first use is compiled in a short solve, and not counted below.
    _follow(run, field, 2, steps=run.solving["steps"] and 1, rtol=1.0, atol=1.0)
    began = time.perf_counter()
    solution = _follow(run, field, run.config.samples)
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


def noise_keys(run: Run):
    """Keys for the noise along the paths that are shown, and in every draw of distances."""
    return mx.random.split(step_key(run.config.seed, NOISE), 1 + W2_DRAWS)


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


def sample_in_parts(
    run: Run, field, count: int, log_prob: bool = False, label: int | None = None
) -> Iterator[np.ndarray]:
    """`count` generated points in the target's units, at most `PART` at a time, (n, D).

    With `log_prob` (n, D + 1), the last column the log-density there of the flow, or of its class,
    in nats, as `log_density` has it. Points of a conditional flow are of the class `label`; without
    one they are of all classes, and the place of its class is one more column behind each.

    A point depends on the seed and its place alone, not on how many are asked for: every part is
    drawn by a key of its own, drawn and solved whole, and solved by the steps of the first part.

    Raises:
        ValueError: if `log_prob` and the log-density cannot be computed.
    """
    if log_prob and (why := no_log_density(run)):
        raise ValueError(why)
    there, back = _by_the_same_steps(**run.solving), _by_the_same_steps(**_fine(run))
    keys = [step_key(run.config.seed, part) for part in (SAMPLES, NOISE, CLASSES)]
    nothing = mx.zeros(PART)
    for start in range(0, count, PART):
        keys, (part_key, of_part, label_key) = zip(*map(mx.random.split, keys), strict=True)
        x0 = run.source.sample(PART, part_key)
        labels = draw_labels(run, PART, label_key) if label is None else mx.array(label)
        velocity = told(run, run.followed(field), labels)
        if run.config.diffusion:
            x1 = solve(run, field, x0, [0.0, 1.0], of_part, labels).x[-1]
        else:
            x1 = there(velocity, x0, [0.0, 1.0])
        rows = run.target.restore(x1)
        if log_prob:
            rates = partial(_with_divergence, velocity)
            x0, gathered = back(rates, (x1, nothing), [1.0, 0.0])
            found = np.array(run.source.log_prob(x0) + gathered, np.float64)
            found -= run.target.standardize(rows)[1]
            rows = np.concatenate([rows, found[:, None]], axis=1)
        if run.classes and label is None:
            rows = np.concatenate([rows, np.array(labels)[:, None]], axis=1)
        yield rows[: count - start]


def _with_divergence(field, t, state):
    """How x and the logarithm of its density change."""
    return velocity_and_divergence(field, t, state[0])


def _by_the_same_steps(**how) -> Callable:
    """A function (field, x, times) that solves, every time by the steps that it took at first."""

    def end(field, x, times):
        solution = odeint(field, x, times, dense=False, **how)
        how["steps"] = solution.steps
        return tree_map(lambda leaf: leaf[-1], solution.x)

    return end


def no_log_density(run: Run, exact: bool = True) -> str | None:
    """Why a run has no log-densities, in a sentence without its full stop; None where it has.

    `exact` asks for those by the exact divergence.
    """
    if run.is_map:
        return (
            f"'{run.config.method}' is a map, and log-densities are those of a flow: no step of a "
            "map says how much it stretches the space that it jumps over"
        )
    if run.config.diffusion:
        return (
            "the log-density of a point is known where the flow alone decides it, not with noise; "
            "leave out --diffusion"
        )
    if run.source.log_prob is None:
        return (
            f"the source '{run.source.name}' has no log-density, so the flow has none; one from "
            "--source normal has"
        )
    if exact and run.target.dim > EXACT_DIMENSIONS:
        return (
            f"the flow has {run.target.dim} dimensions, and log-densities are computed exactly of "
            f"{EXACT_DIMENSIONS} at most"
        )
    return None


def log_density(run: Run, model, x, labels=None, **how) -> np.ndarray:
    """The flow's log-density (N,) at points x (N, D) of the target's units, in nats.

    With `labels`, () or (N,), that of the class of each; without, of a conditional flow, that of
    all its classes, each as likely as it is.

    By dopri5 to `TOLERANCE` or finer, whatever the run's solver: the errors of a coarse one could
    make a flow look more likely than the target allows.
    """
    if why := no_log_density(run, exact=False):
        raise ValueError(why)
    if run.classes and labels is None:
        each = [
            log_density(run, model, x, mx.array(k), **how) + math.log(share)
            for k, share in enumerate(run.target.shares)
        ]
        return np.logaddexp.reduce(each)
    z, scale = run.target.standardize(x)
    key = step_key(run.config.seed, PROBES)  # of probes, if there are any
    found = log_prob(told(run, model, labels), z, run.source.log_prob, key=key, **_fine(run), **how)
    return np.array(found, np.float64) - scale


def _fine(run: Run) -> dict:
    """The tolerances of densities."""
    return {"rtol": min(run.config.rtol, TOLERANCE), "atol": min(run.config.atol, TOLERANCE)}


@dataclass(frozen=True)
class Likelihood:
    """How likely a flow makes fresh samples of its target, in nats.

    Attributes:
        nll, nll_error: mean of −log q over the samples, and its standard error; None where the
            mean is infinite.
        entropy: mean of −log p over the same samples; None where p is not known.
        gap, gap_error: mean of log p − log q, an estimate of the Kullback–Leibler divergence; None
            likewise.
        infinite: why the mean is infinite, if it is.
    """

    nll: float | None
    nll_error: float | None
    entropy: float | None = None
    gap: float | None = None
    gap_error: float | None = None
    infinite: str | None = None


def likelihood_of_target(run: Run, model, count: int, **how) -> Likelihood:
    """Measure the flow by `count` fresh samples of the target."""
    x = run.target.sample_exactly(count, evaluation_keys(run.config.seed)[1])
    log_q = log_density(run, model, x, **how)
    log_p = run.target.log_prob and np.array(run.target.log_prob(mx.array(x)), np.float64)
    entropy = None if log_p is None else float(-log_p.mean())
    if impossible := np.count_nonzero(~np.isfinite(log_q)):
        why = f"infinite: the flow cannot make {impossible:,} of {count:,} {run.target.fresh}"
        return Likelihood(None, None, entropy, infinite=why)
    gap = (None, None) if log_p is None else mean_and_error(log_p - log_q)
    return Likelihood(*mean_and_error(-log_q), entropy, *gap)


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
