"""The page of the exact field: methods, sources and targets, to be moved by hand.

Its field is that of `exact.py`, written a second time for browsers and tested against the first;
the paths of the methods come from `cfm.py`, as tables of numbers. So a new method, or a new
dataset, is in the page without a word of JavaScript.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import mlx.core as mx
import numpy as np

from cfm import METHODS, Method
from datasets import Dataset, standard_normal
from exact import exact_velocity
from figures.pages import write_page
from figures.schedule_table import ScheduleTable, schedule_table

MOST_POINTS = 1024
PARTICLES = 120
SCRIPTS = ["path.js", "field.js", "noise.js", "particles.js", "state.js", "surface.js"]
SCRIPTS += ["scene.js", "hands.js", "words.js", "controls.js", "exact.js"]


def with_independent_pairs() -> dict[str, Callable]:
    """Every method, but that its pairs are independent: those that an exact field is known for."""
    return {name: partial(_independent, name) for name in METHODS}


def _independent(name: str, sigma: float | None = None) -> Method:
    method = METHODS[name](sigma, coupling="independent")
    if METHODS[name]().coupling.match is None:
        return method
    return replace(method, title=f"{method.title}, with independent pairs")


def exact_page(out, makers: dict[str, Callable], sources, targets: dict, *, title: str, **start):
    """The exact density and velocity of a small target, which a reader draws, moves and mixes.

    Args:
        out: file to write.
        makers: the methods offered: name → (σ → a method with independent pairs); None stands for
            the method's own σ. Of methods that have the same path the first is offered. The page
            offers every σ where a path is affine in it.
        sources: the sources offered, datasets that are mixtures of isotropic Gaussians.
        targets: the targets offered: name → up to 1 024 points (M, 2), of which the page takes the
            first n, and the names of the two axes.
        title: of the page.
        start: the names `method`, `source` and `target`, the number n of points and the σ, None
            for the method's own, that the page begins with.

    Raises:
        ValueError: for what has no closed form, or is not so small, or not in the plane.
    """
    method, source = makers[start["method"]](start["sigma"]), _named(sources, start["source"])
    for name, (points, _) in targets.items():
        if np.shape(points)[1:] != (2,) or not 0 < len(points) <= MOST_POINTS:
            raise ValueError(
                f"the points of {name} must be (M, 2), M up to {MOST_POINTS}, "
                f"not {np.shape(points)}"
            )
        exact_velocity(method, source, points)  # what it refuses has no page
    data = {
        "methods": _methods(makers, start),
        "sources": [_source(dataset) for dataset in sources],
        "targets": [_target(name, *target) for name, target in targets.items()],
        "noise": _rounded(standard_normal(2).sample(PARTICLES, mx.random.key(0))),
        "mostPoints": MOST_POINTS,
        "start": start | {"sigma": method.sigma or 0.0},
        "box": [-1, 1, -1, 1],
    }
    write_page(out, title, data, aside="exact.html", tools="exact_tools.html", scripts=SCRIPTS)


def _named(datasets, name: str) -> Dataset:
    return next(dataset for dataset in datasets if dataset.name == name)


def _methods(makers, start) -> list[dict]:
    """What the page knows of each method that has a path of its own."""
    tables, known = [], []
    for name, make in makers.items():
        method = make()
        table = schedule_table(make, start["sigma"] if name == start["method"] else None)
        if name != start["method"] and any(_same(table, other) for other in tables):
            continue
        tables.append(table)
        known.append(
            {
                "name": name,
                "title": method.title,
                "about": method.about,
                "sigma": method.sigma or 0.0,
                "onlySource": "normal" if method.normal_source else "",
                "schedule": {
                    "times": table.times.tolist(),
                    "values": _rounded(table.values, 10),
                    "slopes": _rounded(table.slopes, 10),
                    "whyFixed": table.why_fixed,
                },
            }
        )
    return known


def _same(some: ScheduleTable, other: ScheduleTable) -> bool:
    return some.values.shape == other.values.shape and np.allclose(some.values, other.values)


def _source(dataset: Dataset) -> dict:
    return {
        "name": dataset.name,
        "title": dataset.name,
        "means": _rounded(dataset.mixture.means, 8),
        "std": dataset.mixture.std,
    }


def _target(name: str, points, labels) -> dict:
    plain = tuple(labels) == ("x1", "x2")
    return {
        "name": name,
        "title": name,
        "labels": ["x₁", "x₂"] if plain else list(labels),
        "points": _rounded(points, 3),
    }


def _rounded(numbers, digits: int = 4) -> list:
    """Numbers as JSON has them, to so many digits after the point."""
    return np.round(np.array(numbers, np.float64), digits).tolist()
