"""A run, stage by stage: learn a flow, keep it, follow it, and measure how good it is.

What a run is, `settings.py` decides; the stages here are what commands put together. Nothing
here prints, draws, or knows of the command line.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from exact import exact_velocity, nearly_exact_velocity
from likelihood import log_prob
from metrics import Fit, FlowDistances, flow_distances, flow_fit, mean_and_error
from models import TRAINABLE, build
from odeint import Solution, odeint
from randomness import evaluation_keys
from settings import CNF, Run, settle
from training import LOOK_EVERY, History, load_checkpoint, save_checkpoint, train

FRAMES = 101  # times at which paths are reported
FIGURE_POINTS = 200_000  # of the target, for its density
GRID = 160  # cells a side of a density
GRID_PART = 8_192  # points of it in one solve
W2_POINTS = 2048  # a draw at most, since the exact assignment takes cubic time
W2_DRAWS = 3
FIT_PAIRS = 4096  # for the excess loss
SLOW_LOOK_EVERY = 10  # steps between looks at the loss of cnf


def with_learned_source(run: Run, model) -> Run:
    """The run with the source that its network has learned, if it learns one."""
    if run.source.name != TRAINABLE:
        return run
    source = replace(run.source, draw=model.source.sample, log_prob=model.source.log_prob)
    return replace(run, source=source)


def load(path) -> tuple[Run, Any]:
    """The run and the network of a checkpoint.

    Raises:
        CheckpointError: for what is no checkpoint of this program, or not a whole one.
        OptionError: where its target, a file, is gone.
    """
    model, config = load_checkpoint(path)
    shape = {name: config["model"].get(name) for name in ("width", "depth", "activation")}
    run = settle({**config, **shape})
    return with_learned_source(replace(run, config=config), model), model


def new_model(run: Run):
    """The untrained network; or the exact field, which needs no training."""
    if run.is_exact:
        return exact_velocity(run.method, run.source, run.target.standard_points)
    mx.random.seed(run.config["seed"])
    return build(run.config)


def learn(run: Run, model, on_look: Callable) -> History:
    """Train the model as the configuration says."""
    names = ("steps", "batch_size", "lr", "schedule", "weight_decay", "seed")
    return train(
        model,
        run.method,
        run.source,
        run.target.standardized(),
        on_look=on_look,
        look_every=SLOW_LOOK_EVERY if run.method.name == CNF else LOOK_EVERY,
        **{name: run.config[name] for name in names},
    )


def keep(run: Run, model, history: History) -> Path:
    """Save under a name that only the same configuration, trained as long, has too."""
    config = {**run.config, "trained_steps": history.steps}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:6]
    flow = "_".join((run.method.name, run.source.name, run.target.name))
    path = Path("runs", f"{flow}_seed{config['seed']}_{digest}.safetensors")
    save_checkpoint(path, model, config)
    return path


@dataclass(frozen=True)
class Generated:
    """What a flow made of fresh source samples, and how good it is.

    Attributes:
        solution: the flow of the samples, in the units the network sees.
        paths: (FRAMES, N, D), the same in the target's units.
        seconds: wall time of the solve.
        distances: from the target, in its units.
        fit: how near the field is to the exact one, where that is known.
    """

    solution: Solution
    paths: np.ndarray
    seconds: float
    distances: FlowDistances
    fit: Fit | None


def generate(run: Run, field) -> Generated:
    """Carry fresh source samples to the target and measure how well they fit there."""
    paths_key, distance_key, fit_key, _ = evaluation_keys(run.config["seed"])
    solve, count = partial(odeint, field, **run.solving), run.config["samples"]
    began = time.perf_counter()
    solution = solve(run.source.sample(count, paths_key), np.linspace(0, 1, FRAMES))
    mx.eval(solution.x)
    seconds = time.perf_counter() - began
    distances = flow_distances(
        lambda x0: run.target.restore(solve(x0, [0.0, 1.0], dense=False).x[-1]),
        run.source,
        run.target,
        min(count, W2_POINTS),
        mx.random.split(distance_key, W2_DRAWS),
    )
    paths = run.target.restore(solution.x)
    return Generated(solution, paths, seconds, distances, fit(run, field, fit_key))


def fit(run: Run, field, key) -> Fit | None:
    """How near the field is to the exact one, where that is known and is not the field itself."""
    cloud_key, pairs_key = mx.random.split(key)
    if run.method.name == CNF or run.is_exact:
        return None
    best = nearly_exact_velocity(run.method, run.source, run.target, cloud_key)
    if best is None:
        return None
    target = run.target.standardized()
    return flow_fit(field, best, run.method, run.source, target, FIT_PAIRS, pairs_key)


def log_density(run: Run, model, x, **how) -> np.ndarray:
    """The flow's log-density (N,) at points x (N, D) of the target's units, in nats."""
    z, scale = run.target.standardize(x)
    found = log_prob(model, z, run.source.log_prob, **run.solving, **how)
    return np.array(found, np.float64) - scale


@dataclass(frozen=True)
class Fitness:
    """How likely a flow makes fresh samples of its target, in nats.

    Attributes:
        nll, nll_error: mean of −log q over the samples, and its standard error.
        entropy: mean of −log p over the same samples; None where p is not known.
        gap, gap_error: mean of log p − log q, an estimate of the Kullback–Leibler divergence.
    """

    nll: float
    nll_error: float
    entropy: float | None = None
    gap: float | None = None
    gap_error: float | None = None


def likelihood_of_target(run: Run, model, count: int, **how) -> Fitness:
    """Measure the flow by `count` fresh samples of the target."""
    x = run.target.sample(count, evaluation_keys(run.config["seed"])[1])
    log_q = log_density(run, model, x, **how)
    nll = mean_and_error(-log_q)
    if run.target.log_prob is None:
        return Fitness(*nll)
    log_p = np.array(run.target.log_prob(x), np.float64)
    return Fitness(*nll, float(-log_p.mean()), *mean_and_error(log_p - log_q))


def densities(run: Run, model, **how):
    """The flow's density on a grid around the target, and the target's, or a sample of it.

    Returns:
        (box, learned, true): box as (x0, x1, y0, y1), or (x0, x1) in one dimension; learned on
        the middles of `GRID` cells a side, rows along y; true likewise, or (M, D) samples.
    """
    sample = np.array(run.target.sample(FIGURE_POINTS, evaluation_keys(run.config["seed"])[1]))
    low, high = np.quantile(sample, [0.001, 0.999], axis=0)
    sides = high - low
    if np.max(sides) <= 5 * np.min(sides):
        sides = np.max(sides)  # a square, unless the scales are very different
    low, high = (low + high - 1.4 * sides) / 2, (low + high + 1.4 * sides) / 2
    middles = [a + (b - a) * (np.arange(GRID) + 0.5) / GRID for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*middles), axis=-1).reshape(-1, run.target.dim)
    parts = np.array_split(grid, max(1, len(grid) // GRID_PART))
    learned = np.exp(np.concatenate([log_density(run, model, part, **how) for part in parts]))
    shape, box = (GRID,) * run.target.dim, tuple(np.stack([low, high], axis=1).ravel())
    if run.target.log_prob is None:
        return box, learned.reshape(shape), sample
    true = np.exp(np.array(run.target.log_prob(mx.array(grid, mx.float32))))
    return box, learned.reshape(shape), true.reshape(shape)
