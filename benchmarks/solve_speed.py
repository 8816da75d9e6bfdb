"""Solving speed against torchdiffeq and diffrax: the same network, weights, points, tolerances.

    python benchmarks/solve_speed.py --peers PYTHON [--rounds 5]

PYTHON is the interpreter of an environment of its own with torch, torchdiffeq, jax and diffrax:

    python3 -m venv peers && peers/bin/pip install torch torchdiffeq jax diffrax

Two tasks: 10 000 points through a trained 3×64 network by dopri5 at tolerances 1e-5, and the
cost of one step of a field that costs nothing. Every side is a process of its own; the sides
take turns, and medians are printed, diffrax's without its compilation.
"""

import json
import sys
import tempfile
from pathlib import Path

from peers import (
    WAVES,
    arrays_of,
    in_turns,
    options,
    our_network,
    timed,
    torch_isru,
    torch_layers,
    torch_velocity,
    trained_network,
)

SIDES = ("ours", "torchdiffeq", "diffrax")
POINTS, TOLERANCE = 10_000, 1e-5


def ours(weights, x0):
    import machine  # noqa: F401  before MLX

    import mlx.core as mx

    from odeint import odeint

    model, x0 = our_network(weights), mx.array(x0)
    how = {"rtol": TOLERANCE, "atol": TOLERANCE, "dense": False}

    def network():
        solution = odeint(model, x0, [0.0, 1.0], **how)
        mx.eval(solution.x)
        return solution.nfe, solution.x[-1]

    def trivial():
        solution = odeint(lambda t, x: -x, x0[:1], [0.0, 20.0], **how)
        return solution.nfe, solution.x[-1]

    return network, trivial


def torchdiffeq(weights, x0):
    import torch
    from torchdiffeq import odeint

    layers, x0, calls = torch_layers(weights), torch.tensor(x0), [0]

    def velocity(t, x):
        calls[0] += 1
        return torch_velocity(layers, torch_isru, t, x)

    def decay(t, x):
        calls[0] += 1
        return -x

    def solve(field, x0, end):
        calls[0] = 0
        with torch.no_grad():
            times = torch.tensor([0.0, end])
            x = odeint(field, x0, times, rtol=TOLERANCE, atol=TOLERANCE, method="dopri5")[-1]
        return calls[0], x

    return lambda: solve(velocity, x0, 1.0), lambda: solve(decay, x0[:1], 20.0)


def diffrax(weights, x0):
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    layers = [(jnp.array(weights[f"w{i}"]), jnp.array(weights[f"b{i}"])) for i in range(4)]
    x0, k = jnp.array(x0), jnp.pi * jnp.arange(1, WAVES + 1)

    def velocity(t, x, args):
        time = jnp.concatenate([t[None], jnp.cos(k * t), jnp.sin(k * t)])
        h = jnp.concatenate([x, jnp.broadcast_to(time, (len(x), len(time)))], axis=1)
        for w, b in layers[:-1]:
            h = h @ w.T + b
            h = h * jax.lax.rsqrt(1 + h * h)
        return h @ layers[-1][0].T + layers[-1][1]

    def solve(field, end):
        def run(x0):
            solution = dfx.diffeqsolve(
                dfx.ODETerm(field),
                dfx.Dopri5(),
                0.0,
                end,
                None,
                x0,
                saveat=dfx.SaveAt(t1=True),
                stepsize_controller=dfx.PIDController(rtol=TOLERANCE, atol=TOLERANCE),
            )
            return solution.stats["num_steps"], solution.ys[-1]

        return jax.jit(run)

    network, trivial = solve(velocity, 1.0), solve(lambda t, x, args: -x, 20.0)

    def finish(result):
        steps, x = jax.block_until_ready(result)
        return 2 + 6 * int(steps), x

    return lambda: finish(network(x0)), lambda: finish(trivial(x0[:1]))


def work(side: str, folder: str):
    """Time both tasks of one side; print them as JSON and save the network's result."""
    import numpy as np

    data, report = dict(np.load(Path(folder, "data.npz"))), {}
    for name, run in zip(("network", "trivial"), globals()[side](data, data["x0"]), strict=True):
        seconds, (nfe, x) = timed(run)
        report[name] = {"seconds": seconds, "nfe": nfe}
        np.save(Path(folder, f"{side}_{name}.npy"), np.array(x))
    print(json.dumps(report))


def prepare(folder: str):
    """Train the network and draw the points, once for all sides."""
    import machine  # noqa: F401  before MLX

    import mlx.core as mx
    import numpy as np

    from datasets import DATASETS

    x0 = DATASETS["8gaussians"].sample(POINTS, mx.random.key(1))
    arrays = arrays_of(trained_network("8gaussians"))
    np.savez(Path(folder, "data.npz"), x0=np.array(x0), **arrays)


def main(peers: str, rounds: int):
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        reports = in_turns(__file__, {side: (side, folder) for side in SIDES}, peers, rounds)
        ends = {side: np.load(Path(folder, f"{side}_network.npy")) for side in SIDES}
    print(
        "| | network, s | over ours | NFE | distance from ours | a trivial step, µs | over ours |"
    )
    print("|---|---|---|---|---|---|---|")
    first = None
    for side in SIDES:
        seconds = np.median([report["network"]["seconds"] for report in reports[side]])
        step = np.median(
            [r["trivial"]["seconds"] / ((r["trivial"]["nfe"] - 2) / 6) for r in reports[side]]
        )
        first = first or (seconds, step)
        nfe = reports[side][0]["network"]["nfe"]
        gaps = np.linalg.norm(ends[side] - ends["ours"], axis=1)
        gap = f"median {np.median(gaps):.0e}, greatest {gaps.max():.0e}"
        print(
            f"| {side} | {seconds:.3f} | {seconds / first[0]:.2f} × | {nfe} | {gap} "
            f"| {1e6 * step:.0f} | {step / first[1]:.2f} × |"
        )


if __name__ == "__main__":
    if sys.argv[1] in SIDES:
        work(*sys.argv[1:])
    else:
        main(*options())
