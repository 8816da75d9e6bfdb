"""The schedule of a method as a table of numbers, for a page, where no Python can be called.

A table has α, β and σ, and their slopes, at a few times; between two of these they are cubic
Hermite polynomials. Its times are close where the curves bend. A page lets its reader change the
σ that a method is made with, and the schedules of nearly all methods are affine in that: each
curve is one part plus σ times another. Where this is so, a table has both parts; where it is
not, it has the one schedule of the σ given, and a reason for the reader.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

TOLERANCE = 1e-5  # of a slope s, times 1 + |s|: far less than a picture of the field shows
# MLX's sines are right to 1e-7 only, even in float64. Between times that are very close, such an
# error makes a large one of a slope, which no further time would mend.
FEWEST_INTERVALS, MOST_TIMES = 16, 400
AFFINE = 1e-6  # how far from affine in σ a schedule may seem to be, for the same reason


@dataclass(frozen=True)
class ScheduleTable:
    """α, β and σ at T times, as the sum over P parts of σ to the power p times part p.

    Attributes:
        times: (T,), increasing, from the first to the last time at which the slopes are known.
        values: (P, 3, T): α, β and σ.
        slopes: (P, 3, T): their derivatives by t.
        why_fixed: why σ cannot be changed, a sentence; empty where it can, and P is 2.
    """

    times: np.ndarray
    values: np.ndarray
    slopes: np.ndarray
    why_fixed: str = ""

    def at(self, t):
        """The values and the slopes (P, 3, N) at times t (N,) in the range of the table."""
        after = np.clip(np.searchsorted(self.times, t), 1, len(self.times) - 1)
        before = after - 1
        step = self.times[after] - self.times[before]
        s = (t - self.times[before]) / step
        rise = self.values[..., after] - self.values[..., before]
        start, end = step * self.slopes[..., before], step * self.slopes[..., after]
        second, third = 3 * rise - 2 * start - end, start + end - 2 * rise
        values = self.values[..., before] + s * (start + s * (second + s * third))
        return values, (start + s * (2 * second + s * 3 * third)) / step


def schedule_table(make: Callable, sigma: float | None = None) -> ScheduleTable:
    """The table of the schedule of make(sigma), its slopes right to `TOLERANCE`.

    Args:
        make: σ → method, like those in `cfm.METHODS`; None stands for the method's own σ.
        sigma: the σ of the one schedule, where a table cannot have all of them.

    Raises:
        ValueError: for a schedule that is infinite somewhere from its margin on.
    """
    method = make(sigma)
    margin = method.schedule.margin
    times = np.linspace(margin, 1 - margin, FEWEST_INTERVALS + 1)
    parts, why_fixed = _parts(make, method, times)
    while True:
        values, slopes = np.stack([part(times) for part in parts], axis=1)
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            raise ValueError(
                f"the path of {method.name} or its slope is infinite at some time; "
                "the margin of a schedule keeps it away from the ends"
            )
        table = ScheduleTable(times, values, slopes, why_fixed)
        halved = _too_long(table, parts)
        if not halved.any() or len(times) + halved.sum() > MOST_TIMES:
            return table
        middles = (times[1:] + times[:-1]) / 2
        times = np.sort(np.append(times, middles[halved]))


def _parts(make, method, times):
    """Functions of times, one for each part of a table; and why there is one only, or no words."""
    fixed = [lambda t: _curves(method, t)]
    if method.sigma is None:
        return fixed, "This method has no σ."
    try:
        none, half, one = (make(sigma) for sigma in (0.0, 0.5, 1.0))
    except ValueError:
        return fixed, "This method cannot take every σ, so σ stays as it is."
    start, middle, end = (_curves(made, times) for made in (none, half, one))
    if _near(start, end):
        return fixed, "The paths of this method do not depend on σ."
    own = start + method.sigma * (end - start)
    if not (_near(middle, (start + end) / 2) and _near(_curves(method, times), own)):
        return fixed, "The paths of this method are not linear in σ, so σ stays as it is."
    return [lambda t: _curves(none, t), lambda t: _curves(one, t) - _curves(none, t)], ""


def _curves(method, times) -> np.ndarray:
    """(2, 3, T): α, β and σ at the times, and their slopes."""
    with mx.stream(mx.cpu):  # the only device with float64
        curves = method.schedule(mx.array(times[:, None], mx.float64))
        return np.array([[np.array(curve)[:, 0] for curve in kind] for kind in curves], np.float64)


def _near(some, others) -> bool:
    return np.allclose(some, others, rtol=AFFINE, atol=AFFINE)


def _too_long(table, parts) -> np.ndarray:
    """Which intervals (T − 1,) are too long: a cubic's slope errs most near their quarters."""
    too_long = np.zeros(len(table.times) - 1, bool)
    for quarter in (0.25, 0.75):
        t = table.times[:-1] + quarter * np.diff(table.times)
        _, slopes = np.stack([part(t) for part in parts], axis=1)
        errors = np.abs(table.at(t)[1] - slopes) / (1 + np.abs(slopes))
        too_long |= errors.max(axis=(0, 1)) > TOLERANCE
    return too_long
