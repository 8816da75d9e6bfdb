"""The numbers of every solver, against the equations that they must solve."""

import dataclasses
from functools import cache

import numpy as np
import pytest

from solver import SOLVERS

# Butcher's theory: weights are of order p if, for every rooted tree τ of up to p nodes, their sum
# with φ(τ) is 1/γ(τ), or θ^|τ|/γ(τ) at a part θ of the step (Hairer, Nørsett & Wanner 1993, II.2
# and II.6). A tree here is the sorted tuple of the trees that hang from its root.


@cache
def trees(nodes):
    """All rooted trees of so many nodes."""
    return {()} if nodes == 1 else {new for tree in trees(nodes - 1) for new in grown(tree)}


def grown(tree):
    """A tree with one more leaf, at any of its nodes."""
    yield tuple(sorted((*tree, ())))
    for i, branch in enumerate(tree):
        for new in grown(branch):
            yield tuple(sorted((*tree[:i], new, *tree[i + 1 :])))


def size(tree):
    return 1 + sum(map(size, tree))


def gamma(tree):
    return size(tree) * np.prod([gamma(branch) for branch in tree])


def square(tableau):
    """The rows of a, filled up with zeros."""
    return np.array([[*row, *[0.0] * (tableau.stages - len(row))] for row in tableau.a])


def order_of(tableau, weights, theta=1.0):
    """The order of accuracy that weights of the stages have at t + θ dt."""
    a = square(tableau)

    def phi(tree):
        return np.prod([np.ones(tableau.stages), *(a @ phi(branch) for branch in tree)], axis=0)

    def holds(tree):
        return abs(np.dot(weights, phi(tree)) - theta ** size(tree) / gamma(tree)) < 1e-12

    order = 0
    while all(map(holds, trees(order + 1))):
        order += 1
    return order


def interpolation_order(tableau):
    """The order of accuracy between the ends of a step."""
    rows = np.array(tableau.interpolant)
    powers = np.arange(1, rows.shape[1] + 1)
    return min(order_of(tableau, rows @ theta**powers, theta) for theta in (0.15, 0.4, 0.7, 0.95))


@pytest.mark.parametrize("name", SOLVERS)
def test_order_conditions(name):
    tableau = SOLVERS[name]
    assert order_of(tableau, tableau.b) == tableau.order
    if tableau.adaptive:
        embedded = np.subtract(tableau.b, tableau.error)
        assert order_of(tableau, embedded) == tableau.order - 1


@pytest.mark.parametrize("name", SOLVERS)
def test_an_interpolant_is_better_than_the_one_made_in_its_place(name):
    """The one made in its place is of degree 2, or 3 where the derivative at the end is known."""
    tableau = SOLVERS[name]
    made = dataclasses.replace(tableau, dense=())
    assert interpolation_order(made) == min(tableau.order, 3 if tableau.fsal else 2)
    if tableau.dense:
        assert interpolation_order(tableau) > interpolation_order(made)


def test_dopri5_agrees_with_scipy():
    from scipy.integrate import RK45

    tableau = SOLVERS["dopri5"]
    np.testing.assert_allclose(square(tableau)[:6, :5], RK45.A, atol=1e-15)
    np.testing.assert_allclose(tableau.b[:6], RK45.B, atol=1e-15)
    np.testing.assert_allclose(tableau.error, -RK45.E, atol=1e-15)
    np.testing.assert_allclose(tableau.dense, RK45.P, atol=1e-15)


def test_fsal_is_seen_from_the_numbers():
    assert SOLVERS["dopri5"].fsal
    assert not SOLVERS["rk4"].fsal


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"b": (1 / 6, 1 / 3, 1 / 3, 1 / 5)}, "is not 1/1"),
        ({"b": (1 / 3, 1 / 6, 1 / 3, 1 / 6)}, "is not 1/2"),
        ({"b": (1 / 2, 1 / 2)}, "a, b and c differ in length"),
        ({"c": (0, 1 / 2, 1 / 2, 0.9)}, "row 3 of a does not sum"),
        ({"a": ((), (1 / 2,), (0, 1 / 2), (0, 0, 1, 0))}, "triangular"),
        ({"error": (1.0, 0.0, 0.0, 0.0)}, "error does not sum to 0"),
        ({"error": (0.0,)}, "error and c differ in length"),
        ({"dense": ((1, 0), (0, 0), (0, 0), (0, 0))}, "dense at θ = 1"),
        ({"dense": ((1,),)}, "dense and c differ in length"),
        ({"order": 5}, "is not 1/5"),
    ],
)
def test_contradictory_tableaus_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        dataclasses.replace(SOLVERS["rk4"], **change)


def test_a_slip_in_one_coefficient_is_refused():
    """−513/18656 for −5103/18656, as once seen in the wild."""
    rows = [list(row) for row in SOLVERS["dopri5"].a]
    rows[5][4] = -513 / 18656
    with pytest.raises(ValueError, match="row 5 of a"):
        dataclasses.replace(SOLVERS["dopri5"], a=tuple(map(tuple, rows)))
