"""The method of a run, made from its options, and what it asks of its source and target."""

from dataclasses import replace

from cfm import METHODS, REFLOW, Method, rectified
from datasets import Dataset, Points, a_few_points
from lab.config import (
    CNF,
    EXACT_POINTS,
    MOST_EXACT_POINTS,
    TRAIN_FIXED_STEPS,
    Config,
    ConfigError,
)
from likelihood import EXACT_DIMENSIONS, MaximumLikelihood
from machine.keys import evaluation_keys
from maps import MAPS
from models import TRAINABLE
from solver import SOLVERS

FLOWS = METHODS | MAPS
MOST_COUPLED = 4096  # pairs in a batch: the plan between two batches has the square of it


def learns_score(method: str) -> bool:
    """Whether a method, by its name, learns the score beside the velocity."""
    return method in FLOWS and FLOWS[method]().learns_score


def method_of(config: Config, source: Dataset, target: Dataset) -> Method | MaximumLikelihood:
    """The method that options name, made.

    Raises:
        ConfigError: for what contradicts it, an option or a source.
    """
    make = _maximum_likelihood if config.method == CNF else _flow_matching
    return make(config, source, target)


def _maximum_likelihood(config: Config, source: Dataset, target: Dataset) -> MaximumLikelihood:
    for name in ("sigma", "coupling", "regularization", "power"):
        if getattr(config, name) is not None:
            raise ConfigError(name, f"'{CNF}' has no paths and no pairs, and so no {name}.")
    if source.log_prob is None:
        raise ConfigError(
            "source",
            f"'{source.name}' has no log-density, which '{CNF}' needs. Use --source normal.",
        )
    if target.dim > EXACT_DIMENSIONS and config.divergence == "exact":
        raise ConfigError(
            "divergence",
            f"'exact' takes {target.dim} backward passes for every evaluation here; up to "
            f"{EXACT_DIMENSIONS} are done. Use --divergence hutchinson.",
        )
    steps = config.train_ode_steps
    if steps is None and not SOLVERS[config.train_solver].adaptive:
        steps = TRAIN_FIXED_STEPS
    return MaximumLikelihood(
        None if source.name == TRAINABLE else source.log_prob,
        divergence=config.divergence,
        probes=config.probes,
        solver=config.train_solver,
        steps=steps,
        gradient=config.gradient,
    )


def _flow_matching(config: Config, source: Dataset, target: Dataset) -> Method:
    if config.power is not None and config.method != "poly":
        raise ConfigError("power", f"'{config.method}' has no power; 'poly' has.")
    if config.method == REFLOW:
        return _rectified(config)
    if config.method in MAPS and config.network == "concatsquash":
        raise ConfigError("network", f"'{config.network}' knows of one time, and maps have two.")
    method = FLOWS[config.method](
        config.sigma,
        coupling=config.coupling,
        regularization=config.regularization,
        power=config.power,
    )
    if method.coupling.match and (config.batch_size or 0) > MOST_COUPLED:
        raise ConfigError(
            "batch_size",
            f"{config.batch_size:,} is too much for {method.coupling.title}, whose work grows "
            f"with its square; up to {MOST_COUPLED:,} are allowed.",
        )
    if method.normal_source and not source.standard_normal:
        raise ConfigError(
            "source",
            f"'{source.name}' is not N(0, I), which the formulas of '{method.name}' need. "
            "Use --source normal, or --method cfm.",
        )
    return method


def _rectified(config: Config) -> Method:
    for name in ("coupling", "regularization"):
        if getattr(config, name) is not None:
            raise ConfigError(name, f"'{REFLOW}' has the pairs of a flow, and so no {name}.")
    if config.sigma:
        raise ConfigError("sigma", f"'{REFLOW}' has no noise, and '{config.sigma:g}' is some.")
    return rectified()


def remembered(config: Config, method, source: Dataset, target: Dataset):
    """The options and the target of an exact field: the points that it is made of."""
    if config.method == CNF or config.method in MAPS:
        name = config.method
        raise ConfigError("network", f"'exact' is known for flow matching, not for '{name}'.")
    if not method.coupling.is_independent:
        raise ConfigError(
            "network",
            f"'exact' is known for independent pairs only; '{method.name}' was given "
            f"{method.coupling.title}.",
        )
    if source.mixture is None:
        raise ConfigError(
            "network",
            f"'exact' needs a source of isotropic Gaussians, which '{source.name}' is not. "
            "Use --source normal or 8gaussians.",
        )
    everything = isinstance(target, Points) and min(len(target.points), MOST_EXACT_POINTS)
    count = config.points or everything or EXACT_POINTS
    chosen = a_few_points(target, count, evaluation_keys(config.seed)[3])
    return replace(config, points=len(chosen.points)), chosen
