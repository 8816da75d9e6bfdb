"""What the benchmarks against other libraries share.

Every side is a process of its own, since libraries disturb one another; sides take turns, so that
all meet the same weather on a noisy machine; the network is the same to the last weight. The
libraries live in an environment of their own, whose interpreter is given as `--peers PYTHON`.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

WAVES, LAYERS, REPEATS = 3, 4, 5


def options() -> tuple[str, int]:
    """The interpreter of --peers, and the number of --rounds."""
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    return given["--peers"], int(given.get("--rounds", 5))


def in_turns(script: str, sides: dict[str, tuple[str, ...]], peers: str, rounds: int) -> dict:
    """Side → what its process printed in every round, a JSON line each.

    `sides` gives the arguments of each; ours, which begin with "ours", run in this environment.
    """
    reports = {side: [] for side in sides}
    for _ in range(rounds):
        for side, arguments in sides.items():
            python = sys.executable if arguments[0] == "ours" else peers
            command = [python, script, *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            reports[side].append(json.loads(done.stdout.splitlines()[-1]))
    return reports


def timed(run):
    """The median seconds of a function after a first call, and what it returned last."""
    import numpy as np

    run()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)), result


def arrays_of(model, which: str = "") -> dict:
    """The weights of a network by name, as numpy arrays."""
    import numpy as np

    layers = enumerate(model.layers)
    return {
        f"{which}{kind}{i}": np.array(layer[name])
        for i, layer in layers
        for kind, name in (("w", "weight"), ("b", "bias"))
    }


def trained_network(source: str):
    """A network of 3×64 after 3 000 steps from a source to moons."""
    import mlx.core as mx

    from cfm import METHODS
    from datasets import DATASETS
    from models import MLP
    from training import train

    mx.random.seed(0)
    model = MLP(width=64, waves_of_t=WAVES, waves_of_x=0)
    how = {"steps": 3000, "batch_size": 256, "optimizer": "adam"}
    train(model, METHODS["cfm"](), DATASETS[source], DATASETS["moons"], **how)
    return model


def our_network(data, which: str = "", **shape):
    """The network with these weights, in MLX."""
    import mlx.core as mx

    from models import MLP

    model = MLP(width=64, waves_of_t=WAVES, waves_of_x=0, **shape)
    for i, layer in enumerate(model.layers):
        layer.weight, layer.bias = (mx.array(data[f"{which}{kind}{i}"]) for kind in "wb")
    return model


def torch_layers(data, which: str = ""):
    """Its layers in torch."""
    import torch

    return [[torch.tensor(data[f"{which}{kind}{i}"]) for kind in "wb"] for i in range(LAYERS)]


def torch_velocity(layers, activation, t, x):
    """What it returns, in torch."""
    import torch

    k = torch.pi * torch.arange(1, WAVES + 1)
    time = torch.cat([t[None], torch.cos(k * t), torch.sin(k * t)]).expand(len(x), -1)
    h = torch.cat([x, time], dim=1)
    for w, b in layers[:-1]:
        h = activation(torch.addmm(b, h, w.T))
    return torch.addmm(layers[-1][1], h, layers[-1][0].T)


def torch_isru(h):
    import torch

    return h * torch.rsqrt(1 + h * h)
