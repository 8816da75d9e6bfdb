"""Densities and maximum likelihood against flow_matching and torchdiffeq, on the same weights.

    python benchmarks/likelihood_speed.py --peers PYTHON [--rounds 5]

PYTHON is the interpreter of an environment of its own with torch, torchdiffeq, flow_matching:

    python3 -m venv peers && peers/bin/pip install torch torchdiffeq flow_matching

Two tasks, both with the exact divergence: the log-densities of 2 000 and of 10 000 points through a
trained 3×64 network, by dopri5 at tolerances 1e-5, with their errors against our dopri8 at 1e-7;
and a training step of a continuous normalising flow, 256 points through an untrained 3×64
network with tanh by 8 steps of RK4, differentiated straight through the solver, with Adam. Our
steps also draw their samples and average the weights; the peer's samples lie ready. Every side
is a process of its own; the sides take turns, and medians are printed, ours without compilation.

Run it on an idle machine: torch's threads spin while they wait for each other, and as soon as
another program wants a core, torch takes several times as long, and ours up to a half longer.
"""

import json
import sys
import tempfile
import time
from functools import partial
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

SIDES = ("ours", "flow_matching", "torchdiffeq")
POINTS, TOLERANCE, EXACT = (2_000, 10_000), 1e-5, 1e-7
BATCH, RK4_STEPS, RATE = 256, 8, 5e-3
WARM, TIMED = 3, 20  # training steps of the peer
OUR_WARM, OUR_TIMED = 15, 60


def ours(data):
    import machine  # noqa: F401  before MLX

    import mlx.core as mx

    from datasets import DATASETS
    from likelihood import MaximumLikelihood, log_prob
    from training import train

    source, calls = DATASETS["normal"], [0]
    trained, x1 = our_network(data, "trained_"), mx.array(data["x1"])

    class Counting(type(trained)):
        def with_jvp(self, t, x, directions):
            calls[0] += 1
            return super().with_jvp(t, x, directions)

    trained.__class__ = Counting

    def density(count):
        calls[0] = 0
        found = log_prob(trained, x1[:count], source.log_prob, rtol=TOLERANCE, atol=TOLERANCE)
        mx.eval(found)
        return calls[0], found

    def cnf():
        model = our_network(data, "fresh_", activation="tanh")
        method = MaximumLikelihood(source.log_prob, solver="rk4", steps=RK4_STEPS)
        loss = method.pair_loss(model, None, mx.array(data["batches"][0])).item()
        for steps in (OUR_WARM, OUR_TIMED):
            how = {"steps": steps, "batch_size": BATCH, "optimizer": "adam", "lr": RATE}
            history = train(model, method, source, DATASETS["moons"], **how)
        return 1 / history.steps_per_second, loss

    return {"density": density, "cnf": cnf}


def flow_matching(data):
    import torch
    from flow_matching.solver import ODESolver

    layers, x1, calls = torch_layers(data, "trained_"), torch.tensor(data["x1"]), [0]

    def velocity(x, t):
        calls[0] += 1
        return torch_velocity(layers, torch_isru, t, x)

    def density(count):
        calls[0] = 0
        _, found = ODESolver(velocity_model=velocity).compute_likelihood(
            x_1=x1[:count],
            log_p0=torch_normal,
            step_size=None,
            method="dopri5",
            atol=TOLERANCE,
            rtol=TOLERANCE,
            time_grid=torch.tensor([1.0, 0.0]),
            exact_divergence=True,
        )
        return calls[0], found.detach()

    return {"density": density}


def torchdiffeq(data):
    import torch
    from torchdiffeq import odeint

    layers = torch_layers(data, "fresh_")
    weights = [array.requires_grad_() for layer in layers for array in layer]
    optimizer = torch.optim.Adam(weights, lr=RATE)
    times = torch.tensor([1.0, 0.0])

    def both(t, state):
        x = state[0]
        velocity = torch_velocity(layers, torch.tanh, t, x)
        traces = [
            torch.autograd.grad(velocity[:, i].sum(), x, create_graph=True)[0][:, i]
            for i in range(x.shape[1])
        ]
        return velocity, sum(traces)

    def loss_of(batch):
        start = (batch.requires_grad_(), torch.zeros(len(batch)))
        x, gathered = odeint(both, start, times, method="rk4", options={"step_size": 1 / RK4_STEPS})
        return -(torch_normal(x[-1]) + gathered[-1]).mean()

    def cnf():
        losses = []
        for n, batch in enumerate(torch.tensor(data["batches"])):
            if n == WARM:
                began = time.perf_counter()
            optimizer.zero_grad()
            loss = loss_of(batch.clone())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return (time.perf_counter() - began) / TIMED, losses[0]

    return {"cnf": cnf}


def torch_normal(x):
    import torch

    return torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=1)


def work(side: str, folder: str):
    """Time the tasks that a side has; print them as JSON and save its densities."""
    import numpy as np

    tasks, report = globals()[side](dict(np.load(Path(folder, "data.npz")))), {}
    for count in POINTS if "density" in tasks else ():
        seconds, (calls, found) = timed(partial(tasks["density"], count))
        report[f"density of {count}"] = {"seconds": seconds, "calls": calls}
        np.save(Path(folder, f"{side}.npy"), np.array(found))  # in the end those of all points
    if "cnf" in tasks:
        report["cnf"] = dict(zip(("seconds", "loss"), tasks["cnf"](), strict=True))
    print(json.dumps(report))


def prepare(folder: str):
    """Train the network, draw the points and find their densities, once for all sides."""
    import machine  # noqa: F401  before MLX

    import mlx.core as mx
    import numpy as np

    from datasets import DATASETS
    from likelihood import log_prob
    from models import MLP

    trained, target = trained_network("normal"), DATASETS["moons"]
    data = {"x1": np.array(target.sample(POINTS[-1], mx.random.key(1)))}
    batches = target.sample((WARM + TIMED) * BATCH, mx.random.key(2))
    data["batches"] = np.array(batches).reshape(-1, BATCH, 2)
    fresh = MLP(width=64, waves_of_t=WAVES, waves_of_x=0, activation="tanh")
    arrays = arrays_of(trained, "trained_") | arrays_of(fresh, "fresh_")
    np.savez(Path(folder, "data.npz"), **data, **arrays)

    how = {"solver": "dopri8", "rtol": EXACT, "atol": EXACT}
    exact = log_prob(trained, mx.array(data["x1"]), DATASETS["normal"].log_prob, **how)
    np.save(Path(folder, "exact.npy"), np.array(exact))


def main(peers: str, rounds: int):
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        prepare(folder)
        reports = in_turns(__file__, {side: (side, folder) for side in SIDES}, peers, rounds)
        found = {name: np.load(Path(folder, f"{name}.npy")) for name in (*SIDES[:2], "exact")}

    def median(side, task):
        return np.median([report[task]["seconds"] for report in reports[side]])

    def gap(side, other):
        gaps = np.abs(found[side].astype(float) - found[other])
        return f"median {np.median(gaps):.0e}, greatest {gaps.max():.0e}"

    heads = "".join(f" {count:,} points, s | over ours |" for count in POINTS)
    print(f"| |{heads} NFE | error, nats | distance from ours, nats |")
    print("|---" * (4 + 2 * len(POINTS)) + "|")
    for side in ("ours", "flow_matching"):
        cells = []
        for task in (f"density of {count}" for count in POINTS):
            seconds = median(side, task)
            cells += [f"{seconds:.3f}", f"{seconds / median('ours', task):.2f} ×"]
        cells += [str(reports[side][0][task]["calls"]), gap(side, "exact"), gap(side, "ours")]
        print(f"| {side} | {' | '.join(cells)} |")
    print("\n| | CNF step, ms | over ours | first loss, nats | less ours |")
    print("|---|---|---|---|---|")
    for side in ("ours", "torchdiffeq"):
        seconds, loss = median(side, "cnf"), reports[side][0]["cnf"]["loss"]
        print(
            f"| {side} | {1e3 * seconds:.1f} | {seconds / median('ours', 'cnf'):.2f} × "
            f"| {loss:.6f} | {loss - reports['ours'][0]['cnf']['loss']:.0e} |"
        )


if __name__ == "__main__":
    if sys.argv[1] in SIDES:
        work(*sys.argv[1:])
    else:
        main(*options())
