"""A run's network: made, trained, kept in a file, and found there again.

What a run is, `settings.py` decides; what its flow does, `evaluation.py` measures. Nothing here
prints, draws, or knows of the command line.
"""

import glob
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from files.checkpoints import (
    CheckpointError,
    TrainingState,
    code_version,
    load_training,
    save_checkpoint,
)
from exact import exact_velocity
from models import TRAINABLE, build
from lab.run import CNF, SOLVING, Run, settle
from training import LOOK_EVERY, History, train

SLOW_LOOK_EVERY = 10  # steps between looks at the loss of cnf


def with_learned_source(run: Run, model) -> Run:
    """The run with the source that its network has learned, if it learns one."""
    if run.source.name != TRAINABLE:
        return run
    source = replace(run.source, draw=model.source.sample, log_prob=model.source.log_prob)
    return replace(run, source=source)


def load(path, **changes) -> tuple[Run, Any]:
    """The run and the network of a checkpoint.

    Args:
        changes: options that are to be others than in training; None for none.

    Raises:
        CheckpointError: for what is no checkpoint of this program, or not a whole one.
        OptionError: where a change makes no sense.
    """
    run, model, _ = load_to_resume(path, **changes)
    return with_learned_source(run, model), model


def load_to_resume(path, **changes) -> tuple[Run, Any, TrainingState | None]:
    """The run of a checkpoint, its network, and what training needs to go on from there."""
    model, config, state, _ = load_training(path)
    changes = {name: value for name, value in changes.items() if value is not None}
    if "solver" in changes:
        changes = {"ode_steps": None, **changes}
    shape = {name: config["model"].get(name) for name in ("width", "depth", "activation")}
    run = settle({**config, **shape, **changes})
    return replace(run, config={**run.config, "model": config["model"]}), model, state


def new_model(run: Run):
    """The untrained network; or the exact field, which needs no training."""
    if run.is_exact:
        return exact_velocity(run.method, run.source, run.target.standard_points)
    mx.random.seed(run.config["seed"])
    return build(run.config)


def learn(run: Run, model, on_look: Callable, state=None, save_every: int | None = None):
    """Train the model as the configuration says, from a state on if one is given.

    Every `save_every` steps, and at the end, it is kept in place of what this training kept
    before; whole, it takes the place of all that was kept on the way.

    Returns:
        (history, path): what happened, a `training.History`, and where it is kept.
    """
    names = ("steps", "batch_size", "lr", "schedule", "weight_decay", "seed")
    path = None

    def save(history):
        nonlocal path
        path, before = keep(run, model, history), path
        older = [before] if before else []
        if history.steps == run.config["steps"]:
            older = path.parent.glob(f"{glob.escape(path.stem)}_step*")
        for file in older:
            if file != path:
                file.unlink(missing_ok=True)

    history = train(
        model,
        run.method,
        run.source,
        run.target.standardized(),
        on_look=on_look,
        look_every=SLOW_LOOK_EVERY if run.method.name == CNF else LOOK_EVERY,
        on_save=save,
        save_every=save_every,
        state=state,
        **{name: run.config[name] for name in names},
    )
    save(history)
    return history, path


def checkpoint_path(run: Run, step: int | None = None) -> Path:
    """Where a run's network is kept: a name that only the same training has, and the same step.

    Without a step, that of the whole training.
    """
    config = json.dumps(of_training(run.config), sort_keys=True)
    digest = hashlib.sha256(config.encode()).hexdigest()[:6]
    flow = "_".join((run.method.name, run.source.name, run.target.name))
    partial = "" if step in (None, run.config["steps"]) else f"_step{step}"
    return Path("runs", f"{flow}_seed{run.config['seed']}_{digest}{partial}.safetensors")


def of_training(config: dict) -> dict:
    """The part of a configuration that decides what weights come out of training."""
    ignored = (*SOLVING, "trained_steps")
    return {name: value for name, value in config.items() if name not in ignored}


def find(run: Run):
    """The longest training that was kept of exactly this run, by exactly this code.

    Returns:
        (model, state, path), or None.
    """
    whole = checkpoint_path(run)
    for path in [whole, *sorted(whole.parent.glob(f"{glob.escape(whole.stem)}_step*"), key=_step)]:
        try:
            model, config, state, code = load_training(path)
        except CheckpointError:
            continue
        same = of_training(config) == of_training(run.config) and code == code_version()
        if same and state:
            return model, state, path
    return None


def _step(path: Path) -> int:
    """Minus the step in a file's name."""
    digits = path.stem.rpartition("_step")[2]
    return -int(digits) if digits.isdigit() else 0


def keep(run: Run, model, history: History) -> Path:
    """Save the network and the state of its training."""
    path = checkpoint_path(run, history.steps)
    save_checkpoint(path, model, {**run.config, "trained_steps": history.steps}, history.state)
    return path
