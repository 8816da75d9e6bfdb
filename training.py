"""The training loop.

`train` fits a network to a method's loss, by one of `learning/optimizers.py`, and leaves it with
the moving average of its weights. What many steps are shown is drawn in one compiled call, each
step's from its own key, beside the steps before; the rest of a step (loss, gradient, update,
average) is a second one. The host waits only where somebody looks at the loss. Training that was
stopped can go on to exactly the weights it would have had; `keeping.py` keeps what that takes.
"""

import itertools
import math
import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map

from cfm import coupling_key
from keeping import TrainingState, load_checkpoint, load_training, save_checkpoint
from machine import ranks
from machine.interrupts import deferred_interrupt
from machine.keys import step_key
from machine.streams import beside, in_parts
from models import parameter_count
from learning.optimizers import LR_SCHEDULES, OPTIMIZERS
from ode.walk import OdeError

__all__ = ["History", "TrainingState", "train"]
__all__ += ["load_checkpoint", "load_training", "save_checkpoint"]

LOOK_EVERY = 100  # steps between looks at the loss
SHARE = 2**25  # multiplications of a batch, fewest that are worth a core of their own
DRAW_AHEAD = 100  # steps that are drawn together, at most, which costs half as much
DRAWN = 2**21  # pairs that are drawn together, at most
MATCH_AHEAD = 2**23  # pairs of points that a coupling looks at together, at most


@dataclass
class History:
    """What happened in training.

    Attributes:
        steps: how many were taken, in all.
        resumed: how many of them before training was interrupted, if it was.
        earlier: the wall time that those took.
        losses: (step, loss) of every look, the loss a mean over the steps since the last.
        seconds: wall time from the second step on.
        compile_seconds: wall time of the first step, nearly all of it compilation.
        interrupted: whether Ctrl-C, or another signal, ended it early.
        state: what training needs to go on from here.
    """

    steps: int = 0
    resumed: int = 0
    earlier: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    compile_seconds: float = 0.0
    interrupted: bool = False
    state: TrainingState | None = None

    @classmethod
    def of(cls, state: TrainingState) -> "History":
        """What had happened when a state was kept."""
        return cls(state.step, state.step, state.seconds, [*state.losses], state=state)

    @property
    def steps_per_second(self) -> float:
        return (self.steps - self.resumed - 1) / self.seconds if self.seconds else 0.0

    @property
    def total_seconds(self) -> float:
        """Wall time of all steps."""
        return self.earlier + self.compile_seconds + self.seconds


class TrainingError(ArithmeticError):
    """Training cannot go on.

    The model holds the average of the weights at the last look where all was well, after
    `history.steps` steps, and `history.state` is that of training then. Whoever keeps them in a
    file says where, in `kept`.
    """

    kept = None

    def __init__(self, message: str, history: History):
        super().__init__(message)
        self.history = history


class NonFiniteLossError(TrainingError):
    """The loss or the weights are not finite any more."""


def train(
    model: nn.Module,
    method,
    source,
    target,
    *,
    steps: int = 1_300,
    batch_size: int = 2_048,
    optimizer: str = "muon",
    lr: float | None = None,
    schedule: str = "cosine",
    weight_decay: float | None = None,
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
        method: what one of `cfm.METHODS` makes.
        source, target: datasets, or anything with sample(n, key).
        steps: updates to make, in all.
        batch_size: pairs a step.
        optimizer: a name in `learning.optimizers.OPTIMIZERS`.
        lr: the largest learning rate; the optimizer's own if None.
        schedule: what becomes of it over the steps, a name in `LR_SCHEDULES`.
        weight_decay: the part of the weights that a step takes off, in learning rates (Loshchilov &
            Hutter 2019); the optimizer's own if None.
        average: decay per step of the moving average of the weights.
        seed: with the number of a step, decides all draws of that step.
        on_look: called with the history every `look_every` steps and at the end.
        on_save: called with the history, its `state` up to date, every `save_every` steps.
        state: what training with the same arguments has kept, to go on from; then the weights of
            `model` do not matter.

    Raises:
        ValueError: for steps below 1, or a source the method's formulas do not hold for.
        NonFiniteLossError: when the loss or the weights stop being finite.
        TrainingError: when a solver that training goes through cannot finish a solve.

    Ctrl-C ends training after the step in flight; a second one ends it at once. Several processes
    (`machine/ranks.py`) begin with what the first has, share the rows of every batch out, and end
    together at a look.
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, not {steps}")
    if getattr(method, "normal_source", False) and not getattr(source, "standard_normal", True):
        raise ValueError(f"{method.name} needs the source N(0, I), not {source.name}")
    kind = OPTIMIZERS[optimizer]
    rate = LR_SCHEDULES[schedule](kind.lr if lr is None else lr, steps)
    made = kind.make(rate, kind.weight_decay if weight_decay is None else weight_decay)
    learner = _Learner(model, made, optimizer, state)
    history = History.of(state) if state else History()
    learner.begin_with_first(history)
    step = _update(learner, average, method)
    batches = _batches(method, source, target, batch_size, seed, history.steps)
    good, began = learner.state(history), time.perf_counter()
    with deferred_interrupt() as pressed:
        for stop in _stops(history.steps, steps, look_every, save_every):
            before = history.steps
            try:
                loss = _stretch(step, batches, learner, history, stop, pressed)
            except OdeError as error:
                raise _failed(history, model, good, error) from error
            if not (math.isfinite(loss) and learner.is_finite()):
                raise _failed(history, model, good)
            if before == history.resumed:
                history.compile_seconds, began = time.perf_counter() - began, time.perf_counter()
            history.seconds = time.perf_counter() - began
            history.losses.append((history.steps, loss))
            good = learner.state(history)
            on_look(history)
            if save_every and history.steps % save_every == 0:
                history.state = good
                on_save(history)
            if ranks.any_of_all(bool(pressed)):
                break
        history.interrupted = history.steps < steps
        history.state = good
        model.update(good.averaged)
    return history


def _stretch(step, batches, learner, history: History, stop: int, pressed: list) -> float:
    """Take all steps up to `stop`, or to Ctrl-C, and return their mean loss.

    The host waits for none of them, and only at the end for their losses.
    """
    first, total = history.steps, mx.array(0.0)
    for batch in itertools.islice(batches, stop - first):
        total = total + step(*batch)
        mx.async_eval(total, learner.averaged)
        history.steps += 1
        if pressed and ranks.count() == 1:  # several can only stop together
            break
    return total.item() / (history.steps - first)


def _failed(history: History, model, good: TrainingState, error=None) -> TrainingError:
    """What is raised of a history whose last stretch of steps was in vain."""
    last, history.steps, history.state = history.steps, good.step, good
    model.update(good.averaged)
    if error:
        said = str(error).rstrip(".")
        return TrainingError(f"the solver failed by step {last + 1:,}: {said}", history)
    return NonFiniteLossError(
        f"the loss or the weights ran off to infinity by step {last:,}; a smaller --lr may help",
        history,
    )


def _stops(done: int, steps: int, look_every: int, save_every: int | None) -> Iterator[int]:
    """The steps after which training stops to look or to save: the last one is `steps`.

    The first step is looked at by itself, since it compiles and its time says nothing.
    """
    every = [look_every, save_every] if save_every else [look_every]
    if done < steps:
        done += 1
        yield done
    while done < steps:
        done = min(steps, *((done // n + 1) * n for n in every))
        yield done


class _Learner:
    """What training changes: a network, its optimizer, and the average of its weights."""

    def __init__(self, model: nn.Module, optimizer: optim.Optimizer, name: str, state):
        self.model, self.optimizer, self.name = model, optimizer, name
        if state:
            model.update(state.weights)
            optimizer.state, self.averaged = tree_map(mx.array, (state.optimizer, state.averaged))
            return
        optimizer.init(model.trainable_parameters())
        self.averaged = tree_map(mx.array, model.trainable_parameters())

    def begin_with_first(self, history: History):
        """Have what the first of several processes has, and be as far."""
        history.steps = ranks.number_of_first(history.steps)
        trees = (self.model.trainable_parameters(), self.averaged, self.optimizer.state)
        weights, self.averaged, self.optimizer.state = ranks.from_first(trees)
        self.model.update(weights)

    def state(self, history: History) -> TrainingState:
        """All that training needs to go on from here, in copies."""
        trees = (self.model.trainable_parameters(), self.averaged, self.optimizer.state)
        trees = tree_map(mx.array, trees)
        losses = [*history.losses]
        return TrainingState(history.steps, *trees, self.name, losses, history.total_seconds)

    def is_finite(self) -> bool:
        leaves = [leaf for _, leaf in tree_flatten((self.model.parameters(), self.averaged))]
        return mx.all(mx.stack([mx.all(mx.isfinite(leaf)) for leaf in leaves])).item()


def _batches(method, source, target, count: int, seed: int, step: int) -> Iterator[tuple]:
    """What the network is shown in one step after the other, from `step` on: `method.examples`.

    A method that shows classes is given those of the x1 after these. Several steps are drawn
    together, each from its own key, and always the same ones together, so that what a step is given
    does not depend on where training began.
    """
    coupling, with_classes = method.coupling, getattr(method, "shows_classes", False)
    match, pairs_of = coupling.match, coupling.draw
    held = count * getattr(method, "held", 1)
    most = DRAWN // held if match is None else MATCH_AHEAD // count**2
    ahead = min(DRAW_AHEAD, most + 1)

    def draw(key):
        source_key, target_key, examples_key = mx.random.split(key, 3)
        if pairs_of:
            return method.examples(*pairs_of(count, source_key), examples_key)
        if with_classes:
            ends = target.sample_with_classes(count, target_key)
        else:
            ends = (target.sample(count, target_key),)
        pairs = source.sample(count, source_key), *ends, examples_key
        return method.examples(*pairs) if match is None else pairs

    draw_all, examples_of = (mx.compile(mx.vmap(each)) for each in (draw, method.examples))
    keys_of = mx.vmap(coupling_key)

    def begin(first):
        """Draw the steps from `first` on, and begin to match them."""
        with beside():
            drawn = draw_all(mx.stack([step_key(seed, n) for n in range(first, first + ahead)]))
        mx.async_eval(drawn)
        if match is None:
            return lambda: drawn
        x0, x1, *classes, keys = drawn
        places = match(x0, x1, keys_of(keys), *(classes if coupling.by_class else ()))

        def examples():
            to = places()
            ends = [mx.take_along_axis(x1, to[..., None], axis=1)]
            ends += [mx.take_along_axis(each, to, axis=1) for each in classes]
            return examples_of(x0, *ends, keys)

        return examples

    def in_order(first):
        coming = begin(first)
        while True:
            first += ahead
            # what comes next is begun before, so that it is drawn and matched during these steps
            drawn, coming = coming, begin(first)
            yield from zip(*drawn(), strict=True)

    skipped = step % ahead
    return itertools.islice(in_order(step - skipped), skipped, None)


def _update(learner: _Learner, average: float, method) -> Callable:
    """Examples → loss: an update of all that the learner holds.

    Compiled, unless the method says that its loss has values to look at on the way.
    """
    model, optimizer, averaged = learner.model, learner.optimizer, learner.averaged
    compiled = getattr(method, "compiled", True)
    state = [model.state, optimizer.state, averaged]
    value_and_grad = nn.value_and_grad(model, method.error)

    def step(*examples):
        own, share = ranks.own_rows(*examples)
        loss, gradient = ranks.summed(_shared(value_and_grad, model, *own), share)
        optimizer.update(model, gradient)
        n = optimizer.step.astype(mx.float32)
        decay = mx.minimum(average, n / (9 + n))  # a short memory while weights change fast
        weights = model.trainable_parameters()
        averaged.update(tree_map(lambda a, w: w + decay * (a - w), averaged, weights))
        return loss

    return mx.compile(step, inputs=state, outputs=state) if compiled else step


def _shared(value_and_grad: Callable, model, *examples):
    """The loss and its gradient; of a large batch, every core computes those of a part."""
    count, counts = len(examples[0]), {len(array) for array in examples}
    if len(counts) > 1:  # these are not rows, one for every pair
        return value_and_grad(model, *examples)

    def share(*part):
        return len(part[0]) / count, value_and_grad(model, *part)

    least = max(1, SHARE // parameter_count(model))
    shares, found = zip(*in_parts(share, least, *examples), strict=True)
    if len(found) == 1:
        return found[0]
    return tree_map(lambda *leaves: sum(map(operator.mul, shares, leaves)), *found)
