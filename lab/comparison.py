"""Methods against solvers: every flow trained once, followed by every solver, all in one table.

What is trained is kept, and found again by the next comparison. How it is drawn is the business
of `plots.py`.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lab import store as runs
from lab.evaluation import generate, of_network, of_solver
from odeint import OdeError
from lab.run import CNF, OptionError, Run, settle
from solver import SOLVERS
from training import NonFiniteLossError

# what things cost, in training steps of independent pairs; only the time left depends on it
COSTS = {CNF: 70, "ot": 2.5, "entropic": 6}
NETWORK_COST, CELL_COST = 3_000, 2_000

# heading → (number, format)
COLUMNS = {
    "NFE": ("nfe", ".0f"),
    "W2²": ("w2_squared", ".3g"),
    "path energy": ("normalized_path_energy", ".3g"),
    "straightness": ("straightness", ".3g"),
    "excess loss": ("excess_loss", ".3g"),
    "NLL": ("nll", ".3f"),
    "training, s": ("training_seconds", ".1f"),
    "sampling, s": ("sampling_seconds", ".2f"),
}


@dataclass(frozen=True)
class Cell:
    """One flow, followed by one solver.

    Attributes:
        run: which.
        numbers: name → number, or None where it is not defined.
        paths: (T, N, D) in the target's units.
        failure: why there are none of these, if there are none.
    """

    run: Run
    numbers: dict = field(default_factory=dict)
    paths: np.ndarray | None = None
    failure: str = ""

    @property
    def drawn(self) -> tuple[np.ndarray, str]:
        """Its paths, and what is to be written beside them."""
        nfe, distance = self.numbers["nfe"], self.numbers["w2_squared"]
        return self.paths, f"NFE {nfe}, $W_2^2$ {distance:.3g}"


class Interrupted(Exception):
    """Ctrl-C, while a network was being trained; what it learned is kept."""


def plan(options: dict, methods, solvers, seeds: int, nfe: int | None) -> list[list[Run]]:
    """What is to be run: for every method and seed, one run a solver.

    All flows start from one source: unless one is named, from the one that all methods can.

    Raises:
        OptionError: where options make no sense together.
    """
    if nfe and options["ode_steps"]:
        raise OptionError("nfe", "and --ode-steps both say how many steps to take; choose one.")
    if options["power"] is not None and "poly" not in methods:
        raise OptionError("power", "is of 'poly', which is not compared.")
    steps = {solver: _steps(solver, nfe) or options["ode_steps"] for solver in solvers}

    def of(method, seed):
        chosen = {**options, **_for(method, options), "seed": seed}
        return [settle({**chosen, "solver": s, "ode_steps": steps[s]}) for s in solvers]

    first = options["seed"]
    if len({of(method, first)[0].source.name for method in methods}) > 1:
        options = {**options, "source": "normal"}
    return [of(method, seed) for method in methods for seed in range(first, first + seeds)]


def _for(method: str, options: dict) -> dict:
    """The options that a method understands, as it is to have them."""
    ignored = {"power"} if method != "poly" else set()
    if method == CNF:
        ignored |= {"sigma", "coupling", "regularization"}
    return {"method": method} | dict.fromkeys(ignored)


def _steps(solver: str, nfe: int | None) -> int | None:
    """How many steps of a fixed solver make `nfe` evaluations."""
    tableau = SOLVERS[solver]
    if nfe is None or tableau.adaptive:
        return None
    if nfe % tableau.stages:
        raise OptionError(
            "nfe",
            f"{nfe} is no multiple of {tableau.stages}, the evaluations of a step of '{solver}'.",
        )
    return nfe // tableau.stages


def cost(planned: list[list[Run]]) -> float:
    """What `compare` will count up to."""
    return sum(_training_cost(of[0]) + NETWORK_COST + CELL_COST * len(of) for of in planned)


def _training_cost(run: Run) -> float:
    kind = CNF if run.method.name == CNF else run.method.coupling.name
    return run.config["steps"] * COSTS.get(kind, 1)


def compare(
    planned: list[list[Run]], retrain: bool, show: Callable[[float, str], None]
) -> Iterator[Cell]:
    """Train, follow and measure, one cell after the other.

    Args:
        planned: from `plan`.
        retrain: whether to train even what is found trained.
        show: called with how much is done, of `cost`, and what is going on.

    Raises:
        Interrupted: after Ctrl-C in training.
    """
    done, known = 0.0, {}
    for of in planned:
        run, base = of[0], done
        name = f"{run.method.name}, seed {run.config['seed']}"

        def look(history, run=run, base=base, name=name):
            part = history.steps / run.config["steps"]
            show(base + part * _training_cost(run), f"{name}: training {part:.0%}")

        try:
            model, seconds = _trained(run, retrain, look)
            done += _training_cost(run)
            show(done, f"{name}: measuring")
            of = [runs.with_learned_source(run, model) for run in of]
            network = of_network(of[0], model) | {"training_seconds": seconds}
        except (NonFiniteLossError, OdeError) as error:
            yield from (Cell(run, failure=str(error)) for run in of)
            done = base + _training_cost(run) + NETWORK_COST + CELL_COST * len(of)
            continue
        done += NETWORK_COST
        for run in of:
            show(done, f"{name}: {run.config['solver']}")
            yield _measured(run, model, network, known)
            done += CELL_COST
    show(done, "")


def _trained(run: Run, retrain: bool, look: Callable):
    """The network of a run, found or trained, and the seconds that its training took."""
    found = None if retrain else runs.find(run)
    state = found and found[1]
    if state and state.step == run.config["steps"]:
        return found[0], state.seconds
    model = runs.new_model(run)
    history, _ = runs.learn(run, model, look, state)
    if history.interrupted:
        raise Interrupted
    return model, history.total_seconds


def _measured(run: Run, model, network: dict, known: dict) -> Cell:
    """One cell; `known` holds what others found that depends on source, target and seed alone."""
    key = run.source.name, run.config["seed"]
    best, least = known.get(key, (None, None))
    try:
        generated = generate(run, model, best)
        numbers = of_solver(run, model, generated, least)
    except OdeError as error:
        return Cell(run, failure=str(error))
    known[key] = numbers["w2_squared_of_true_samples"], numbers["least_path_energy"]
    return Cell(run, numbers | network, generated.paths)


def summary(cells: list[Cell]) -> dict[tuple[str, str], dict[str, list]]:
    """(method, solver) → the numbers of every seed, in the order of the cells."""
    found: dict = {}
    for cell in cells:
        key = cell.run.method.name, cell.run.config["solver"]
        numbers = found.setdefault(key, {})
        for name in (*(name for name, _ in COLUMNS.values()), "w2_squared_error"):
            value = cell.numbers.get(name)
            numbers.setdefault(name, []).extend([] if value is None else [value])
    return found


def markdown(cells: list[Cell]) -> str:
    """The table, with mean ± standard deviation over seeds; of one, W2² ± its standard error.

    Where some seeds failed, the number of the others stands behind.
    """
    lines = ["| method | solver | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    seeds = len({cell.run.config["seed"] for cell in cells})
    for (method, solver), numbers in summary(cells).items():
        row = [_in_words(numbers, seeds, *column) for column in COLUMNS.values()]
        lines.append(f"| {method} | {solver} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _in_words(numbers: dict[str, list], seeds: int, name: str, how: str) -> str:
    values = numbers[name]
    if not values:
        return "–"
    mean, some = f"{np.mean(values):{how}}", "" if len(values) == seeds else f" ({len(values)})"
    error = np.std(values, ddof=1) if len(values) > 1 else 0.0
    if seeds == 1:
        error = sum(numbers.get(f"{name}_error", []))
    return mean + (f" ± {error:.2g}" if error else "") + some


def write_csv(path: Path, cells: list[Cell]):
    """Every number of every cell, a row each."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.numbers))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "solver", "seed", *(n for n in names if n != "solver")])
        for cell in cells:
            config = cell.run.config
            numbers = [cell.numbers.get(name) for name in names if name != "solver"]
            writer.writerow([cell.run.method.name, config["solver"], config["seed"], *numbers])
