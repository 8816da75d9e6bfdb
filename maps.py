"""Maps: networks of two times that carry a point from s to t in one evaluation.

Along a flow dx/dt = v(t, x) the mean velocity u from s to t is all that one step needs:

    x_t = x_s + (t − s) u(s, t, x_s),      u(t, t, x) = v(t, x).

A network learns it beside the velocity itself, with no flow to follow and no other network to learn
from. Let xs be on a path at time s, and us the path's velocity there.

- `meanflow` holds the end and moves the start along the flow. The end does not move, so that
  0 = v + (t − s) du/ds − u (Geng et al. 2025, eq. 6; their time runs from data to noise, and so
  the sign is another). Of all velocities us at a place the mean is v; the start moves with
  what the network knows of that, u(s, s, x), which has no noise (Geng et al. 2025b).
- `flowmap` holds the start and moves the end: what has come to X = xs + (t − s) u goes on with the
  velocity there, u + (t − s) ∂u/∂t = u(t, t, X) (Boffi et al. 2025, the Lagrangian form).

What stands against u is held fixed while weights change, and for t = s both are flow matching.
`MAPS` is what the command line offers beside `cfm.METHODS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx

from cfm import METHODS, Method

SHARE = 0.5  # of the pairs that are shown with t = s, which is flow matching


@dataclass(frozen=True)
class MapMethod(Method):
    """A way to learn mean velocities; a network is called as model(s, x, t)."""

    def examples(self, x0, x1, key):
        """What a network is to learn of pairs (N, D): s (N, 1), xs (N, D), us (N, D), t (N, 1).

        The two times are uniform, the earlier one first; for a share of the pairs t is s.
        """
        path_key, other_key, same_key = mx.random.split(key, 3)
        s, noise = self.draw(x0.shape, path_key)
        other = mx.random.uniform(shape=s.shape, key=other_key)
        same = mx.random.uniform(shape=s.shape, key=same_key) < SHARE
        s, t = mx.minimum(s, other), mx.maximum(s, other)
        return s, *self.sample(s, x0, x1, noise), mx.where(same, s, t)


class MeanFlow(MapMethod):
    """See the top of this file."""

    def error(self, model, s, xs, us, t):
        """Mean of |u − us − (t − s) du/ds|², where du/ds = ∂u/∂s + (∂u/∂x) v is held fixed."""
        velocity = mx.stop_gradient(model(s, xs))
        u, rate = model.with_rate(s, xs, t, 1.0, velocity, 0.0)
        return mx.mean(mx.square(u - mx.stop_gradient(us + (t - s) * rate)))


class FlowMap(MapMethod):
    """See the top of this file."""

    def error(self, model, s, xs, us, t):
        """Mean of |u + (t − s) ∂u/∂t − u(t, t, X)|², X held fixed; of |u − us|² where t = s."""
        u, rate = model.with_rate(s, xs, t, 0.0, None, 1.0)
        onward = mx.stop_gradient(model(t, xs + (t - s) * u))
        return mx.mean(mx.square(u + (t - s) * rate - mx.where(t > s, onward, us)))


def _map(name: str, title: str, kind: type, about: str) -> Callable[..., MapMethod]:
    """An entry of `MAPS`: a function that makes the method, as those of `cfm.METHODS` do."""

    def build(sigma=None, coupling=None, regularization=None, power=None) -> MapMethod:
        if power is not None:
            raise ValueError(f"{name} has no power; poly has")
        path = METHODS["cfm"](sigma or 0.0, coupling, regularization)
        return kind(**{**vars(path), "name": name, "title": title, "about": about})

    build.__doc__ = f"{title}; unless given, σ is 0 and the coupling independent."
    return build


MAPS: dict[str, Callable[..., MapMethod]] = {
    "meanflow": _map(
        "meanflow",
        "Mean flow",
        MeanFlow,
        "u(s, t, x) = v + (t − s)(∂u/∂s + (∂u/∂x) v) on straight paths (Geng et al. 2025)",
    ),
    "flowmap": _map(
        "flowmap",
        "Flow map",
        FlowMap,
        "u + (t − s) ∂u/∂t = u(t, t, x + (t − s) u) on straight paths (Boffi et al. 2025)",
    ),
}


def in_steps(model, steps: int) -> Callable:
    """The field that Euler's method follows, in so many equal steps from 0 to 1, as the map does.

    At the start of a step it is the mean velocity over the step.
    """
    return lambda t, x: model(t, x, t + 1 / steps)
