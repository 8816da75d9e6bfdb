"""What networks are made of: activations, and the linear algebra between them, made fast.

`ACTIVATIONS` is what the command line offers; adding one is adding an entry.
"""

import math
from collections.abc import Callable
from functools import cache

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.nn as nn

from machine.elementary import cosine, exp_negative, tanh


@mx.compile
def isru(x):
    """x / √(1 + x²), the inverse square root unit (Carlile et al. 2017).

    As smooth and bounded as tanh, and the cheapest of its kind on a CPU.
    """
    return x * mx.rsqrt(1 + mx.square(x))


def silu(x):
    """x · sigmoid(x) (Elfwing et al. 2018), by `tanh`."""
    return x / 2 * (1 + tanh(x / 2))


@mx.compile
def elu(x, alpha: float = 1.0):
    """x where it is positive, α (eˣ − 1) elsewhere (Clevert et al. 2016).

    The exponential is that of min(x, 0), because that of a large x is infinite and would make the
    gradient NaN.
    """
    above = mx.maximum(x, 0)  # of slope 0 at 0, where that of minimum(x, 0) would be 0 too
    return above + alpha * (exp_negative(x - above) - 1)


@mx.compile
def selu(x):
    """ELU scaled so that layers keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * elu(x, alpha)


ACTIVATIONS = {
    "isru": isru,
    "silu": silu,
    "tanh": tanh,
    "elu": elu,
    "selu": selu,
    "gelu": nn.gelu,
    "relu": nn.relu,
    "softplus": nn.softplus,
}


def slope_of_isru(x, direction):
    """(1 + x²)^(−3/2) times a direction."""
    root = mx.rsqrt(1 + x * x)
    return direction * root * root * root


# a'(h) times a direction, where that is fewer operations than MLX makes of the chain rule
DERIVATIVES = {"isru": slope_of_isru}


def known_activation(activation: str) -> str:
    """The name, if it is one in `ACTIVATIONS`; otherwise a ValueError."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    return activation


@mx.custom_function
def product(weight, h):
    """h (N, columns) times weightᵀ, (N, width).

    The gradient of the weight lies in memory as the weight does, which MLX's own does not: an
    optimizer's kernels are slow where layouts differ.
    """
    return h @ weight.T


@product.vjp
def _(primals, cotangent, _):
    weight, h = primals
    return cotangent.T @ h, cotangent @ weight


def pushed(slope, along, weight):
    """(slope · along) @ weightᵀ, where `along` has a row for every point, or one for all.

    The one row is multiplied into the weights, which are fewer than the slopes.
    """
    one_for_all = along.shape[0] == 1
    return slope @ (along * weight).T if one_for_all else (slope * along) @ weight.T


@cache
def activated(activation: str) -> Callable:
    """The function (h, shift) → a(h + shift) of an activation a; h is (N, width), shift one row.

    A layer's bias is added here, where it costs nothing, and not to its product. The gradient adds
    them anew and the other way round, because MLX would take the same sum for one that is worth
    keeping, in a pass through memory of its own.
    """
    function, derivative = ACTIVATIONS[activation], derivative_of(activation)
    forwards = mx.compile(lambda h, shift: function(h + shift))
    backwards = mx.compile(lambda h, shift, cotangent: derivative(shift + h, cotangent))

    @mx.custom_function
    def activated(h, shift):
        return forwards(h, shift)

    @activated.vjp
    def _(primals, cotangent, _):
        h, shift = primals
        pulled = backwards(h, shift, cotangent)
        return pulled, mx.sum(pulled, axis=0, keepdims=shift.ndim == 2)

    return activated


@cache
def with_slope(activation: str) -> Callable:
    """The function (h, shift) → (a, a') of an activation a and its derivative at h + shift."""
    function, derivative = ACTIVATIONS[activation], derivative_of(activation)

    @mx.compile
    def with_slope(h, shift):
        h = h + shift
        return function(h), derivative(h, mx.ones_like(h))

    return with_slope


def derivative_of(activation: str) -> Callable:
    """The function (h, direction) → a'(h) times the direction, of an activation a."""
    function = ACTIVATIONS[activation]
    by_chain_rule = lambda h, direction: mx.vjp(function, [h], [direction])[1][0]  # noqa: E731
    return DERIVATIVES.get(activation, by_chain_rule)


def column(t, dtype=mx.float32):
    """t as a column: (N, 1) for (N,) and (N, 1), (1, 1) for a scalar."""
    return (t if isinstance(t, mx.array) else mx.array(t, dtype)).reshape(-1, 1)


def one_hot(label, classes: int, x):
    """For each row of x a row of zeros, (N, classes), but for a 1 at the place of its label.

    Args:
        label: (N,), or () for one of all rows; negative, or None, where nothing is known.

    Raises:
        ValueError: for a label where there are no classes.
    """
    if label is not None and not classes:
        raise ValueError("this network was made for no classes, and was told of one")
    label = mx.array(-1 if label is None else label).reshape(-1, 1)
    told = (label == mx.arange(classes)).astype(x.dtype)
    return mx.broadcast_to(told, (len(x), classes))


def waves(x, turns, phases):
    """cos(2π (turns · x − phases)) of arrays that fit each other; a phase of 1/4 makes a sine."""
    return cosine(x * turns - phases)


def slope_of_waves(x, turns, phases):
    """The derivative of `waves` by x, in their shape: waves a quarter of a turn ahead."""
    return 2 * math.pi * turns * cosine(x * turns - phases + 0.25)
