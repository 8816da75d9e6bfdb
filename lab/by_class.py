"""How good each class of a conditional flow is.

Distances are in the units of the target, losses in those that the network sees.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from exact import nearly_exact_velocity
from classes import labelled
from lab import tables
from lab.comparison import Cell
from lab.evaluation import EXCESS_PAIRS, W2_POINTS, generate
from lab.following import W2_DRAWS, noise_keys, solve
from lab.run import Run
from machine.keys import CLASSES, step_key
from metrics import ExcessLoss, FlowDistances, excess_loss, flow_distances, share_in_class
from odeint import OdeError

TRUE_POINTS = 20_000  # of which the nearest says in which class a generated point has come out


@dataclass(frozen=True)
class OfClass:
    """How good the points that were generated for a class are.

    Attributes:
        name: of the class.
        distances: from true points of the class.
        right: the share of them whose nearest point, of a fresh sample of the whole target, is of
            this class.
        right_of_true: the same of as many true points of the class.
        excess: how near the network's field of the class, without guidance, is to the exact one;
            None where that is not known.
    """

    name: str
    distances: FlowDistances
    right: float
    right_of_true: float
    excess: ExcessLoss | None

    @property
    def numbers(self) -> dict:
        """All of them by name, as those of `evaluation.evaluate`."""
        return {
            "w2_squared": self.distances.to_target,
            "w2_squared_error": self.distances.error,
            "w2_squared_of_true_samples": self.distances.best,
            "right": self.right,
            "right_of_true_samples": self.right_of_true,
            "excess_loss": self.excess and self.excess.excess,
            "excess_loss_error": self.excess and self.excess.excess_error,
            "velocity_error": self.excess and self.excess.velocity_error,
        }


def by_class(run: Run, field: Callable) -> list[OfClass]:
    """Measure every class of a run; none where it has no classes.

    As many points are drawn of each class as of the whole target, divided by the number of classes,
    since the exact assignment takes cubic time.
    """
    key, *keys = mx.random.split(step_key(run.config.seed, CLASSES), 1 + 2 * len(run.classes))
    if not run.classes:
        return []
    true, classes = run.target.standardized().sample_with_classes(TRUE_POINTS, key)
    true, classes = run.target.restore(true), np.array(classes)
    return [
        _measured(run, field, k, true, classes, *keys[2 * k : 2 * k + 2])
        for k in range(len(run.classes))
    ]


def _measured(run: Run, field, k: int, true, classes, key, excess_key) -> OfClass:
    part, label, made = run.target.part(k), mx.array(k), []
    count = max(2, min(run.config.samples, W2_POINTS) // len(run.classes))
    noise = iter(noise_keys(run)[1:])

    def flow(x0):
        solution = solve(run, field, x0, [0.0, 1.0], next(noise), label, dense=False)
        made.append(run.target.restore(solution.x[-1]))
        return made[-1]

    *draws, other = mx.random.split(key, W2_DRAWS + 1)
    distances = flow_distances(flow, run.source, part, count, draws)
    right = share_in_class(np.concatenate(made), k, true, classes)
    right_of_true = share_in_class(part.sample_exactly(W2_DRAWS * count, other), k, true, classes)
    excess = None if run.is_exact else _excess(run, field, part, label, excess_key)
    return OfClass(run.classes[k], distances, right, right_of_true, excess)


def _excess(run: Run, field, part, label, key) -> ExcessLoss | None:
    """How near the field of a class is to the exact one, see `metrics.excess_loss`."""
    cloud_key, key = mx.random.split(key)
    best = nearly_exact_velocity(run.method, run.source, part, cloud_key)
    between = run.method, run.source, part.standardized(), EXCESS_PAIRS, key
    return best and excess_loss(labelled(field, label), best, *between)


def share_right(run: Run, found: list[OfClass]) -> float:
    """The share of all generated points that come out in their class."""
    return float(np.dot(run.target.shares, [each.right for each in found]))


def evaluate(run: Run, field) -> dict:
    """All of it by name, as JSON can hold it; nothing where there are no classes."""
    found = by_class(run, field)
    if not found:
        return {}
    about = {"guidance": run.config.guidance, "right": share_right(run, found)}
    return about | {"classes": {each.name: each.numbers for each in found}}


def flat(numbers: dict) -> dict:
    """The same, those of a class each by a name of its own."""
    numbers = dict(numbers)
    for name, each in numbers.pop("classes", {}).items():
        numbers |= {f"{name}: {what}": value for what, value in each.items()}
    return numbers


def measured(run: Run, field, network: Callable, known: dict) -> Iterator[Cell]:
    """A cell of a comparison with the numbers of every class; `network` is not asked."""
    best = known.get(run.config.seed)
    try:
        made, numbers = generate(run, field, best), flat(evaluate(run, field))
    except OdeError as error:
        yield Cell(run, failure=str(error))
        return
    known[run.config.seed] = made.distances.best
    of_all = {
        "nfe": made.solution.nfe,
        "w2_squared": made.distances.to_target,
        "w2_squared_error": made.distances.error,
        "w2_squared_of_true_samples": made.distances.best,
    }
    yield Cell(run, of_all | numbers, made.paths, made.labels)


def caption(cell: Cell) -> str:
    """What stands above its paths in a figure: how many are right, and W2² by class."""
    distances = [cell.numbers[f"{name}: w2_squared"] for name in cell.run.classes]
    ends = distances if len(distances) < 3 else [min(distances), max(distances)]
    mark = ", " if len(distances) < 3 else " to "
    return f"{cell.numbers['right']:.1%} right, W₂² {mark.join(f'{each:.2g}' for each in ends)}"


def markdown(cells: list[Cell]) -> str:
    """The table."""
    columns = {"NFE": ("nfe", ".0f"), "W2²": ("w2_squared", ".3g"), "right": ("right", ".1%")}
    for name in cells[0].run.classes:
        columns[f"W2² of {name}"] = (f"{name}: w2_squared", ".3g")
        columns[f"right of {name}"] = (f"{name}: right", ".1%")
    return tables.markdown(cells, columns)
