"""A short check of the numbers on the machine at hand, against what is known without it.

A new processor, driver or version of MLX may compute less exactly than those that the tests have
run on. Each entry of `CHECKS` measures one thing that everything else rests on; all of them take a
few seconds.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from cfm import METHODS, Method
from datasets import DATASETS
from likelihood import log_prob
from models import MLP
from odeint import odeint
from training import History, train

STEPS, BATCH = 300, 256  # of a training that is timed
POINTS = 10_000  # of a solve that is timed


@dataclass(frozen=True)
class Check:
    """Something that can be computed in two ways.

    Attributes:
        about: what is compared.
        measure: gives how far the two are apart.
        allowed: the most that they may be.
        advice: what to try where it is more.
    """

    about: str
    measure: Callable[[], float]
    allowed: float
    advice: str = "please report it, with all of these lines"


def _products() -> float:
    """A matrix product in float32 against float64, relative to its largest number."""
    a, b = np.random.default_rng(0).normal(size=(2, 512, 512)).astype(np.float32)
    true = a.astype(np.float64) @ b.astype(np.float64)
    return np.abs(np.array(mx.array(a) @ mx.array(b)) - true).max() / np.abs(true).max()


def _velocities(method: Method) -> float:
    """A path's velocity against differences of its places, at fixed noise."""
    x0, x1, noise = mx.random.normal((3, 64, 2), key=mx.random.key(0))
    t, step = mx.linspace(0.2, 0.8, 64)[:, None], 0.02
    before, after, *far = (method.sample(t + k * step, x0, x1, noise)[0] for k in (-1, 1, -2, 2))
    differences = (8 * (after - before) - (far[1] - far[0])) / (12 * step)  # of fourth order
    return mx.abs(method.sample(t, x0, x1, noise)[1] - differences).max().item()


def _pendulum() -> float:
    """One turn of a circle by dopri5, which ends where it began."""
    x0 = mx.random.normal((100, 2), key=mx.random.key(0))
    turn = odeint(lambda t, x: mx.stack([x[:, 1], -x[:, 0]], axis=1), x0, [0.0, 2 * math.pi])
    return mx.abs(turn.x[-1] - x0).max().item()


def _pendulum_in_double() -> float:
    """The same in float64 on the CPU, by dopri8 at a tolerance that float32 does not reach."""
    with mx.stream(mx.cpu):
        x0 = mx.array([[1.0, 0.0]], mx.float64)
        turn = odeint(
            lambda t, x: mx.stack([x[:, 1], -x[:, 0]], axis=1),
            x0,
            [0.0, 2 * math.pi],
            solver="dopri8",
            rtol=1e-11,
            atol=1e-11,
        )
        return mx.abs(turn.x[-1] - x0).max().item()


def _densities() -> float:
    """Of N(0, I) carried by dx/dt = −x, which is N(0, e⁻² I) at t = 1."""
    normal = DATASETS["normal"]
    x1 = normal.sample(100, mx.random.key(0)) / math.e
    found = log_prob(lambda t, x: -x, x1, normal.log_prob)
    return mx.abs(found - normal.log_prob(x1 * math.e) - 2).max().item()


def _draws() -> float:
    """Mean and variance of normal draws, in standard errors of what they should be."""
    draws, count = mx.random.normal((1_000, 1_000), key=mx.random.key(0)), 1e6
    mean, variance = mx.mean(draws).item(), mx.var(draws).item()
    return max(abs(mean) * math.sqrt(count), abs(variance - 1) * math.sqrt(count / 2))


def _devices() -> float:
    """A network on the device in use against the CPU."""
    mx.random.seed(0)
    model, x = MLP(dim=2), mx.random.normal((500, 2), key=mx.random.key(0))
    here = model(mx.array(0.3), x)
    mx.eval(here)
    with mx.stream(mx.cpu):
        return mx.abs(here - model(mx.array(0.3), x)).max().item()


CHECKS: dict[str, Check] = {
    "products": Check(
        "a product of matrices, in float32 and in float64",
        _products,
        1e-5,
        "set MLX_ENABLE_TF32=0 in the environment: products are rounded to 11 bits",
    ),
    "draws": Check("mean and variance of a million normal draws, in standard errors", _draws, 5.0),
    **{
        f"path of {name}": Check(
            "velocity and differences of the path", lambda make=make: _velocities(make()), 1e-3
        )
        for name, make in METHODS.items()
    },
    "dopri5": Check("the end of a circle and its beginning, in float32", _pendulum, 1e-3),
    "float64": Check("the same on the CPU, in float64 by dopri8", _pendulum_in_double, 1e-8),
    "densities": Check("of a Gaussian that shrinks, and in closed form", _densities, 1e-3),
    "devices": Check("a network on the device in use, and on the CPU", _devices, 1e-4),
}


def speeds() -> dict[str, str]:
    """How fast a network is trained and followed here, in words."""
    mx.random.seed(0)
    model, data = MLP(dim=2, width=64), (DATASETS["8gaussians"], DATASETS["moons"])
    history: History = train(
        model, METHODS["cfm"](), *data, steps=STEPS, batch_size=BATCH, optimizer="adam"
    )
    x0 = data[0].sample(POINTS, mx.random.key(0))
    for _ in range(2):  # the first compiles
        began = time.perf_counter()
        mx.eval(odeint(model, x0, [0.0, 1.0]).x)
        seconds = time.perf_counter() - began
    return {
        "training": f"{history.steps_per_second:,.0f} steps/s, of {BATCH} pairs, 3 × 64, Adam",
        "sampling": f"{seconds:.2f} s for {POINTS:,} points by dopri5",
    }
