"""Velocity networks, called as `model(t, x)`.

A network is an `mlx.nn.Module` that takes t as a 0-d array, (N,) or (N, 1), and x as (N, D), and
returns (N, D). `NETWORKS` and `ACTIVATIONS` are what the command line offers; adding one is adding
an entry.
"""

import inspect
import itertools
import math
from collections.abc import Callable
from functools import cache

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from machine.elementary import exp_negative, tanh
from machine.keys import as_key
from machine.streams import rowwise


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
    root = mx.rsqrt(1 + mx.square(x))
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


LONGEST = math.pi / 8  # angle per unit of x, of the longest waves

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


class MLP(nn.Module):
    """A multilayer perceptron of x and of t.

    The first layer sees x and t, and waves of both: cos and sin of kπt for k = 1 … `waves_of_t`,
    and of every coordinate times 2ᵏπ/8 for k = 0 … `waves_of_x` − 1. The velocity of a flow often
    changes faster, in t and from place to place, than a few layers can learn from t and x alone
    (Tancik et al. 2020). A network of two times, the mean velocity of a map (`maps.py`), sees the
    time that is left up to its `end` in the same way as t.

    Args:
        dim: D, of x and of the velocity.
        width: units of every hidden layer.
        depth: hidden layers, at least one.
        activation: a name in `ACTIVATIONS`.
        waves_of_t, waves_of_x: how many pairs of waves; 0 for t or x alone.
        times: 1, or 2 for the mean velocity from t to a later time.
        scale: the unit of length, of x and of the velocity, in which the layers and the waves of x
            see them; some standard deviation of the data.
    """

    def __init__(
        self,
        dim: int = 2,
        width: int = 128,
        depth: int = 3,
        activation: str = "isru",
        waves_of_t: int = 3,
        waves_of_x: int = 4,
        times: int = 1,
        scale: float = 1.0,
    ):
        super().__init__()
        self.dim, self.width, self.depth = dim, width, depth
        self.waves_of_t, self.waves_of_x, self.times = waves_of_t, waves_of_x, times
        self.scale = scale
        self.activation = _known(activation)
        inputs = dim * (1 + 2 * waves_of_x) + times * (1 + 2 * waves_of_t)
        sizes = [inputs, *[width] * depth, dim]
        self.layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]

    @rowwise
    def __call__(self, t, x, end=None):
        """The velocity (N, D) at time t, () or (N,) or (N, 1), and place x (N, D).

        With two times the mean velocity from t to `end`, in the shapes of t; if None, to t itself.
        """
        x = self._in_units(x)
        h, activate = self._first(t, _beside(x, self._waves(x)), end), ACTIVATIONS[self.activation]
        for layer in self.layers[1:]:
            h = affine(layer.weight, layer.bias, activate(h))
        return self._out_of_units(h)

    @rowwise
    def with_jvp(self, t, x, directions):
        """The velocity v (N, D), and (∂v/∂x) ε (N, P, D) for P directions ε at every point.

        Several times cheaper than MLX's own Jacobian-vector products.

        Args:
            t, x: as the network takes them.
            directions: ε, (N, P, D), or (1, P, D) for the same at all points.
        """
        x = self._in_units(x)  # by which the derivative does not change, as v has them too
        waves_of_x = self._waves(x)
        h = self._first(t, _beside(x, waves_of_x))
        along = [
            self._first_along(directions[:, p], waves_of_x) for p in range(directions.shape[1])
        ]
        h, along = self._through(h, along)
        return self._out_of_units(h), mx.stack(along, axis=1)

    @rowwise
    def with_rate(self, t, x, end, t_rate, x_rate, end_rate):
        """The mean velocity u (N, D) from t to `end`, and how fast it changes, (N, D).

        That is the derivative of u while t, x and `end` move at these rates: a Jacobian–vector
        product, which can be differentiated in its turn.

        Args:
            t, x, end: (N, 1), (N, D), (N, 1).
            t_rate, end_rate: numbers.
            x_rate: (N, D), or None where x rests.
        """
        x = self._in_units(x)
        waves_of_x, weight = self._waves(x), self.layers[0].weight
        rates = [(t, t_rate), (end - t, end_rate - t_rate)]
        turning = [rate * _slope_of_waves(time, self.waves_of_t) for time, rate in rates]
        moved = mx.concatenate(turning, axis=1)
        along = moved @ weight[:, -moved.shape[1] :].T
        if x_rate is not None:
            along = along + self._first_along(self._in_units(x_rate), waves_of_x)
        u, (rate,) = self._through(self._first(t, _beside(x, waves_of_x), end), [along])
        return self._out_of_units(u), self._out_of_units(rate)

    def _through(self, h, along: list) -> tuple:
        """All layers after the first: what comes out, and its derivatives along directions."""
        activate = _with_slope(self.activation)
        for layer in self.layers[1:]:
            h, slope = activate(h)
            h = affine(layer.weight, layer.bias, h)
            along = [_pushed(slope, a, layer.weight) for a in along]
        return h, along

    def _in_units(self, x):
        return x if self.scale == 1 else x / self.scale

    def _out_of_units(self, h):
        return h if self.scale == 1 else self.scale * h

    def _waves(self, x) -> list[tuple]:
        """cos and sin (N, D) of the coordinates times 2ᵏπ/8, each from those before it."""
        pairs = [(mx.cos(LONGEST * x), mx.sin(LONGEST * x))] if self.waves_of_x else []
        while len(pairs) < self.waves_of_x:
            cosine, sine = pairs[-1]
            pairs.append((2 * mx.square(cosine) - 1, 2 * sine * cosine))
        return pairs

    def _first(self, t, place, end=None):
        """The first layer, before its activation."""
        layer, times = self.layers[0], [column(t, place.dtype)]
        if self.times == 2:
            times += [
                mx.zeros_like(times[0]) if end is None else column(end, place.dtype) - times[0]
            ]
        return affine(layer.weight, layer.bias, place, *(waves(t, self.waves_of_t) for t in times))

    def _first_along(self, direction, waves_of_x):
        """The derivative of the first layer along a direction, (N, D) or (1, D)."""
        if waves_of_x:
            direction = mx.broadcast_to(direction, waves_of_x[0][0].shape)
        turned = [LONGEST * 2**k * direction for k in range(len(waves_of_x))]
        slopes = [
            (-a * sine, a * cosine) for a, (cosine, sine) in zip(turned, waves_of_x, strict=True)
        ]
        moved = _beside(direction, slopes)
        return moved @ self.layers[0].weight[:, : moved.shape[1]].T

    def __repr__(self):
        return _described(self)


class Plain(MLP):
    """The perceptron of the literature: t beside x, and no waves (Tong et al. 2024).

    Args:
        dim: D, of x and of the velocity.
        width: units of every hidden layer.
        depth: hidden layers, at least one.
        activation: a name in `ACTIVATIONS`.
        times: as of `MLP`.
    """

    def __init__(
        self,
        dim: int = 2,
        width: int = 64,
        depth: int = 3,
        activation: str = "selu",
        times: int = 1,
    ):
        super().__init__(dim, width, depth, activation, 0, 0, times)


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
        self.dim, self.width, self.depth = dim, width, depth
        self.activation = _known(activation)
        sizes = [dim, *[width] * depth, dim]
        self.layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
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


NETWORKS = {"mlp": MLP, "plain": Plain, "concatsquash": ConcatSquash}
TRAINABLE = "trainable-normal"  # the source that is a part of the network


def describe(model: nn.Module) -> dict:
    """What `build` needs to make an untrained network like this one, as JSON can hold it.

    A network keeps the arguments that it was made with as attributes of the same names.
    """
    names = {network: name for name, network in NETWORKS.items()}
    shape = {name: getattr(model, name) for name in inspect.signature(type(model)).parameters}
    learns_source = isinstance(getattr(model, "source", None), TrainableNormal)
    learns = {"learns_source": learns_source, "learns_score": hasattr(model, "score")}
    return {"network": names[type(model)], "shape": shape, **learns}


def build(description: dict) -> nn.Module:
    """The untrained network that was described."""
    model = NETWORKS[description["network"]](**description["shape"])
    if description["learns_source"]:
        model.source = TrainableNormal(description["shape"]["dim"])
    if description["learns_score"]:  # a second head, as large as the first
        model.score = NETWORKS[description["network"]](**description["shape"])
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


@mx.custom_function
def affine(weight, bias, *inputs):
    """The inputs side by side times weightᵀ, plus bias: (N, width).

    An input of one row is the same for all points. The gradients of the weights lie in memory as
    the weights do, which MLX's own do not: an optimizer's kernels are slow where layouts differ.
    """
    total = bias
    for h, part in reversed(_columns(weight, inputs)):
        total = mx.addmm(total, h, part.T)
    return total


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


def _beside(x, waves_of_x: list[tuple]):
    """x and the waves of x side by side, (N, D (1 + 2 pairs))."""
    return mx.concatenate([x, *itertools.chain(*waves_of_x)], axis=1)


def _pushed(slope, along, weight):
    """(slope · along) @ weightᵀ, where `along` has a row for every point, or one for all.

    MLX's CPU kernels take ten times as long where the shapes differ, so the one row is multiplied
    into the weights instead.
    """
    one_for_all = along.shape[0] == 1
    return slope @ (along * weight).T if one_for_all else (slope * along) @ weight.T


@cache
def _with_slope(activation: str) -> Callable:
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


def waves(t, frequencies: int):
    """t, cos(kπt) and sin(kπt) for k = 1 … frequencies, (N, 1 + 2 frequencies)."""
    t = column(t)
    angles = math.pi * t * mx.arange(1, frequencies + 1, dtype=t.dtype)
    return mx.concatenate([t, mx.cos(angles), mx.sin(angles)], axis=-1)


def _slope_of_waves(t, frequencies: int):
    """The derivative of `waves`, in their shape."""
    turns = math.pi * mx.arange(1, frequencies + 1, dtype=t.dtype)
    angles = column(t) * turns
    slopes = [mx.ones_like(column(t)), -turns * mx.sin(angles), turns * mx.cos(angles)]
    return mx.concatenate(slopes, axis=-1)


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(leaf.size for _, leaf in tree_flatten(model.trainable_parameters()))
