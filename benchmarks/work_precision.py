"""Accuracy for work: our adaptive solvers against scipy's RK45 on classical problems, in float64.

    python benchmarks/work_precision.py [--out media/work_precision.png]

Every problem is solved at tolerances from 1e-3 to 1e-9 (rtol = atol); the error is the greatest
at the end against scipy's DOP853 at 3e-14. Fields are made of operations that MLX computes in
true double precision on the CPU (its sin, cos and exp of float64 are right to 1e-7 only).
Prints a table and draws the work–precision diagrams.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import machine  # noqa: F401  before MLX

import click
import mlx.core as mx
import numpy as np
from scipy.integrate import solve_ivp

from odeint import odeint

# name → (field of stacked components written for `np` and `mx` alike, x0, end)
PROBLEMS = {
    "decay": (lambda m, t, x: [-x[0]], [1.0], 5.0),
    "growth, in t too": (lambda m, t, x: [2 * t * x[0] - x[0]], [1.0], 2.0),
    "logistic": (lambda m, t, x: [x[0] * (1 - x[0])], [0.1], 10.0),
    "Riccati": (lambda m, t, x: [-2 * t * x[0] ** 2], [1.0], 4.0),
    "oscillator": (lambda m, t, x: [x[1], -x[0]], [1.0, 0.0], 20.0),
    "damped, driven": (
        lambda m, t, x: [x[1], -x[0] - 0.2 * x[1] + m.tanh(t - 5)],
        [1.0, 0.0],
        20.0,
    ),
    "pendulum, by tanh": (lambda m, t, x: [x[1], -m.tanh(3 * x[0])], [1.0, 0.5], 20.0),
    "van der Pol, μ = 1": (
        lambda m, t, x: [x[1], (1 - x[0] ** 2) * x[1] - x[0]],
        [2.0, 0.0],
        20.0,
    ),
    "Lotka–Volterra": (
        lambda m, t, x: [1.5 * x[0] - x[0] * x[1], x[0] * x[1] - 3 * x[1]],
        [1.0, 1.0],
        10.0,
    ),
    "rigid body": (
        lambda m, t, x: [x[1] * x[2], -x[0] * x[2], -0.51 * x[0] * x[1]],
        [0.0, 1.0, 1.0],
        12.0,
    ),
    "Kepler, e = 0.5": (
        lambda m, t, x: [
            x[2],
            x[3],
            -x[0] / m.power(x[0] ** 2 + x[1] ** 2, 1.5),
            -x[1] / m.power(x[0] ** 2 + x[1] ** 2, 1.5),
        ],
        [0.5, 0.0, 0.0, 3**0.5],
        20.0,
    ),
    "Brusselator": (
        lambda m, t, x: [1 + x[0] ** 2 * x[1] - 4 * x[0], 3 * x[0] - x[0] ** 2 * x[1]],
        [1.5, 3.0],
        10.0,
    ),
    "Lorenz, briefly": (
        lambda m, t, x: [
            10 * (x[1] - x[0]),
            x[0] * (28 - x[2]) - x[1],
            x[0] * x[1] - 8 / 3 * x[2],
        ],
        [1.0, 1.0, 1.0],
        3.0,
    ),
}
SOLVERS = ("bosh3", "dopri5", "tsit5", "dopri8")
TOLERANCES = 10.0 ** np.arange(-3, -10, -1)
LOOKS = {  # colours of Okabe & Ito (2008)
    "scipy RK45": ("#000000", "o"),
    "bosh3": ("#E69F00", "s"),
    "dopri5": ("#0072B2", "D"),
    "tsit5": ("#D55E00", "^"),
    "dopri8": ("#009E73", "v"),
}


def measure(problem, tolerance: float) -> dict[str, tuple[float, int]]:
    """name → (error at the end, evaluations)."""
    field, x0, end = problem

    def in_numpy(t, x):
        return np.array(field(np, t, x))

    def in_mlx(t, x):
        return mx.stack(field(mx, t, x))

    how = {"rtol": tolerance, "atol": tolerance}
    exact = solve_ivp(in_numpy, (0, end), x0, method="DOP853", rtol=3e-14, atol=1e-15).y[:, -1]
    peer = solve_ivp(in_numpy, (0, end), x0, method="RK45", **how)
    results = {"scipy RK45": (np.abs(peer.y[:, -1] - exact).max(), peer.nfev)}
    for name in SOLVERS:
        ours = odeint(in_mlx, mx.array(x0, mx.float64), [0.0, end], solver=name, **how)
        error = np.abs(np.array(ours.x[-1]) - exact).max()
        results[name] = (max(error, 1e-16), ours.nfe)
    return results


def table(results):
    """Geometric means of errors and total evaluations at three tolerances."""
    print(
        "| tolerance | solver | error, geometric mean | over RK45's | evaluations | over RK45's |"
    )
    print("|---|---|---|---|---|---|")
    for tolerance in (1e-3, 1e-6, 1e-9):
        rows = [results[name, tol] for name, tol in results if np.isclose(tol, tolerance)]
        reference = None
        for name in rows[0]:
            error = np.exp(np.mean([np.log(row[name][0]) for row in rows]))
            nfe = sum(row[name][1] for row in rows)
            reference = reference or (error, nfe)
            print(
                f"| {tolerance:.0e} | {name} | {error:.1e} | {error / reference[0]:.2f} | "
                f"{nfe:,} | {nfe / reference[1]:.2f} |"
            )


def draw(results, out):
    from figures.style import drawing

    with drawing(out, 11, 6.6) as figure:
        axes = figure.subplots(3, 5)
        for axis, name in zip(axes.flat, PROBLEMS, strict=False):
            rows = [results[name, tol] for tol in TOLERANCES]
            for solver, (colour, mark) in LOOKS.items():
                errors, work = zip(*[row[solver] for row in rows], strict=True)
                look = {"color": colour, "marker": mark, "lw": 1, "ms": 3, "label": solver}
                axis.loglog(work, errors, **look)
            axis.set_title(name, fontsize=9)
        for axis in axes.flat[len(PROBLEMS) :]:
            axis.axis("off")
        figure.supxlabel("evaluations of the field", fontsize=9)
        figure.supylabel("error at the end", fontsize=9)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        axes.flat[-1].legend(handles, labels, loc="center")


@click.command()
@click.option("--out", default="media/work_precision.png", show_default=True)
def main(out):
    with mx.stream(mx.cpu):
        results = {
            (name, tol): measure(problem, tol)
            for name, problem in PROBLEMS.items()
            for tol in TOLERANCES
        }
    table(results)
    draw(results, out)


if __name__ == "__main__":
    main()
