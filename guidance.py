"""Guidance: how a flow is led to a class, by two fields of which one knows it.

A network that is told the class of a point, but not always, learns the field of every class and
that of all together. Guidance goes beyond the class, away from what is common to all,

    v_w(t, x) = (1 − w) v(t, x | ∅) + w v(t, x | c),

so that w = 0 is the flow of all, w = 1 that of the class, and more makes the class surer
(Ho & Salimans 2022, eq. 6, where w is called w + 1, for diffusion; Zheng et al. 2023 for flows).
Only at 0 and 1 does this flow end at a law that one can name. For other w it does not end at the
density in proportion to p(x) p(c | x)^w, as is often said: see docs/mathematics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from likelihood import brings_jvp


def guided(field: Callable, of_class: Callable, weight: float) -> Callable:
    """The field (1 − w) v(t, x | ∅) + w v(t, x | c), called as field(t, x).

    Args:
        field: of all classes together, field(t, x) → (N, D).
        of_class: of one class, or of each row's own, likewise.
        weight: w.

    Returns:
        At w = 0 and 1 the one of the two fields that counts; else one of twice the work, which has
        a `with_jvp` for log-densities if both have.
    """
    if weight in (0, 1):
        return of_class if weight else field
    both = all(brings_jvp(type(each)) for each in (field, of_class))
    return (GuidedWithJvp if both else Guided)(field, of_class, float(weight))


@dataclass(frozen=True)
class Guided:
    """See `guided`."""

    field: Callable
    of_class: Callable
    weight: float

    def __call__(self, t, x):
        """v_w(t, x), (N, D)."""
        return self._mix(self.field(t, x), self.of_class(t, x))

    def _mix(self, of_all, of_class):
        return of_all + self.weight * (of_class - of_all)


class GuidedWithJvp(Guided):
    """A guided field that tells its derivatives, since both of its fields do."""

    def with_jvp(self, t, x, directions):
        """v_w (N, D), and (∂v_w/∂x) ε (N, P, D), as `models.MLP.with_jvp`."""
        both = [each.with_jvp(t, x, directions) for each in (self.field, self.of_class)]
        return tuple(self._mix(*pair) for pair in zip(*both, strict=True))
