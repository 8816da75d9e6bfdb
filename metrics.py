"""Numbers about samples and flows."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from cfm import Method
from couplings import optimal_assignment
from datasets import Dataset
from noise import LATEST
from odeint import odeint


def w2_squared(a, b) -> float:
    """The squared 2-Wasserstein distance between two samples of equal size.

    The least mean squared distance over all ways of pairing the points, by exact assignment;
    in the square of the data's units. Takes cubic time: about a second for 2 048 points.

    Args:
        a, b: arrays (N, D).

    Raises:
        ValueError: if the shapes differ, or a number is not finite.
    """
    from scipy.spatial.distance import cdist

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise ValueError(f"w2_squared takes two samples (N, D), not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("w2_squared takes finite points only")
    squares = cdist(a, b, "sqeuclidean")
    return float(squares[np.arange(len(a)), optimal_assignment(squares)].mean())


def histogram_divergence(true, generated, box, cells: int = 50) -> float:
    """The Kullback–Leibler divergence of a histogram from that of true points, in nats.

    Σ p log(p / q) over `cells` × `cells` equal cells of a box and all that lies outside, which is
    one cell more. p is the part of the true points that is in a cell, q that of the generated ones,
    with half a point added to every cell, so that none is empty. Of as many points in both, N, it
    is at least about (cells with true points) / N, by chance.

    Args:
        true, generated: (N, 2) and (M, 2).
        box: ((x, y), (x, y)), its lowest and its highest corner.
    """

    def shares(points, added):
        (x_low, y_low), (x_high, y_high) = box
        span = [(x_low, x_high), (y_low, y_high)]
        inside = np.histogram2d(*np.asarray(points, np.float64).T, bins=cells, range=span)[0]
        counts = np.append(inside.ravel(), len(points) - inside.sum()) + added
        return counts / counts.sum()

    p, q = shares(true, 0.0), shares(generated, 0.5)
    some = p > 0
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


def share_in_class(points, label: int, true, labels) -> float:
    """The share of points (N, D) whose nearest of some true ones (M, D) has a label, of (M,)."""
    from scipy.spatial import KDTree

    _, nearest = KDTree(np.asarray(true)).query(np.asarray(points))
    return float(np.mean(np.asarray(labels)[nearest] == label))


@dataclass(frozen=True)
class FlowDistances:
    """How far generated points are from the target, as squared W2.

    Attributes:
        to_target: mean over the draws of W2² between generated and true points.
        error: its standard error; 0 for one draw.
        best: mean of W2² between two true samples, the least one can hope to see.
    """

    to_target: float
    error: float
    best: float


def flow_distances(
    flow, source, target, count: int, keys, best: float | None = None
) -> FlowDistances:
    """Distances of a flow's points from its target, over independent draws.

    Args:
        flow: maps source points (count, D) to generated ones, in the target's units.
        source, target: datasets.
        count: points a draw.
        keys: (draws, 2), a random key for every draw.
        best: what was found before for the same target, count and keys.
    """
    pairs, true_pairs = [], []
    for key in keys:
        x0_key, x1_key, other_key = mx.random.split(key, 3)
        x1 = target.sample_exactly(count, x1_key)
        pairs.append((np.array(flow(source.sample(count, x0_key))), x1))
        if best is None:
            true_pairs.append((target.sample_exactly(count, other_key), x1))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # scipy lets other threads work
        found = list(pool.map(lambda pair: w2_squared(*pair), pairs + true_pairs))
    to_target, between = found[: len(pairs)], found[len(pairs) :]
    return FlowDistances(
        *mean_and_error(to_target), float(np.mean(between)) if best is None else best
    )


def energy_and_displacement(field, x0, scale=1.0, **how) -> tuple[float, float]:
    """∫ E‖v(t, xt)‖² dt over t from 0 to 1, and E‖x1 − x0‖², along a field's flow from x0 (N, D).

    The first is integrated together with the points, to the same tolerances; `scale` is how long
    a unit of every dimension is, a number or (D,), and `how` is for `odeint`.
    """

    def both(t, state):
        velocity = field(t, state[0])
        return velocity, mx.mean(mx.sum(mx.square(scale * velocity), axis=-1))

    start = x0, mx.array(0.0, x0.dtype)
    ends, energy = odeint(both, start, [0.0, 1.0], dense=False, **how).x
    displacement = mx.mean(mx.sum(mx.square(scale * (ends[-1] - x0)), axis=-1))
    return energy[-1].item(), displacement.item()


def path_energy(field, x0, **how) -> float:
    """∫ E‖v(t, xt)‖² dt, see `energy_and_displacement`."""
    return energy_and_displacement(field, x0, **how)[0]


def straightness(field, x0, **how) -> float:
    """∫ E‖(x1 − x0) − v(t, xt)‖² dt, 0 for straight paths at constant speed (Liu et al. 2023).

    Since x1 − x0 is the mean of v over time, that is ∫ E‖v‖² dt − E‖x1 − x0‖².
    """
    energy, displacement = energy_and_displacement(field, x0, **how)
    return energy - displacement


def normalized_path_energy(field, x0, x1, **how) -> float:
    """|∫ E‖v‖² dt − W2²| / W2², with W2² between source and target; 0 for optimal transport.

    As Tong et al. (2024, section 4.1) define it.

    Args:
        field: the flow's velocity.
        x0, x1: (N, D) samples of source and target.
        how: for `odeint`.
    """
    least = w2_squared(x0, x1)
    return abs(path_energy(field, x0, **how) - least) / least


@dataclass(frozen=True)
class ExcessLoss:
    """How near a velocity is to the best one, by the flow-matching loss on fresh pairs.

    Attributes:
        loss: the mean of (v − ut)² over pairs and dimensions.
        floor: that of the exact velocity u, the least there is.
        floor_error: its standard error.
        excess: loss − floor, over the same pairs.
        excess_error: its standard error.
        velocity_error: √(E‖v − u‖² / E‖u‖²) over (t, xt).
    """

    loss: float
    floor: float
    floor_error: float
    excess: float
    excess_error: float
    velocity_error: float


def excess_loss(field, exact, method: Method, source: Dataset, target: Dataset, count: int, key):
    """Compare a field with the exact one on `count` fresh pairs: a `ExcessLoss`."""
    t, xt, ut = _fresh(method, source, target, count, key)
    v, u = (np.array(velocity(t, xt), np.float64) for velocity in (field, exact))
    ut = np.array(ut, np.float64)
    loss, floor = (((velocity - ut) ** 2).mean(axis=1) for velocity in (v, u))
    relative = math.sqrt(((v - u) ** 2).sum() / (u**2).sum())
    excess = mean_and_error(loss - floor)
    return ExcessLoss(float(loss.mean()), *mean_and_error(floor), *excess, relative)


def score_error(score, exact, method, source: Dataset, target: Dataset, count: int, key) -> float:
    """How far a score is off the exact one, on `count` fresh pairs: √(E b²‖s − s*‖² / E b²‖s*‖²).

    b² = β² s² + σ² is the variance of xt around α x1, for a source of Gaussians of variance s².
    The score itself grows without bound where b falls to 0, as it does at the end of most paths.
    """
    t, xt, _ = _fresh(method, source, target, count, key)
    t = mx.minimum(t, LATEST)
    (_, beta, sigma), _ = method.schedule(t)
    b = mx.sqrt((beta * source.mixture.std) ** 2 + sigma**2)
    found, best = (np.array(b * each(t, xt), np.float64) for each in (score, exact))
    return math.sqrt(((found - best) ** 2).sum() / (best**2).sum())


def error_over_time(field, exact, method, source, target, count: int, parts: int, key):
    """Where in t a field is wrong, from `count` fresh pairs.

    Returns:
        E|v − u|² and E|ut − u|² in so many equal parts of [0, 1], (parts,) each, and E|u|²; ut is
        the velocity of a pair, and u the exact one.
    """
    t, xt, ut = _fresh(method, source, target, count, key)  # t in order
    v, u = field(t, xt), exact(t, xt)
    error, spread, size = (
        np.array(mx.sum(mx.square(a), axis=1), np.float64) for a in (v - u, ut - u, u)
    )
    means = (
        np.array([np.mean(part) for part in np.array_split(each, parts)])
        for each in (error, spread)
    )
    return *means, float(np.mean(size))


def _fresh(method: Method, source: Dataset, target: Dataset, count: int, key):
    """t, xt and ut of fresh independent pairs."""
    x0_key, x1_key, draw_key = mx.random.split(key, 3)
    x0, x1 = source.sample(count, x0_key), target.sample(count, x1_key)
    t, noise = method.draw(x0.shape, draw_key)
    return t, *method.sample(t, x0, x1, noise)


def mean_and_error(values) -> tuple[float, float]:
    """The mean of independent values and its standard error, 0 for a single one."""
    if len(values) < 2:
        return float(np.mean(values)), 0.0
    return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


def quoted(value: float, error: float = 0.0, digits: int = 3) -> str:
    """A number for print with as many digits as its error allows, and the error: "0.059 ± 0.009".

    An error is given one digit, two where the first is a 1. Without an error, `digits` significant
    ones are given. An infinite value is said in a word.
    """
    if not (math.isfinite(value) and math.isfinite(error)):
        return "infinite" if math.isinf(value) else f"{value:.{digits}g} ± {error:.2g}"
    if not error:
        shown = f"{value:.{digits}g}"
        return f"{float(shown):.0f}" if "e+" in shown and abs(value) < 1e9 else shown
    mantissa, exponent = f"{error:.1e}".split("e")
    decimals = (float(mantissa) < 2) - int(exponent)
    value, error = round(value, decimals) + 0.0, round(error, decimals)  # + 0.0: no "-0"
    return f"{value:.{max(decimals, 0)}f} ± {error:.{max(decimals, 0)}f}"
