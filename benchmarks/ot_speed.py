"""Training with exact minibatch optimal transport: steps a second beside TorchCFM's.

    python benchmarks/ot_speed.py --peers PYTHON [--rounds 5]

PYTHON is the interpreter of an environment of its own:

    python3 -m venv peers && peers/bin/pip install torch torchcfm

8gaussians → moons, batch 256. TorchCFM runs its example: its samplers, its network (three hidden
layers of 64, SELU), its exact optimal-transport matcher, Adam. We run our default network and
that one. Every measurement is a process of its own; the sides take turns, medians are printed.
"""

import statistics
import sys
import time

from peers import in_turns, options

BATCH, WARM_UP, STEPS = 256, 50, 600
SIDES = {
    "TorchCFM, exact OT": ("torchcfm",),
    "ours, exact OT, SELU": ("ours", "ot", "selu"),
    "ours, exact OT": ("ours", "ot", "isru"),
    "ours, entropic": ("ours", "sb", "isru"),
    "ours, independent": ("ours", "cfm", "isru"),
}


def torchcfm() -> float:
    import torch
    from torchcfm.conditional_flow_matching import ExactOptimalTransportConditionalFlowMatcher
    from torchcfm.models import MLP
    from torchcfm.utils import sample_8gaussians, sample_moons

    model = MLP(dim=2, time_varying=True)
    optimizer = torch.optim.Adam(model.parameters())
    matcher = ExactOptimalTransportConditionalFlowMatcher(sigma=0.1)

    def step():
        optimizer.zero_grad()
        x0, x1 = sample_8gaussians(BATCH), sample_moons(BATCH)
        t, xt, ut = matcher.sample_location_and_conditional_flow(x0, x1)
        vt = model(torch.cat([xt, t[:, None]], dim=-1))
        torch.mean((vt - ut) ** 2).backward()
        optimizer.step()

    for _ in range(WARM_UP):
        step()
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return STEPS / (time.perf_counter() - began)


def ours(method: str, activation: str) -> float:
    import machine  # noqa: F401  before MLX

    import mlx.core as mx

    from cfm import METHODS
    from datasets import DATASETS
    from models import MLP
    from training import train

    mx.random.seed(0)
    model, data = MLP(width=64, waves_of_x=0, activation=activation), ("8gaussians", "moons")
    data, how = [DATASETS[name] for name in data], {"batch_size": BATCH, "optimizer": "adam"}
    train(model, METHODS[method](), *data, steps=WARM_UP, **how)
    history = train(model, METHODS[method](), *data, steps=STEPS, **how)
    return history.steps_per_second


def main(peers: str, rounds: int):
    rates = in_turns(__file__, SIDES, peers, rounds)
    base = statistics.median(rates["TorchCFM, exact OT"])
    print("| | steps/s | over TorchCFM |\n|---|---|---|")
    for side, found in rates.items():
        rate = statistics.median(found)
        print(f"| {side} | {rate:.0f} | {rate / base:.1f} × |")


if __name__ == "__main__":
    if sys.argv[1] in ("torchcfm", "ours"):
        print(globals()[sys.argv[1]](*sys.argv[2:]))
    else:
        main(*options())
