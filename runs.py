"""A run: from its options to a flow, and the numbers that say how good the flow is.

`settle` turns options into a `Run` and says which option is wrong; the rest are the stages that
commands put together. Nothing here prints, draws, or knows of the command line.
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

from cfm import METHODS, Method
from datasets import DATASETS, Dataset, Points, a_few_points, load_points, standard_normal
from exact import exact_velocity, nearly_exact_velocity
from metrics import Fit, FlowDistances, flow_distances, flow_fit, mean_and_error
from likelihood import EXACT_DIMENSIONS, MaximumLikelihood, log_prob
from models import TRAINABLE, build
from odeint import Solution, odeint
from randomness import EVALUATION, step_key
from solver import SOLVERS
from training import LOOK_EVERY as USUAL_LOOK_EVERY
from training import History, load_checkpoint, save_checkpoint, train

FIXED_STEPS = 100  # of a solver without an error estimate, unless the options say otherwise
TRAIN_STEPS = 8  # of a solver in training, likewise
FRAMES = 101  # times at which paths are reported
FIGURE_POINTS = 200_000  # of the target, for its density
GRID = 160  # cells a side of a density
GRID_PART = 8_192  # points of it in one solve
W2_POINTS = 2048  # a draw at most, since the exact assignment takes cubic time
W2_DRAWS = 3
FIT_PAIRS = 4096  # for the excess loss
CNF = "cnf"  # the method that is trained by maximum likelihood
STEPS = {CNF: 1_000}  # of training, unless told otherwise; a step takes a hundred times as long
USUAL_STEPS = 10_000
LOOK_EVERY = {CNF: 10}
EXACT = "exact"  # the network that needs no training
EXACT_POINTS = 64  # of the target, that the exact field remembers unless told otherwise
EXACT_POINTS_MOST = 100_000
COUPLED_BATCH = 4096  # at most: the plan between two batches has the square of it


class OptionError(ValueError):
    """Options that do not make sense together; `option` is the one to change."""

    def __init__(self, option: str, message: str):
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class Run:
    """What is learned, and how: a configuration, and what it stands for.

    Attributes:
        config: everything, as JSON can hold it.
        method: one of `cfm.METHODS`, made, or `likelihood.MaximumLikelihood`.
        source: where the flow starts.
        target: where it ends, in its own units; networks see `target.standardized()`.
    """

    config: dict
    method: Method | MaximumLikelihood
    source: Dataset
    target: Dataset

    @property
    def title(self) -> str:
        """The method's name in print, with its coupling where that is not its own."""
        method = self.method
        if method.name == CNF or method.coupling.name == METHODS[method.name]().coupling.name:
            return method.title
        return f"{method.title}, {method.coupling.title}"


def settle(options: dict) -> Run:
    """The run that options describe, defaults filled in.

    Raises:
        OptionError: where they contradict each other.
    """
    target = _target(options["target"])
    source = _source(options, target)
    method = _maximum_likelihood(options, source) if options["method"] == CNF else None
    method = method or _flow_matching(options, source)
    if source.dim != target.dim:
        source, target = _of_one_dimension(source, target)
    if method.name == CNF and target.dim > EXACT_DIMENSIONS and options["divergence"] == "exact":
        raise OptionError(
            "divergence",
            f"'exact' takes {target.dim} backward passes for every evaluation here; up to "
            f"{EXACT_DIMENSIONS} are done. Use --divergence hutchinson.",
        )
    config = {**options, "source": source.name}
    config["sigma"] = getattr(method, "sigma", None)
    config["steps"] = options["steps"] or STEPS.get(method.name, USUAL_STEPS)
    shape = {name: config.pop(name) for name in ("width", "depth", "activation")}
    given = {name: value for name, value in shape.items() if value is not None}
    config["model"] = {"dim": target.dim, **given}
    if config["network"] == EXACT:
        target = _remembered(config, method, source, target)
    elif config["points"] is not None:
        raise OptionError("points", "only --network exact remembers points.")
    if isinstance(target, Points):
        config["units"] = {"mean": target.mean.tolist(), "scale": target.scale.tolist()}
    return Run(config, method, source, target)


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


def with_learned_source(run: Run, model) -> Run:
    """The run with the source that its network has learned, if it learns one."""
    if run.source.name != TRAINABLE:
        return run
    source = replace(run.source, draw=model.source.sample, log_prob=model.source.log_prob)
    return replace(run, source=source)


def _of_one_dimension(source: Dataset, target: Dataset) -> tuple[Dataset, Dataset]:
    """Both in as many dimensions as the one that is not normal."""
    if source.name == TRAINABLE:
        return replace(standard_normal(target.dim), name=TRAINABLE), target
    if source.standard_normal:
        return standard_normal(target.dim), target
    if target.standard_normal:
        return source, standard_normal(source.dim)
    raise OptionError(
        "source",
        f"'{source.name}' has {source.dim} dimensions and the target '{target.name}' has "
        f"{target.dim}. Use --source normal, which takes as many as are needed.",
    )


def _target(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    try:
        return load_points(name)
    except ValueError as error:
        raise OptionError("target", f"{error}.") from None


def _source(options: dict, target: Dataset) -> Dataset:
    name = options["source"]
    if name == TRAINABLE:
        if options["method"] != CNF:
            raise OptionError("source", f"'{TRAINABLE}' is learned by --method {CNF} only.")
        return replace(standard_normal(2), name=TRAINABLE, standard_normal=False)
    if name:
        return DATASETS[name]
    plain = target.dim == 2 and not isinstance(target, Points)
    return DATASETS["8gaussians" if plain and options["method"] not in ("fm", CNF) else "normal"]


def _maximum_likelihood(options: dict, source: Dataset) -> MaximumLikelihood:
    for name in ("sigma", "coupling", "regularization", "power"):
        if options[name] is not None:
            raise OptionError(name, f"'{CNF}' has no paths and no pairs, and so no {name}.")
    if source.log_prob is None:
        raise OptionError(
            "source",
            f"'{source.name}' has no log-density, which '{CNF}' needs. Use --source normal.",
        )
    tableau, steps = SOLVERS[options["train_solver"]], options["train_ode_steps"]
    if steps is None and not tableau.adaptive:
        steps = TRAIN_STEPS
    return MaximumLikelihood(
        None if source.name == TRAINABLE else source.log_prob,
        divergence=options["divergence"],
        probes=options["probes"],
        solver=tableau.name,
        steps=steps,
        gradient=options["gradient"],
    )


def _flow_matching(options: dict, source: Dataset) -> Method:
    settings = {name: options[name] for name in ("coupling", "regularization", "power")}
    if settings["power"] is not None and options["method"] != "poly":
        raise OptionError("power", f"'{options['method']}' has no power; 'poly' has.")
    method = METHODS[options["method"]](options["sigma"], **settings)
    if method.coupling.match and options["batch_size"] > COUPLED_BATCH:
        raise OptionError(
            "batch-size",
            f"{options['batch_size']:,} is too much for {method.coupling.title}, whose work grows "
            f"with its square; up to {COUPLED_BATCH:,} are allowed.",
        )
    if method.normal_source and not source.standard_normal:
        raise OptionError(
            "source",
            f"'{source.name}' is not N(0, I), which the formulas of '{method.name}' need. "
            "Use --source normal, or --method cfm.",
        )
    return method


def _remembered(config: dict, method, source: Dataset, target: Dataset) -> Points:
    """The points an exact field is made of."""
    if method.name == CNF:
        raise OptionError("network", f"'exact' is known for flow matching, not for '{CNF}'.")
    if method.coupling.match is not None:
        raise OptionError(
            "network",
            f"'exact' is known for independent pairs only; '{method.name}' was given "
            f"{method.coupling.title}.",
        )
    if source.mixture is None:
        raise OptionError(
            "network",
            f"'exact' needs a source of isotropic Gaussians, which '{source.name}' is not. "
            "Use --source normal or 8gaussians.",
        )
    if isinstance(target, Points) and config["points"] is None:
        config["points"] = min(len(target.points), EXACT_POINTS_MOST)
    config["points"] = config["points"] or EXACT_POINTS
    return a_few_points(target, config["points"], _evaluation_keys(config["seed"])[3])


def new_model(run: Run):
    """The untrained network; or the exact field, which needs no training."""
    if run.config["network"] == EXACT:
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
        look_every=LOOK_EVERY.get(run.method.name, USUAL_LOOK_EVERY),
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
    paths_key, distance_key, fit_key, _ = mx.random.split(
        step_key(run.config["seed"], EVALUATION), 4
    )
    solve, count = solver_of(run, field), run.config["samples"]
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


def _evaluation_keys(seed: int):
    """For the paths, the distances, the fit, and the points of an exact field."""
    return mx.random.split(step_key(seed, EVALUATION), 4)


def solver_of(run: Run, field) -> Callable:
    """`odeint` with the field and the solver of a run."""
    tableau = SOLVERS[run.config["solver"]]
    return partial(
        odeint,
        field,
        solver=tableau.name,
        rtol=run.config["rtol"],
        atol=run.config["atol"],
        steps=run.config["ode_steps"] or (None if tableau.adaptive else FIXED_STEPS),
    )


def fit(run: Run, field, key) -> Fit | None:
    """How near the field is to the exact one, where that is known and is not the field itself."""
    cloud_key, pairs_key = mx.random.split(key)
    if run.method.name == CNF or run.config["network"] == EXACT:
        return None
    best = nearly_exact_velocity(run.method, run.source, run.target, cloud_key)
    if best is None:
        return None
    target = run.target.standardized()
    return flow_fit(field, best, run.method, run.source, target, FIT_PAIRS, pairs_key)


def log_density(run: Run, model, x, **how) -> np.ndarray:
    """The flow's log-density (N,) at points x (N, D) of the target's units, in nats."""
    z, scale = run.target.standardize(x)
    tableau = SOLVERS[run.config["solver"]]
    steps = run.config["ode_steps"] or (None if tableau.adaptive else FIXED_STEPS)
    tolerances = {name: run.config[name] for name in ("rtol", "atol")}
    found = log_prob(
        model, z, run.source.log_prob, solver=tableau.name, steps=steps, **tolerances, **how
    )
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
    x = run.target.sample(count, _evaluation_keys(run.config["seed"])[1])
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
    sample = np.array(run.target.sample(FIGURE_POINTS, _evaluation_keys(run.config["seed"])[1]))
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
