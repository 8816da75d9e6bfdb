"""Velocity networks, called as `model(t, x)`.

A network is an `mlx.nn.Module` that takes t as a 0-d array, (N,) or (N, 1), and x as
(N, D), and returns (N, D). `NETWORKS` and `ACTIVATIONS` are what the command line offers. How they
are trained is the business of `training.py`.
"""

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from parallel import rowwise
from randomness import as_key


def isru(x):
    """x / √(1 + x²), the inverse square root unit (Carlile et al. 2017).

    As smooth and bounded as tanh, and several times cheaper on a CPU.
    """
    return _biased_isru(x, mx.zeros(x.shape[-1:], x.dtype))


@mx.custom_function
def _biased_isru(x, bias):
    """isru(x + bias) in one kernel, x (…, C) and bias (C,)."""
    return _isru(x, bias)


@_biased_isru.vjp
def _(primals, cotangent, _):
    gradient = _isru_derivative(*primals, cotangent)
    return gradient, mx.sum(gradient.reshape(-1, gradient.shape[-1]), axis=0)


@mx.compile
def _isru(x, bias):
    x = x + bias
    return x * mx.rsqrt(1 + mx.square(x))


@mx.compile
def _isru_derivative(x, bias, direction):
    """(1 + x²)^(−3/2) times a direction, in fewer operations than the chain rule finds."""
    root = mx.rsqrt(1 + mx.square(x + bias))
    return direction * root * root * root


@mx.custom_function
def tanh(x):
    """The hyperbolic tangent; its derivative from its value, where MLX computes a cosh."""
    return mx.tanh(x)


@tanh.vjp
def _(_, cotangent, value):
    return cotangent * (1 - mx.square(value))


@mx.compile
def elu(x, alpha: float = 1.0):
    """x where it is positive, α (eˣ − 1) elsewhere (Clevert et al. 2016).

    Without MLX's `exp`, for two reasons: its power is three times faster on Linux's CPU, and
    the exponential of a large x that is then not used would make the gradient no number.
    """
    return mx.maximum(x, 0) + alpha * (mx.power(math.e, mx.minimum(x, 0)) - 1)


@mx.compile
def selu(x):
    """ELU scaled so that layers keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * elu(x, alpha)


ACTIVATIONS = {
    "isru": isru,
    "silu": nn.silu,
    "tanh": tanh,
    "elu": elu,
    "selu": selu,
    "gelu": nn.gelu,
    "relu": nn.relu,
    "softplus": nn.softplus,
}


class MLP(nn.Module):
    """A multilayer perceptron of x and of t.

    The first layer sees x, t and the waves cos(kπt), sin(kπt) for k up to `frequencies`: the
    velocity of a flow often changes faster in t than a few layers learn from t alone.

    Args:
        dim: D, of x and of the velocity.
        width: units of every hidden layer.
        depth: hidden layers, at least one.
        activation: a name in `ACTIVATIONS`.
        frequencies: how many pairs of waves; 0 for t alone.
    """

    def __init__(
        self,
        dim: int = 2,
        width: int = 64,
        depth: int = 3,
        activation: str = "isru",
        frequencies: int = 3,
    ):
        super().__init__()
        self.activation = _known(activation)
        self.frequencies = frequencies
        sizes = [dim + 1 + 2 * frequencies, *[width] * depth, dim]
        self.layers = [nn.Linear(*pair) for pair in pairwise(sizes)]

    @rowwise
    def __call__(self, t, x):
        """The velocity (N, D) at time t, () or (N,) or (N, 1), and place x (N, D)."""
        time = waves(t, self.frequencies)
        time = mx.broadcast_to(time, (x.shape[0], time.shape[1]))
        h = mx.concatenate([x, time], axis=1)
        for layer in self.layers[:-1]:
            h = _biased(self.activation)(h @ layer.weight.T, layer.bias)
        return self.layers[-1](h)

    def __repr__(self):
        return _described(self)


class ConcatSquash(nn.Module):
    """The network of continuous normalising flows (Grathwohl et al. 2019, appendix B).

    Every layer is a linear map of x, squashed by a gate and shifted by a bias that both depend
    on t alone: lin(x) · sigmoid(gate(t)) + bias(t).

    Args:
        dim: D, of x and of the velocity.
        width: units of every hidden layer.
        depth: hidden layers, at least one.
        activation: a name in `ACTIVATIONS`, between the layers.
    """

    def __init__(self, dim: int = 2, width: int = 64, depth: int = 3, activation: str = "tanh"):
        super().__init__()
        self.activation = _known(activation)
        sizes = [dim, *[width] * depth, dim]
        self.layers = [nn.Linear(*pair) for pair in pairwise(sizes)]
        self.gates = [nn.Linear(1, size) for size in sizes[1:]]
        self.shifts = [nn.Linear(1, size, bias=False) for size in sizes[1:]]

    @rowwise
    def __call__(self, t, x):
        """The velocity (N, D) at time t, () or (N,) or (N, 1), and place x (N, D)."""
        t, h = column(t, x.dtype), x
        for layer, gate, shift in zip(self.layers, self.gates, self.shifts, strict=True):
            h = layer(h) * mx.sigmoid(gate(t)) + shift(t)
            if layer is not self.layers[-1]:
                h = ACTIVATIONS[self.activation](h)
        return h

    def __repr__(self):
        return _described(self)


class TrainableNormal(nn.Module):
    """N(μ, diag(s²)) whose mean μ and scale s, each (D,), are learned with a flow."""

    def __init__(self, dim: int):
        super().__init__()
        self.mean = mx.zeros(dim)
        self.log_scale = mx.zeros(dim)

    def sample(self, n: int, key=None):
        """n points, (n, D)."""
        noise = mx.random.normal((n, len(self.mean)), key=as_key(key))
        return self.mean + mx.exp(self.log_scale) * noise

    def log_prob(self, x):
        """The log-density at x (N, D), (N,) nats."""
        squares = mx.square((x - self.mean) * mx.exp(-self.log_scale))
        return mx.sum(-squares / 2 - self.log_scale - math.log(2 * math.pi) / 2, axis=1)


NETWORKS = {"mlp": MLP, "concatsquash": ConcatSquash}
TRAINABLE = "trainable-normal"  # the source that is a part of the network


def build(config: dict) -> nn.Module:
    """The untrained network that config["network"], ["model"] and ["source"] describe."""
    model = NETWORKS[config["network"]](**config["model"])
    if config.get("source") == TRAINABLE:
        model.source = TrainableNormal(config["model"]["dim"])
    return model


def _known(activation: str) -> str:
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    return activation


def _described(model) -> str:
    widths = [layer.weight.shape[0] for layer in model.layers]
    sizes = " → ".join(map(str, [model.layers[0].weight.shape[1], *widths]))
    name, count = type(model).__name__, parameter_count(model)
    return f"{name}({sizes}, {model.activation}, {count:,} parameters)"


@cache
def _biased(activation: str) -> Callable:
    """The function activation(h + bias), one kernel where MLX's `Linear` would make it two."""
    function = ACTIVATIONS[activation]
    return _biased_isru if function is isru else mx.compile(lambda h, bias: function(h + bias))


def column(t, dtype=mx.float32):
    """t as a column: (N, 1) for (N,) and (N, 1), (1, 1) for a scalar."""
    return (t if isinstance(t, mx.array) else mx.array(t, dtype)).reshape(-1, 1)


def waves(t, frequencies: int):
    """t, cos(kπt) and sin(kπt) for k = 1 … frequencies, (N, 1 + 2 frequencies)."""
    t = column(t)
    angles = math.pi * t * mx.arange(1, frequencies + 1, dtype=t.dtype)
    return mx.concatenate([t, mx.cos(angles), mx.sin(angles)], axis=-1)


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(leaf.size for _, leaf in tree_flatten(model.trainable_parameters()))
