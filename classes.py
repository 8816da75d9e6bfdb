"""Flows that know classes: a network is told which part of the target a point belongs to.

Trained with the classes of its points, a network v(t, x, c) has a flow for every class c. The class
of some pairs is kept back, so that it learns the field of all classes together too, v(t, x, ∅)
(Ho & Salimans 2022; Zheng et al. 2023). For independent pairs each of these is the field that the
class by itself would have, since its x0 follow the source as all do. Of coupled pairs that holds
where classes are paired by themselves, by `couplings.optimal_by_class`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx

from cfm import Method
from likelihood import brings_jvp

NOTHING = -1  # the label of a point of whose class nothing is known


def with_classes(method: Method, drop: float) -> "MethodWithClasses":
    """The method, but that its networks are told the class of every pair, but for a part `drop`."""
    return MethodWithClasses(**vars(method), plain=method, drop=drop)


@dataclass(frozen=True)
class MethodWithClasses(Method):
    """See `with_classes`; which pairs are told is drawn from the key that their times are."""

    plain: Method | None = None
    drop: float = 0.0
    shows_classes = True

    def examples(self, x0, x1, classes, key):
        """What a network is to learn of pairs of classes (N,): the method's, and labels (N,)."""
        chance = mx.random.uniform(shape=classes.shape, key=mx.random.split(key, 4)[3])
        label = mx.where(chance < self.drop, NOTHING, classes)
        return *self.plain.examples(x0, x1, key), label

    def error(self, model, *examples):
        """The loss of these examples."""
        *examples, label = examples
        return self.plain.error(labelled(model, label), *examples)


def labelled(field: Callable, label) -> "Labelled":
    """The field(t, x) of some classes, from a field(t, x, label) that is told them.

    Args:
        field: a network of classes, or the exact field of points that have some.
        label: (N,), one for every row of x, or () for all alike; negative for nothing known.
    """
    return (LabelledWithJvp if brings_jvp(type(field)) else Labelled)(field, label)


@dataclass(frozen=True)
class Labelled:
    """See `labelled`."""

    field: Callable
    label: mx.array

    def __call__(self, t, x):
        """v(t, x | label), (N, D)."""
        return self.field(t, x, label=self.label)

    @property
    def score(self) -> "Labelled":
        """The score of these classes, likewise, where the field knows or has learned one."""
        return Labelled(self.field.score, self.label)


class LabelledWithJvp(Labelled):
    """The field of classes of a network that tells its derivatives."""

    def with_jvp(self, t, x, directions):
        """v (N, D), and (∂v/∂x) ε (N, P, D), as `models.MLP.with_jvp`."""
        return self.field.with_jvp(t, x, directions, label=self.label)
