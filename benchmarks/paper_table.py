"""Tong et al. (2024), Table 2, on their data and by their measure.

    python benchmarks/paper_table.py [--seeds 5] [--peers PYTHON] [--peer-seeds 5]

Three pairs of distributions, each 10 000 points of either side to train with and 1 000 to measure
by, made anew for every seed. Our default networks, independent pairs and exact transport; and, with
PYTHON the interpreter of an environment of its own, TorchCFM's classes by the recipe of its authors
(three hidden layers of 64, SELU, AdamW 1e-3, weight decay 1e-5, batches of 512). Every network is a
line of a file as soon as it is measured, and is not trained again while it stands there: delete the
file after the code has changed.

    python3 -m venv peers && peers/bin/pip install torch torchcfm

100 Euler steps carry the 1 000 points; W2 (not squared) is that to the target's 1 000. The path
energy is |∫ E‖v‖² dt − W2²| / W2², with W2² between the 1 000 points of both sides. Published
numbers stand beside ours where the data are the same.
"""

import csv
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
TRAIN, TEST, STEPS, SIGMA, BATCH = 10_000, 1_000, 100, 0.1, 512
METHODS = ("cfm", "ot")
BY = ("ours", "TorchCFM")
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
    from data.points import units_of
    from lab.config import Config
    from lab.settling import settle
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


def measured(data: dict, ends: np.ndarray, energy: float) -> tuple[float, float, float]:
    """W2 of the ends, that of other true points, and the path energy."""
    from metrics import w2_squared

    target = data["test_target"]
    least = w2_squared(data["test_source"], target)
    reached, true = w2_squared(ends, target), w2_squared(data["other_target"], target)
    return reached**0.5, true**0.5, abs(energy - least) / least


def kept(path: Path) -> dict[tuple, list[float]]:
    """What the file has of each (pair, method, by, seed)."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as lines:
        return {tuple(row[:4]): [float(cell) for cell in row[4:]] for row in csv.reader(lines)}


def fill(path: Path, sides: dict):
    """Train and measure every network that the file lacks; of each side so many seeds."""
    most = max(seeds for _, seeds in sides.values())
    for method, seed, pair, side in product(METHODS, range(most), PAIRS, sides):
        train, seeds = sides[side]
        case = (pair, method, side, str(seed))
        if seed < seeds and case not in kept(path):
            data = split(pair, seed)
            found = measured(data, *train(data, method, seed))
            with path.open("a", encoding="utf-8", newline="") as lines:
                csv.writer(lines).writerow([*case, *found])


def show(path: Path):
    """Print the table of all that the file has."""
    print("| from → to | method | by | seeds | W2 | of true samples | path energy | published |")
    print("|---|---|---|---|---|---|---|---|")
    rows: dict = {}
    for (*row, _), numbers in kept(path).items():
        rows.setdefault(tuple(row), []).append(numbers)
    places = [(pair, method, by) for pair in PAIRS for method in METHODS for by in BY]
    for pair, method, by in filter(rows.__contains__, places):
        seeds = rows[pair, method, by]
        means, spreads = np.mean(seeds, axis=0), np.std(seeds, axis=0, ddof=min(1, len(seeds) - 1))
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(means, spreads, strict=True)]
        published = str(PUBLISHED.get((pair, method), ""))
        row = [pair, f"`{method}`", by, str(len(seeds)), *cells, published]
        print(f"| {' | '.join(row)} |")


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
        @click.option("--peer-seeds", default=5, show_default=True, help="Likewise, of TorchCFM.")
        @click.option("--peer-steps", default=20_000, show_default=True, help="Updates of each.")
        @click.option("--rows", default="runs/paper_table.csv", show_default=True, type=Path)
        def command(seeds, peers, peer_seeds, peer_steps, rows):
            """Train what is missing in the file of rows, and print the table."""
            sides = {BY[0]: (ours, seeds)}
            if peers:
                sides[BY[1]] = (lambda *case: peer(peers, *case, peer_steps)), peer_seeds
            rows.parent.mkdir(parents=True, exist_ok=True)
            fill(rows, sides)
            show(rows)

        command()
