"""What figures are drawn of: a run, its field, and what is already known about them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from figures.style import Classes
from lab.evaluation import Generated
from lab.run import Run
from machine.keys import EVALUATION, step_key
from metrics import ExcessLoss
from training import History

TARGET_POINTS = 200_000  # of the target, for its density


def target_sample(run: Run) -> np.ndarray:
    """A large sample of a run's target, (M, D) in its own units."""
    return run.target.sample_exactly(TARGET_POINTS, step_key(run.config.seed, EVALUATION))


@dataclass(frozen=True)
class Subject:
    """What there is to draw.

    Attributes:
        run: which run.
        field: its network, or the exact field.
        generated: what it made of fresh samples.
        excess: how near the field is to the exact one, or None.
        history: how its training went, or None.
    """

    run: Run
    field: Callable
    generated: Generated
    excess: ExcessLoss | None
    history: History | None

    @cached_property
    def target(self) -> np.ndarray:
        """A large sample of the target, (M, D)."""
        return target_sample(self.run)

    @property
    def target_classes(self) -> Classes | None:
        """The classes of that sample, if the run knows of any."""
        if not self.run.classes:
            return None
        key = step_key(self.run.config.seed, EVALUATION)
        _, labels = self.run.target.sample_with_classes(TARGET_POINTS, key)
        return Classes(self.run.classes, np.array(labels))

    @property
    def names(self) -> tuple[str, str]:
        """The names of source and target."""
        return self.run.source.name, self.run.target.name

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the D dimensions."""
        return self.run.target.columns

    @property
    def classes(self) -> Classes | None:
        """The classes of the generated points; None if they have none."""
        run, labels = self.run, self.generated.labels
        return None if labels is None else Classes(run.classes, labels)

    def states(self, times) -> np.ndarray:
        """Where the generated points are at some times, (T, N, D)."""
        paths = self.generated.paths
        return paths[[round(t * (len(paths) - 1)) for t in times]]
