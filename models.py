"""Velocity networks, called as `model(t, x)`.

A network is an `mlx.nn.Module` that takes t as a 0-d array, (N,) or (N, 1), and x as (N, D), and
returns (N, D). One that is made for classes is told them by `label`, () or (N,), each a number from
0; a negative one, or no label at all, says that nothing is known. `NETWORKS` is what the command
line offers; adding one is adding an entry. What they are made of is in `learning/layers.py`.
"""

import inspect
import itertools
import math

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from learning.graphs import compiled
from learning.layers import (
    ACTIVATIONS,
    activated,
    column,
    known_activation,
    one_hot,
    product,
    pushed,
    slope_of_waves,
    waves,
    with_slope,
)
from machine.keys import as_key
from machine.streams import rowwise


LONGEST = 16  # units of x, the length of the longest waves


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
        classes: how many the network can be told of; 0 for none.
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
        classes: int = 0,
        scale: float = 1.0,
    ):
        super().__init__()
        self.dim, self.width, self.depth = dim, width, depth
        self.waves_of_t, self.waves_of_x, self.times = waves_of_t, waves_of_x, times
        self.classes, self.scale = classes, scale
        self.activation = known_activation(activation)
        inputs = dim * (1 + 2 * waves_of_x) + classes + times * (1 + 2 * waves_of_t)
        sizes = [inputs, *[width] * depth, dim]
        self.layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]

    @compiled
    @rowwise
    def __call__(self, t, x, end=None, label=None):
        """The velocity (N, D) at time t, () or (N,) or (N, 1), and place x (N, D).

        With two times the mean velocity from t to `end`, in the shapes of t; if None, to t itself.
        With a `label`, () or (N,), that of the points of a class.
        """
        x, activate = self._in_units(x), activated(self.activation)
        h, shift = self._first(t, x, end, label)
        for layer in self.layers[1:]:
            h, shift = product(layer.weight, activate(h, shift)), layer.bias
        return self._out_of_units(h + shift)

    @compiled
    @rowwise
    def with_jvp(self, t, x, directions, label=None):
        """The velocity v (N, D), and (∂v/∂x) ε (N, P, D) for P directions ε at every point.

        Several times cheaper than MLX's own Jacobian-vector products.

        Args:
            t, x, label: as the network takes them.
            directions: ε, (N, P, D), or (1, P, D) for the same at all points.
        """
        x = self._in_units(x)  # by which the derivative does not change, as v has them too
        slopes = self._slopes(x)
        along = [self._first_along(directions[:, p], slopes) for p in range(directions.shape[1])]
        h, along = self._through(*self._first(t, x, label=label), along)
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
        x, weight = self._in_units(x), self.layers[0].weight
        moved = []
        for time, rate in ((t, t_rate), (end - t, end_rate - t_rate)):
            moved.append(mx.full(time.shape, rate, time.dtype))
            if self.waves_of_t:
                moved.append(rate * slope_of_waves(time, *self._turns_of_t(time.dtype)))
        moved = mx.concatenate(moved, axis=1)
        along = moved @ weight[:, -moved.shape[1] :].T
        if x_rate is not None:
            along = along + self._first_along(self._in_units(x_rate), self._slopes(x))
        u, (rate,) = self._through(*self._first(t, x, end), [along])
        return self._out_of_units(u), self._out_of_units(rate)

    def _through(self, h, shift, along: list) -> tuple:
        """All layers after the first: what comes out, and its derivatives along directions."""
        activate = with_slope(self.activation)
        for layer in self.layers[1:]:
            value, slope = activate(h, shift)
            h, shift = product(layer.weight, value), layer.bias
            along = [pushed(slope, a, layer.weight) for a in along]
        return h + shift, along

    def _in_units(self, x):
        return x if self.scale == 1 else x / self.scale

    def _out_of_units(self, h):
        return h if self.scale == 1 else self.scale * h

    def _first(self, t, x, end=None, label=None) -> tuple:
        """The first layer, before its activation: a product (N, width), and what to add to it.

        A time that is the same for all points is multiplied once, and then added.
        """
        layer, place, times = self.layers[0], [x], [column(t, x.dtype)]
        if self.waves_of_x:
            place.append(waves(x[:, None], *self._turns_of_x(x.dtype)).reshape(len(x), -1))
        if label is not None or self.classes:
            place.append(one_hot(label, self.classes, x))
        if self.times == 2:
            left = mx.zeros_like(times[0]) if end is None else column(end, x.dtype) - times[0]
            times = mx.broadcast_arrays(*times, left)
        if self.waves_of_t:
            turns = self._turns_of_t(x.dtype)
            times = [part for time in times for part in (time, waves(time, *turns))]
        if len(times[0]) == len(x):
            return product(layer.weight, mx.concatenate([*place, *times], axis=1)), layer.bias
        place, times = (mx.concatenate(parts, axis=1) for parts in (place, times))
        of_place, of_times = mx.split(layer.weight, [place.shape[1]], axis=1)
        return product(of_place, place), mx.addmm(layer.bias, times, of_times.T)

    def _first_along(self, direction, slopes):
        """The derivative of the first layer along a direction, (N, D) or (1, D)."""
        moved = direction
        if slopes is not None:
            turned = (slopes * direction[:, None]).reshape(len(slopes), -1)
            moved = mx.concatenate([mx.broadcast_to(direction, (len(slopes), self.dim)), turned], 1)
        return moved @ self.layers[0].weight[:, : moved.shape[1]].T

    def _slopes(self, x):
        """The derivatives of the waves of x, (N, 2 waves, D); None where there are none."""
        return slope_of_waves(x[:, None], *self._turns_of_x(x.dtype)) if self.waves_of_x else None

    def _turns_of_x(self, dtype) -> tuple:
        """Turns a unit of x, and phases, of a cosine and a sine of each length, (2 waves, 1)."""
        turns = [[2**k / LONGEST] for k in range(self.waves_of_x) for _ in range(2)]
        return mx.array(turns, dtype), mx.array([[0.0], [0.25]] * self.waves_of_x, dtype)

    def _turns_of_t(self, dtype) -> tuple:
        """Turns a unit of t, and phases, of all cosines and then all sines, (2 waves,)."""
        turns = [k / 2 for k in range(1, self.waves_of_t + 1)] * 2
        phases = [phase for phase in (0.0, 0.25) for _ in range(self.waves_of_t)]
        return mx.array(turns, dtype), mx.array(phases, dtype)

    def __repr__(self):
        return _described(self)


class Plain(MLP):
    """The perceptron of the literature: t beside x, and no waves (Tong et al. 2024).

    Args:
        dim: D, of x and of the velocity.
        width: units of every hidden layer.
        depth: hidden layers, at least one.
        activation: a name in `ACTIVATIONS`.
        times, classes: as of `MLP`.
    """

    def __init__(
        self,
        dim: int = 2,
        width: int = 64,
        depth: int = 3,
        activation: str = "selu",
        times: int = 1,
        classes: int = 0,
    ):
        super().__init__(dim, width, depth, activation, 0, 0, times, classes)


class ConcatSquash(nn.Module):
    """The network of continuous normalising flows (Grathwohl et al. 2019, appendix B).

    Every layer is a linear map of x, squashed by a gate and shifted by a bias that both depend
    on t alone: lin(x) · sigmoid(gate(t)) + bias(t).

    Args:
        dim: D, of x and of the velocity.
        width: units of every hidden layer.
        depth: hidden layers, at least one.
        activation: a name in `ACTIVATIONS`, between the layers.
        classes: how many the network can be told of, beside x; 0 for none.
    """

    def __init__(
        self,
        dim: int = 2,
        width: int = 64,
        depth: int = 3,
        activation: str = "tanh",
        classes: int = 0,
    ):
        super().__init__()
        self.dim, self.width, self.depth, self.classes = dim, width, depth, classes
        self.activation = known_activation(activation)
        sizes = [dim + classes, *[width] * depth, dim]
        self.layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
        self.gates = [nn.Linear(1, size) for size in sizes[1:]]
        self.shifts = [nn.Linear(1, size, bias=False) for size in sizes[1:]]

    @compiled
    @rowwise
    def __call__(self, t, x, label=None):
        """The velocity (N, D) at time t, () or (N,) or (N, 1), and place x (N, D).

        With a `label`, () or (N,), that of the points of a class.
        """
        t, h = column(t, x.dtype), x
        if label is not None or self.classes:
            h = mx.concatenate([x, one_hot(label, self.classes, x)], axis=1)
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


def _described(model) -> str:
    widths = [layer.weight.shape[0] for layer in model.layers]
    sizes = " → ".join(map(str, [model.layers[0].weight.shape[1], *widths]))
    name, count = type(model).__name__, parameter_count(model)
    return f"{name}({sizes}, {model.activation}, {count:,} parameters)"


def parameter_count(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(leaf.size for _, leaf in tree_flatten(model.trainable_parameters()))
