"""Tong et al. (2024), Table 2, on their data and by their measure.

    python benchmarks/paper_table.py [--seeds 5] [--peers PYTHON] [--peer-steps 20000]

Three pairs of distributions, each 10 000 points of either side to train with and 1 000 to measure
by, made anew for every seed. Our default networks, independent pairs and exact transport; and, with
PYTHON the interpreter of an environment of its own, TorchCFM's classes by the recipe of its authors
(three hidden layers of 64, SELU, AdamW 1e-3, weight decay 1e-5, batches of 512) in the same run:

    python3 -m venv peers && peers/bin/pip install torch torchcfm

100 Euler steps carry the 1 000 points; W2 (not squared) is that to the target's 1 000. The path
energy is |∫ E‖v‖² dt − W2²| / W2², with W2² between the 1 000 points of both sides. Published
numbers stand beside ours where the data are the same.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TRAIN, TEST, STEPS, SIGMA, BATCH = 10_000, 1_000, 100, 0.1, 512
METHODS = ("cfm", "ot")
# path energies of the paper, as secondary sources give them
PUBLISHED = {
    ("normal → 8gaussians", "cfm"): 0.222,
    ("normal → 8gaussians", "ot"): 0.018,
    ("moons → 8gaussians", "cfm"): 2.738,
    ("moons → 8gaussians", "ot"): 0.053,
}


def normal(rng, n: int) -> np.ndarray:
    return rng.standard_normal((n, 2))


def eight_gaussians(rng, n: int, radius: float, std: float) -> np.ndarray:
    angle = 2 * np.pi * (rng.integers(8, size=n) + 1) / 8
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1) + std * normal(rng, n)


def two_moons(rng, n: int, noise: float) -> np.ndarray:
    """As scikit-learn's `make_moons` has them."""
    angle = np.linspace(0, np.pi, n // 2)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    moons = np.concatenate([upper, [1.0, 0.5] - upper])
    return rng.permutation(moons) + noise * normal(rng, n)


def wide_moons(rng, n: int) -> np.ndarray:
    moons = two_moons(rng, n, 0.1)
    return 7 * (moons - moons.mean()) / moons.std()


PAIRS = {
    "normal → 8gaussians": (normal, lambda rng, n: eight_gaussians(rng, n, 5, 1)),
    "normal → moons": (normal, lambda rng, n: 2 * two_moons(rng, n, 0.05) - [1, 0]),
    "moons → 8gaussians": (wide_moons, lambda rng, n: eight_gaussians(rng, n, 12, 1.5)),
}


def split(pair: str, seed: int) -> dict[str, np.ndarray]:
    """The points of both sides, to train and to measure with; the target's twice."""
    rng, parts = np.random.default_rng(seed), {}
    for side, draw in zip(("source", "target"), PAIRS[pair], strict=True):
        points = draw(rng, TRAIN + 2 * TEST)
        parts[side], parts[f"other_{side}"], parts[f"test_{side}"] = np.split(
            rng.permutation(points), [TRAIN, TRAIN + TEST]
        )
    return parts


def followed(velocity, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Where Euler's steps carry x, and ∫ E‖v‖² dt."""
    energy = 0.0
    for t in np.arange(STEPS) / STEPS:
        v = velocity(t, x)
        x, energy = x + v / STEPS, energy + (v**2).sum(axis=1).mean() / STEPS
    return x, energy


def ours(data: dict, method: str, seed: int):
    """Train our default network for these points, and follow it."""
    import mlx.core as mx

    from cfm import METHODS
    from datasets import Points
    from points import units_of
    from lab.config import Config
    from lab.run import settle
    from lab.store import new_model
    from training import train

    sides = [
        Points.of(side, side, data[side], units_of(data[side], ("x1", "x2")))
        for side in ("source", "target")
    ]
    run = settle(Config(method, "normal", "moons", sigma=SIGMA, seed=seed))
    config, model = run.config, new_model(run)
    how = {name: getattr(config, name) for name in ("steps", "batch_size", "optimizer", "lr")}
    train(model, METHODS[method](SIGMA), *sides, seed=seed, schedule=config.schedule, **how)
    field = lambda t, x: np.array(model(mx.array(t, mx.float32), mx.array(x, mx.float32)))  # noqa: E731
    return followed(field, data["test_source"])


def torchcfm(folder: str, method: str, seed: str, steps: str):
    """The same by TorchCFM, in a process of its own, from and to files."""
    import torch
    from torchcfm.conditional_flow_matching import (
        ConditionalFlowMatcher,
        ExactOptimalTransportConditionalFlowMatcher,
    )
    from torchcfm.models.models import MLP

    torch.set_num_threads(1)
    torch.manual_seed(int(seed))
    np.random.seed(int(seed))  # its transport draws pairs by numpy
    data = np.load(Path(folder, "data.npz"))
    x0, x1 = (torch.tensor(data[side], dtype=torch.float32) for side in ("source", "target"))
    kinds = {"cfm": ConditionalFlowMatcher, "ot": ExactOptimalTransportConditionalFlowMatcher}
    matcher, model = kinds[method](sigma=SIGMA), MLP(dim=2, time_varying=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
    for _ in range(int(steps)):
        optimizer.zero_grad()
        some = [x[torch.randint(len(x), (BATCH,))] for x in (x0, x1)]
        t, xt, ut = matcher.sample_location_and_conditional_flow(*some)
        torch.mean((model(torch.cat([xt, t[:, None]], dim=-1)) - ut) ** 2).backward()
        optimizer.step()

    @torch.no_grad()
    def velocity(t, x):
        x = torch.tensor(x, dtype=torch.float32)
        return model(torch.cat([x, torch.full((len(x), 1), t)], dim=-1)).numpy()

    ends, energy = followed(velocity, data["test_source"])
    np.savez(Path(folder, "found.npz"), ends=ends, energy=energy)


def peer(python: str, data: dict, method: str, seed: int, steps: int):
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "data.npz"), **data)
        command = [python, __file__, "torchcfm", folder, method, str(seed), str(steps)]
        subprocess.run(command, check=True)
        found = np.load(Path(folder, "found.npz"))
        return found["ends"], float(found["energy"])


def main(seeds: int, peers: str | None, peer_steps: int):
    """Print the table, a line as soon as it is known."""
    from metrics import w2_squared

    sides = {"ours": ours}
    if peers:
        sides["TorchCFM"] = lambda *case: peer(peers, *case, peer_steps)
    else:
        print("TorchCFM is left out: --peers names no interpreter that has it.", file=sys.stderr)
    print("| from → to | method | by | W2 | of true samples | path energy | published |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for pair in PAIRS:
        for method in METHODS:
            for side, train in sides.items():
                rows = []
                for seed in range(seeds):
                    data = split(pair, seed)
                    ends, energy = train(data, method, seed)
                    target, least = data["test_target"], None
                    least = w2_squared(data["test_source"], target)
                    true = w2_squared(data["other_target"], target)
                    reached = w2_squared(ends, target)
                    rows.append([reached**0.5, true**0.5, abs(energy - least) / least])
                means, spreads = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=min(1, seeds - 1))
                cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spreads, strict=True)]
                published = str(PUBLISHED.get((pair, method), ""))
                row = [pair, f"`{method}`", side, *cells, published]
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["torchcfm"]:
        torchcfm(*sys.argv[2:])
    else:
        sys.path.insert(0, str(ROOT))
        import machine  # noqa: F401  before MLX

        import click

        @click.command()
        @click.option("--seeds", default=5, show_default=True, help="Networks for each row.")
        @click.option("--peers", help="Interpreter of an environment with torchcfm.")
        @click.option("--peer-steps", default=20_000, show_default=True, help="Updates of each.")
        def command(seeds, peers, peer_steps):
            """Print the table."""
            main(seeds, peers, peer_steps)

        command()
