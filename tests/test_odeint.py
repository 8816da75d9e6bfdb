"""Whole solves: closed forms, costs, reports, failures, and what is refused."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from data.distributions import standard_normal
from likelihood import log_prob, sample_with_log_prob, velocity_and_divergence
from models import MLP
from ode.walk import BLIND_TRIES
from odeint import GRADIENTS, NonFiniteError, OdeError, StepBudgetError, StepSizeError, odeint
from solver import SOLVERS

pytestmark = pytest.mark.usefixtures("cpu")

FIXED = [name for name, tableau in SOLVERS.items() if not tableau.adaptive]
ADAPTIVE = [name for name, tableau in SOLVERS.items() if tableau.adaptive]
TIGHT = [name for name in ADAPTIVE if SOLVERS[name].order > 2]  # affordable at 1e-8


def test_the_library_can_be_taken_along(tmp_path):
    """Its modules import MLX, numpy and those before them, and `machine` only if it is there."""
    known = {*sys.stdlib_module_names, "mlx", "numpy", "machine"}
    parts = ("__init__", "step", "rounding", "walk", "gradients")
    (tmp_path / "ode").mkdir()
    for name in ("solver", *(f"ode/{part}" for part in parts), "odeint"):
        source = (Path(__file__).parents[1] / f"{name}.py").read_text("utf-8")
        (tmp_path / f"{name}.py").write_text(source, "utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = {getattr(node, "module", None) or alias.name for alias in node.names}
                assert {module.split(".")[0] for module in modules - known} <= known, name
        known.add(name.replace("/", "."))
    program = "from odeint import *; print(odeint(lambda t, x: -x, mx.ones(1), [0, 1]).x[1].item())"
    command = [sys.executable, "-c", f"import mlx.core as mx; {program}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(np.exp(-1), abs=1e-4), done.stderr


def decay(t, x):
    return -x


def quadratic(t, x):
    """x' = −2 t x², so x = x0 / (1 + x0 t²): MLX does it in true double precision."""
    return -2 * t * mx.square(x)


def quadratic_solution(x0, t):
    return x0 / (1 + x0 * t**2)


def cliff(t, x):
    """So steep at t = 1/2 that steps are tried in vain."""
    return 200 * mx.tanh(200 * (t - 0.5)) - x


def counted(field):
    """A field that notes the times of its calls in `calls`."""

    def noting(t, x):
        noting.calls.append(t)
        return field(t, x)

    noting.calls = []
    return noting


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_closed_form_in_both_directions(name, dtype):
    affordable = 10.0 ** (-2 - 2 * SOLVERS[name].order)
    tol = 1e-5 if dtype == mx.float32 else max(1e-9, affordable)
    x0 = np.array([0.5, 1.0, 2.0])
    times = np.linspace(0, 2, 9)
    there = odeint(quadratic, mx.array(x0, dtype), times, solver=name, rtol=tol, atol=tol)
    expected = quadratic_solution(x0, times[:, None])
    assert there.x.dtype == dtype
    np.testing.assert_allclose(np.array(there.x), expected, atol=50 * tol)
    back = odeint(quadratic, there.x[-1], times[::-1].copy(), solver=name, rtol=tol, atol=tol)
    np.testing.assert_allclose(np.array(back.x), expected[::-1], atol=1000 * tol)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("times", [np.linspace(0, 1, 201), np.linspace(1, 0, 201)])
def test_fixed_solvers_step_on_the_times(name, times):
    x0 = math.exp(-times[0])
    solution = odeint(decay, mx.array([x0], mx.float64), times, solver=name)
    bound = max(0.005 ** SOLVERS[name].order, 1e-13)
    np.testing.assert_allclose(np.array(solution.x)[:, 0], np.exp(-times), atol=bound)
    assert solution.nfe == 200 * SOLVERS[name].stages
    assert (solution.accepted, solution.rejected) == (200, 0)


def test_one_euler_step_by_hand():
    solution = odeint(lambda t, x: x + t, mx.array([2.0]), [1.0, 1.5], solver="euler")
    assert solution.x[-1].item() == 2.0 + 0.5 * (2.0 + 1.0)


@pytest.mark.parametrize("name", SOLVERS)
def test_steps_decides_the_cost_whatever_the_times(name):
    """And what is reported is what the solution says when it is called there."""
    times = [0.0, 0.123, 0.5, 0.77, 1.0]
    many = odeint(decay, mx.array([1.0], mx.float64), times, solver=name, steps=20)
    few = odeint(decay, mx.array([1.0], mx.float64), [0.0, 1.0], solver=name, steps=20)
    tableau = SOLVERS[name]
    expected = 20 * (tableau.stages - 1) + 1 if tableau.fsal else 20 * tableau.stages
    assert many.nfe == few.nfe == expected
    assert many.accepted == few.accepted == 20
    np.testing.assert_allclose(np.array(few(times)), np.array(many.x), rtol=1e-13)


def test_steps_at_given_times_by_hand():
    """Two Euler steps of different length, and what is reported on the way is interpolated."""
    solution = odeint(
        lambda t, x: x * t, mx.array([2.0]), [1, 1.25, 3], solver="euler", steps=[1, 1.5, 3]
    )
    middle = 2.0 + 0.5 * 2.0
    assert solution.x.reshape(-1).tolist() == [2.0, 2.5, middle + 1.5 * middle * 1.5]
    assert solution.steps.tolist() == [1, 1.5, 3] and solution.accepted == 2


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("name", SOLVERS)
def test_steps_are_those_taken(name, gradient):
    """Known whatever is kept; a step begins with the field at its start, a rejected one is none."""
    field, times = counted(cliff), [1.0, 0.7, 0.3, 0.0]
    how = {"solver": name, "gradient": gradient, "dense": False, "rtol": 1e-3, "atol": 1e-3}
    solution = odeint(field, mx.array([1.0, 0.3], mx.float64), times, **how)
    assert solution.steps.dtype == np.float64 and len(solution.steps) == solution.accepted + 1
    assert solution.steps[[0, -1]].tolist() == [1, 0] and np.all(np.diff(solution.steps) < 0)
    assert set(solution.steps[:-1].tolist()) <= {t.item() for t in field.calls}
    assert solution.rejected > 0 if name in ADAPTIVE else solution.steps.tolist() == times


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("times", [[0.0, 0.35, 0.9], [0.9, 0.35, 0.0]])
@pytest.mark.parametrize("name", SOLVERS)
def test_the_steps_of_a_solve_can_be_repeated(name, times, gradient):
    """To the same states, bit for bit, and with nothing tried in vain."""
    x0 = mx.random.normal((50, 2), key=mx.random.key(0))
    once = odeint(cliff, x0, times, solver=name, rtol=1e-3, atol=1e-3)
    again = odeint(cliff, x0, times, solver=name, steps=once.steps, gradient=gradient)
    assert mx.array_equal(again.x, once.x)
    assert np.array_equal(again.steps, once.steps)
    assert (again.accepted, again.rejected) == (once.accepted, 0)
    assert again.nfe < once.nfe or name in FIXED


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_by_given_steps(gradient):
    """dx/dx0 = 1 / (1 + x0 t²)², also where steps end on, near and far from a reported time."""
    steps = [0.0, 0.1, 0.15, 0.3, 0.5 + 1e-14, 0.6, 0.8, 1.0]
    for name in ("rk4", "dopri8"):

        def ends(x0, name=name):
            times = [0.0, 0.3, 0.5, 0.75, 1.0]
            return odeint(quadratic, x0, times, solver=name, steps=steps, gradient=gradient).x[1:]

        x0 = mx.array([0.7], mx.float64)
        slope = mx.grad(lambda x0: ends(x0).sum())(x0).item()
        expected = sum(1 / (1 + 0.7 * t**2) ** 2 for t in (0.3, 0.5, 0.75, 1.0))
        assert slope == pytest.approx(expected, rel=1e-4)


def test_log_densities_by_the_steps_of_a_solve():
    """The same numbers, bit for bit, by the steps of a solve of place and density together."""
    field, normal = MLP(width=8, depth=1), standard_normal(2)
    x = normal.sample(40, mx.random.key(1))

    def rates(t, state):
        return velocity_and_divergence(field, t, state[0])

    for solved, times in ((log_prob, [1.0, 0.0]), (sample_with_log_prob, [0.0, 1.0])):
        steps = odeint(rates, (x, mx.zeros(40)), times).steps
        once = solved(field, x, normal.log_prob)
        again = solved(field, x, normal.log_prob, steps=steps)
        for (_, one), (_, other) in zip(tree_flatten(once), tree_flatten(again), strict=True):
            assert mx.array_equal(one, other)


@pytest.mark.parametrize("field", [quadratic, cliff])
def test_nfe_is_counted_and_independent_of_the_output_grid(field):
    counts = set()
    for times in ([0, 3], np.linspace(0, 3, 50), [0, 0, 0.1, 0.1, 2.9, 3, 3]):
        noting = counted(field)
        solution = odeint(noting, mx.array([1.0, 0.3]), times)
        assert solution.nfe == len(noting.calls)
        assert solution.nfe == 2 + 6 * (solution.accepted + solution.rejected)
        assert field is quadratic or solution.rejected > 0
        counts.add((solution.nfe, solution.accepted, solution.rejected))
    assert len(counts) == 1


def test_reported_states():
    """At times asked for twice they are the same, at the first time the initial state."""
    x0, times = mx.array([[1.0, 2.0], [3.0, 4.0]]), [0.0, 0.0, 0.4, 0.4, 1.0, 1.0]
    solution = odeint(decay, x0, times)
    assert solution.x.shape == (6, 2, 2)
    assert mx.array_equal(solution.x[0], x0)
    assert mx.array_equal(solution.x[::2], solution.x[1::2])
    np.testing.assert_allclose(np.array(solution.t), times, rtol=1e-7)


@pytest.mark.parametrize("times", [[0.5], [0.5, 0.5, 0.5]])
@pytest.mark.parametrize("name", ["rk4", "dopri5"])
def test_no_time_to_go(times, name):
    solution = odeint(decay, mx.array([1.0]), times, solver=name)
    assert np.array_equal(np.array(solution.x), np.ones((len(times), 1)))
    assert (solution.nfe, solution.accepted, solution.rejected) == (0, 0, 0)
    assert solution.steps.tolist() == [0.5]


def test_pytrees():
    """A rotation split over a dict and a tuple stays on its circle; t is of the state's dtype."""

    def field(t, state):
        assert (t.shape, t.dtype) == ((), mx.float64)
        return {"q": (state["p"],), "p": -state["q"][0]}

    state = {"q": (mx.array([1.0, 0.0], mx.float64),), "p": mx.array([0.0, 1.0], mx.float64)}
    solution = odeint(field, state, np.linspace(0, 7, 15), rtol=1e-9, atol=1e-9)
    q, p = np.array(solution.x["q"][0]), np.array(solution.x["p"])
    assert q.shape == (15, 2)
    np.testing.assert_allclose(q**2 + p**2, 1, atol=1e-7)
    np.testing.assert_allclose(q[:, 0], np.cos(np.linspace(0, 7, 15)), atol=1e-7)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("span", [(0.0, 2.0), (2.0, 0.0)])
def test_a_solution_can_be_called_between_its_times(name, span):
    field, x0 = counted(quadratic), quadratic_solution(np.array([1.0, 0.4]), span[0])
    solution = odeint(field, mx.array(x0, mx.float64), span, solver=name, steps=64)
    times = np.random.default_rng(0).uniform(0, 2, 20)
    expected = quadratic_solution(np.array([1.0, 0.4]), times[:, None])
    bound = 4 * (2 / 64) ** min(SOLVERS[name].order, 3)  # a quadratic interpolant errs by dt³
    np.testing.assert_allclose(np.array(solution(times)), expected, atol=bound)
    for t in (times[0], times[:1]):
        alone = np.array(solution(t))
        np.testing.assert_array_equal(alone, np.array(solution(times))[0 if t.ndim == 0 else [0]])
    np.testing.assert_allclose(np.array(solution(span)), np.array(solution.x), rtol=1e-13)
    assert len(field.calls) == solution.nfe


def test_a_solution_is_called_inside_its_interval_only():
    solution = odeint(decay, mx.array([1.0]), [0.0, 1.0])
    for t in (-0.1, 1.1, [0.5, 2.0], math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            solution(t)
    for t in ([], [[0.5]]):
        with pytest.raises(ValueError, match="a time or a list of times"):
            solution(t)
    with pytest.raises(ValueError, match="dense=True"):
        odeint(decay, mx.array([1.0]), [0.0, 1.0], dense=False)(0.5)


def test_a_solution_can_be_called_at_its_own_times():
    """In float32 they are not quite those that were asked for."""
    solution = odeint(decay, mx.array([1.0]), [0.0, 0.1, 0.3])
    np.testing.assert_allclose(np.array(solution(solution.t)), np.array(solution.x), rtol=1e-6)


def test_tolerances_of_single_leaves():
    """Loose for the fast oscillator, the solve costs what the slow one needs."""

    def field(t, x):
        return {"fast": mx.cos(40 * t) * mx.ones(1), "slow": -x["slow"]}

    state = {"fast": mx.zeros(1), "slow": mx.ones(1)}
    loose = {"fast": 1e3, "slow": 1e-5}
    both = odeint(field, state, [0.0, 1.0])
    one = odeint(field, state, [0.0, 1.0], atol=loose, rtol=loose)
    assert one.nfe < both.nfe / 3
    assert one.x["slow"][-1].item() == pytest.approx(math.exp(-1), abs=1e-5)


def test_norm():
    """With the greatest error in place of the mean square, one rough number among many counts."""

    def field(t, x):
        return mx.concatenate([mx.cos(30 * t) * mx.ones(1), mx.zeros(9_999)])

    def greatest(tree):
        return mx.max(mx.abs(tree))

    x0 = mx.zeros(10_000)
    mean_square = odeint(field, x0, [0.0, 1.0])
    maximum = odeint(field, x0, [0.0, 1.0], norm=greatest)
    assert maximum.nfe > mean_square.nfe
    expected = math.sin(30) / 30
    errors = [abs(run.x[-1, 0].item() - expected) for run in (maximum, mean_square)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(("rate", "tolerance"), [(2.0, 1e-6), (100.0, 0.1)])
def test_the_first_step_in_closed_form(rate, tolerance):
    """Of dx/dt = −k x from 1, by HNW II.4: second derivatives are k², a hundredth of x takes
    1/(100 k), and the step is at most a hundred times that."""
    x0 = mx.array([1.0], mx.float64)
    how = {"rtol": tolerance, "atol": tolerance}
    steps = odeint(lambda t, x: -rate * x, x0, [0.0, 1.0], **how).steps
    expected = min(1 / rate, (0.01 * 2 * tolerance / rate**2) ** (1 / 5))
    assert steps[1] == pytest.approx(expected, rel=1e-9)


def test_a_field_that_ends_is_not_tried_for_ever():
    """But in `BLIND_TRIES` steps of six evaluations each, after one for the size of the first."""
    blind = []

    def field(t, x):
        if t.item() == 0:
            return mx.ones_like(x)
        blind.append(t.item())
        return x * math.nan

    with pytest.raises(NonFiniteError, match="not finite beyond here"):
        odeint(field, mx.array([1.0], mx.float64), [0.0, 1.0])
    assert len(blind) <= 1 + 6 * BLIND_TRIES


@pytest.mark.parametrize("span", [(0.0, 1.0), (1.0, 0.0)])
def test_a_field_is_asked_at_no_time_outside_its_span(span):
    """Where it may not be known: also not for the size of the first step."""
    seen = []

    def field(t, x):
        seen.append(t.item())
        return x * t

    odeint(field, mx.array([1.0], mx.float64), span)
    assert min(seen) == 0 and max(seen) == 1


def test_first_and_largest_step():
    free = odeint(decay, mx.array([1.0]), [0.0, 1.0])
    held = odeint(decay, mx.array([1.0]), [0.0, 1.0], max_step=0.05)
    assert free.accepted < 20 <= held.accepted
    given = odeint(decay, mx.array([1.0]), [0.0, 1.0], first_step=0.2)
    assert given.nfe == 1 + 6 * (given.accepted + given.rejected)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("how", [{"solver": "rk4", "steps": 4}, {}])
def test_new_weights_mean_new_results(compiled, how):
    """The result after a change of weights is that of the weights now in the model."""
    model = MLP(width=8, depth=1)
    field = mx.compile(model, inputs=[model.state]) if compiled else model
    x0 = mx.ones((3, 2))
    before = odeint(field, x0, [0.0, 1.0], **how).x[-1]
    model.layers[-1].weight = model.layers[-1].weight * 0
    model.layers[-1].bias = mx.array([1.0, -2.0])
    after = odeint(field, x0, [0.0, 1.0], **how).x[-1]
    np.testing.assert_allclose(np.array(after), np.tile([2.0, -1.0], (3, 1)), atol=1e-6)
    assert not mx.allclose(before, after)


def test_nothing_is_traced_again_as_the_step_changes():
    """A compiled field is traced once for all steps and stages of all solves."""
    traces = []

    @mx.compile
    def field(t, x):
        traces.append(1)
        return -2 * t * mx.square(x)

    for tol in (1e-3, 1e-5):
        odeint(field, mx.array([1.0, 2.0]), [0.0, 2.0], rtol=tol, atol=tol)
    assert len(traces) == 1


small = st.floats(-1.5, 1.5)
problems = settings(max_examples=25, deadline=None, derandomize=True)


def oscillator(rate, damping, drive):
    """A driven, damped, nonlinear oscillator in true double precision."""

    def field(t, x):
        q, p = x[0], x[1]
        return mx.stack([rate * p, -rate * mx.tanh(q) - damping * p + drive * t])

    return field


@problems
@given(small, small, small, small, small, st.floats(0.2, 0.8), st.sampled_from(TIGHT))
def test_splitting_or_turning_round_changes_nothing(rate, damping, drive, q, p, part, name):
    field = oscillator(rate, damping, drive)
    x0 = mx.array([q, p], mx.float64)
    how = {"solver": name, "rtol": 1e-8, "atol": 1e-8}
    _, middle, end = odeint(field, x0, [0.0, part, 2.0], **how).x
    from_the_middle = odeint(field, middle, [part, 2.0], **how).x[-1]
    back = odeint(field, end, [2.0, 0.0], **how).x[-1]
    np.testing.assert_allclose(np.array(from_the_middle), np.array(end), atol=1e-5)
    np.testing.assert_allclose(np.array(back), [q, p], atol=1e-4)


@problems
@given(small, small, small, small, small, st.floats(0.2, 5), st.sampled_from(list(SOLVERS)))
def test_scaling_time_scales_the_field(rate, damping, drive, q, p, scale, name):
    """x(t / s) solves x' = f(t / s, x) / s: the same steps, so the same numbers, fixed or not."""
    field = oscillator(rate, damping, drive)
    x0 = mx.array([q, p], mx.float64)

    def slowed(t, x):
        return field(t / scale, x) / scale

    plain = odeint(field, x0, [0.0, 2.0], solver=name, steps=16).x[-1]
    other = odeint(slowed, x0, [0.0, 2.0 * scale], solver=name, steps=16).x[-1]
    np.testing.assert_allclose(np.array(plain), np.array(other), rtol=1e-9, atol=1e-9)


def test_tighter_tolerances_mean_smaller_errors():
    errors = []
    for tol in (1e-3, 1e-5, 1e-7, 1e-9):
        x = odeint(quadratic, mx.array([2.0], mx.float64), [0, 2], rtol=tol, atol=tol).x[-1].item()
        errors.append(abs(x - quadratic_solution(2.0, 2.0)))
        assert errors[-1] < 10 * tol
    assert errors == sorted(errors, reverse=True)


def test_a_fixed_solve_can_be_compiled():
    @mx.compile
    def end(x0):
        return odeint(decay, x0, [0.0, 1.0], solver="rk4", steps=20).x[-1]

    assert end(mx.array([1.0])).item() == pytest.approx(math.exp(-1), rel=1e-6)


@pytest.mark.parametrize(
    "how",
    [
        lambda count: {"solver": "euler", "steps": count},
        lambda count: {"solver": "heun21", "max_step": 1 / count, "rtol": 0.1, "atol": 0.1},
        pytest.param(lambda count: {"solver": "dopri5", "steps": count}, marks=pytest.mark.slow),
        pytest.param(
            lambda count: {"solver": "tsit5", "max_step": 1 / count}, marks=pytest.mark.slow
        ),
    ],
)
def test_memory_does_not_grow_with_the_steps(how):
    """Unless they are kept, as `dense` asks for."""

    def peak(count, dense=False):
        x0 = mx.ones((500, 2))
        mx.eval(x0)
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        solution = odeint(decay, x0, [0.0, 0.5, 1.0], dense=dense, max_steps=20_000, **how(count))
        mx.eval(solution.x)
        assert solution.accepted >= count
        return mx.get_peak_memory() - before

    # a step's state takes 4 kB; MLX may be a few dozen steps behind
    assert peak(10_000) < 2**21 < peak(1000, dense=True)


@pytest.mark.parametrize("trace", [mx.compile, mx.vmap])
def test_where_there_are_no_numbers_only_equal_steps_work(trace):
    def end(**how):
        return trace(lambda x0: odeint(decay, x0, [0.0, 1.0], **how).x[-1])(mx.ones((3, 2)))

    np.testing.assert_allclose(end(steps=20), np.full((3, 2), np.exp(-1)), rtol=1e-5)
    for how in ({}, {"first_step": 0.1}, {"gradient": "adjoint"}):
        with pytest.raises(ValueError, match=r"looks at the error of every step.*give steps="):
            end(**how)
    with pytest.raises(ValueError, match=r"'checkpoint' works on copies.*use gradient='direct'"):
        end(steps=5, gradient="checkpoint")


@pytest.mark.parametrize("how", [{}, {"steps": 4}, {"solver": "rk4"}, {"gradient": "adjoint"}])
@pytest.mark.parametrize("t", [[0.1, 0.1], [0.1]])
def test_a_span_of_no_length(t, how):
    """The start, at no cost, and wherever it is asked for: 0.1 is not a float32."""
    x0 = {"a": mx.array([1.0, 2.0]), "b": mx.ones((3, 1))}
    solution = odeint(lambda t, x: x, x0, t, **how)
    assert (solution.nfe, solution.accepted) == (0, 0) and solution.steps.tolist() == [0.1]
    for where in (0.1, solution.t[-1]):
        np.testing.assert_array_equal(solution(where)["a"], x0["a"])
    np.testing.assert_array_equal(solution(solution.t)["b"], np.ones((len(t), 3, 1)))
    np.testing.assert_array_equal(solution.x["a"], np.tile([1.0, 2.0], (len(t), 1)))
    with pytest.raises(ValueError, match=r"between 0\.1 and 0\.1"):
        solution(0.2)


def test_blow_up_exhausts_the_steps_or_the_step_size():
    """x' = x² from 1 reaches infinity at t = 1."""
    with pytest.raises(OdeError) as caught:
        odeint(lambda t, x: mx.square(x), mx.array([1.0]), [0.0, 2.0])
    assert 0.9 < caught.value.t <= 1.01


def test_budget():
    with pytest.raises(StepBudgetError, match="7 steps did not reach t = 50") as caught:
        odeint(lambda t, x: mx.cos(5 * t) * x, mx.array([1.0]), [0.0, 50.0], max_steps=7)
    assert 0 < caught.value.t < 50
    assert caught.value.dt > 0


def test_step_underflow():
    """Tolerances far below float32's precision shrink the steps to nothing."""
    with pytest.raises(StepSizeError, match="float32"):
        odeint(lambda t, x: mx.sin(30 * t) * x, mx.array([1.0]), [99, 100], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["euler", "rk4", "dopri5"])
def test_non_finite_field(bad, name):
    with pytest.raises(NonFiniteError):
        odeint(lambda t, x: x * bad, mx.array([1.0]), [0.0, 1.0], solver=name, steps=None)


def test_field_that_ends_on_the_way():
    """Not finite for t > 0.6: the solve says where it stopped, and stops soon."""
    field = counted(lambda t, x: mx.sqrt(0.6 - t) * x)
    with pytest.raises(NonFiniteError) as caught:
        odeint(field, mx.array([1.0]), [0.0, 1.0])
    assert caught.value.t == pytest.approx(0.6, abs=0.01)
    assert len(field.calls) < 1000


@pytest.mark.parametrize("name", ["rk4", "dopri5"])
def test_non_finite_initial_state(name):
    with pytest.raises(NonFiniteError, match="initial state"):
        odeint(decay, mx.array([1.0, math.nan]), [0.0, 1.0], solver=name)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"t": []}, "one or more times"),
        ({"t": [[0.0, 1.0]]}, "one or more times"),
        ({"t": [0.0, 1.0, 0.5]}, "increase or decrease"),
        ({"t": [0.0, math.nan]}, "not finite"),
        ({"solver": "dopri55"}, "did you mean 'dopri5'"),
        ({"solver": "zzz"}, "there are .*rk4, "),
        ({"rtol": 0.0}, "rtol must be a positive number"),
        ({"atol": math.nan}, "atol must be a positive number"),
        ({"steps": 0}, "steps must be a positive whole number"),
        ({"steps": 2.5}, "steps must be a positive whole number"),
        ({"steps": True}, "steps must be a positive whole number"),
        ({"steps": [0.0, 0.5]}, "where t does, at 0 and 1, not at 0 and 0.5"),
        ({"steps": [1.0, 0.0]}, "where t does, at 0 and 1, not at 1 and 0"),
        ({"steps": [0.0, 0.7, 0.5, 1.0]}, "steps must increase or decrease"),
        ({"steps": [0.0, math.nan, 1.0]}, "steps holds a time that is not finite"),
        ({"steps": [[0.0, 1.0]]}, "steps must be a list of one or more times"),
        ({"steps": []}, "steps must be a list of one or more times"),
        ({"max_steps": True}, "max_steps must be a positive whole number"),
        ({"max_steps": None}, "max_steps must be a positive whole number"),
        ({"rtol": "tight"}, "rtol must be a positive number, not 'tight'"),
        ({"solver": []}, "unknown solver"),
        ({"field": lambda t, x: None}, "returns NoneType"),
        ({"first_step": 0.0}, "first_step must be a positive number"),
        ({"max_step": -1.0}, "max_step must be a positive number"),
        ({"rtol": {"x": 1e-3}}, "in the structure of x0"),
        ({"gradient": "magic"}, "unknown gradient 'magic'; there are direct, "),
        ({"x0": mx.array([1, 2])}, "float32 or float64"),
        ({"x0": [1.0, 2.0]}, "float32 or float64"),
        ({"x0": mx.zeros((0, 2))}, "empty"),
        ({"x0": {"a": mx.array([1.0]), "b": mx.array([1.0], mx.float64)}}, "mixes"),
        ({"field": lambda t, x: {"dx": x}}, "another structure"),
        ({"field": lambda t, x: mx.concatenate([x, x])}, "where the state is"),
        ({"field": lambda t, x: x.astype(mx.float64)}, "where the state is"),
    ],
)
def test_senseless_arguments(arguments, complaint):
    arguments = {"field": decay, "x0": mx.array([1.0]), "t": [0.0, 1.0], **arguments}
    with pytest.raises(ValueError, match=complaint):
        odeint(**arguments)
