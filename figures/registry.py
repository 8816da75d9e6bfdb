"""Which figure shows what of a run: `FIGURES` is what --figure offers.

Each entry gathers numbers from `evaluation.py` and hands them to `plots.py` or `panels.py`, which
draw, and which are imported only then, since matplotlib takes long to import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lab.evaluation import (
    FIGURE_POINTS,
    FRAMES,
    Generated,
    densities,
    law_of_training,
    velocity_in_units,
    work_precision,
)
from metrics import ExcessLoss
from machine.keys import EVALUATION, step_key
from lab.run import CNF, OptionError, Run
from solver import SOLVERS
from training import History

TIMES = (0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1)  # of the figure `time`
FIELD_TIMES = (0, 1 / 4, 1 / 2, 3 / 4, 1)
TIME_POINTS = 8_192


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
        """A large sample of the target."""
        key = step_key(self.run.config["seed"], EVALUATION)
        return self.run.target.sample_exactly(FIGURE_POINTS, key)

    @property
    def names(self) -> tuple[str, str]:
        return self.run.source.name, self.run.target.name

    def states(self, times) -> np.ndarray:
        """Where the generated points are at some times, (T, N, D)."""
        return self.generated.paths[[round(t * (FRAMES - 1)) for t in times]]


def _trajectories(out: Path, subject: Subject):
    from figures.plots import plot_trajectories

    run, result = subject.run, subject.generated
    exact = ", exact field" if run.is_exact else ""
    plot_trajectories(
        out,
        result.paths,
        subject.target,
        title=f"{run.title}{exact}, {run.config['solver']}\nNFE {result.solution.nfe}, "
        f"$W_2^2$ = {result.distances.to_target:.3g} ± {result.distances.error:.2g}",
        names=subject.names,
    )


def _loss(out: Path, subject: Subject):
    from figures.plots import plot_loss

    plot_loss(out, subject.history.losses, subject.excess, title=subject.run.flow)


def _field(out: Path, subject: Subject):
    from figures.panels import plot_field
    from figures.style import bounding_box, bounding_limits

    states = subject.states(FIELD_TIMES)
    around = bounding_box if states.shape[2] > 1 else bounding_limits
    plot_field(
        out,
        velocity_in_units(subject.run, subject.field),
        around(*states),
        title=f"{subject.run.flow}; dots are particles of the flow",
        times=FIELD_TIMES,
        points=states,
    )


def _density(out: Path, subject: Subject):
    from figures.plots import plot_density

    plot_density(out, *densities(subject.run, subject.field), title=subject.run.flow)


def _samples(out: Path, subject: Subject):
    from figures.panels import plot_samples

    paths = subject.generated.paths
    plot_samples(
        out,
        source=paths[0],
        target=subject.target[: paths.shape[1]],
        generated=paths[-1],
        title=subject.run.flow,
        names=subject.names,
    )


def _time(out: Path, subject: Subject):
    from figures.panels import plot_time

    rows = {"flow": subject.states(TIMES)}
    if subject.run.method.name != CNF:
        rows = {"in training": law_of_training(subject.run, TIMES, TIME_POINTS)} | rows
    plot_time(out, rows, TIMES, title=subject.run.flow, names=subject.names)


def _work_precision(out: Path, subject: Subject):
    from figures.plots import plot_work_precision

    plot_work_precision(
        out,
        work_precision(subject.run, subject.field),
        title=subject.run.flow,
        adaptive={name for name, tableau in SOLVERS.items() if tableau.adaptive},
    )


FIGURES: dict[str, Callable] = {
    "trajectories": _trajectories,
    "field": _field,
    "density": _density,
    "loss": _loss,
    "samples": _samples,
    "time": _time,
    "workprecision": _work_precision,
}


def require_drawable(run: Run, figures):
    """Raise an OptionError for a figure that a run cannot have, before anything is trained."""
    for name in figures:
        if name == "loss" and run.is_exact:
            raise OptionError("figure", "'exact' has no loss: it is not trained.")
        if name in ("field", "density") and run.target.dim > 2:
            raise OptionError(
                "figure",
                f"'{name}' is drawn in one and two dimensions, and the flow has {run.target.dim}.",
            )
        if name == "density" and run.source.log_prob is None:
            raise OptionError(
                "figure",
                f"'density' needs a source with a log-density, which '{run.source.name}' has not. "
                "Use --source normal.",
            )
