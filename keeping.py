"""Networks in files, with what their training needs to go on.

A checkpoint holds the averaged weights, which are the network, and, where training is to go on, the
weights that it changes and the state of its optimizer. How the file is laid out and guarded is the
part of `files/checkpoints.py`.
"""

import json
import math
from dataclasses import dataclass, field

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from files.checkpoints import CheckpointError, read_checkpoint, write_checkpoint
from models import build, describe
from learning.optimizers import OPTIMIZERS


@dataclass
class TrainingState:
    """All that training needs to go on as if it had never stopped.

    Attributes:
        step: how many steps were taken.
        weights: the network's, as training changes them.
        averaged: their moving average, which the network ends with.
        optimizer: the state of the optimizer.
        optimizer_name: which that is, of `learning.optimizers.OPTIMIZERS`.
        losses: see `History`.
        seconds: wall time that all steps took.
    """

    step: int
    weights: dict
    averaged: dict
    optimizer: dict
    optimizer_name: str
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(path, model: nn.Module, config: dict, state: TrainingState | None = None):
    """Keep a network, what it was trained as, and what its training needs to go on.

    Args:
        path: file to write; folders are made. It appears whole or not at all.
        model: a network of `models.NETWORKS`. Its weights are kept, unless there is a state.
        config: whatever is to be known of it later, as JSON can hold it.
        state: of its training; then its averaged weights are the network's.
    """
    trees = {"model": state.averaged if state else model.parameters()}
    words = {"network": json.dumps(describe(model)), "config": json.dumps(config)}
    if state:
        steps, losses = zip(*state.losses, strict=True) if state.losses else ((), ())
        trees |= {
            "weights": state.weights,
            "optimizer": state.optimizer,
            "losses": {"step": mx.array(steps, mx.uint32), "loss": mx.array(losses, mx.float32)},
        }
        words |= {"step": str(state.step), "seconds": str(state.seconds)}
        words |= {"optimizer": state.optimizer_name}
    write_checkpoint(path, trees, words)


def load_checkpoint(path) -> tuple[nn.Module, dict]:
    """The network and the configuration that `save_checkpoint` kept.

    Raises:
        CheckpointError: for a file that is missing, damaged, of another version, or something
            else.
    """
    model, config, _ = load_training(path)
    return model, config


def load_training(path) -> tuple[nn.Module, dict, TrainingState | None]:
    """The same, and the state of training, None where none was kept."""
    trees, words = read_checkpoint(path)
    try:
        description = json.loads(words["network"])
        _check_size(description["shape"], trees)
        model = build(description)
        model.update(_like(model.parameters(), trees["model"]))
        if not all(np.isfinite(np.array(leaf)).all() for _, leaf in tree_flatten(trees["model"])):
            raise ValueError("a weight is not finite")
        config = json.loads(words["config"])
        return model, config, _state(model, trees, words) if "step" in words else None
    except Exception as error:  # of many kinds, since words may be anything
        raise CheckpointError.damaged(path, error) from None


def _check_size(shape: dict, trees: dict):
    """Raise a ValueError for a network that is larger than its arrays, before it is built."""
    leaves = [leaf for _, leaf in tree_flatten(trees)]
    most = max([len(leaves), *(size for leaf in leaves for size in leaf.shape)])
    for name, value in shape.items():
        if name == "scale" and (type(value) is not float or not 0 < value < math.inf):
            raise ValueError("scale is not a positive number")
        if isinstance(value, str) or name == "scale":
            continue
        if not (type(value) is int and 0 <= value <= most):
            raise ValueError(f"{name} is not a whole number from 0 to {most}")


def _state(model, trees: dict, words: dict[str, str]) -> TrainingState:
    """The state of training that is in a file, once it fits the network."""
    losses, fresh = trees["losses"], OPTIMIZERS[words["optimizer"]].make(0.0, 0.0)
    fresh.init(model.trainable_parameters())
    step, seconds = int(words["step"]), float(words["seconds"])
    if step < 0 or not 0 <= seconds < math.inf:
        raise ValueError("the number of steps, or their time, is not one")
    return TrainingState(
        step,
        _like(model.trainable_parameters(), trees["weights"]),
        _like(model.trainable_parameters(), trees["model"]),
        _like(fresh.state, trees["optimizer"]),
        words["optimizer"],
        list(zip(losses["step"].tolist(), losses["loss"].tolist(), strict=True)),
        seconds,
    )


def _like(expected, tree):
    """The tree, once it has the names and shapes of what is expected."""
    shapes = {name: leaf.shape for name, leaf in tree_flatten(expected)}
    found = {name: leaf.shape for name, leaf in tree_flatten(tree)}
    for name in shapes.keys() | found.keys():
        if shapes.get(name) != found.get(name):
            raise ValueError(
                f"the array {name} is {found.get(name, 'missing')}, and should be "
                f"{shapes.get(name, 'absent')}"
            )
    return tree
