"""Optimizers against numpy in float64."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from scipy.optimize import linprog

from learning.optimizers import LR_SCHEDULES, OPTIMIZERS, POLYNOMIALS, Muon, orthogonal

LEAST, COARSE = 0.005, 0.495  # what the polynomials begin with, and how near to 1 they end


def best_polynomial(low: float, high: float):
    """The odd polynomial of degree 5 that is nearest to 1 on [low, high], and how near it is."""
    s = np.linspace(low, high, 4000)
    powers, ones = np.stack([s, s**3, s**5], axis=1), np.ones((len(s), 1))
    rows = np.block([[powers, -ones], [-powers, -ones]])
    bounds = [(None, None)] * 3 + [(0, None)]
    found = linprog([0, 0, 0, 1], rows, np.concatenate([ones, -ones]), bounds=bounds).x
    return found[:3], found[3]


def test_polynomials_are_the_best_one_after_another():
    low, high = LEAST, 1.0
    for ours in POLYNOMIALS:
        best, off = best_polynomial(low, high)
        np.testing.assert_allclose(ours, best, atol=2e-3, rtol=2e-4)
        low, high = 1 - off, 1 + off
    s = np.linspace(LEAST, 1, 10_000)
    for a, b, c in POLYNOMIALS:
        s = a * s + b * s**3 + c * s**5
    assert abs(s - 1).max() == pytest.approx(COARSE, abs=2e-3)


def test_orthogonal_keeps_the_directions_and_evens_out_the_lengths():
    matrices = np.random.default_rng(0).normal(size=(3, 12, 12))
    for ours, matrix in zip(np.array(orthogonal(mx.array(matrices))), matrices, strict=True):
        left, values, right = np.linalg.svd(matrix)
        inside = left.T @ ours @ right.T
        np.testing.assert_allclose(inside - np.diag(np.diag(inside)), 0, atol=1e-4)
        even = values / np.linalg.norm(matrix) > LEAST
        np.testing.assert_allclose(np.diag(inside)[even], 1, atol=COARSE + 1e-3)


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = [nn.Linear(5, 5), nn.Linear(5, 5)]
        self.last = nn.Linear(5, 2)


def polar(matrix):
    """The orthogonalised matrix by the polynomials, from its singular values."""
    left, values, right = np.linalg.svd(matrix)
    values = values / np.linalg.norm(matrix)
    for a, b, c in POLYNOMIALS:
        values = a * values + b * values**3 + c * values**5
    return left @ np.diag(values) @ right


def test_muon_for_hidden_matrices_and_adamw_for_all_else():
    rate, momentum, decay, rng = 0.05, 0.9, 0.1, np.random.default_rng(1)
    mx.random.seed(0)
    model = TwoLayers()
    optimizer = Muon(rate, momentum, decay)
    optimizer.init(model.trainable_parameters())
    weights = {n: np.array(w, np.float64) for n, w in tree_flatten(model.parameters())}
    first, second = ({n: 0 * w for n, w in weights.items()} for _ in range(2))
    for step in range(1, 4):
        gradients = {name: rng.normal(size=weight.shape) for name, weight in weights.items()}
        layers = [
            {n: mx.array(gradients[f"hidden.{i}.{n}"]) for n in ("weight", "bias")}
            for i in range(2)
        ]
        last = {n: mx.array(gradients[f"last.{n}"]) for n in ("weight", "bias")}
        optimizer.update(model, {"hidden": layers, "last": last})
        for name, g in gradients.items():
            if weights[name].shape == (5, 5):
                first[name] = momentum * first[name] + (1 - momentum) * g
                moved = polar(momentum * first[name] + (1 - momentum) * g)
                weights[name] = weights[name] * (1 - 2 * rate * decay) - 2 * rate * moved
                continue
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            size = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
            moved = first[name] / (1 - 0.9**step) / size
            weights[name] = weights[name] * (1 - rate * decay) - rate * moved
    for name, weight in tree_flatten(model.parameters()):
        np.testing.assert_allclose(np.array(weight), weights[name], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_descends(name):
    """On |W − 1|² of a square matrix and a vector, to a hundredth of where it began."""
    model = {"square": mx.zeros((4, 4)), "vector": mx.zeros(4)}
    optimizer = OPTIMIZERS[name].make(0.01, 0.0)
    optimizer.init(model)

    def loss(model):
        return sum(mx.sum(mx.square(leaf - 1)) for leaf in model.values())

    for _ in range(400):
        model = optimizer.apply_gradients(mx.grad(loss)(model), model)
    assert loss(model).item() < 0.2


def first_step(optimizer, gradient, weight=0.0):
    """From weights that are all alike."""
    model = {"w": mx.full(gradient.shape, weight)}
    optimizer.init(model)
    return np.array(optimizer.apply_gradients({"w": mx.array(gradient)}, model)["w"]) - weight


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_first_step_is_as_long_as_the_learning_rate(name):
    """Whatever the gradient: Adam's two averages have the same bias, and are corrected for it."""
    gradient = np.array([3.0, -0.02, 500.0], np.float32)
    moved = first_step(OPTIMIZERS[name].make(0.01, 0.0), gradient)
    np.testing.assert_allclose(moved, -0.01 * np.sign(gradient), rtol=1e-5)


def test_a_matrix_is_orthogonalised_from_three_rows_on():
    for size in (2, 3):
        gradient = np.random.default_rng(size).normal(size=(size, size)).astype(np.float32)
        adamw = -0.05 * np.sign(gradient)
        muon = -2 * 0.05 * polar(gradient)
        expected = adamw if size == 2 else muon
        np.testing.assert_allclose(first_step(Muon(0.05), gradient), expected, atol=1e-5)


def test_no_weight_decays_unless_told():
    for shape in ((4, 4), (4,)):
        zero = np.zeros(shape, np.float32)
        assert not first_step(Muon(0.1), zero, weight=1.0).any()
        np.testing.assert_allclose(
            first_step(Muon(0.1, weight_decay=0.5), zero, weight=1.0),
            -0.05 * len(shape),  # a matrix learns twice as fast
            rtol=1e-5,
        )


@pytest.mark.parametrize("steps", [2, 10, 105])
def test_schedules_in_closed_form(steps):
    """At every step, and after the last."""
    n, up = np.arange(steps + 1), max(1, int(0.3 * steps))
    rising = 0.1 * (1 / 25 + (1 - 1 / 25) * n / up)
    falling = 0.05 * (1 + np.cos(np.pi * (n - up) / (steps - up)))
    expected = {
        "constant": np.full(steps + 1, 0.1),
        "cosine": 0.05 * (1 + np.cos(np.pi * n / steps)),
        "one-cycle": np.where(n < up, rising, falling),
    }
    for name, make in LR_SCHEDULES.items():
        schedule = make(0.1, steps)
        found = [float(schedule(mx.array(k)) if callable(schedule) else schedule) for k in n]
        np.testing.assert_allclose(found, expected[name], atol=1e-7, err_msg=name)
