"""What guidance does to an exact flow, and what it is often taken for.

Above, where the flows of (1 − w) u + w u_c carry the same source points, for every class c; below,
samples of the densities in proportion to p(x) p(c | x)^w. For w = 1 both have the law of the class;
for more, the flow has another law than the density.
"""

from pathlib import Path

import mlx.core as mx
import numpy as np

from figures import style
from figures.stage import Stage
from figures.subject import Subject
from guidance import guided
from lab.following import solve
from machine.keys import evaluation_keys
from metrics import w2_squared

WEIGHTS = (1, 2, 4)
POINTS = 1024  # of every class, at most
ROUNDS = 100  # of draws to be accepted or not


def refusal(run) -> str | None:
    if not run.is_exact:
        return "'guidance' is of the exact flows of classes; use --network exact."
    if not run.target.classes:
        return f"'guidance' is towards a class, and '{run.target.name}' has none."
    if run.target.dim < 2:
        return f"'guidance' is drawn in the plane, and '{run.target.name}' lies on a line."
    return None


def draw(out: Path, subject: Subject):
    run, count = subject.run, min(POINTS, subject.run.config.samples)
    keys = mx.random.split(evaluation_keys(run.config.seed)[3], 3)
    x0, classes = run.source.sample(count, keys[0]), range(len(run.target.classes))
    flows = [[ends(subject, k, w, x0) for k in classes] for w in WEIGHTS]
    aims, others = (
        [[sharpened(subject, k, w, count, key) for k in classes] for w in WEIGHTS]
        for key in keys[1:]
    )
    apart, best = _distances(flows, aims), _distances(others, aims)
    about = {"target": subject.target, "labels": subject.labels, "title": run.flow}
    plot_guidance(out, flows, aims, apart, best, run.target.classes, **about)


def ends(subject: Subject, k: int, weight: float, x0) -> np.ndarray:
    """Where the flow guided to class k carries x0 (N, D), in the target's units."""
    run, field = subject.run, subject.field
    to_class = guided(field, field.of_class[k], weight)
    return run.target.restore(solve(run, to_class, x0, [0.0, 1.0], None, dense=False).x[-1])


def sharpened(subject: Subject, k: int, weight: float, count: int, key) -> np.ndarray:
    """Points (N, D) of p(x) p(k | x)^w, with p the law of xt at t = 1, in the target's units.

    Those of p(x | k) that are accepted with a probability in proportion to p(k | x)^(w − 1).
    """
    run, end, kept = subject.run, mx.array(1.0), []
    part = run.target.standardized().part(k)
    for round_key in mx.random.split(key, ROUNDS):
        keys = mx.random.split(round_key, 4)
        pairs = run.source.sample(count, keys[0]), part.sample(count, keys[1])
        x, _ = run.method.sample(end, *pairs, mx.random.normal(pairs[0].shape, key=keys[2]))
        log_p = (weight - 1) * subject.field.class_log_prob(end, x)[:, k]
        chance = mx.random.uniform(shape=(count,), key=keys[3])
        kept.extend(np.array(x)[np.array(mx.log(chance) < log_p - mx.max(log_p))])
        if len(kept) >= count:
            break
    return run.target.restore(np.array(kept[:count]))


def _distances(these, those) -> list[float]:
    """W2² between samples, for every weight the mean over classes."""
    both = (zip(*pair, strict=True) for pair in zip(these, those, strict=True))
    return [np.mean([w2_squared(*samples) for samples in pairs]) for pairs in both]


def plot_guidance(out, flows, aims, apart, best, classes, *, target, labels, title: str):
    """Guided samples above, those of the sharpened densities below.

    Args:
        flows, aims: for every weight, the samples (N, D) of every class, D ≥ 2.
        apart: for every weight, W2² between the two, a mean over classes.
        best: the same between two samples of the densities.
        classes: their names.
        target: (M, D), drawn behind all.
        labels: names of the D dimensions.
    """
    stage = Stage([points for row in (*flows, *aims) for points in row], target, labels)
    colours = style.class_colours(len(classes))
    rows = {"guided flow": flows, r"density $\propto\,p(x)\,p(c\,|\,x)^w$": aims}
    with style.drawing(out, **style.panels(2, len(WEIGHTS), 2.4, 2.4)) as figure:
        grid = style.shared_axes(figure, 2, len(WEIGHTS))
        for panels, (name, samples) in zip(grid, rows.items(), strict=True):
            for axes, parts in zip(panels, samples, strict=True):
                for points, colour in zip(parts, colours, strict=True):
                    axes.scatter(*points[:, :2].T, s=2, color=colour, **style.DOTS)
                stage.set_up(axes)
                stage.draw_target(axes, scale=0.5)
                axes.label_outer()
            panels[0].set_ylabel(f"{name}\n{stage.labels[1]}")
        for axes, weight, *both in zip(grid[0], WEIGHTS, apart, best, strict=True):
            between = "W2² to the density {:#.2g}\n(two samples of it {:#.2g})".format(*both)
            axes.set_title(f"$w$ = {weight}\n{between}", fontsize=9)
        style.class_legend(figure, classes)
        style.set_title(figure, title, len(target[0]))
