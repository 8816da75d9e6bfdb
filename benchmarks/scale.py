"""How costs grow, and how far they are from what the machine can do.

    python benchmarks/scale.py

Training over the batch and over the width, sampling over the number of points and over the
tolerance, the exact field over its points; each beside the time that as many multiplications take
in one large product of matrices, on one core and on all. Printed as tables, and drawn into
media/scale.png. It takes some ten minutes.
"""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import machine  # noqa: F401  before MLX

import mlx.core as mx
import numpy as np

from cfm import METHODS
from datasets import DATASETS
from exact import exact_velocity
from figures.style import GENERATED, SOURCE, TARGET, drawing
from machine.streams import in_parts
from models import MLP, parameter_count
from odeint import odeint
from training import train

FROM, TO = DATASETS["8gaussians"], DATASETS["moons"]
BATCHES = [64, 256, 1024, 4096, 16_384, 65_536]
WIDTHS = [16, 32, 64, 128, 256, 512, 1024]
COUNTS = [100, 1_000, 10_000, 100_000, 1_000_000]
TOLERANCES = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
POINTS = [16, 64, 256, 1024, 4096, 16_384]
PART = 10_000  # points in a solve, as in `sample`
ENOUGH = 2.0  # seconds of training, about


def seconds(run, repeats: int = 3) -> float:
    """The least time of a few, after one more; of a single one, its time."""
    taken = []
    if repeats > 1:
        run()
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


def product_rate(cores: int) -> float:
    """Multiplications and additions a second in products of large matrices."""
    a, b = (mx.random.normal((2048, 1024), key=mx.random.key(k)) for k in (0, 1))
    mx.eval(a, b)

    def run():
        mx.eval(in_parts(lambda a: a @ b.T, 2048 // cores, a))

    return 2 * 2048 * 1024 * 2048 / seconds(run, 7)


def bandwidth() -> float:
    """Bytes a second that one core reads and writes in copying."""
    a, b = np.zeros(2**26, np.float32), np.ones(2**26, np.float32)
    return 2 * a.nbytes / seconds(lambda: np.copyto(a, b), 5)


def step_seconds(batch: int, width: int) -> float:
    """Of a training step."""
    model, how = MLP(width=width), {"batch_size": batch}
    history = train(model, METHODS["vp"](), FROM, TO, steps=5, look_every=5, **how)
    steps = int(np.clip(ENOUGH * history.steps_per_second, 5, 3000))
    history = train(model, METHODS["vp"](), FROM, TO, steps=steps, look_every=steps, **how)
    return 1 / history.steps_per_second


def work_of_a_step(batch: int, width: int) -> float:
    """Multiplications and additions in its products: forwards, and twice as many backwards."""
    return 6.0 * batch * parameter_count(MLP(width=width))


def sampling(model, count: int, tolerance: float) -> tuple[float, float, int]:
    """Seconds, the most memory in use meanwhile in bytes, and evaluations of a part."""
    nfe = 0

    def run():
        nonlocal nfe
        for first in range(0, count, PART):
            x0 = FROM.sample(min(PART, count - first), mx.random.key(first))
            solution = odeint(model, x0, [0.0, 1.0], rtol=tolerance, atol=tolerance, dense=False)
            mx.eval(solution.x)
            nfe = solution.nfe

    mx.reset_peak_memory()
    taken = seconds(run, 1 if count > 100_000 else 3)
    return taken, mx.get_peak_memory(), nfe


def exact_seconds(count: int) -> float:
    field = exact_velocity(METHODS["vp"](), FROM, TO.sample(count, mx.random.key(0)))
    x, t = FROM.sample(2048, mx.random.key(1)), mx.array(0.5)
    return seconds(lambda: mx.eval(field(t, x)))


def main():
    one, every = product_rate(1), product_rate(os.cpu_count() or 1)
    print(f"products: {one / 1e9:.0f} GFLOP/s on one core, {every / 1e9:.0f} on all;", end=" ")
    print(f"copying: {bandwidth() / 1e9:.0f} GB/s on one core\n")
    panels = []

    def table(title, head, column, values, rows):
        """Print rows (cells, time, least time), and keep the curve for the figure."""
        print(f"| {head} |\n|" + "---|" * (head.count("|") + 1))
        taken = []
        for value in values:
            cells, time_taken, least = rows(value)
            taken.append((value, time_taken, least))
            print(f"| {value:,g} | " + " | ".join(cells) + " |", flush=True)
        print()
        panels.append((title, column, np.array(taken)))

    def training(batch, width):
        taken, least = step_seconds(batch, width), work_of_a_step(batch, width) / every
        return [f"{1e3 * taken:.2f}", f"{1e3 * least:.2f}", f"{taken / least:.1f}"], taken, least

    head = "a step, ms | its products alone, ms | ratio"
    table("A training step", f"batch | {head}", "batch", BATCHES, lambda n: training(n, 128))
    table("A training step", f"width | {head}", "width", WIDTHS, lambda n: training(1024, n))
    mx.random.seed(0)
    model = MLP()
    train(model, METHODS["vp"](), FROM, TO, steps=500)
    each = 2.0 * parameter_count(model) / every

    def solving(count, tolerance):
        taken, memory, nfe = sampling(model, count, tolerance)
        least = each * count * nfe
        cells = [f"{taken:.3f}", f"{least:.3f}", f"{taken / least:.1f}", f"{nfe}"]
        return [*cells, f"{memory / 1e6:.0f}"], taken, least

    head = "s | its products alone, s | ratio | NFE | memory, MB"
    table("Sampling", f"points | {head}", "points", COUNTS, lambda n: solving(n, 1e-5))
    table("Sampling", f"tolerance | {head}", "tolerance", TOLERANCES, lambda r: solving(10_000, r))

    def exactly(count):
        taken = exact_seconds(count)
        return [f"{1e3 * taken:.1f}", f"{1e9 * taken / (2048 * 8 * count):.2f}"], taken, np.nan

    table("The exact field", "points | ms | ns a weight", "points", POINTS, exactly)
    draw(panels)


def draw(panels):
    with drawing(ROOT / "media" / "scale.png", 2.3 * len(panels), 2.4) as figure:
        axes = figure.subplots(1, len(panels))
        for ax, (title, column, curve) in zip(axes, panels, strict=True):
            ax.loglog(curve[:, 0], curve[:, 1], "o-", color=GENERATED, label="measured")
            if np.isfinite(curve[:, 2]).all():
                ax.loglog(curve[:, 0], curve[:, 2], "--", color=SOURCE, label="its products alone")
            else:
                straight = curve[-1, 1] * curve[:, 0] / curve[-1, 0]
                ax.loglog(curve[:, 0], straight, ":", color=TARGET, label="in proportion")
            ax.set_title(title)
            ax.set_xlabel(column)
            ax.legend(fontsize="small")
        axes[0].set_ylabel("seconds")


if __name__ == "__main__":
    main()
