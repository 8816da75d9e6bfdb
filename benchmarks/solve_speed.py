"""Solving speed against torchdiffeq and diffrax: the same network, weights, points, tolerances.

    python benchmarks/solve_speed.py --peers PYTHON [--rounds 5]

PYTHON is the interpreter of an environment of its own with torch, torchdiffeq, jax and diffrax:

    python3 -m venv peers && peers/bin/pip install torch torchdiffeq jax diffrax

Two tasks: 10 000 points through a trained 3×64 network by dopri5 at tolerances 1e-5, and the
cost of one step of a field that costs nothing. Every side is a process of its own; the sides
take turns, and medians are printed, diffrax's without its compilation.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

SIDES = ("ours", "torchdiffeq", "diffrax")
POINTS, TOLERANCE, REPEATS = 10_000, 1e-5, 5
WAVES = 3


def ours(weights, x0):
    import machine.blas  # noqa: F401  before MLX

    import mlx.core as mx

    from models import MLP
    from odeint import odeint

    model, x0 = MLP(), mx.array(x0)
    for i, layer in enumerate(model.layers):
        layer.weight, layer.bias = mx.array(weights[f"w{i}"]), mx.array(weights[f"b{i}"])
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

    layers = [(torch.tensor(weights[f"w{i}"]), torch.tensor(weights[f"b{i}"])) for i in range(4)]
    x0, k = torch.tensor(x0), torch.pi * torch.arange(1, WAVES + 1)
    calls = [0]

    def velocity(t, x):
        calls[0] += 1
        time = torch.cat([t[None], torch.cos(k * t), torch.sin(k * t)]).expand(len(x), -1)
        h = torch.cat([x, time], dim=1)
        for w, b in layers[:-1]:
            h = torch.addmm(b, h, w.T)
            h = h * torch.rsqrt(1 + h * h)
        return torch.addmm(layers[-1][1], h, layers[-1][0].T)

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

    folder = Path(folder)
    data = dict(np.load(folder / "data.npz"))
    x0 = data.pop("x0")
    report = {}
    for name, run in zip(("network", "trivial"), globals()[side](data, x0), strict=True):
        run()
        seconds = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            nfe, x = run()
            seconds.append(time.perf_counter() - began)
        report[name] = {"seconds": float(np.median(seconds)), "nfe": nfe}
        np.save(folder / f"{side}_{name}.npy", np.array(x))
    print(json.dumps(report))


def prepare(folder: Path):
    """Train the network and draw the points, once for all sides."""
    import machine.blas  # noqa: F401  before MLX

    import mlx.core as mx
    import numpy as np

    from cfm import METHODS
    from datasets import DATASETS
    from models import MLP
    from training import train

    mx.random.seed(0)
    model, source = MLP(frequencies=WAVES), DATASETS["8gaussians"]
    train(model, METHODS["cfm"](), source, DATASETS["moons"], steps=3000)
    arrays = {f"w{i}": np.array(layer.weight) for i, layer in enumerate(model.layers)}
    arrays |= {f"b{i}": np.array(layer.bias) for i, layer in enumerate(model.layers)}
    np.savez(folder / "data.npz", x0=np.array(source.sample(POINTS, mx.random.key(1))), **arrays)


def main(peers: str, rounds: int):
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        reports = {side: [] for side in SIDES}
        for _ in range(rounds):
            for side in SIDES:
                command = [sys.executable if side == "ours" else peers, __file__, side, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                reports[side].append(json.loads(done.stdout.splitlines()[-1]))
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
        options = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
        main(options["--peers"], int(options.get("--rounds", 5)))
