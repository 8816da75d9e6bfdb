"""What networks are made of: activations, and the linear algebra between them, made fast.

`ACTIVATIONS` is what the command line offers; adding one is adding an entry.
"""

import itertools
import math
from collections.abc import Callable
from functools import cache

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.nn as nn

from machine.elementary import exp_negative, tanh


def isru(x):
    """x / √(1 + x²), the inverse square root unit (Carlile et al. 2017).

    As smooth and bounded as tanh, and the cheapest of its kind on a CPU.
    """
    return _isru(x)


@mx.custom_function
def _isru(x):
    return _isru_value(x)


@_isru.vjp
def _(x, cotangent, _):
    return _isru_derivative(x, cotangent)


@mx.compile
def _isru_value(x):
    return x * mx.rsqrt(1 + mx.square(x))


@mx.compile
def _isru_derivative(x, direction):
    """(1 + x²)^(−3/2) times a direction, in fewer operations than MLX makes of the chain rule."""
    root = mx.rsqrt(1 + x * x)  # `square` would have MLX keep the root of the forward pass
    return direction * root * root * root


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


def known_activation(activation: str) -> str:
    """The name, if it is one in `ACTIVATIONS`; otherwise a ValueError."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    return activation


@mx.custom_function
def affine(weight, bias, *inputs):
    """The inputs side by side times weightᵀ, plus bias: (N, width).

    An input of one row is the same for all points; such inputs come last. The gradients of the
    weights lie in memory as the weights do, which MLX's own do not: an optimizer's kernels are slow
    where layouts differ.
    """
    product = None
    for h, part in _columns(weight, inputs):
        if len(h) < len(inputs[0]):
            bias = mx.addmm(bias, h, part.T)
        else:
            product = h @ part.T if product is None else mx.addmm(product, h, part.T)
    return product + bias  # the bias within `addmm` makes a solve a quarter longer


@affine.vjp
def _(primals, cotangent, value):
    weight, _, *inputs = primals
    pulled = [_summed_to(h, cotangent) for h in inputs]
    of_weight = [g.T @ h for g, h in zip(pulled, inputs, strict=True)]
    return (
        of_weight[0] if len(inputs) == 1 else mx.concatenate(of_weight, axis=1),
        mx.sum(cotangent, axis=0),
        *(g @ part for g, (_, part) in zip(pulled, _columns(weight, inputs), strict=True)),
    )


def _columns(weight, inputs) -> list[tuple]:
    """Each input, and the columns of the weight that it meets."""
    if len(inputs) == 1:
        return [(inputs[0], weight)]
    cuts = list(itertools.accumulate(h.shape[1] for h in inputs))[:-1]
    return list(zip(inputs, mx.split(weight, cuts, axis=1), strict=True))


def _summed_to(h, cotangent):
    """The cotangent (N, width), in as many rows as the input had."""
    return cotangent if len(h) == len(cotangent) else mx.sum(cotangent, axis=0, keepdims=True)


def beside(x, waves_of_x: list[tuple]):
    """x and the waves of x side by side, (N, D (1 + 2 pairs))."""
    return mx.concatenate([x, *itertools.chain(*waves_of_x)], axis=1)


def pushed(slope, along, weight):
    """(slope · along) @ weightᵀ, where `along` has a row for every point, or one for all.

    The one row is multiplied into the weights, which are fewer than the slopes.
    """
    one_for_all = along.shape[0] == 1
    return slope @ (along * weight).T if one_for_all else (slope * along) @ weight.T


@cache
def with_slope(activation: str) -> Callable:
    """The function h → (a, a') of an activation a and its derivative at h."""
    function = ACTIVATIONS[activation]

    @mx.compile
    def with_slope(h):
        (value,), (slope,) = mx.vjp(function, [h], [mx.ones_like(h)])
        return value, slope

    return with_slope


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


def waves(t, frequencies: int):
    """t, cos(kπt) and sin(kπt) for k = 1 … frequencies, (N, 1 + 2 frequencies)."""
    t = column(t)
    angles = math.pi * t * mx.arange(1, frequencies + 1, dtype=t.dtype)
    return mx.concatenate([t, mx.cos(angles), mx.sin(angles)], axis=-1)


def slope_of_waves(t, frequencies: int):
    """The derivative of `waves`, in their shape."""
    turns = math.pi * mx.arange(1, frequencies + 1, dtype=t.dtype)
    angles = column(t) * turns
    slopes = [mx.ones_like(column(t)), -turns * mx.sin(angles), turns * mx.cos(angles)]
    return mx.concatenate(slopes, axis=-1)
