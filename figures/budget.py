"""Quality against evaluations: a curve for every method and solver."""

from itertools import cycle

import numpy as np

from figures import style

# Okabe & Ito (2008), without the yellow that is too light for a line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", ":", "-.")
MARKS = "osD^vP"


def plot_budget(out, panels: list[tuple], title: str):
    """Panels side by side that share the axis of evaluations; both axes are logarithmic.

    A method has its colour, a solver its mark and its kind of line. Where several seeds were
    trained, the line is their mean and a band goes from the least of them to the greatest.

    Args:
        panels: (what is measured, floor, curves): the least one can hope for, and
            (method, solver) → (K, 4), rows of evaluations, mean, least and greatest.
    """
    flows = list(dict.fromkeys(flow for *_, curves in panels for flow in curves))
    colours = dict(zip(dict.fromkeys(m for m, _ in flows), cycle(COLOURS), strict=False))
    solvers = dict.fromkeys(s for _, s in flows)
    looks = dict(zip(solvers, zip(cycle(LINES), cycle(MARKS), strict=False), strict=False))
    with style.drawing(out, 1.9 + 3.6 * len(panels), 4.4) as figure:
        figure.get_layout_engine().set(w_pad=0.1)
        row = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
        handles: dict = {}
        for axes, (what, floor, curves) in zip(row, panels, strict=True):
            for (method, solver), rows in curves.items():
                nfe, mean, least, greatest = rows.T
                line, mark = looks[solver]
                look = {"color": colours[method], "ls": line, "marker": mark, "ms": 3.2, "lw": 1.2}
                (drawn,) = axes.plot(nfe, mean, **look)
                if np.any(greatest > least):
                    band = {"color": colours[method], "alpha": 0.2, "lw": 0}
                    axes.fill_between(nfe, least, greatest, **band)
                handles.setdefault(f"{method}, {solver}", drawn)
            line = axes.axhline(floor, color=style.INK, lw=0.9, ls=(0, (1, 1)))
            handles["two true samples"] = line
            axes.set(xscale="log", yscale="log", ylabel=what)
            axes.set_xlabel("evaluations of the network")
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
            values = [rows[:, 1] for rows in curves.values()]
            style.plain_log(axes.yaxis, np.concatenate([*values, [floor]]))
            axes.grid(which="major", color=style.GRID, lw=0.5)
        handles["two true samples"] = handles.pop("two true samples")  # last
        names = [style.literal(name) for name in handles]
        figure.legend(handles.values(), names, loc="outside right center", handlelength=3)
        style.set_title(figure, title)
