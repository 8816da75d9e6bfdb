"""Training speed against JAX and PyTorch: the same network, path, batch, optimizer and average.

    python benchmarks/training_speed.py --peers PYTHON [--rounds 5]

PYTHON is the interpreter of an environment of its own with jax and torch:

    python3 -m venv peers && peers/bin/pip install jax torch

A network of 3×64 with waves of t, `vp`, 8gaussians to moons, 256 fresh pairs a step, Adam, averaged
weights. JAX runs all steps in one `lax.scan`; PyTorch runs eagerly on one thread, which is faster
for it than two. "The least on MLX" is no training, but what none can do without: the products,
activations and updates alone, without biases, on one batch that lies ready. Every side is a process
of its own; the sides take turns, and medians are printed, all without compilation.
"""

import itertools
import json
import math
import sys
import time

from peers import WAVES, in_turns, options

SIDES = {
    "ours": ("ours",),
    "the least on MLX": ("ours", "least"),
    "JAX, lax.scan": ("jax",),
    "PyTorch, one thread": ("torch",),
}
BATCH, RATE, DECAY, WARM, STEPS, TORCH_STEPS = 256, 5e-3, 0.999, 500, 10_000, 1_500
SIZES = (3 + 2 * WAVES, 64, 64, 64, 2)
RADIUS, SPREAD, NOISE = 5.0, math.sqrt(0.1), 0.2


def ours(part: str = "all") -> float:
    return least() if part == "least" else trained()


def trained() -> float:
    import machine  # noqa: F401  before MLX

    from cfm import METHODS
    from datasets import DATASETS
    from models import MLP
    from training import train

    how = {"batch_size": BATCH, "optimizer": "adam", "lr": RATE, "average": DECAY}
    for steps in (WARM, STEPS):
        history = train(
            MLP(width=64, waves_of_t=WAVES, waves_of_x=0),
            METHODS["vp"](),
            DATASETS["8gaussians"],
            DATASETS["moons"],
            steps=steps,
            **how,
        )
    return history.steps_per_second


def least() -> float:
    import machine  # noqa: F401  before MLX

    import mlx.core as mx

    from learning.layers import isru, slope_of_isru

    x, ut = mx.random.normal((BATCH, SIZES[0])), mx.random.normal((BATCH, SIZES[-1]))
    slope = mx.compile(slope_of_isru)

    def gradient(weights):
        inputs, products = [x], []
        for w in weights[:-1]:
            products.append(inputs[-1] @ w.T)
            inputs.append(isru(products[-1]))
        pulled, found = inputs[-1] @ weights[-1].T - ut, []
        for w, h, product in zip(weights[::-1], inputs[::-1], [*products[::-1], None], strict=True):
            found.append(pulled.T @ h)
            if product is not None:
                pulled = slope(product, pulled @ w)
        return found[::-1]

    @mx.compile
    def step(weights, first, second, averaged):
        moved = []
        for w, m, v, a, g in zip(weights, first, second, averaged, gradient(weights), strict=True):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            w = w - RATE * m / (mx.sqrt(v) + 1e-8)
            moved.append((w, m, v, a + (1 - DECAY) * (w - a)))
        return [list(each) for each in zip(*moved, strict=True)]

    weights = [mx.random.normal((o, i)) / math.sqrt(i) for i, o in itertools.pairwise(SIZES)]
    zeros = [mx.zeros_like(w) for w in weights]
    state = [weights, zeros, zeros, weights]
    for n in range(WARM + STEPS):
        if n == WARM:
            mx.eval(state)
            began = time.perf_counter()
        state = step(*state)
        mx.async_eval(state)
    mx.eval(state)
    return STEPS / (time.perf_counter() - began)


def jax() -> float:
    import jax
    import jax.numpy as jnp

    def init(key):
        keys = jax.random.split(key, len(SIZES))
        return [
            (jax.random.uniform(k, (i, o), minval=-1, maxval=1) / math.sqrt(i), jnp.zeros(o))
            for k, (i, o) in zip(keys, itertools.pairwise(SIZES), strict=False)
        ]

    def draw(key):
        which, noise, place, blur, when = jax.random.split(key, 5)
        angle = 2 * jnp.pi * jax.random.randint(which, (BATCH,), 0, 8) / 8
        x0 = RADIUS * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        x0 = x0 + SPREAD * jax.random.normal(noise, (BATCH, 2))
        u = jax.random.uniform(place, (BATCH,))
        lower = (u > 0.5).astype(jnp.float32)
        angle = 2 * jnp.pi * u
        x1 = 3 * jnp.stack([jnp.cos(angle) + lower, jnp.sin(angle) + lower / 2], axis=1) - 1
        x1 = x1 + NOISE * jax.random.normal(blur, (BATCH, 2))
        return x0, x1, jax.random.uniform(when, (BATCH, 1))

    def loss(weights, x0, x1, t):
        angle = jnp.pi / 2 * t
        xt = jnp.sin(angle) * x1 + jnp.cos(angle) * x0
        ut = jnp.pi / 2 * (jnp.cos(angle) * x1 - jnp.sin(angle) * x0)
        k = jnp.pi * jnp.arange(1, WAVES + 1)
        h = jnp.concatenate([xt, t, jnp.cos(k * t), jnp.sin(k * t)], axis=1)
        for w, b in weights[:-1]:
            h = h @ w + b
            h = h * jax.lax.rsqrt(1 + h * h)
        return jnp.mean((h @ weights[-1][0] + weights[-1][1] - ut) ** 2)

    def step(state, n):
        weights, first, second, averaged, key = state
        value, gradient = jax.value_and_grad(loss)(weights, *draw(jax.random.fold_in(key, n)))
        many = n + 1.0
        rate = RATE * (1 + jnp.cos(jnp.pi * n / STEPS)) / 2
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

        def moved(w, m, v):
            return w - rate * m / (1 - 0.9**many) / (jnp.sqrt(v / (1 - 0.999**many)) + 1e-8)

        weights = jax.tree.map(moved, weights, first, second)
        decay = jnp.minimum(DECAY, many / (9 + many))
        averaged = jax.tree.map(lambda a, w: w + decay * (a - w), averaged, weights)
        return (weights, first, second, averaged, key), value

    @jax.jit
    def run(state):
        return jax.lax.scan(step, state, jnp.arange(float(STEPS)))

    weights = init(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = (weights, zeros, zeros, weights, jax.random.key(1))
    run = run.lower(state).compile()
    began = time.perf_counter()
    jax.block_until_ready(run(state))
    return STEPS / (time.perf_counter() - began)


def torch() -> float:
    import torch

    torch.set_num_threads(1)
    weights = []
    for i, o in itertools.pairwise(SIZES):
        weights += [torch.empty(o, i).uniform_(-1, 1) / math.sqrt(i), torch.zeros(o)]
    weights = [w.requires_grad_() for w in weights]
    optimizer = torch.optim.Adam(weights, lr=RATE)
    averaged = [w.detach().clone() for w in weights]
    k = torch.pi * torch.arange(1, WAVES + 1)

    def step(n):
        angle = 2 * torch.pi * torch.randint(8, (BATCH,)) / 8
        x0 = RADIUS * torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
        x0 = x0 + SPREAD * torch.randn(BATCH, 2)
        u = torch.rand(BATCH)
        lower, angle = (u > 0.5).float(), 2 * torch.pi * u
        x1 = torch.stack([torch.cos(angle) + lower, torch.sin(angle) + lower / 2], dim=1)
        x1, t = 3 * x1 - 1 + NOISE * torch.randn(BATCH, 2), torch.rand(BATCH, 1)
        angle = torch.pi / 2 * t
        xt = torch.sin(angle) * x1 + torch.cos(angle) * x0
        ut = torch.pi / 2 * (torch.cos(angle) * x1 - torch.sin(angle) * x0)
        h = torch.cat([xt, t, torch.cos(k * t), torch.sin(k * t)], dim=1)
        for w, b in zip(weights[:-2:2], weights[1:-2:2], strict=True):
            h = torch.addmm(b, h, w.T)
            h = h * torch.rsqrt(1 + h * h)
        loss = torch.mean((torch.addmm(weights[-1], h, weights[-2].T) - ut) ** 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * n / TORCH_STEPS)) / 2
        optimizer.step()
        decay = min(DECAY, (n + 1) / (n + 10))
        with torch.no_grad():
            torch._foreach_lerp_(averaged, weights, 1 - decay)

    for n in range(TORCH_STEPS + WARM):
        if n == WARM:
            began = time.perf_counter()
        step(max(0, n - WARM))
    return TORCH_STEPS / (time.perf_counter() - began)


def main(peers: str, rounds: int):
    import numpy as np

    reports = in_turns(__file__, SIDES, peers, rounds)
    print("| | steps/s | range | ours over it |\n|---|---|---|---|")
    rates = {side: np.median(found) for side, found in reports.items()}
    for side, rate in rates.items():
        low, high = min(reports[side]), max(reports[side])
        print(f"| {side} | {rate:,.0f} | {low:,.0f}–{high:,.0f} | {rates['ours'] / rate:.2f} × |")


if __name__ == "__main__":
    if sys.argv[1] in ("ours", "jax", "torch"):
        print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
    else:
        main(*options())
