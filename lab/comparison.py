"""How runs compare: every method trained once a seed, its flow followed by every solver.

What is trained is kept, and found again by the next comparison.
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from files.whole import whole
from lab.config import CNF, Config, ConfigError
from lab.evaluation import generate, of_network, of_solver
from lab.run import Run, settle, solved_by
from lab.store import learn
from metrics import quoted
from odeint import OdeError
from solver import SOLVERS
from training import NonFiniteLossError

# what things cost, in training steps of independent pairs; only the time left depends on it
COSTS = {CNF: 70, "ot": 2.5, "entropic": 6}
NETWORK_COST, CELL_COST = 3_000, 2_000

# heading → (number, digits in print)
COLUMNS = {
    "NFE": ("nfe", ".0f"),
    "W2²": ("w2_squared", ".3g"),
    "normalized path energy": ("normalized_path_energy", ".3g"),
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
    def caption(self) -> str:
        """What stands above its paths in a figure."""
        found = quoted(self.numbers["w2_squared"], self.numbers["w2_squared_error"])
        return f"NFE {self.numbers['nfe']}, W₂² {found}"


class Interrupted(Exception):
    """Ctrl-C, while a network was being trained; what it learned is kept."""


def plan(config: Config, methods, solvers, seeds: int, nfe: int | None) -> list[list[Run]]:
    """What is to be run: for every method and seed, one run a solver.

    All flows start from one source: unless one is named, from the one that all methods can.

    Raises:
        ConfigError: where options make no sense together.
    """
    if nfe and config.ode_steps:
        raise ConfigError("nfe", "and --ode-steps both say how many steps to take; choose one.")
    if config.power is not None and "poly" not in methods:
        raise ConfigError("power", "is of 'poly', which is not compared.")
    steps = {solver: _steps(solver, nfe) or config.ode_steps for solver in solvers}

    def settled(method, seed, config):
        return settle(replace(config, method=method, seed=seed, **_not_for(method)))

    if len({settled(method, config.seed, config).source.name for method in methods}) > 1:
        config = replace(config, source="normal")
    seeds = range(config.seed, config.seed + seeds)
    runs = [settled(method, seed, config) for method in methods for seed in seeds]
    return [[solved_by(run, solver, steps[solver]) for solver in solvers] for run in runs]


def _not_for(method: str) -> dict[str, None]:
    """The options that a method has not, taken back."""
    names = ["power"] if method != "poly" else []
    if method == CNF:
        names += ["sigma", "coupling", "regularization"]
    return dict.fromkeys(names)


def _steps(solver: str, nfe: int | None) -> int | None:
    """How many steps of a fixed solver make `nfe` evaluations."""
    tableau = SOLVERS[solver]
    if nfe is None or tableau.adaptive:
        return None
    if nfe % tableau.stages:
        raise ConfigError(
            "nfe",
            f"{nfe} is no multiple of {tableau.stages}, the evaluations of a step of '{solver}'.",
        )
    return nfe // tableau.stages


def cost(planned: list[list[Run]]) -> float:
    """What `compare` will count up to."""
    return sum(_training_cost(of[0]) + NETWORK_COST + CELL_COST * len(of) for of in planned)


def _training_cost(run: Run) -> float:
    kind = CNF if run.config.method == CNF else run.method.coupling.name
    return run.config.steps * COSTS.get(kind, 1)


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
        name = f"{run.config.method}, seed {run.config.seed}"

        def look(history, run=run, base=base, name=name):
            part = history.steps / run.config.steps
            show(base + part * _training_cost(run), f"{name}: training {part:.0%}")

        try:
            learned = learn(run, look, retrain=retrain)
            if learned.history.interrupted:
                raise Interrupted
            done += _training_cost(run)
            show(done, f"{name}: measuring")
            network = of_network(learned.run, learned.field)
            network["training_seconds"] = learned.history.total_seconds
        except (NonFiniteLossError, OdeError) as error:
            yield from (Cell(run, failure=str(error)) for run in of)
            done = base + _training_cost(run) + NETWORK_COST + CELL_COST * len(of)
            continue
        done += NETWORK_COST
        for run in of:
            show(done, f"{name}: {run.config.solver}")
            run = replace(run, source=learned.run.source)
            yield _measured(run, learned.field, network, known)
            done += CELL_COST
    show(done, "")


def _measured(run: Run, model, network: dict, known: dict) -> Cell:
    """One cell; `known` holds what others found that depends on source, target and seed alone."""
    key = run.source.name, run.config.seed
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
        numbers = found.setdefault((cell.run.config.method, cell.run.config.solver), {})
        for name in (*(name for name, _ in COLUMNS.values()), "w2_squared_error"):
            value = cell.numbers.get(name)
            numbers.setdefault(name, []).extend([] if value is None else [value])
    return found


def heading(cells: list[Cell]) -> str:
    """What was compared, in a sentence: source, target, seeds, two true samples' distance."""
    run = cells[0].run
    seeds = sorted({cell.run.config.seed for cell in cells})
    of_seeds = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    best = [c.numbers["w2_squared_of_true_samples"] for c in cells if c.numbers]
    apart = f"; W2² between two true samples is {np.mean(best):.2g}" if best else ""
    spread = "standard error" if len(seeds) == 1 else "standard deviation over seeds"
    return f"{run.source.name} to {run.target.name}, {of_seeds}{apart}. ± is the {spread}."


def markdown(cells: list[Cell]) -> str:
    """The table, with mean ± standard deviation over seeds; of one, W2² ± its standard error.

    Where some seeds failed, the number of the others stands behind.
    """
    seeds = len({cell.run.config.seed for cell in cells})
    lines = [heading(cells), ""]
    lines += [f"| method | solver | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 2) + "|"]
    for (method, solver), numbers in summary(cells).items():
        row = [_in_words(numbers, seeds, *column) for column in COLUMNS.values()]
        lines.append(f"| {method} | {solver} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _in_words(numbers: dict[str, list], seeds: int, name: str, how: str) -> str:
    values = numbers[name]
    if not values:
        return "–"
    error = np.std(values, ddof=1) if len(values) > 1 else 0.0
    if seeds == 1:
        error = sum(numbers.get(f"{name}_error", []))
    shown = f"{np.mean(values):{how}}"
    if error:  # of seconds, which vary with the machine, the digits are always the same
        seconds = name.endswith("_seconds")
        shown = f"{shown} ± {error:{how}}" if seconds else quoted(np.mean(values), error)
    return shown + ("" if len(values) == seeds else f" ({len(values)})")


def write_markdown(path: Path, cells: list[Cell]):
    """Keep the table in a file."""
    with whole(path) as part:
        part.write_text(markdown(cells), encoding="utf-8")


def write_csv(path: Path, cells: list[Cell]):
    """Keep every number of every cell in a file, a row each."""
    rows = _rows(cells)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with whole(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def as_json(cells: list[Cell]) -> dict:
    """What was compared, and all rows."""
    config = cells[0].run.config
    return {"source": config.source, "target": config.target, "rows": _rows(cells)}


def _rows(cells: list[Cell]) -> list[dict]:
    """Every number of every cell by its name, and why there are none where it failed."""
    rows = []
    for cell in cells:
        config = cell.run.config
        names = ("method", "solver", "seed", "source", "target")
        row = {name: getattr(config, name) for name in names} | cell.numbers
        rows.append(row | ({"failure": cell.failure} if cell.failure else {}))
    return rows
