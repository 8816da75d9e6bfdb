"""Whether a field's own rounding is what makes the steps of a solve short.

The error of a smooth field falls with a power of the step, and so an adaptive solver can hold it
within any tolerance. A field whose values are right to seven digits only, as are MLX's `sin`, `cos`
and `exp` of float64, varies at random by the rest: errors then fall hardly faster than the step,
and a solve to twelve digits takes very many steps, or never ends. Such noise can be told from
smooth change, however fast: the sixth differences of equidistant values, close together, are
nothing but noise (Moré & Wild 2011).
"""

import math
from dataclasses import dataclass

from ode.step import CONTROLLER, Step, in_tolerances

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map


VALUES, DIFFERENCES = 12, 6  # of the field, asked for along the beginning of a step; their order
PART = 0.2  # of a step that they are spread over
MUCH = 0.5  # of the error that steps settle at


class RoundingWarning(RuntimeWarning):
    """Steps are short because the field is not computed as precisely as the tolerances ask."""


@dataclass(frozen=True)
class Noise:
    """How a field's values vary at random around one step.

    Attributes:
        level: the root mean square of it, in parts of the root mean square of the field.
        ratio: the error estimate, in units of its tolerance, that it alone makes in this step.
        limits_steps: whether that is most of what the errors of steps are kept at.
    """

    level: float
    ratio: float
    limits_steps: bool

    def __str__(self):
        return (
            f"the steps are short because the field is rough: its values vary at random by some "
            f"{self.level:.0e} of their size, and shorter steps make no smaller errors. Loosen "
            "rtol and atol, or compute the field more precisely (MLX's sin, cos and exp have seven "
            "digits, of float64 too)"
        )


def noise_of(field, taken: Step, options) -> Noise:
    """Measure the noise along the beginning of a step, by `VALUES` evaluations of the field."""
    times = np.linspace(taken.start, taken.start + PART * taken.dt, VALUES)
    places = taken.at(times)
    values = [
        field(time, tree_map(lambda leaf, i=i: leaf[i], places)) for i, time in enumerate(times)
    ]
    # independent values of variance 1 have sixth differences of this variance
    gain = math.sqrt(math.comb(2 * DIFFERENCES, DIFFERENCES))

    def leaf(*values):
        rows = mx.stack(values)
        for _ in range(DIFFERENCES):
            rows = rows[1:] - rows[:-1]
        return mx.sqrt(mx.mean(mx.square(rows), axis=0)) / gain

    noise = tree_map(leaf, *values)
    weight = abs(taken.dt) * math.hypot(*taken.tableau.error)
    error = tree_map(lambda sigma: sigma * weight, noise)
    error = in_tolerances(error, taken.x, taken.x_new, options.rtol, options.atol)
    ratio, part, whole = mx.stack([options.norm(error), _size(noise), _size(values[0])]).tolist()
    most = MUCH * CONTROLLER.settled(taken.tableau.order)
    return Noise(part / whole if whole else 0.0, ratio, ratio > most)


def _size(tree) -> mx.array:
    return mx.sqrt(sum(mx.sum(mx.square(leaf)) for _, leaf in tree_flatten(tree)))
