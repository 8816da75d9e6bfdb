"""The training loop.

`train` fits a network to a method's loss with Adam, or AdamW, under a schedule and leaves it
with the moving average of its weights. The samples of a few steps are drawn in one compiled
call, each step's from its own key; the rest of a step (coupling, path, loss, gradient, update,
average) is a second one. The host waits only where somebody looks at the loss. Training that
was stopped can go on to exactly the weights it would have had. Files are the business of
`checkpoints.py`.
"""

import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map

from cfm import coupling_key
from files.checkpoints import CheckpointError, TrainingState, load_checkpoint, save_checkpoint
from machine.keys import step_key

__all__ = ["SCHEDULES", "CheckpointError", "History", "NonFiniteLossError", "load_checkpoint"]
__all__ += ["save_checkpoint", "train"]
LOOK_EVERY = 100  # steps between looks at the loss
DRAW_AHEAD = 25  # steps whose samples are drawn together, which costs half as much
MATCH_AHEAD = 2**23  # pairs of points that a coupling looks at together, at most


@dataclass
class History:
    """What happened in training.

    Attributes:
        steps: how many were taken, in all.
        resumed: how many of them before, where training went on, and
        earlier: the wall time that those took.
        losses: (step, loss) of every look, the loss a mean over the steps since the last.
        seconds: wall time from the second step on.
        compile_seconds: wall time of the first step, nearly all of it compilation.
        interrupted: whether Ctrl-C ended it early.
        state: what training needs to go on from here; None once it has failed.
    """

    steps: int = 0
    resumed: int = 0
    earlier: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    interrupted: bool = False
    state: TrainingState | None = None

    @property
    def steps_per_second(self) -> float:
        return (self.steps - self.resumed - 1) / self.seconds if self.seconds else 0.0

    @property
    def total_seconds(self) -> float:
        """Wall time of all steps."""
        return self.earlier + self.compile_seconds + self.seconds


class NonFiniteLossError(ArithmeticError):
    """The loss or the weights are not finite any more.

    The model holds the average of the weights at the last look where they were, after
    `history.steps` steps.
    """

    def __init__(self, message: str, history: History):
        super().__init__(message)
        self.history = history


def train(
    model: nn.Module,
    method,
    source,
    target,
    *,
    steps: int = 10_000,
    batch_size: int = 256,
    lr: float = 5e-3,
    schedule: str = "cosine",
    weight_decay: float = 0.0,
    average: float = 0.999,
    seed: int = 0,
    on_look: Callable[[History], None] = lambda history: None,
    look_every: int = LOOK_EVERY,
    on_save: Callable[[History], None] = lambda history: None,
    save_every: int | None = None,
    state: TrainingState | None = None,
) -> History:
    """Train a network in place towards the velocity that carries source to target.

    Args:
        model: a network called as model(t, x); it ends with the average of its weights.
        method: one of `cfm.METHODS`, made.
        source, target: datasets, or anything with sample(n, key).
        steps: updates to make, in all.
        batch_size: pairs a step.
        lr: the largest learning rate.
        schedule: what becomes of it over the steps, a name in `SCHEDULES`.
        weight_decay: of AdamW (Loshchilov & Hutter 2019); with 0 it is Adam.
        average: decay per step of the moving average of the weights.
        seed: with the number of a step, decides all draws of that step.
        on_look: called with the history every `look_every` steps and at the end.
        on_save: called with the history, its `state` up to date, every `save_every` steps.
        state: of training with the same arguments, to go on from; then `model` may be anything
            of the same shape.

    Raises:
        ValueError: for steps below 1, or a source the method's formulas do not hold for.
        NonFiniteLossError: when the loss or the weights stop being finite.

    Ctrl-C ends training after the step in flight; a second one ends it at once.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, not {steps}")
    if getattr(method, "normal_source", False) and not getattr(source, "standard_normal", True):
        raise ValueError(f"{method.name} needs the source N(0, I), not {source.name}")
    learner = _Learner(model, _optimizer(SCHEDULES[schedule](lr, steps), weight_decay), state)
    history = History()
    if state:
        history = History(state.step, state.step, state.seconds, [*state.losses])
    step = _update(learner, average, method)
    batches = _batches(method, source, target, batch_size, seed, history.steps)
    good, began = learner.average_now(), time.perf_counter()
    with _deferred_interrupt() as pressed:
        while history.steps < steps and not pressed:
            first, total = history.steps, mx.array(0.0)
            fresh = first == history.resumed
            ends = [first + 1 if fresh else steps, steps]
            ends += [(first // every + 1) * every for every in (look_every, save_every) if every]
            for n in range(first, min(ends)):
                total = total + step(*next(batches))
                mx.async_eval(total, learner.averaged)
                history.steps = n + 1
                if pressed:
                    break
            loss = total.item() / (history.steps - first)
            if not (math.isfinite(loss) and learner.is_finite()):
                model.update(good)
                failed, history.steps, history.state = history.steps, first, None
                raise NonFiniteLossError(
                    f"the loss or the weights ran off to infinity by step {failed:,}; "
                    "a smaller --lr may help",
                    history,
                )
            good = learner.average_now()
            if fresh:
                history.compile_seconds, began = time.perf_counter() - began, time.perf_counter()
            history.seconds = time.perf_counter() - began
            history.losses.append((history.steps, loss))
            on_look(history)
            if save_every and history.steps % save_every == 0:
                history.state = learner.state(history)
                on_save(history)
    history.interrupted = history.steps < steps
    history.state = learner.state(history)
    model.update(learner.averaged)
    return history


class _Learner:
    """What training changes: a network, its optimizer, and the average of its weights."""

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, state: TrainingState | None):
        self.model, self.optimizer = model, optimizer
        if state:
            model.update(state.weights)
            optimizer.state, self.averaged = tree_map(mx.array, (state.optimizer, state.averaged))
            return
        optimizer.init(model.trainable_parameters())
        self.averaged = tree_map(mx.array, model.trainable_parameters())

    def average_now(self) -> dict:
        """A copy of the average that no later step changes."""
        return tree_map(mx.array, self.averaged)

    def state(self, history: History) -> TrainingState:
        """All that training needs to go on from here."""
        trees = (self.model.trainable_parameters(), self.averaged, self.optimizer.state)
        trees = tree_map(mx.array, trees)
        return TrainingState(history.steps, *trees, [*history.losses], history.total_seconds)

    def is_finite(self) -> bool:
        leaves = [leaf for _, leaf in tree_flatten((self.model.parameters(), self.averaged))]
        return mx.all(mx.stack([mx.all(mx.isfinite(leaf)) for leaf in leaves])).item()


def _optimizer(rate, weight_decay: float) -> optim.Optimizer:
    if weight_decay:
        return optim.AdamW(rate, weight_decay=weight_decay, bias_correction=True)
    return optim.Adam(rate, bias_correction=True)


def _one_cycle(lr: float, steps: int):
    """Up from a 25th of lr in a straight line for 3/10 of the steps, then down as half a cosine."""
    up = max(1, 3 * steps // 10)
    parts = [optim.linear_schedule(lr / 25, lr, up), optim.cosine_decay(lr, max(1, steps - up))]
    return optim.join_schedules(parts, [up])


SCHEDULES: dict[str, Callable] = {
    "constant": lambda lr, steps: lr,
    "cosine": optim.cosine_decay,
    "one-cycle": _one_cycle,
}


def _batches(method, source, target, count: int, seed: int, step: int) -> Iterator[tuple]:
    """For one step after the other, from `step` on, (x0, x1, key): its pairs, and for its loss."""
    match = method.coupling.match
    ahead = DRAW_AHEAD if match is None else min(DRAW_AHEAD, MATCH_AHEAD // count**2 + 1)

    def draw(key):
        source_key, target_key, loss_key = mx.random.split(key, 3)
        return source.sample(count, source_key), target.sample(count, target_key), loss_key

    draw_all, keys_of = mx.compile(mx.vmap(draw)), mx.vmap(coupling_key)

    def begin(first):
        keys = mx.stack([step_key(seed, n) for n in range(first, first + ahead)])
        x0, x1, keys = draw_all(keys)
        return x0, x1, keys, match(x0, x1, keys_of(keys)) if match else None

    skipped = step % ahead  # of steps drawn together, so that it is always the same ones
    coming = begin(step - skipped)
    for first in itertools.count(step - skipped + ahead, ahead):
        x0, x1, keys, places = coming
        if match:
            coming = begin(first)  # so that the host pairs the next batches during these
            x1 = mx.take_along_axis(x1, places()[..., None], axis=1)
        yield from itertools.islice(zip(x0, x1, keys, strict=True), skipped, None)
        skipped = 0
        if not match:
            coming = begin(first)


def _update(learner: _Learner, average: float, method) -> Callable:
    """(x0, x1, key) → loss: an update of all that the learner holds.

    Compiled, unless the method's loss waits for the host.
    """
    model, optimizer, averaged = learner.model, learner.optimizer, learner.averaged
    compiled = getattr(method, "compiled", True)
    state = [model.state, optimizer.state, averaged]
    value_and_grad = nn.value_and_grad(model, method.pair_loss)

    def step(x0, x1, key):
        loss, gradient = value_and_grad(model, x0, x1, key)
        optimizer.update(model, gradient)
        n = optimizer.step.astype(mx.float32)
        decay = mx.minimum(average, n / (9 + n))  # a short memory while weights change fast
        weights = model.trainable_parameters()
        averaged.update(tree_map(lambda a, w: w + decay * (a - w), averaged, weights))
        return loss

    return mx.compile(step, inputs=state, outputs=state) if compiled else step


@contextmanager
def _deferred_interrupt():
    """Yield a list that is filled by the first Ctrl-C, which then interrupts nothing.

    A second one raises KeyboardInterrupt as usual, and so does one while MLX compiles. Where
    Ctrl-C is already handled by someone else, or in a thread that gets no signals, nothing is
    changed.
    """
    pressed = []

    def note(signum, frame):
        if pressed:
            raise KeyboardInterrupt
        pressed.append(signum)

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    except RuntimeError:
        # a terminal interrupts the compilers that MLX started as well, and then MLX fails
        if pressed:
            raise KeyboardInterrupt from None
        raise
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
