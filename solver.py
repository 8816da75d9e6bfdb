"""What one explicit Runge–Kutta step is.

A solver is a `Tableau`: numbers, checked when they are built. One generic step
serves them all, one polynomial per tableau gives the solution between the two
ends of a step, and a controller turns an error estimate into the next step
size. How a whole solve goes (output times, budgets, failures, gradients) is the
business of `odeint.py`; nothing here knows of flow matching.

Time is a Python float in float64, whatever the precision of the state. A state
is any pytree of arrays.
"""

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map


@dataclass(frozen=True)
class Tableau:
    """The coefficients of an explicit Runge–Kutta method.

    With stages k_i = f(t + c_i dt, x + dt Σ_j a_ij k_j), the step is
    x(t + dt) = x + dt Σ_i b_i k_i (Hairer, Nørsett & Wanner 1993, II.1).

    Attributes:
        name: what the method is called.
        order: of the solution it carries forward.
        c: stage times as fractions of the step.
        a: row i holds the weights of the stages before stage i.
        b: weights of the solution.
        error: weights b − b̂ of the embedded error estimate; empty where there is none.
        dense: row i holds the coefficients of θ, θ², … in the weight that stage i has at
            t + θ dt; where empty, a Hermite interpolant is made (`interpolant`).
        reference: where the numbers come from.

    Raises:
        ValueError: if the coefficients contradict each other.
    """

    name: str
    order: int
    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()
    dense: tuple[tuple[float, ...], ...] = ()
    reference: str = ""

    def __post_init__(self):
        self._require(len(self.a) == len(self.b) == self.stages, "a, b and c differ in length")
        for i, (row, c) in enumerate(zip(self.a, self.c, strict=True)):
            self._require(len(row) == i, f"row {i} of a is not strictly lower triangular")
            self._require(np.isclose(sum(row), c, atol=1e-12), f"row {i} of a does not sum to c")
        for k in range(1, self.order + 1):
            moment = np.dot(self.b, np.power(self.c, k - 1))
            self._require(np.isclose(moment, 1 / k, atol=1e-12), f"Σ b c^{k - 1} is not 1/{k}")
        if self.error:
            self._require(len(self.error) == self.stages, "error and c differ in length")
            self._require(np.isclose(sum(self.error), 0, atol=1e-12), "error does not sum to 0")
        if self.dense:
            ends = np.sum(self.dense, axis=1)
            self._require(np.allclose(ends, self.b, atol=1e-12), "dense at θ = 1 is not b")

    def _require(self, condition, complaint):
        if not condition:
            raise ValueError(f"tableau {self.name!r}: {complaint}")

    @property
    def stages(self) -> int:
        return len(self.c)

    @property
    def adaptive(self) -> bool:
        """Whether it estimates its own error."""
        return bool(self.error)

    @property
    def fsal(self) -> bool:
        """First same as last: the last stage is the first one of the next step."""
        return self.c[-1] == 1 and (*self.a[-1], 0.0) == self.b

    @property
    def interpolant(self) -> tuple[tuple[float, ...], ...]:
        """Coefficients of θ, θ², … per stage: `dense`, or those of a Hermite polynomial.

        It matches x and dx/dt at t and x at t + dt, and, where the tableau is `fsal`, dx/dt
        there too, which makes it cubic (HNW 1993, II.6.7).
        """
        if self.dense:
            return self.dense
        if not self.fsal:
            rows = [[0.0, b] for b in self.b]
            rows[0] = [1.0, self.b[0] - 1.0]
        else:
            rows = [[0.0, 3 * b, -2 * b] for b in self.b]
            rows[0] = [1.0, 3 * self.b[0] - 2.0, 1.0 - 2 * self.b[0]]
            rows[-1] = [0.0, -1.0, 1.0]
        return tuple(map(tuple, rows))


def combine(x, dt, weights, stages):
    """x + dt Σ_i weights_i stages_i, leaf by leaf; terms of weight zero cost nothing.

    The factors are made plain floats: numpy's would turn the arrays into numpy's, and so cut
    them off from their gradients.
    """
    terms = [(float(dt * w), k) for w, k in zip(weights, stages, strict=False) if w]
    if not terms:
        return x
    scales, used = zip(*terms, strict=True)

    def leaf(x, *ks):
        return x + sum(scale * k for scale, k in zip(scales, ks, strict=True))

    return tree_map(leaf, x, *used)


def step(tableau: Tableau, field, t: float, dt: float, x, first):
    """One step from (t, x), where `first` is field(t, x).

    Returns:
        (x_new, stages): the state at t + dt and the derivatives on the way. Where the
        tableau is `fsal`, stages[-1] is field(t + dt, x_new).
    """
    stages = [first]
    x_new = x
    for row, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
        x_new = combine(x, dt, row, stages)
        stages.append(field(t + c * dt, x_new))
    if not tableau.fsal:
        x_new = combine(x, dt, tableau.b, stages)
    return x_new, stages


def interpolate(tableau: Tableau, dt: float, x, stages, theta: np.ndarray):
    """The states at t + θ dt for θ (T,), stacked along a new first axis: (T, ...) per leaf.

    `x` and `stages` are those of the step; the field is not evaluated again.
    """
    rows = np.array(tableau.interpolant)
    weights = dt * (theta[:, None] ** np.arange(1, rows.shape[1] + 1)) @ rows.T

    def leaf(x, *ks):
        shape = (-1, *[1] * x.ndim)
        scaled = (
            mx.array(w, x.dtype).reshape(shape) * k for w, k in zip(weights.T, ks, strict=True)
        )
        return x + sum(scaled)

    return tree_map(leaf, x, *stages)


def scaled_error(tableau: Tableau, dt: float, x, x_new, stages, rtol, atol):
    """The estimated error of every number in units of its tolerance, a pytree like x.

    The tolerance is atol + rtol max(|x|, |x_new|) (HNW 1993, II.4.10). A step is good where
    a norm of this is at most 1.
    """

    def leaf(error, x, x_new):
        return error / (atol + rtol * mx.maximum(mx.abs(x), mx.abs(x_new)))

    error = combine(tree_map(mx.zeros_like, x), dt, tableau.error, stages)
    return tree_map(leaf, error, x, x_new)


def rms(tree) -> mx.array:
    """Root mean square over all numbers of a pytree."""
    leaves = [leaf for _, leaf in tree_flatten(tree)]
    total = sum(mx.sum(mx.square(leaf)) for leaf in leaves)
    return mx.sqrt(total / sum(leaf.size for leaf in leaves))


@dataclass(frozen=True)
class Controller:
    """Proportional–integral step size control (Gustafsson 1991; HNW 1993, IV.2).

    A step that missed or met its tolerance by `ratio` = error / tolerance, after a step that
    met it by `previous`, is followed by one that is `factor` times as long.
    """

    safety: float = 0.9
    beta: float = 0.04
    smallest: float = 0.2
    largest: float = 10.0

    def factor(self, order: int, ratio: float, previous: float) -> float:
        """safety · ratio^(3β/4 − 1/order) · previous^β, held between smallest and largest.

        A step whose ratio is above 1 is not followed by a longer one; one whose ratio is no
        number at all, by the shortest allowed.
        """
        if not np.isfinite(ratio):
            return self.smallest
        if ratio == 0:
            return self.largest
        wanted = self.safety * ratio ** (0.75 * self.beta - 1 / order)
        if ratio > 1:
            return min(max(wanted, self.smallest), 1.0)
        return min(max(wanted * previous**self.beta, self.smallest), self.largest)


_TABLEAUS = (
    Tableau("euler", 1, c=(0.0,), a=((),), b=(1.0,), reference="Euler 1768"),
    Tableau(
        "midpoint",
        2,
        c=(0, 1 / 2),
        a=((), (1 / 2,)),
        b=(0, 1),
        reference="Runge 1895",
    ),
    Tableau(
        "heun",
        2,
        c=(0, 1),
        a=((), (1,)),
        b=(1 / 2, 1 / 2),
        reference="the trapezoidal rule made explicit; Heun 1900",
    ),
    Tableau(
        "rk4",
        4,
        c=(0, 1 / 2, 1 / 2, 1),
        a=((), (1 / 2,), (0, 1 / 2), (0, 0, 1)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        dense=((1, -3 / 2, 2 / 3), (0, 1, -2 / 3), (0, 1, -2 / 3), (0, -1 / 2, 2 / 3)),
        reference="Kutta 1901",
    ),
    Tableau(
        "rk4_38",
        4,
        c=(0, 1 / 3, 2 / 3, 1),
        a=((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)),
        b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
        dense=((1, -15 / 8, 1), (0, 15 / 8, -3 / 2), (0, 3 / 8, 0), (0, -3 / 8, 1 / 2)),
        reference="the 3/8 rule; Kutta 1901",
    ),
    Tableau(
        "dopri5",
        5,
        c=(0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1),
        a=(
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        b=(35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0),
        error=(71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
        dense=(
            (1, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
            (0, 0, 0, 0),
            (0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
            (0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
            (
                0,
                127303824393 / 49829197408,
                -318862633887 / 49829197408,
                701980252875 / 199316789632,
            ),
            (0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
            (0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
        ),
        reference="Dormand & Prince 1980, RK5(4)7M; interpolant: Shampine 1986",
    ),
)

SOLVERS: dict[str, Tableau] = {tableau.name: tableau for tableau in _TABLEAUS}
