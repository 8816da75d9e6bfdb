"""How good the default network is, pair by pair of datasets, beside that of another version.

    python benchmarks/learned.py [--before FOLDER] [--seeds 1] [--only TEXT]

FOLDER holds a checkout of the version to compare with. Every training is a process of its own with
its version's defaults; the versions take turns. Shown are the seconds of training, how far the
velocity is off the exact field's, W2² between 2 048 generated and 2 048 true points (mean of four
draws), the Kullback–Leibler divergence from the target in nats where its density is known, and for
the annulus the Kolmogorov–Smirnov distance of the radii: medians over seeds. Everything is measured
against the dataset itself, not against what the method's σ makes of it.
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
}
DRAWS, COUNT = 4, 2048


def learned(name: str, source, target, seed: int):
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
        run = settle(Config(method=name, source=source.name, target=target.name, seed=seed))
        model, method, config = new_model(run), run.method, run.config
        names = ("steps", "batch_size", "optimizer", "lr", "weight_decay", "schedule")
        how = {each: getattr(config, each) for each in names if hasattr(config, each)}
    history = train(model, method, source, target, seed=seed, **how)
    return method, model, history.seconds


def measure(name: str, source_name: str, target_name: str, seed: str) -> dict:
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
    method, model, seconds = learned(name, source, target, int(seed))
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
        x1 = odeint(model, source.sample(COUNT, starts), [0.0, 1.0], dense=False).x[-1]
        ends.append((x1, target.sample(COUNT, true)))
    found["w2"] = float(np.mean([w2_squared(*pair) for pair in ends]))
    if target.log_prob and source.log_prob:
        true = ends[0][1]
        log_q = log_prob(model, true, source.log_prob)
        found["divergence"] = mx.mean(target.log_prob(true) - log_q).item()
    if target_name == "annulus":
        radii = np.sort(np.linalg.norm(np.concatenate([np.array(x) for x, _ in ends]), axis=1))
        ranks = np.arange(len(radii) + 1) / len(radii)
        law = np.clip(radii - 2, 0, 1)
        found["radii"] = float(max(np.max(ranks[1:] - law), np.max(law - ranks[:-1])))
    return found


def main(before: str | None, seeds: int, only: str):
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
                    command = [sys.executable, __file__, folder, name, source, target, str(seed)]
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
    if len(sys.argv) == 6:
        sys.path.insert(0, sys.argv[1])
        if Path(sys.argv[1], "machine").is_dir():
            import machine  # noqa: F401  before MLX
        else:
            import blas  # noqa: F401  before MLX
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
        main(given.get("--before"), int(given.get("--seeds", 1)), given.get("--only", ""))
