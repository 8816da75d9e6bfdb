"""The solvers, as numbers: the coefficients of explicit Runge–Kutta methods.

A solver is a `Tableau`, which checks itself when it is built, and `SOLVERS` holds all of them by
name. To add one, add its numbers below; nothing else in the program lists the solvers.

"HNW" is Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I, 1993.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np


@dataclass(frozen=True)
class Tableau:
    """The coefficients of an explicit Runge–Kutta method.

    With stages k_i = f(t + c_i dt, x + dt Σ_j a_ij k_j), the step is
    x(t + dt) = x + dt Σ_i b_i k_i (HNW II.1).

    Attributes:
        name: what the method is called.
        order: of the solution that is carried forward.
        c: stage times as fractions of the step.
        a: row i holds the weights of the stages before stage i.
        b: weights of the solution.
        error: weights b − b̂ of the error estimate, b̂ those of an embedded method of one order
            less; empty where there is none.
        dense: row i holds the coefficients of θ, θ², … in the weight of stage i at t + θ dt;
            where empty, `interpolant` makes a Hermite polynomial. That is too coarse for the
            long steps of an adaptive method of order 4 or more, which needs one of its own.
        reference: where the numbers come from.

    Raises:
        ValueError: if the rows of a do not sum to c, if Σ b c^(k − 1) is not 1/k for every k up
            to the order, if error does not sum to 0, or if dense does not end at b.
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
            self._require(len(self.dense) == self.stages, "dense and c differ in length")
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
        there too, which makes it cubic (HNW II.6.7).
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


# fmt: off
_TABLEAUS = (
    Tableau("euler", 1, c=(0,), a=((),), b=(1,), reference="Euler 1768"),
    Tableau("midpoint", 2, c=(0, 1 / 2), a=((), (1 / 2,)), b=(0, 1), reference="Runge 1895"),
    Tableau(
        "heun", 2, c=(0, 1), a=((), (1,)), b=(1 / 2, 1 / 2),
        reference="the trapezoidal rule made explicit; Heun 1900",
    ),
    Tableau(
        "ralston", 2, c=(0, 2 / 3), a=((), (2 / 3,)), b=(1 / 4, 3 / 4),
        reference="the least error bound of two stages; Ralston 1962",
    ),
    Tableau(
        "rk4", 4,
        c=(0, 1 / 2, 1 / 2, 1),
        a=((), (1 / 2,), (0, 1 / 2), (0, 0, 1)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        dense=((1, -3 / 2, 2 / 3), (0, 1, -2 / 3), (0, 1, -2 / 3), (0, -1 / 2, 2 / 3)),
        reference="Kutta 1901",
    ),
    Tableau(
        "rk4_38", 4,
        c=(0, 1 / 3, 2 / 3, 1),
        a=((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)),
        b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
        dense=((1, -15 / 8, 1), (0, 15 / 8, -3 / 2), (0, 3 / 8, 0), (0, -3 / 8, 1 / 2)),
        reference="the 3/8 rule; Kutta 1901",
    ),
    Tableau(
        "heun21", 2, c=(0, 1, 1), a=((), (1,), (1 / 2, 1 / 2)),
        b=(1 / 2, 1 / 2, 0), error=(-1 / 2, 1 / 2, 0),
        reference="Heun with Euler embedded, and the derivative at the end for its interpolant",
    ),
    Tableau(
        "bosh3", 3,
        c=(0, 1 / 2, 3 / 4, 1),
        a=((), (1 / 2,), (0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
        b=(2 / 9, 1 / 3, 4 / 9, 0),
        error=(-5 / 72, 1 / 12, 1 / 9, -1 / 8),
        reference="Bogacki & Shampine 1989",
    ),
    Tableau(
        "tsit5", 5,
        c=(0, 0.161, 0.327, 0.9, 0.9800255409045097, 1, 1),
        a=(
            (),
            (0.161,),
            (-0.008480655492356989, 0.335480655492357),
            (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
            (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
            (5.86145544294642, -12.92096931784711, 8.159367898576159,
             -0.071584973281401, -0.028269050394068383),
            (0.09646076681806523, 0.01, 0.4798896504144996,
             1.379008574103742, -3.290069515436081, 2.324710524099774),
        ),
        b=(0.09646076681806523, 0.01, 0.4798896504144996,
           1.379008574103742, -3.290069515436081, 2.324710524099774, 0),
        error=(0.0017800110522257714, 0.0008164344596567469, -0.007880878010261995,
               0.1447110071732629, -0.5823571654525552, 0.45808210592918697, -1 / 66),
        dense=(
            (1, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
            (0, 0.1317, -0.2234, 0.1017),
            (0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
            (0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
            (0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
            (0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
            (0, 1.5, -4, 2.5),
        ),
        reference="Tsitouras 2011, with its interpolant",
    ),
    Tableau(
        "dopri5", 5,
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
            (0, 127303824393 / 49829197408, -318862633887 / 49829197408,
             701980252875 / 199316789632),
            (0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
            (0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
        ),
        reference="Dormand & Prince 1980, RK5(4)7M; interpolant: Shampine 1986",
    ),
    Tableau(
        "dopri8", 8,
        c=(0, 1 / 18, 1 / 12, 1 / 8, 5 / 16, 3 / 8, 59 / 400, 93 / 200,
           5490023248 / 9719169821, 13 / 20, 1201146811 / 1299019798, 1, 1, 1),
        a=(
            (),
            (1 / 18,),
            (1 / 48, 1 / 16),
            (1 / 32, 0, 3 / 32),
            (5 / 16, 0, -75 / 64, 75 / 64),
            (3 / 80, 0, 0, 3 / 16, 3 / 20),
            (29443841 / 614563906, 0, 0, 77736538 / 692538347, -28693883 / 1125000000,
             23124283 / 1800000000),
            (16016141 / 946692911, 0, 0, 61564180 / 158732637, 22789713 / 633445777,
             545815736 / 2771057229, -180193667 / 1043307555),
            (39632708 / 573591083, 0, 0, -433636366 / 683701615, -421739975 / 2616292301,
             100302831 / 723423059, 790204164 / 839813087, 800635310 / 3783071287),
            (246121993 / 1340847787, 0, 0, -37695042795 / 15268766246, -309121744 / 1061227803,
             -12992083 / 490766935, 6005943493 / 2108947869, 393006217 / 1396673457,
             123872331 / 1001029789),
            (-1028468189 / 846180014, 0, 0, 8478235783 / 508512852, 1311729495 / 1432422823,
             -10304129995 / 1701304382, -48777925059 / 3047939560, 15336726248 / 1032824649,
             -45442868181 / 3398467696, 3065993473 / 597172653),
            (185892177 / 718116043, 0, 0, -3185094517 / 667107341, -477755414 / 1098053517,
             -703635378 / 230739211, 5731566787 / 1027545527, 5232866602 / 850066563,
             -4093664535 / 808688257, 3962137247 / 1805957418, 65686358 / 487910083),
            (403863854 / 491063109, 0, 0, -5068492393 / 434740067, -411421997 / 543043805,
             652783627 / 914296604, 11173962825 / 925320556, -13158990841 / 6184727034,
             3936647629 / 1978049680, -160528059 / 685178525, 248638103 / 1413531060, 0),
            (14005451 / 335480064, 0, 0, 0, 0, -59238493 / 1068277825, 181606767 / 758867731,
             561292985 / 797845732, -1041891430 / 1371343529, 760417239 / 1151165299,
             118820643 / 751138087, -528747749 / 2220607170, 1 / 4),
        ),
        b=(14005451 / 335480064, 0, 0, 0, 0, -59238493 / 1068277825, 181606767 / 758867731,
           561292985 / 797845732, -1041891430 / 1371343529, 760417239 / 1151165299,
           118820643 / 751138087, -528747749 / 2220607170, 1 / 4, 0),
        error=(14005451 / 335480064 - 13451932 / 455176623, 0, 0, 0, 0,
               -59238493 / 1068277825 + 808719846 / 976000145,
               181606767 / 758867731 - 1757004468 / 5645159321,
               561292985 / 797845732 - 656045339 / 265891186,
               -1041891430 / 1371343529 + 3867574721 / 1518517206,
               760417239 / 1151165299 - 465885868 / 322736535,
               118820643 / 751138087 - 53011238 / 667516719,
               -528747749 / 2220607170 - 2 / 45, 1 / 4, 0),
        dense=(  # of order 5, though of degree 6
            (1, -6.6910181737837595, 19.999006933368396, -30.061056828966645,
             22.139650499809406, -6.34483493928604),
            (0,) * 6, (0,) * 6, (0,) * 6, (0,) * 6,
            (0, -7.6142658045872675, 52.227353279294555, -121.49996277313346,
             116.44221495503422, -39.61079198522025),
            (0, 10.728139263042886, -46.89191641810936, 83.17210046398478,
             -67.14513188259572, 20.376121380879145),
            (0, 0.5526637063753649, -0.18908932250105956, 9.572450755599366,
             -16.56722435274965, 7.334709882679536),
            (0, 4.218656262566515, -35.70759759462221, 87.84060576772056,
             -89.9916014847245, 32.88017743524592),
            (0, -0.6627209125361597, 6.273644808324035, -17.415210777076297,
             22.623748964853284, -10.158899052642676),
            (0, -1.2636789001135462, 10.316088127245076, -28.590328951479098,
             32.23623401673554, -12.540126809878256),
            (0, 5.410603789859042, -34.76507698666118, 81.66309505843414,
             -82.10203154883598, 29.555300148451604),
            (0, -7.032137906794574, 47.745797107822554, -114.93752913770093,
             116.26621857911195, -41.79234864243906),
            (0, 2.3537586759714983, -19.008209934160803, 50.255836422617605,
             -53.90207774663854, 20.300692582210083),
        ),
        reference="Prince & Dormand 1981, RK8(7)13M; interpolant: Bogacki & Shampine 1990",
    ),
)
# fmt: on

SOLVERS: dict[str, Tableau] = {tableau.name: tableau for tableau in _TABLEAUS}


def solver_named(name: str, solvers: dict):
    """The solver of that name among some; a ValueError says which name is near, or which are."""
    if isinstance(name, str) and name in solvers:
        return solvers[name]
    close = get_close_matches(str(name), solvers, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(solvers)}"
    raise ValueError(f"unknown solver {name!r}; {hint}")
