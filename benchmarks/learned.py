"""How good the default network is, pair by pair of datasets, beside that of another version.

    python benchmarks/learned.py [--before FOLDER] [--seeds 1] [--only TEXT] [--sigma SIGMA]

FOLDER holds a checkout of the version to compare with. Every training is a process of its own with
its version's defaults; the versions take turns. Shown are the seconds of training, how far the
velocity is off the exact field's, W2² between 2 048 generated and 2 048 true points (mean of four
draws), the Kullback–Leibler divergence from the target in nats where its density is known, and for
the annulus the Kolmogorov–Smirnov distance of the radii: medians over seeds. Everything is measured
against the dataset itself; divergence and radii once more against the law that a method with noise
is to learn, the dataset blurred by its σ. That is the method's own unless --sigma is another.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAIRS = [
    ("8gaussians", "moons"),
    ("normal", "8gaussians"),
    ("normal", "moons"),
    ("normal", "checkerboard"),
    ("normal", "annulus"),
    ("normal", "spirals"),
    ("normal", "pinwheel"),
    ("8gaussians", "scurve"),
    ("moons", "8gaussians"),
    ("normal", "gaussian4d"),
]
METHODS_SHOWN = ("cfm", "vp", "ot")
COLUMNS = {
    "seconds": ("s", "{:.1f}"),
    "velocity": ("velocity off by", "{:.1%}"),
    "w2": ("W2²", "{:.3f}"),
    "divergence": ("divergence", "{:.3f}"),
    "radii": ("radii", "{:.3f}"),
    "blurred_divergence": ("from the blurred: divergence", "{:.3f}"),
    "blurred_radii": ("from the blurred: radii", "{:.3f}"),
    "nfe": ("NFE", "{:.0f}"),
}
DRAWS, COUNT = 4, 2048


def learned(name: str, source, target, seed: int, sigma: float | None = None):
    """The method, a network trained by this version's defaults, and the seconds it took."""
    import mlx.core as mx

    from cfm import METHODS
    from training import train

    try:
        from lab.config import Config
        from lab.settling import settle
        from lab.store import new_model
    except ImportError:  # a version before there was a lab
        from models import MLP

        mx.random.seed(seed)
        model, method, how = MLP(target.dim), METHODS[name](), {}
    else:
        ends = {"source": source.name, "target": target.name}
        run = settle(Config(method=name, **ends, seed=seed, sigma=sigma))
        model, method, config = new_model(run), run.method, run.config
        names = ("steps", "batch_size", "optimizer", "lr", "weight_decay", "schedule")
        how = {each: getattr(config, each) for each in names if hasattr(config, each)}
    history = train(model, method, source, target, seed=seed, **how)
    return method, model, history.seconds


def measure(name: str, source_name: str, target_name: str, seed: str, sigma: str = "") -> dict:
    """All numbers of one training, by the version that is first in the path."""
    import mlx.core as mx
    import numpy as np

    from datasets import DATASETS
    from exact import nearly_exact_velocity
    from likelihood import log_prob
    from metrics import w2_squared
    from odeint import odeint

    source, target = DATASETS[source_name], DATASETS[target_name]
    if target.dim > 2:
        from datasets import standard_normal

        source = standard_normal(target.dim)
    given = float(sigma) if sigma else None
    method, model, seconds = learned(name, source, target, int(seed), given)
    found, keys = {"seconds": seconds}, mx.random.split(mx.random.key(2**20), 4 + 2 * DRAWS)
    exact = nearly_exact_velocity(method, source, target, keys[0])
    if exact:
        x0, x1 = source.sample(8192, keys[1]), target.sample(8192, keys[2])
        t, noise = method.draw(x0.shape, keys[3])
        xt, _ = method.sample(t, x0, x1, noise)
        u = exact(t, xt)
        off = mx.sum(mx.square(model(t, xt) - u)) / mx.sum(mx.square(u))
        found["velocity"] = mx.sqrt(off).item()
    ends = []
    for draw in range(DRAWS):
        starts, true = keys[4 + 2 * draw], keys[5 + 2 * draw]
        solution = odeint(model, source.sample(COUNT, starts), [0.0, 1.0], dense=False)
        ends.append((solution.x[-1], target.sample(COUNT, true)))
    found["nfe"] = solution.nfe
    found["w2"] = float(np.mean([w2_squared(*pair) for pair in ends]))
    if target.log_prob and source.log_prob:
        true = ends[0][1]
        log_q = log_prob(model, true, source.log_prob)
        found["divergence"] = mx.mean(target.log_prob(true) - log_q).item()
    blur = method.std(mx.array(1.0)).item()  # of what a path ends in
    noise_key, law_key = mx.random.split(mx.random.key(2**20 + 1))
    noise = mx.random.normal((DRAWS * COUNT, target.dim), key=noise_key)
    blurred = mx.concatenate([true for _, true in ends]) + blur * noise
    if target_name == "annulus":
        generated = radii(mx.concatenate([x for x, _ in ends]))
        found["radii"] = distance(generated, lambda r: np.clip(r - 2, 0, 1))
        noise = mx.random.normal((2**20, 2), key=law_key)
        true = radii(target.sample(2**20, keys[0]) + blur * noise)
        law = lambda r: np.searchsorted(true, r) / len(true)  # noqa: E731
        found["blurred_radii"] = distance(generated, law)
    if target_name == "checkerboard" and blur:
        log_q = np.array(log_prob(model, blurred, source.log_prob))
        log_p = blurred_board(np.array(blurred), blur)
        found["blurred_divergence"] = float(np.mean(log_p - log_q))
    return found


def radii(x):
    import numpy as np

    return np.sort(np.linalg.norm(np.array(x), axis=1))


def distance(numbers, law) -> float:
    """The Kolmogorov–Smirnov distance of sorted numbers from a law, its distribution function."""
    import numpy as np

    ranks, expected = np.arange(len(numbers) + 1) / len(numbers), law(numbers)
    return float(max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1])))


def blurred_board(x, blur: float):
    """The log-density of the checkerboard, whose squares have side 2, blurred; (N,) nats."""
    import numpy as np
    from scipy.special import ndtr

    edges = np.arange(-4, 5, 2)
    inside = np.diff(ndtr((edges[:, None, None] - x) / blur), axis=0)  # (column, N, coordinate)
    filled = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    return np.log(np.einsum("in,jn,ij->n", inside[..., 0], inside[..., 1], filled) / 32)


def main(before: str | None, seeds: int, only: str, sigma: str):
    import numpy as np

    sides = {"before": before, "now": str(ROOT)} if before else {"now": str(ROOT)}
    heads = [f"{title}, {side}" for title, _ in COLUMNS.values() for side in sides]
    print("| from → to | method | " + " | ".join(heads) + " |\n" + "|---" * (2 + len(heads)) + "|")
    for source, target in PAIRS:
        for name in METHODS_SHOWN:
            if only not in f"{source} {target} {name}":
                continue
            found = {side: [] for side in sides}
            for seed in range(seeds):
                for side, folder in sides.items():
                    case = [name, source, target, str(seed), sigma]
                    command = [sys.executable, __file__, folder, *case]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    found[side].append(json.loads(done.stdout.splitlines()[-1]))
            cells = [
                form.format(np.median([one[key] for one in found[side]]))
                if key in found[side][0]
                else ""
                for key, (_, form) in COLUMNS.items()
                for side in sides
            ]
            print(f"| {source} → {target} | `{name}` | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("--"):
        sys.path.insert(0, sys.argv[1])
        if Path(sys.argv[1], "machine").is_dir():
            import machine  # noqa: F401  before MLX
        else:
            import blas  # noqa: F401  before MLX
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
        seeds, others = int(given.get("--seeds", 1)), ("--only", "--sigma")
        main(given.get("--before"), seeds, *(given.get(name, "") for name in others))
