"""A run: from its options to a flow, and the numbers that say how good the flow is.

`settle` turns options into a `Run` and says which option is wrong; the rest are the stages that
commands put together. Nothing here prints, draws, or knows of the command line.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np

from cfm import METHODS, Method
from datasets import DATASETS, Dataset, Points, a_few_points, load_points, standard_normal
from exact import exact_velocity, nearly_exact_velocity
from metrics import Fit, FlowDistances, flow_distances, flow_fit
from models import NETWORKS
from odeint import Solution, odeint
from randomness import EVALUATION, step_key
from solver import SOLVERS
from training import History, save_checkpoint, train

FIXED_STEPS = 100  # of a solver without an error estimate, unless the options say otherwise
FRAMES = 101  # times at which paths are reported
W2_POINTS = 2048  # a draw at most, since the exact assignment takes cubic time
W2_DRAWS = 3
FIT_PAIRS = 4096  # for the excess loss
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
        method: the flow-matching method.
        source: where the flow starts.
        target: where it ends, in its own units; networks see `target.standardized()`.
    """

    config: dict
    method: Method
    source: Dataset
    target: Dataset

    @property
    def title(self) -> str:
        """The method's name in print, with its coupling where that is not its own."""
        usual = METHODS[self.method.name]().coupling.name
        other = self.method.coupling.name != usual
        return f"{self.method.title}, {self.method.coupling.title}" if other else self.method.title


def settle(options: dict) -> Run:
    """The run that options describe, defaults filled in.

    Raises:
        OptionError: where they contradict each other.
    """
    target = _target(options["target"])
    source = _source(options, target)
    method = _method(options, source)
    if source.dim != target.dim:
        if not (source.standard_normal or target.standard_normal):
            raise OptionError(
                "source",
                f"'{source.name}' has {source.dim} dimensions and the target '{target.name}' "
                f"has {target.dim}. Use --source normal, which takes as many as are needed.",
            )
        if source.standard_normal:
            source = standard_normal(target.dim)
        else:
            target = standard_normal(source.dim)
    config = {**options, "sigma": method.sigma, "source": source.name}
    shape = {name: config.pop(name) for name in ("width", "depth", "activation")}
    config["model"] = {"dim": target.dim, **shape}
    if config["network"] == EXACT:
        target = _remembered(config, method, source, target)
    elif config["points"] is not None:
        raise OptionError("points", "only --network exact remembers points.")
    if isinstance(target, Points):
        config["units"] = {"mean": target.mean.tolist(), "scale": target.scale.tolist()}
    return Run(config, method, source, target)


def _target(name: str) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    try:
        return load_points(name)
    except ValueError as error:
        raise OptionError("target", f"{error}.") from None


def _source(options: dict, target: Dataset) -> Dataset:
    if options["source"]:
        return DATASETS[options["source"]]
    plain = target.dim == 2 and not isinstance(target, Points) and options["method"] != "fm"
    return DATASETS["8gaussians" if plain else "normal"]


def _method(options: dict, source: Dataset) -> Method:
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


def _remembered(config: dict, method: Method, source: Dataset, target: Dataset) -> Points:
    """The points an exact field is made of."""
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
    return NETWORKS[run.config["network"]](**run.config["model"])


def learn(run: Run, model, on_look: Callable) -> History:
    """Train the model as the configuration says."""
    settings = {name: run.config[name] for name in ("steps", "batch_size", "lr", "seed")}
    target = run.target.standardized()
    return train(model, run.method, run.source, target, on_look=on_look, **settings)


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
    best = nearly_exact_velocity(run.method, run.source, run.target, cloud_key)
    if best is None or run.config["network"] == EXACT:
        return None
    target = run.target.standardized()
    return flow_fit(field, best, run.method, run.source, target, FIT_PAIRS, pairs_key)
