"""Points of classes: which class each of them is of, and what carries it there.

A conditional flow is followed by points that each have a class, drawn in the target's own
proportions.
"""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from files.cells import listed
from classes import labelled
from guidance import guided
from lab.run import Run
from lab.values import shortened
from lab.config import ConfigError
from machine.keys import CLASSES, step_key, stratified


def draw_labels(run: Run, count: int, key):
    """The classes (N,) of so many points, in the target's proportions; None if it has none."""
    if not run.classes:
        return None
    edges = mx.array(np.cumsum(run.target.shares)[:-1], mx.float32)
    return mx.sum(stratified(count, key)[:, None] >= edges, axis=1).astype(mx.int32)


def label_keys(run: Run, count: int):
    """Keys for the classes of points: of those whose paths are shown, and of other draws."""
    return mx.random.split(step_key(run.config.seed, CLASSES), count)


def place_of(run: Run, name: str) -> int:
    """Which of a run's classes has this name.

    Raises:
        ConfigError: if none has.
    """
    if name in run.classes:
        return run.classes.index(name)
    why = f"'{shortened(name)}' is none of its classes, which are {listed(run.classes)}."
    if not run.classes:
        why = f"'{shortened(name)}' is asked of a flow without classes; train one by --conditional."
    raise ConfigError("class", why)


def told(run: Run, field: Callable, labels) -> Callable:
    """The field that carries points of these classes, () or (N,), guided as the run is.

    Without classes, the field itself.
    """
    if labels is None:
        return field
    return guided(field, labelled(field, labels), run.config.guidance)
