"""The files that trained networks are kept in, and training that is to go on.

One safetensors file holds everything: arrays, and as metadata the configuration as JSON. Nothing
in it is ever executed. What the arrays mean to training is the business of `training.py`.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from models import build

FORMAT = "flow-matching-checkpoint"
VERSION = 2
# what decides, besides the configuration, which weights come out of training
SOURCES = (
    *("blas", "cfm", "checkpoints", "couplings", "datasets", "likelihood", "models", "odeint"),
    *("parallel", "points", "randomness", "runs", "settings", "solver", "training"),
)


class CheckpointError(ValueError):
    """A file that is no checkpoint of this program, or not a whole one."""


@dataclass
class TrainingState:
    """All that training needs to go on as if it had never stopped.

    Attributes:
        step: how many steps were taken.
        weights: the network's as training changes them.
        averaged: their moving average, which the network ends with.
        optimizer: the state of the optimizer.
        losses: see `training.History`.
        seconds: wall time that all steps took.
    """

    step: int
    weights: dict
    averaged: dict
    optimizer: dict
    losses: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(path, model: nn.Module, config: dict, state: TrainingState | None = None):
    """Write a network and its configuration to one safetensors file.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Args:
        path: where to; folders are made.
        model: its weights are saved, unless there is a state.
        config: everything needed to make it again, as JSON can hold it; see `models.build`.
        state: of its training, to go on from; then its averaged weights are the network's.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    trees = {"model": state.averaged if state else model.parameters()}
    if state:
        steps, losses = zip(*state.losses, strict=True) if state.losses else ((), ())
        trees |= {
            "weights": state.weights,
            "optimizer": state.optimizer,
            "losses": {"step": mx.array(steps, mx.uint32), "loss": mx.array(losses, mx.float32)},
        }
    metadata = {"format": FORMAT, "version": str(VERSION), "config": json.dumps(config)}
    metadata["code"] = code_version()
    if state:
        metadata |= {"step": str(state.step), "seconds": str(state.seconds)}
    part = path.with_name(f".{path.stem}.{os.getpid()}.safetensors")
    try:
        mx.save_safetensors(str(part), dict(tree_flatten(trees)), metadata)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path) -> tuple[nn.Module, dict]:
    """The network and the configuration that `save_checkpoint` wrote.

    Raises:
        CheckpointError: for a file that is missing, damaged, newer, or something else.
    """
    model, config, _, _ = _read(path)
    return model, config


def load_training(path) -> tuple[nn.Module, dict, TrainingState | None, str]:
    """Network, configuration, training state (None where none was saved) and code version.

    Raises:
        CheckpointError: for a file that is missing, damaged, newer, or something else.
    """
    model, config, trees, metadata = _read(path)
    if "step" not in metadata:
        return model, config, None, metadata.get("code", "")
    try:
        losses = trees["losses"]
        looks = zip(losses["step"].tolist(), losses["loss"].tolist(), strict=True)
        state = TrainingState(
            int(metadata["step"]),
            _like(model.trainable_parameters(), trees["weights"]),
            trees["model"],
            _like(_fresh_optimizer(model), trees["optimizer"]),
            list(looks),
            float(metadata["seconds"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    return model, config, state, metadata.get("code", "")


def code_version() -> str:
    """A digest of the code that training depends on, and MLX's version."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return f"{digest.hexdigest()[:12]} mlx {mx.__version__}"


def _read(path):
    """(model, config, all trees of arrays, metadata)."""
    if not Path(path).is_file():
        what = "is a folder" if Path(path).is_dir() else "does not exist"
        raise CheckpointError(f"'{path}' cannot be read: it {what}")
    try:
        arrays, metadata = mx.load(str(path), format="safetensors", return_metadata=True)
    except (RuntimeError, ValueError, OSError):
        raise CheckpointError(
            f"'{path}' cannot be read: it is no safetensors file, or not a whole one"
        ) from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    version = metadata.get("version", "")
    if version != str(VERSION):
        age = "a newer" if version.isdigit() and int(version) > VERSION else "another"
        raise CheckpointError(
            f"{path} was written by {age} version of this program: its format is {version!r}, "
            f"and this one reads {VERSION}"
        )
    try:
        config = json.loads(metadata["config"])
        model = build(config)
        trees = tree_unflatten(list(arrays.items()))
        model.update(_like(model.parameters(), trees["model"]))
        if not all(np.isfinite(np.array(leaf)).all() for _, leaf in tree_flatten(trees["model"])):
            raise ValueError("a weight is not finite")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    return model, config, trees, metadata


def _fresh_optimizer(model) -> dict:
    """The state of Adam, or AdamW, before the first step."""
    optimizer = optim.Adam(0.0)
    optimizer.init(model.trainable_parameters())
    return optimizer.state


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
