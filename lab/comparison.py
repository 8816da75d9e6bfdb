"""How runs compare: every method trained once a seed, its flow followed by every solver.

What is trained is kept, and found again by the next comparison. That is also how several trainings
can be done at once, in processes of their own: they keep what they learn, and it is found here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, partial

import mlx.core as mx
import numpy as np

from cfm import REFLOW
from lab.config import CNF, SDE_SOLVER, Config, ConfigError
from lab.evaluation import OF_LIKELIHOOD, generate, of_network, of_solver
from lab.methods import learns_score
from lab.run import Run
from lab.settling import INSTEAD, MAP_SOLVER, settle, solved_by
from lab.store import Learned, find, learn
from machine.processes import at_once, cores
from metrics import quoted
from odeint import OdeError
from sde import SDE_SOLVERS
from solver import SOLVERS
from training import TrainingError

# what things cost, in training steps of independent pairs; only the time left depends on it
COSTS = {CNF: 9, "ot": 0.8, "conditional-ot": 0.8, "entropic": 2}
NETWORK_COST, CELL_COST = 700, 500


@dataclass(frozen=True)
class Cell:
    """One flow, followed by one solver.

    Attributes:
        run: which.
        numbers: name → number, or None where it is not defined.
        paths: (T, N, D) in the target's units.
        labels: (N,), the class of every point; None if they have none.
        failure: why there are none of these, if there are none.
    """

    run: Run
    numbers: dict = field(default_factory=dict)
    paths: np.ndarray | None = None
    labels: np.ndarray | None = None
    failure: str = ""

    @property
    def caption(self) -> str:
        """What stands above its paths in a figure."""
        found = quoted(self.numbers["w2_squared"], self.numbers["w2_squared_error"])
        return f"NFE {self.numbers['nfe']}, W₂² {found}"


def plan(
    config: Config, methods, solvers, seeds: int, nfe: int | None, kept=(), couplings=()
) -> list[list[Run]]:
    """What is to be run: for every method and seed, and what is learned already, one run a solver.

    Methods that have pairs are trained by each of the couplings, or by their own if none is given.

    All flows start from one source: unless one is named, from the one that all methods can.
    Stochastic solvers follow them with the noise of --diffusion, the others without; where there
    is noise and no stochastic solver, one is added.

    Raises:
        ConfigError: where options make no sense together.
    """
    if nfe and config.ode_steps:
        raise ConfigError("nfe", "and --ode-steps both say how many steps to take; choose one.")
    if config.power is not None and "poly" not in methods:
        raise ConfigError("power", "is of 'poly', which is not compared.")
    noise, solvers = config.diffusion, _with_noise(solvers, config.diffusion)
    for solver in solvers:
        _steps(solver, nfe)
    config = replace(config, diffusion=0.0)
    if noise and not config.source and not all(learns_score(method) for method in methods):
        config = replace(config, source="normal")

    def settled(method, coupling, seed, config):
        changes = {"ode_steps": None, "solver": None, "coupling": coupling, **_not_for(method)}
        return settle(replace(config, method=method, seed=seed, **changes))

    flows = [(method, each) for method in methods for each in _couplings(method, couplings)]
    if len({settled(*flow, config.seed, config).source.name for flow in flows}) > 1:
        config = replace(config, source="normal")
    seeds = range(config.seed, config.seed + seeds)
    runs = [settled(*flow, seed, config) for flow in flows for seed in seeds]
    runs += [each.run for each in kept]
    _check_apart(runs)
    if noise and all(run.no_score for run in runs):
        raise ConfigError("diffusion", f"{runs[0].no_score}. {INSTEAD}")
    return [_by_each(run, solvers, nfe, config.ode_steps, noise) for run in runs]


def _couplings(method: str, couplings) -> list:
    """Those that a method is to be trained by, None for its own."""
    return [None] if method in (CNF, REFLOW) or not couplings else list(dict.fromkeys(couplings))


def _by_each(run: Run, solvers, nfe: int | None, steps: int | None, noise: float) -> list[Run]:
    """A run, followed by each solver; of a map only once, since it takes steps of its own."""
    if run.is_map:
        return [solved_by(run, MAP_SOLVER, nfe or steps)]
    return [solved_by(run, solver, _steps(solver, nfe) or steps, noise) for solver in solvers]


def _check_apart(runs: list[Run]):
    """Raise a ConfigError where two flows would be one row, or flow elsewhere than the others."""
    seen = set()
    for run in runs:
        ends = [(each.source.name, each.target.name) for each in (runs[0], run)]
        if ends[0] != ends[1]:
            first, this = (" to ".join(pair) for pair in ends)
            raise ConfigError(
                "source", f"one flow is from {first}, and another from {this}: no comparison."
            )
        if (run.label, run.config.seed) in seen:
            raise ConfigError(
                "seed",
                f"{run.config.seed} is that of two flows of '{run.label}'; keep one of them.",
            )
        seen.add((run.label, run.config.seed))


def _with_noise(solvers, noise: float) -> list[str]:
    """The solvers, and a stochastic one if there is noise and none among them."""
    stochastic = [solver for solver in solvers if solver in SDE_SOLVERS]
    if stochastic and not noise:
        raise ConfigError(
            "diffusion", f"0 is too little for '{stochastic[0]}', which follows a flow with noise."
        )
    return [*solvers] if stochastic or not noise else [*solvers, SDE_SOLVER]


def _not_for(method: str) -> dict[str, None]:
    """The options that a method has not, taken back."""
    names = ["power"] if method != "poly" else []
    if method in (CNF, REFLOW):
        names += ["sigma", "coupling", "regularization"]
    return dict.fromkeys(names)


def _steps(solver: str, nfe: int | None) -> int | None:
    """How many steps of a fixed solver make `nfe` evaluations."""
    if nfe is None or (solver in SOLVERS and SOLVERS[solver].adaptive):
        return None
    each = SOLVERS[solver].stages if solver in SOLVERS else SDE_SOLVERS[solver].evaluations
    if nfe % each:
        raise ConfigError(
            "nfe", f"{nfe} is no multiple of {each}, the evaluations of a step of '{solver}'."
        )
    return nfe // each


def to_train(planned: list[list[Run]], kept) -> list[Run]:
    """One run of each network that is to be trained; those that are kept stand last in a plan."""
    return [of[0] for of in planned[: len(planned) - len(kept)]]


def cost(planned: list[list[Run]], processes: int = 1, kept=()) -> float:
    """What `compare` will count up to."""
    costs = training_costs(to_train(planned, kept), processes)
    return sum(costs) + sum(NETWORK_COST + CELL_COST * len(of) for of in planned)


def training_costs(runs: list[Run], processes: int = 1) -> list[float]:
    """What training each run costs, where so many are trained at once."""
    names = [CNF if run.config.method == CNF else run.method.coupling.name for run in runs]
    steps = [run.config.steps / min(processes, len(runs)) for run in runs]
    return [COSTS.get(name, 1) * count for name, count in zip(names, steps, strict=True)]


def compare(
    planned: list[list[Run]],
    retrain: bool,
    show: Callable[[float, str], None],
    processes: int = 1,
    kept: list[Learned] | tuple = (),
    measure: Callable | None = None,
) -> Iterator[Cell]:
    """Train, follow and measure, one cell after the other.

    Args:
        planned: from `plan`, those of `kept` last.
        retrain: whether to train even what is found trained.
        show: called with how much is done, of `cost`, and what is going on.
        processes: how many trainings to do at once; several are done before all the rest.
        kept: what is learned already, and is not trained.
        measure: (run, field, numbers of the network, what others found) → cells; one by default.

    Raises:
        KeyboardInterrupt: after Ctrl-C; what was learned is kept.
        ProcessError: where a process that trained failed or died; likewise.
    """
    runs = to_train(planned, kept)
    done, costs, known = 0.0, training_costs(runs, processes), {}
    failures = train_at_once(runs, processes, retrain, show)
    if failures is not None:  # what did not fail is found
        done, costs, retrain = sum(costs), [0.0] * len(runs), False
    costs, at_hand = costs + [0.0] * len(kept), [None] * len(runs) + list(kept)
    for number, of in enumerate(planned):
        run, base = of[0], done
        name = f"{run.label}, seed {run.config.seed}"

        def look(history, run=run, base=base, name=name, cost=costs[number]):
            part = history.steps / run.config.steps
            doing = f"training {part:.0%}" if part < 1 else "measuring"
            show(base + part * cost, f"{name}: {doing}")

        done = base + costs[number] + NETWORK_COST
        try:
            if failures and number in failures:
                raise _Failed(failures[number])
            learned = at_hand[number] or _learned(run, look, retrain)
            network = cache(partial(_of_network, learned))
            if measure is None:
                network()
        except (TrainingError, OdeError, _Failed) as error:
            yield from (Cell(run, failure=str(error)) for run in of)
            done += CELL_COST * len(of)
            continue
        for run in of:
            show(done, f"{name}: {run.config.solver}")
            run = replace(run, source=learned.run.source)
            if run.config.diffusion and run.no_score:
                yield Cell(run, failure=run.no_score)
            else:
                yield from (measure or _measured)(run, learned.field, network, known)
            done += CELL_COST
    show(done, "")


class _Failed(Exception):
    """Training failed in another process."""


def _learned(run: Run, look: Callable, retrain: bool) -> Learned:
    """A run with its field."""
    learned = learn(run, look, retrain=retrain)
    if learned.history.interrupted:
        raise KeyboardInterrupt
    look(learned.history)
    return learned


def _of_network(learned: Learned) -> dict:
    """The numbers of a field that do not depend on how it is followed."""
    seconds = {"training_seconds": learned.history.total_seconds}
    return of_network(learned.run, learned.field) | seconds


def count_trained(planned: list[list[Run]]) -> int:
    """Of how many of the networks the training is found done."""
    return sum(_part_trained(of[0]) >= 1 for of in planned)


def one_a_core() -> int:
    """How many trainings to do at once; but one on a GPU, which they would share."""
    return len(cores()) if mx.default_device().type == mx.cpu else 1


def train_at_once(
    runs: list[Run], processes: int, retrain: bool, show: Callable[[float, str], None]
) -> dict[int, str] | None:
    """Train in processes of their own what is not found in runs/, where it is found afterwards.

    Args:
        show: see `compare`; called with how much is done of the sum of `training_costs`.

    Returns:
        Number of a run → why its training failed, if it did. None where there are not several
        trainings to do, or not at once: then nothing is done.
    """
    costs = training_costs(runs, processes)
    parts = [0.0 if retrain else _part_trained(run) for run in runs]
    missing = [number for number, part in enumerate(parts) if part < 1]
    if min(processes, len(missing)) < 2:
        return None
    # the longest first, so that none is begun when all others are done
    missing.sort(key=lambda number: (parts[number] - 1) * costs[number])

    def hear(number, part):
        parts[missing[number]] = part
        look()

    def look():
        trained = sum(part >= 1 for part in parts)
        show(float(np.dot(parts, costs)), f"{trained} of {len(runs)} trained")

    look()
    jobs = [(runs[number].config, retrain, mx.default_device().type.name) for number in missing]
    failures = at_once(_learn_apart, jobs, processes, hear)
    return {number: why for number, why in zip(missing, failures, strict=True) if why}


def _part_trained(run: Run) -> float:
    found = find(run)
    return found.history.steps / run.config.steps if found else 0.0


def _learn_apart(job: tuple[Config, bool, str], tell: Callable[[float], None]) -> str:
    """Learn a run in a process of its own, telling what part is done; why it failed, if it did."""
    config, retrain, device = job
    mx.set_default_device(getattr(mx, device))

    def look(history):
        if history.compile_seconds:  # its kernels are made
            tell(history.steps / config.steps)

    try:
        learn(settle(config), look, retrain=retrain)
    except TrainingError as error:
        return str(error)
    return ""


def _measured(run: Run, model, network: Callable, known: dict) -> Iterator[Cell]:
    """One cell; `known` holds what others found that depends on source, target and seed alone."""
    without = dict.fromkeys(OF_LIKELIHOOD) if run.config.diffusion else {}
    key = run.source.name, run.config.seed
    best, least = known.get(key, (None, None))
    try:
        generated = generate(run, model, best)
        numbers = of_solver(run, model, generated, least)
    except OdeError as error:
        yield Cell(run, failure=str(error))
        return
    known[key] = numbers["w2_squared_of_true_samples"], numbers["least_path_energy"] or least
    yield Cell(run, numbers | network() | without, generated.paths, generated.labels)
