"""What a run is: a `Config`, and the method, source and target that it stands for.

`settle` is the one place where options are looked up, filled in and held against one another.
"""

import inspect
from dataclasses import dataclass, replace

from cfm import METHODS, REFLOW, Method, rectified
from datasets import DATASETS, Dataset, Points, a_few_points, load_points, standard_normal
from files.tables import ColumnError, LabelError
from lab.config import (
    BATCH,
    CNF,
    CNF_BATCH,
    CNF_LR,
    CNF_STEPS,
    CNF_WIDTH,
    COUPLED_BATCH,
    COUPLED_LR,
    COUPLED_STEPS,
    EXACT,
    EXACT_POINTS,
    FIXED_STEPS,
    MAP_LR,
    MAP_STEPS,
    MOST_EXACT_POINTS,
    ODE_SOLVER,
    OPTIONS,
    SDE_SOLVER,
    SOLVING_OPTIONS,
    STANDARD,
    STEPS,
    TRAIN_FIXED_STEPS,
    Config,
    ConfigError,
)
from lab.demands import check_classes, check_marginal
from likelihood import EXACT_DIMENSIONS, MaximumLikelihood
from machine.keys import evaluation_keys
from maps import MAPS, MapMethod, in_steps
from models import NETWORKS, TRAINABLE
from noise import why_no_score
from optimizers import OPTIMIZERS
from sde import SDE_SOLVERS
from solver import SOLVERS

FLOWS = METHODS | MAPS
MAP_SOLVER = "euler"  # whose steps are those of a map, where it takes their mean velocity
NOT_SOLVING = OPTIONS.keys() - SOLVING_OPTIONS
INSTEAD = "Use --source normal with independent pairs, as cfm and vp have; or --method sf2m."
MOST_COUPLED = 4096  # pairs in a batch: the plan between two batches has the square of it


@dataclass(frozen=True)
class Run:
    """What is learned, and how.

    Attributes:
        config: the options. Defaults that depend on others are filled in; options without effect
            are as if they had not been given, so that the same training has the same config.
        method: one of `cfm.METHODS` or `maps.MAPS`, made, or `likelihood.MaximumLikelihood`.
        source: where the flow starts, in the units that networks see.
        target: where it ends, in its own units; networks see `target.standardized()`.
    """

    config: Config
    method: Method | MaximumLikelihood
    source: Dataset
    target: Dataset

    @property
    def solving(self) -> dict:
        """How the flow is solved, as arguments of `odeint`."""
        config = self.config
        return {
            "solver": config.solver,
            "steps": config.ode_steps,
            "rtol": config.rtol,
            "atol": config.atol,
        }

    def followed(self, field):
        """What `odeint` is to solve for a field: the field, or the steps of a map."""
        return in_steps(field, self.config.ode_steps) if self.is_map else field

    @property
    def is_map(self) -> bool:
        """Whether it learns mean velocities, which carry points in steps of any length."""
        return isinstance(self.method, MapMethod)

    @property
    def label(self) -> str:
        """The method's name, with its pairs where these are not its own, and the round of a flow
        that was rectified several times."""
        rounds = len(self.config.ancestors)
        pairs = "" if self.has_own_pairs else f"-{self.config.coupling}"
        return f"{self.config.method}{pairs}{rounds if rounds > 1 else ''}"

    @property
    def has_own_pairs(self) -> bool:
        """Whether samples are paired as the method pairs them unless told otherwise."""
        method = self.method
        if method.name not in FLOWS:
            return True
        return method.coupling.name == FLOWS[method.name]().coupling.name

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called that its network is told; () if it is told none."""
        return self.target.classes if self.config.conditional else ()

    @property
    def changed_files(self) -> list[str]:
        """The files of points that are not what they were in training."""
        sides = (self.config.source, self.source), (self.config.target, self.target)
        return [file for file, points in sides if not points.unchanged]

    @property
    def is_exact(self) -> bool:
        """Whether it follows the exact field, and trains nothing."""
        return self.config.network == EXACT

    @property
    def is_usual(self) -> bool:
        """Whether source and target are those one gets without naming any."""
        usual = Config(method=self.config.method)
        source = _source(usual, DATASETS[usual.target])
        return (self.config.source, self.config.target) == (source.name, usual.target)

    @property
    def title(self) -> str:
        """The method's name in print, with its coupling where that is not its own."""
        method = self.method
        if self.has_own_pairs:
            rounds = len(self.config.ancestors)
            return f"{method.title}, {rounds} rounds" if rounds > 1 else method.title
        return f"{method.title}, {method.coupling.title}"

    @property
    def flow(self) -> str:
        """What flows where, in print."""
        exact = ", exact field" if self.is_exact else ""
        return f"{self.title}{exact}, {self.source.name} to {self.target.name}{self.besides}"

    @property
    def besides(self) -> str:
        """What leads points besides their own velocity, in print; nothing for nothing."""
        guidance, noise = self.config.guidance, self.config.diffusion
        told = f", guidance {guidance:g}" if guidance != 1 else ""
        return told + (f", diffusion {noise:g}" if noise else "")

    @property
    def no_score(self) -> str | None:
        """Why no score of the flow is known, in a sentence without its full stop; or None."""
        if self.is_exact or self.method.learns_score:
            return None
        if self.is_map:
            return f"'{self.config.method}' is a map, which knows no velocity on the way"
        return why_no_score(self.method, self.source)


def settle(config: Config) -> Run:
    """The run that options describe. Settling a run's own `config` again gives the same run.

    Raises:
        ConfigError: where options contradict each other.
    """
    target = _target(config)
    source = _source(config, target)
    for side, points in (("target_units", target), ("source_units", source)):
        if isinstance(points, Points):
            config = replace(config, **{side: points.units})
    if source.dim != target.dim:
        source, target = _of_one_dimension(source, target)
    if isinstance(source, Points) and isinstance(target, Points):
        source = source.seen_in(target.units)
    make = _maximum_likelihood if config.method == CNF else _flow_matching
    method = make(config, source, target)
    config = _filled(config, method, source)
    check_classes(config, method, target)
    if config.regress == "marginal":
        check_marginal(config, method, source)
    if config.network == EXACT:
        config, target = _remembered(config, method, source, target)
    elif config.points is not None:
        raise ConfigError("points", "only --network exact is made of points.")
    run = Run(config, method, source, target)
    if config.diffusion and run.no_score:
        raise ConfigError("diffusion", f"{run.no_score}. {INSTEAD}")
    if run.is_exact:
        return run
    idle = {name: OPTIONS[name].default for name in without_effect(run) if name in NOT_SOLVING}
    return replace(run, config=replace(config, **idle))


def _target(config: Config) -> Dataset:
    """The dataset, or a file's points: in the units in which a network has seen them, if it has."""
    name = config.target
    if name not in DATASETS:
        return _points(config, "target", config.units == STANDARD)
    if config.columns and not _is_file(config.source):
        raise ConfigError("columns", f"columns are chosen from a file, and '{name}' is none.")
    if config.label:
        raise ConfigError("label", f"a label is a column of the target's file; '{name}' is none.")
    return DATASETS[name]


def _is_file(source: str | None) -> bool:
    return source not in (None, TRAINABLE, *DATASETS)


def _points(config: Config, side: str, standard: bool) -> Points:
    """The points of a file that is the source or the target."""
    path, units = getattr(config, side), getattr(config, f"{side}_units")
    label = config.label if side == "target" else None
    try:
        return load_points(path, config.columns, units, standard, label)
    except ValueError as error:
        option = {ColumnError: "columns", LabelError: "label"}.get(type(error), side)
        raise ConfigError(option, f"{error}.") from None


def _source(config: Config, target: Dataset) -> Dataset:
    name = config.source
    if name == TRAINABLE:
        if config.method != CNF:
            raise ConfigError("source", f"'{TRAINABLE}' is learned by --method {CNF} only.")
        return replace(standard_normal(2), name=TRAINABLE, standard_normal=False)
    if _is_file(name):
        return _points(config, "source", standard=False)
    if name:
        return DATASETS[name]
    plain = target.dim == 2 and not isinstance(target, Points)
    return DATASETS["8gaussians" if plain and not _asks_for_normal(config) else "normal"]


def _asks_for_normal(config: Config) -> bool:
    """Whether the method, or noise along the flow, asks for the source N(0, I)."""
    if config.method in ("fm", CNF):
        return True
    return bool(config.diffusion) and not learns_score(config.method)


def learns_score(method: str) -> bool:
    """Whether a method, by its name, learns the score beside the velocity."""
    return method in FLOWS and FLOWS[method]().learns_score


def _of_one_dimension(source: Dataset, target: Dataset) -> tuple[Dataset, Dataset]:
    """Both in as many dimensions as the one that is not normal."""
    if source.name == TRAINABLE:
        return replace(standard_normal(target.dim), name=TRAINABLE), target
    if source.standard_normal:
        return standard_normal(target.dim), target
    if target.standard_normal:
        return source, standard_normal(source.dim)
    raise ConfigError(
        "source",
        f"'{source.name}' has {source.dim} dimensions and the target '{target.name}' has "
        f"{target.dim}. Use --source normal, which takes as many as are needed.",
    )


def _filled(config: Config, method, source: Dataset) -> Config:
    """The options with every default that depended on others."""
    cnf = config.method == CNF
    usual = config.optimizer or ("adam" if cnf or config.network == "plain" else "muon")
    optimizer, weight_decay = OPTIMIZERS[usual], config.weight_decay
    steps, batch_size, lr = STEPS, BATCH, optimizer.lr
    if cnf:
        steps, batch_size, lr = CNF_STEPS, CNF_BATCH, CNF_LR
    elif method.coupling.match is not None:
        steps, batch_size, lr = COUPLED_STEPS, COUPLED_BATCH, COUPLED_LR
    elif config.method in MAPS:
        steps, lr = MAP_STEPS, MAP_LR
    if optimizer.weight_decay is None and weight_decay:
        raise ConfigError("weight_decay", f"'{usual}' has no weight decay; muon and adamw have.")
    return replace(
        config,
        source=config.source if isinstance(source, Points) else source.name,
        sigma=None if cnf else method.sigma,
        coupling=None if cnf or config.method == REFLOW else method.coupling.name,
        steps=config.steps or steps,
        batch_size=config.batch_size or batch_size,
        optimizer=usual,
        lr=config.lr or lr,
        weight_decay=optimizer.weight_decay if weight_decay is None else weight_decay,
        width=config.width or (CNF_WIDTH if cnf else _usual(config.network, "width")),
        activation=config.activation or _usual(config.network, "activation"),
        train_ode_steps=method.steps if cnf else config.train_ode_steps,
        **_solved(method, config.solver, config.ode_steps, config.diffusion),
    )


def _solved(method, solver: str | None, steps: int | None, noise: float) -> dict:
    """The solver, and its equal steps: None if it chooses its own."""
    if isinstance(method, MapMethod):
        return _steps_of_a_map(method, solver, steps)
    solver = solver or (SDE_SOLVER if noise else ODE_SOLVER)
    if noise and solver in SOLVERS:
        raise ConfigError(
            "solver",
            f"'{solver}' follows ordinary equations, and --diffusion makes a stochastic one. Use "
            f"{' or '.join(SDE_SOLVERS)}.",
        )
    if not noise and solver in SDE_SOLVERS:
        raise ConfigError(
            "solver",
            f"'{solver}' follows a flow with noise; say by --diffusion how much there is, or use "
            f"{ODE_SOLVER}.",
        )
    adaptive = solver in SOLVERS and SOLVERS[solver].adaptive
    return {"solver": solver, "ode_steps": steps if steps or adaptive else FIXED_STEPS}


def _steps_of_a_map(method, solver: str | None, steps: int | None) -> dict:
    if solver not in (None, MAP_SOLVER):
        adaptive = solver in SOLVERS and SOLVERS[solver].adaptive and not steps
        why = "no error to choose steps by" if adaptive else "no velocities between its steps"
        raise ConfigError(
            "solver",
            f"'{solver}' needs a velocity field, and '{method.name}' is a map, with {why}: "
            "--ode-steps says how many steps it takes.",
        )
    return {"solver": MAP_SOLVER, "ode_steps": steps or 1}


def solved_by(run: Run, solver: str, steps: int | None, diffusion: float = 0.0) -> Run:
    """The same run, its flow followed by another solver; with noise, if that is stochastic."""
    noise = diffusion if solver in SDE_SOLVERS else 0.0
    how = {"diffusion": noise} | _solved(run.method, solver, steps, noise)
    return replace(run, config=replace(run.config, **how))


def _usual(network: str, name: str):
    """What a network has of an argument unless it is told otherwise; None for the exact field."""
    if network not in NETWORKS:
        return None
    return inspect.signature(NETWORKS[network]).parameters[name].default


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


def _remembered(config: Config, method, source: Dataset, target: Dataset):
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


def without_effect(run: Run) -> dict[str, str]:
    """Options that change nothing in this run, each with the reason."""
    config, reasons = run.config, {}

    def say(why: str, *names: str):
        reasons.update(dict.fromkeys(names, why))

    if config.method != CNF:
        say("only --method cnf trains through a solver", "train_solver", "train_ode_steps")
        say("only --method cnf trains through a solver", "gradient")
        say("only --method cnf trains by the divergence", "divergence", "probes")
    elif config.divergence == "exact":
        say("the exact divergence needs no probes", "probes")
    if config.method != CNF and config.coupling != "entropic":
        pairs = config.coupling or "those of a flow"
        say(f"only entropic pairs have one, and these are {pairs}", "regularization")
    if not config.conditional:
        say("no class is told without --conditional", "drop")
    if not isinstance(run.target, Points) or run.config.target_units is None:
        say("only a target of a file has units of its own", "units")
    if config.ode_steps:
        say(f"{config.solver} takes {config.ode_steps:,} equal steps here", "rtol", "atol")
    if run.is_exact:
        training = ("steps", "batch_size", "regress", "optimizer", "lr", "schedule", "weight_decay")
        say("the exact field is not trained", "drop", *training, "save_every", "retrain")
        say("the exact field has no layers", "width", "depth", "activation")
    return reasons
