"""How likely a run's flow makes points, in nats."""

import math
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from lab.classes import told
from lab.run import Run
from likelihood import EXACT_DIMENSIONS, log_prob
from machine.keys import PROBES, evaluation_keys, step_key
from metrics import mean_and_error

TOLERANCE = 1e-5  # of densities, at most


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
    found = log_prob(told(run, model, labels), z, run.source.log_prob, key=key, **fine(run), **how)
    return np.array(found, np.float64) - scale


def fine(run: Run) -> dict:
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
