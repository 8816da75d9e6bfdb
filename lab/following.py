"""How points follow a run's flow: by its solver, in their classes, with its noise."""

from collections.abc import Callable, Iterator
from functools import partial

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np
from mlx.utils import tree_map

from lab.classes import draw_labels, label_keys, told
from lab.densities import fine, no_log_density
from lab.run import Run
from likelihood import velocity_and_divergence
from machine.keys import CLASSES, NOISE, SAMPLES, evaluation_keys, step_key
from noise import NoisyFlow, score_of
from odeint import Solution, odeint
from sde import sdeint

FRAMES = 101  # times at which paths are reported
PART = 10_000  # points that are drawn and solved together, however many are asked for
W2_DRAWS = 3  # of points whose distance from the target is measured


def solve(run: Run, field, x0, times, key, labels=None, **how) -> Solution:
    """The flow of x0 (N, D) by the run's solver; if there is noise along it, the key decides it.

    `labels` are the classes of the points, () or (N,), if they have some; `how` takes the place of
    the run's own arguments of `odeint`.
    """
    how, field = run.solving | how, told(run, field, labels)
    if not run.config.diffusion:
        return odeint(run.followed(field), x0, times, **how)
    score = score_of(run.method, run.source, field)
    spread = run.source.mixture.std if run.source.mixture else 1.0
    flow = NoisyFlow(run.method, score, field, run.config.diffusion, spread)
    how = {name: how[name] for name in ("solver", "steps")}
    return sdeint(flow.drift, flow.diffusion, x0, times, key=key, **how)


def follow(run: Run, field, count: int, **how) -> Solution:
    """The flow of fresh source samples, in the units the network sees."""
    x0 = run.source.sample(count, evaluation_keys(run.config.seed)[0])
    key, labels = noise_keys(run)[0], labels_of_paths(run, count)
    solution = solve(run, field, x0, np.linspace(0, 1, FRAMES), key, labels, **how)
    mx.eval(solution.x)
    return solution


def paths(run: Run, field) -> np.ndarray:
    """(FRAMES, N, D): the ways of fresh source samples, in the target's units."""
    return run.target.restore(follow(run, field, run.config.samples).x)


def labels_of_paths(run: Run, count: int):
    """The classes (N,) of the points whose ways are shown; None if there are no classes."""
    return draw_labels(run, count, label_keys(run, 1)[0])


def noise_keys(run: Run):
    """Keys for the noise along the paths that are shown, and in every draw of distances."""
    return mx.random.split(step_key(run.config.seed, NOISE), 1 + W2_DRAWS)


def sample_in_parts(
    run: Run, field, count: int, log_prob: bool = False, label: int | None = None
) -> Iterator[np.ndarray]:
    """`count` generated points in the target's units, at most `PART` at a time, (n, D).

    With `log_prob` (n, D + 1), the last column the log-density there of the flow, or of its class,
    in nats, as `log_density` has it. Points of a conditional flow are of the class `label`; without
    one they are of all classes, and the place of its class is one more column behind each.

    A point depends on the seed and its place alone, not on how many are asked for: every part is
    drawn by a key of its own, drawn and solved whole, and solved by the steps of the first part.

    Raises:
        ValueError: if `log_prob` and the log-density cannot be computed.
    """
    if log_prob and (why := no_log_density(run)):
        raise ValueError(why)
    there, back = _by_the_same_steps(**run.solving), _by_the_same_steps(**fine(run))
    keys = [step_key(run.config.seed, part) for part in (SAMPLES, NOISE, CLASSES)]
    nothing = mx.zeros(PART)
    for start in range(0, count, PART):
        keys, (part_key, of_part, label_key) = zip(*map(mx.random.split, keys), strict=True)
        x0 = run.source.sample(PART, part_key)
        labels = draw_labels(run, PART, label_key) if label is None else mx.array(label)
        velocity = told(run, run.followed(field), labels)
        if run.config.diffusion:
            x1 = solve(run, field, x0, [0.0, 1.0], of_part, labels).x[-1]
        else:
            x1 = there(velocity, x0, [0.0, 1.0])
        rows = run.target.restore(x1)
        if log_prob:
            rates = partial(_with_divergence, velocity)
            x0, gathered = back(rates, (x1, nothing), [1.0, 0.0])
            found = np.array(run.source.log_prob(x0) + gathered, np.float64)
            found -= run.target.standardize(rows)[1]
            rows = np.concatenate([rows, found[:, None]], axis=1)
        if run.classes and label is None:
            rows = np.concatenate([rows, np.array(labels)[:, None]], axis=1)
        yield rows[: count - start]


def _with_divergence(field, t, state):
    """How x and the logarithm of its density change."""
    return velocity_and_divergence(field, t, state[0])


def _by_the_same_steps(**how) -> Callable:
    """A function (field, x, times) that solves, every time by the steps that it took at first."""

    def end(field, x, times):
        solution = odeint(field, x, times, dense=False, **how)
        how["steps"] = solution.steps
        return tree_map(lambda leaf: leaf[-1], solution.x)

    return end
