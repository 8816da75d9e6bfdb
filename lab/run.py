"""From options to a `Run`: defaults filled in, names looked up, contradictions refused.

`settle` knows which option is wrong and says so; how a run is carried out is the business of
`runs.py`, where options come from that of `main.py`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cfm import METHODS, Method
from datasets import (
    DATASETS,
    Dataset,
    Points,
    a_few_points,
    forgotten_points,
    load_points,
    standard_normal,
)
from likelihood import EXACT_DIMENSIONS, MaximumLikelihood
from models import TRAINABLE
from machine.keys import evaluation_keys
from solver import SOLVERS, Tableau

FIXED_STEPS = 100  # of a solver without an error estimate, unless the options say otherwise
TRAIN_STEPS = 8  # of such a solver in training, likewise
CNF = "cnf"  # the method that is trained by maximum likelihood
STEPS = {CNF: 1_000}  # of training, unless told otherwise; a step takes a hundred times as long
USUAL_STEPS = 10_000
LR = {CNF: 2e-3}  # likewise; at more it tends to fail
USUAL_LR = 5e-3
SOLVING = ("solver", "ode_steps", "rtol", "atol", "samples")  # options that training ignores
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
    def tableau(self) -> Tableau:
        return SOLVERS[self.config["solver"]]

    @property
    def solving(self) -> dict:
        """How to solve, as `odeint` takes it."""
        steps = self.config["ode_steps"] or (None if self.tableau.adaptive else FIXED_STEPS)
        tolerances = {name: self.config[name] for name in ("rtol", "atol")}
        return {"solver": self.tableau.name, "steps": steps, **tolerances}

    @property
    def is_exact(self) -> bool:
        """Whether it follows the exact field, and trains nothing."""
        return self.config["network"] == EXACT

    @property
    def title(self) -> str:
        """The method's name in print, with its coupling where that is not its own."""
        method = self.method
        if method.name == CNF or method.coupling.name == METHODS[method.name]().coupling.name:
            return method.title
        return f"{method.title}, {method.coupling.title}"

    @property
    def flow(self) -> str:
        """What flows where, in print."""
        exact = ", exact field" if self.is_exact else ""
        return f"{self.title}{exact}, {self.source.name} to {self.target.name}"


def settle(options: dict) -> Run:
    """The run that options describe, defaults filled in.

    Raises:
        OptionError: where they contradict each other.
    """
    target = _target(options["target"], options.get("units"))
    source = _source(options, target)
    if source.dim != target.dim:
        source, target = _of_one_dimension(source, target)
    made = _maximum_likelihood if options["method"] == CNF else _flow_matching
    method = made(options, source)
    if method.name == CNF and target.dim > EXACT_DIMENSIONS and options["divergence"] == "exact":
        raise OptionError(
            "divergence",
            f"'exact' takes {target.dim} backward passes for every evaluation here; up to "
            f"{EXACT_DIMENSIONS} are done. Use --divergence hutchinson.",
        )
    config = {**options, "source": source.name}
    config["sigma"] = getattr(method, "sigma", None)
    config["steps"] = options["steps"] or STEPS.get(method.name, USUAL_STEPS)
    config["lr"] = options["lr"] or LR.get(method.name, USUAL_LR)
    shape = {name: config.pop(name) for name in ("width", "depth", "activation")}
    given = {name: value for name, value in shape.items() if value is not None}
    config["model"] = {"dim": target.dim, **given}
    if config["network"] == EXACT:
        target = _remembered(config, method, source, target)
    elif config["points"] is not None:
        raise OptionError("points", "only --network exact remembers points.")
    if isinstance(target, Points):
        config["units"] = {"mean": target.mean.tolist(), "scale": target.scale.tolist()}
        config["units"]["digest"] = target.digest
    return Run(config, method, source, target)


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


def _target(name: str, units: dict | None) -> Dataset:
    """The dataset, or a file's points: in the units in which a network has seen them, if it has."""
    if name in DATASETS:
        return DATASETS[name]
    try:
        points = forgotten_points(name, **units) if units and not Path(name).exists() else None
        points = points or load_points(name)
    except ValueError as error:
        raise OptionError("target", f"{error}.") from None
    if not units:
        return points
    if len(units["mean"]) != points.dim:
        was = len(units["mean"])
        raise OptionError("target", f"'{name}' has {points.dim} columns now, and had {was}.")
    mean, scale = np.array(units["mean"]), np.array(units["scale"])
    return replace(points, mean=mean, scale=scale, digest=units["digest"])


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
    return a_few_points(target, config["points"], evaluation_keys(config["seed"])[3])
