"""How a network's weights follow their gradients.

`OPTIMIZERS` is what the command line offers; each is made from a learning rate, which may be a
function of the step, and a weight decay. They are MLX's own, but for Muon, which here takes all
hidden layers at once. `LR_SCHEDULES` are what becomes of the learning rate over the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten

# Odd polynomials a s + b s³ + c s⁵, one after another: together they carry every s in [0.005, 1] to
# within a half of 1, which is near enough. Each is the best of its degree on what the one before it
# leaves, as in Amsel et al. 2025; `tests/test_optimizers.py` computes them anew.
POLYNOMIALS = ((8.2987, -24.4305, 18.0903), (3.9152, -2.9211, 0.5592), (3.1746, -2.3804, 0.4978))


class Muon(optim.AdamW):
    """Momentum, orthogonalised, for the hidden layers' matrices; AdamW for all else.

    The step of a square matrix is the orthogonal matrix nearest to its momentum: a step of equal
    length in every direction, also those in which gradients are small (Jordan et al. 2024). It is
    twice as long as the learning rate, which is that of AdamW.

    Args:
        learning_rate: a number, or a function of the step.
        momentum: what remains of earlier gradients in each step.
        weight_decay: how much of every weight is taken off in each step, in learning rates.
    """

    def __init__(self, learning_rate, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(learning_rate, weight_decay=weight_decay, bias_correction=True)
        self.momentum = momentum

    def init_single(self, parameter, state: dict):
        if _is_square(parameter):
            state["m"] = mx.zeros_like(parameter)
        else:
            super().init_single(parameter, state)

    def apply_gradients(self, gradients: dict, parameters: dict):
        steps = dict(tree_flatten(tree_map(self._with_momentum, gradients, self.state)))
        by_size = {}
        for name, step in steps.items():
            if _is_square(step):
                by_size.setdefault(len(step), []).append(name)
        for names in by_size.values():
            together = orthogonal(mx.stack([steps[name] for name in names]))
            steps |= zip(names, together, strict=True)
        return super().apply_gradients(tree_unflatten(list(steps.items())), parameters)

    def _with_momentum(self, gradient, state: dict):
        """Of a square matrix, the momentum as it would be one step later (Nesterov)."""
        if not _is_square(gradient):
            return gradient
        state["m"] = gradient + self.momentum * (state["m"] - gradient)
        return gradient + self.momentum * (state["m"] - gradient)

    def apply_single(self, gradient, parameter, state: dict):
        if not _is_square(parameter):
            return super().apply_single(gradient, parameter, state)
        rate = 2 * self.learning_rate
        return parameter * (1 - rate * self.weight_decay) - rate * gradient


def _is_square(array) -> bool:
    return array.ndim == 2 and array.shape[0] == array.shape[1] > 2


def orthogonal(matrices):
    """About the nearest orthogonal matrix to each of several (K, n, n), by `POLYNOMIALS`.

    Singular values of less than a 200th of the matrix's Frobenius norm stay smaller than a half.
    """
    norms = mx.sqrt(mx.sum(mx.square(matrices), axis=(1, 2), keepdims=True))
    matrices = matrices / (norms + 1e-12)
    for a, b, c in POLYNOMIALS:
        squares = matrices @ matrices.swapaxes(1, 2)
        factors = mx.addmm(squares, squares, squares, alpha=c, beta=b)
        matrices = mx.addmm(matrices, factors, matrices, beta=a)
    return matrices


@dataclass(frozen=True)
class Optimizer:
    """An entry of `OPTIMIZERS`.

    Attributes:
        title: its name in print.
        make: (learning rate, weight decay) → an optimizer of MLX.
        lr: the largest learning rate, unless one is chosen.
        weight_decay: likewise; None where it has none.
    """

    title: str
    make: Callable
    lr: float
    weight_decay: float | None = 0.0


def _adam(rate, weight_decay: float):
    return optim.Adam(rate, bias_correction=True)


def _adamw(rate, weight_decay: float):
    return optim.AdamW(rate, weight_decay=weight_decay, bias_correction=True)


OPTIMIZERS: dict[str, Optimizer] = {
    "muon": Optimizer("Muon", lambda rate, decay: Muon(rate, weight_decay=decay), 1.5e-2),
    "adam": Optimizer("Adam", _adam, 5e-3, None),
    "adamw": Optimizer("AdamW", _adamw, 5e-3, 1e-2),
}


def _one_cycle(lr: float, steps: int):
    """Up from a 25th of lr in a straight line for 3/10 of the steps, then down as half a cosine."""
    up = max(1, 3 * steps // 10)
    parts = [optim.linear_schedule(lr / 25, lr, up), optim.cosine_decay(lr, max(1, steps - up))]
    return optim.join_schedules(parts, [up])


LR_SCHEDULES: dict[str, Callable] = {
    "constant": lambda lr, steps: lr,
    "cosine": optim.cosine_decay,
    "one-cycle": _one_cycle,
}
