"""What precision costs with this flow, by every solver there is."""

from itertools import cycle
from pathlib import Path

import numpy as np

from figures.style import GRID, drawing, set_title
from figures.subject import Subject
from lab.classes import told
from lab.following import labels_of_paths
from lab.run import Run
from machine.keys import evaluation_keys
from odeint import odeint
from solver import SOLVERS

POINTS = 512
MOST_NFE = 1_000  # after which a solver is not asked for more
# Seven of Okabe & Ito (2008), and five of Tol (2021) that keep apart from these.
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933", "#332288", "#777777", "#44AA99"),
)
MARKERS = "osD^vPX<>*hdp"  # one more than colours, so that it takes long until a pair comes again


def refusal(run) -> str | None:
    if run.is_map:
        return (
            f"'{run.config.method}' is a map, which no solver follows. Use compare --figure budget."
        )
    if run.config.diffusion:
        return (
            "'workprecision' is how near solvers carry a point to its place, and with noise it has "
            "none: leave out --diffusion."
        )
    return None


def draw(out: Path, subject: Subject):
    adaptive = {name for name, tableau in SOLVERS.items() if tableau.adaptive}
    curves = work_precision(subject.run, subject.field)
    plot_work_precision(out, curves, subject.run.flow, adaptive)


def work_precision(run: Run, field) -> dict[str, list[tuple[int, float]]]:
    """Solver → (NFE, error) over growing work, for this field.

    The error is the root mean squared distance, in the target's units, from dopri8 to 1e-7.
    """
    x0 = run.source.sample(POINTS, evaluation_keys(run.config.seed)[0])
    field = told(run, field, labels_of_paths(run, POINTS))

    def solve(**how):
        solution = odeint(field, x0, [0.0, 1.0], dense=False, max_steps=100_000, **how)
        return solution.nfe, run.target.restore(solution.x[-1])

    _, exact = solve(solver="dopri8", rtol=1e-7, atol=1e-7)
    curves = {}
    for name, tableau in SOLVERS.items():
        if tableau.adaptive:
            efforts = [{"rtol": 10.0**-k, "atol": 10.0**-k} for k in range(1, 7)]
        else:
            efforts = [{"steps": nfe // tableau.stages} for nfe in (8, 16, 32, 64, 128, 256)]
        curves[name] = []
        for effort in efforts:
            nfe, end = solve(solver=name, **effort)
            error = float(np.sqrt(np.mean(np.sum((end - exact) ** 2, axis=1))))
            curves[name].append((nfe, error))
            if nfe > MOST_NFE:
                break
    return curves


def plot_work_precision(out, curves: dict, title: str, adaptive=frozenset()):
    """Error against work, a colour for each solver.

    Adaptive ones have a solid line and full marks, fixed ones a dashed line and hollow marks.

    Args:
        curves: solver -> list of (NFE, error); errors of 0 have no place on the axes.
        adaptive: names of the adaptive solvers.
    """
    groups = {"adaptive": [], "fixed steps": []}
    with drawing(out, 5.8, 3.8) as figure:
        axes = figure.subplots()
        for (name, points), colour, mark in zip(curves.items(), cycle(COLOURS), cycle(MARKERS)):
            nfe, error = np.array(sorted(points), float).reshape(-1, 2).T
            look = {"color": colour, "marker": mark, "lw": 1.2, "ms": 4.5, "label": name}
            if name not in adaptive:
                look |= {"ls": "--", "markerfacecolor": "#FFFFFF"}
            group = "adaptive" if name in adaptive else "fixed steps"
            groups[group] += axes.plot(nfe, np.where(error > 0, error, np.nan), **look)
        axes.set(xscale="log", yscale="log", xlabel="NFE: evaluations of the velocity")
        axes.set_ylabel("error: root mean squared distance\nfrom a reference solve")
        axes.grid(which="major", color=GRID, lw=0.5)
        marks = []
        for group, lines in groups.items():
            marks += [axes.plot([], [], ls="", label=group)[0], *lines] if lines else []
        figure.legend(handles=marks, loc="outside right center", handlelength=3)
        set_title(figure, title)
