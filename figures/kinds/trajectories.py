"""Where the flow takes the points of the source, and on what ways."""

from pathlib import Path

import numpy as np

from figures.stage import Stage, reach
from figures.style import Classes, drawing, legend, set_title
from figures.subject import Subject
from metrics import quoted


def draw(out: Path, subject: Subject):
    run, result = subject.run, subject.generated
    exact = ", exact field" if run.is_exact else ""
    distance = quoted(result.distances.to_target, result.distances.error)
    plot_trajectories(
        out,
        result.paths,
        subject.target,
        title=f"{run.title}{exact}, {run.config.solver}{run.besides}, NFE {result.solution.nfe}\n"
        f"W₂² {distance}; of two true samples {quoted(result.distances.best, digits=2)}",
        names=subject.names,
        labels=subject.labels,
        classes=subject.classes,
    )


def plot_trajectories(
    out,
    paths: np.ndarray,
    target: np.ndarray,
    title: str,
    names=("source", "target"),
    labels=None,
    shown: int = 200,
    classes: Classes | None = None,
):
    """Source points, the paths they take, and where they arrive, over the target's density.

    Args:
        out: file to write.
        paths: (T, N, D), the states of N points at T times evenly from 0 to 1. D = 1 is drawn
            over time; D > 2 shows the first two, and says so.
        target: (M, D), a sample of the target.
        title: above the figure.
        names: of source and target, for the legend.
        labels: names of the D dimensions; x1, x2, … if None.
        shown: how many of the paths are drawn; of the points, ten times as many.
        classes: of the N points, whose paths and ends have their colours then.
    """
    paths = paths[:, : 10 * shown]
    stage = Stage(reach(paths, shown), target, labels)
    with drawing(out, 5.2, 5.7) as figure:
        stage.draw_flow(figure.subplots(), paths, shown, classes=classes)
        set_title(figure, title, stage.dim)
        legend(figure, names, f"{min(shown, paths.shape[1])} paths", stage.crosses, classes)
