"""Where runs are kept: learned once, kept in the folder runs/, and found there again.

A run is kept in one checkpoint, whose name says what flows where and ends in a digest of every
option that training depends on. What was learned with the same options by the same code is the
same run, and is not learned again.
"""

import glob
import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import mlx.core as mx

from cfm import REFLOW
from classes import with_classes
from exact import exact_velocity, on_marginal
from files.checkpoints import CheckpointError
from keeping import load_training, save_checkpoint
from lab.config import CNF, DATA, SOLVING_OPTIONS, Config, ConfigError
from lab.reflow import descended, taught_by, teacher_of
from lab.run import Run
from lab.settling import settle
from likelihood import CoarseSolveWarning
from machine import ranks
from machine.interrupts import deferred_interrupt
from machine.keys import PROBES, step_key
from models import TRAINABLE, build, describe
from odeint import OdeError
from sde import SDE_SOLVERS
from training import LOOK_EVERY, History, TrainingError, train

FOLDER = Path("runs")
CNF_LOOK_EVERY = 10  # steps between looks at the loss, each of which takes a while
CHECK_EVERY, CHECKED = 100, 64  # steps between finer solves, and points in each
MOST_GAINED = 0.2  # nats: by so much a training's loss may be better than that of a finer solve
ROOT = Path(__file__).parents[1]
DECISIVE = (  # code that training depends on,
    *("cfm.py", "classes.py", "couplings.py", "datasets.py", "exact.py", "keeping.py"),
    *("maps.py", "models.py", "training.py"),
    *("data/*.py", "learning/*.py", "files/*.py", "machine/*.py"),
    *("lab/config.py", "lab/methods.py", "lab/reflow.py", "lab/run.py", "lab/settling.py"),
    *("lab/sides.py", "lab/store.py"),
)
DECISIVE_FOR_CNF = (  # and that which only training with a solver does
    *("likelihood.py", "odeint.py", "ode/*.py", "solver.py"),
)


@dataclass(frozen=True)
class Learned:
    """A run with the field that it has learned.

    Attributes:
        run: its source is the learned one, where it learns one.
        field: a network, or the exact field.
        history: how its training went, and all that is needed to go on; None for the exact field.
        path: where it is kept; None for the exact field.
        found: whether it was there already, and nothing was trained.
        replaced: whether another file was kept there, of the same options by other code.
    """

    run: Run
    field: Callable
    history: History | None = None
    path: Path | None = None
    found: bool = False
    replaced: bool = False


def learn(
    run: Run,
    on_look: Callable[[History], None] = lambda history: None,
    *,
    start: Learned | None = None,
    retrain: bool = False,
    save_every: int | None = None,
) -> Learned:
    """Learn the field of a run and keep it; or find that this was done before.

    A flow that straightens another, and does not say which, learns `cfm` with the same options
    first; where that is stopped by Ctrl-C, it is what is returned.

    Args:
        on_look: see `training.train`; it is called before the first step, too.
        start: what was learned before, to go on from. Otherwise that is looked for.
        retrain: do not look.
        save_every: steps after which training is kept, besides at its end.

    Raises:
        TrainingError: where training fails; the last good weights are kept in its `kept`.
        KeyboardInterrupt: after SIGTERM or SIGHUP, once what was learned is kept.
    """
    if run.is_exact:
        points, labels = run.target.standard_points, run.target.labels
        return Learned(run, exact_velocity(run.method, run.source, points, labels=labels))
    if run.config.method == REFLOW and not run.config.ancestors:
        teacher = learn(teacher_of(run), on_look, retrain=retrain, save_every=save_every)
        if teacher.history.interrupted:
            return teacher
        run = descended(run, teacher.field, teacher.path)
    start = start or (None if retrain else find(run))
    finished = bool(start and start.history.steps >= run.config.steps)
    if ranks.number_of_first(finished) and not ranks.is_first():
        return Learned(run, new_model(run), History(), checkpoint_path(run), found=True)
    if finished:
        os.utime(start.path, ns=(time.time_ns(),) * 2)  # so that it is the newest
        return replace(start, found=True)
    replaced = not (start or retrain) and checkpoint_path(run).exists()
    model = start.field if start else new_model(run)
    history, path = _train(run, model, on_look, save_every, start and start.history.state)
    return Learned(_with_learned_source(run, model), model, history, path, replaced=replaced)


def new_model(run: Run):
    """The untrained network of a run."""
    mx.random.seed(run.config.seed)
    return build(_description(run))


def _description(run: Run) -> dict:
    """What `models.build` makes the run's network of."""
    config = run.config
    shape = {name: getattr(config, name) for name in ("width", "depth", "activation")}
    shape |= {"times": 2} if run.is_map else {"classes": len(run.classes)}
    if config.units == DATA and config.network == "mlp":
        shape["scale"] = run.target.deviation
    return {
        "network": config.network,
        "shape": {"dim": run.target.dim, **shape},
        "learns_source": config.source == TRAINABLE,
        "learns_score": run.method.learns_score,
    }


def _with_learned_source(run: Run, model) -> Run:
    if run.config.source != TRAINABLE:
        return run
    source = replace(run.source, draw=model.source.sample, log_prob=model.source.log_prob)
    return replace(run, source=source)


@deferred_interrupt()  # so that what is learned is kept before a signal ends the program
def _train(run: Run, model, on_look, save_every, state) -> tuple[History, Path]:
    """Train, and keep the outcome in place of all that this training kept on the way."""
    config, path = run.config, None

    def save(history):
        nonlocal path
        older, path = [path] if path else [], _keep(run, model, history)
        if history.steps == config.steps:
            older = _partial_paths(run)
        for file in older if ranks.is_first() else ():
            if file != path:
                file.unlink(missing_ok=True)

    on_look(History.of(state) if state else History())
    if config.method == CNF:
        on_look = _checking(run, model, on_look)
    try:
        history = train(
            model,
            _shown(run),
            run.source,
            run.target.standardized(),
            steps=config.steps,
            batch_size=config.batch_size,
            optimizer=config.optimizer,
            lr=config.lr,
            schedule=config.schedule,
            weight_decay=config.weight_decay,
            seed=config.seed,
            on_look=on_look,
            look_every=CNF_LOOK_EVERY if config.method == CNF else LOOK_EVERY,
            on_save=save,
            save_every=save_every,
            state=state,
        )
    except TrainingError as error:
        error.kept = _keep(run, model, error.history)
        raise
    save(history)
    return history, path


def _shown(run: Run):
    """The method, with what it is to show a network in training."""
    if run.config.regress == "marginal":
        return on_marginal(run.method, run.source)
    if run.classes:
        return with_classes(run.method, run.config.drop)
    if not run.config.ancestors:
        return run.method
    teacher = _read(run.config.ancestors[-1].checkpoint)[0] if ranks.is_first() else None
    return taught_by(teacher, run)


def _checking(run: Run, model, on_look) -> Callable[[History], None]:
    """`on_look`, and now and then a look at whether the loss is that of the flow; warns once."""
    x1, warned = run.target.standardized().sample(CHECKED, step_key(run.config.seed, PROBES)), []

    def look(history: History):
        on_look(history)
        at_the_end = history.steps == run.config.steps
        if warned or (history.steps % CHECK_EVERY and not at_the_end):
            return
        try:
            gain = run.method.gain(model, x1, step_key(run.config.seed, PROBES))
        except OdeError:  # a flow that cannot even be followed
            gain = math.inf
        if not gain < MOST_GAINED:
            warned.append(history.steps)
            warnings.warn(
                CoarseSolveWarning(
                    f"the loss after {history.steps:,} steps is {gain:.2g} nats below that of a "
                    "finer solve: training makes use of the solver's errors; take a smaller --lr, "
                    "or more --train-ode-steps"
                ),
                stacklevel=2,
            )

    return look


def _keep(run: Run, model, history: History) -> Path:
    path = checkpoint_path(run, history.steps)
    if not ranks.is_first():
        return path
    notes = {"trained_steps": history.steps, "code": _code_of(run)}
    save_checkpoint(path, model, run.config.to_json() | notes, history.state)
    return path


def checkpoint_path(run: Run, step: int | None = None) -> Path:
    """Where a run is kept after so many steps, or after all: a name that no other run has."""
    config = run.config
    options = json.dumps(config.of_training().to_json(), sort_keys=True)
    digest = hashlib.sha256(options.encode()).hexdigest()[:6]
    partial = "" if step in (None, config.steps) else f"_step{step}"
    flow = f"{run.label}_{run.source.name}_{run.target.name}"
    return FOLDER / f"{flow}_seed{config.seed}_{digest}{partial}.safetensors"


def last_kept(run: Run) -> Path | None:
    """Where the most of this run is kept, if anything is."""
    return next(filter(Path.exists, [checkpoint_path(run), *_partial_paths(run)]), None)


def _partial_paths(run: Run) -> list[Path]:
    """Where this run is kept after only a part of its steps, the most steps first."""
    whole = checkpoint_path(run)
    found = {}
    for path in FOLDER.glob(f"{glob.escape(whole.stem)}_step*.safetensors"):
        if step := re.fullmatch(r"_step(\d+)", path.stem.removeprefix(whole.stem)):
            found[path] = int(step[1])
    return sorted(found, key=found.get, reverse=True)


def find(run: Run) -> Learned | None:
    """What was learned of exactly this run by exactly this code: of several, the longest."""
    for path in [checkpoint_path(run), *_partial_paths(run)]:
        try:
            model, config, history, code = _read(path)
        except CheckpointError:
            continue
        same = config.of_training() == run.config.of_training() and code == _code_of(run)
        if same and history.state:
            return Learned(_with_learned_source(run, model), model, history, path)
    return None


def load(path, **changes) -> Learned:
    """What is kept in a checkpoint.

    Args:
        changes: options that are to be others than they were in training; None for none.

    Raises:
        CheckpointError: for what is no checkpoint of a run, or not a whole one, or cannot be used
            any more.
        ConfigError: where a change makes no sense.
    """
    model, config, history, _ = _read(path)
    changes = {name: value for name, value in changes.items() if value is not None}
    if "solver" in changes:
        noise = {} if changes["solver"] in SDE_SOLVERS else {"diffusion": 0.0}
        changes = {"ode_steps": None} | noise | changes
    elif bool(changes.get("diffusion", config.diffusion)) != bool(config.diffusion):
        changes = {"solver": None, "ode_steps": None} | changes
    try:
        run = settle(replace(config, **changes))
    except ConfigError as error:
        if error.option in changes:
            raise
        raise CheckpointError(f"'{path}' cannot be used: {str(error).removesuffix('.')}") from None
    if not _fits(model, run):
        raise CheckpointError(f"'{path}' is damaged: its network is not that of its options")
    return Learned(_with_learned_source(run, model), model, history, Path(path), found=True)


def _fits(model, run: Run) -> bool:
    """Whether a network is that of a run."""
    found, wanted = describe(model), _description(run)
    same_shape = wanted.pop("shape").items() <= found.pop("shape").items()
    return same_shape and found == wanted


def load_to_resume(path, changes: dict) -> Learned:
    """What is kept in a checkpoint, with training that can go on.

    Args:
        changes: options that are to be others than they were: how the flow is solved, and, where
            the learning rate is constant, a larger number of steps.

    Raises:
        CheckpointError: for what is no checkpoint of a run, or not a whole one.
        ConfigError: for other changes, and where there is nothing to go on with.
    """
    later = {name: changes[name] for name in changes if name in SOLVING_OPTIONS}
    learned = load(path, **later)
    config, steps = learned.run.config, changes.get("steps", 0)
    for name, value in changes.items():
        before = getattr(config, name)
        longer = name == "steps" and value > before
        if value == before or name in SOLVING_OPTIONS or (longer and config.schedule == "constant"):
            continue
        why = (
            f"{value!r} cannot take the place of {before!r} in training that goes on; only how the "
            "flow is solved can be changed."
        )
        if longer:
            why = (
                f"{value:,} steps are more than the {before:,} of this training, at whose end the "
                "learning rate is 0. To train longer, train anew: the same options, without "
                "--resume."
            )
        raise ConfigError(name, why)
    if learned.history.state is None:
        raise ConfigError("resume", f"'{path}' holds a network, and no training to go on with.")
    for name in learned.run.changed_files:
        raise ConfigError("resume", f"'{name}' is not what it was when this began.")
    config = replace(config, steps=max(steps, config.steps))
    return replace(learned, run=replace(learned.run, config=config))


def _read(path):
    """(network, Config, History, code) of a file."""
    model, kept, state = load_training(path)
    try:
        steps, code = kept.pop("trained_steps"), kept.pop("code")
        history = History.of(state) if state else History(steps=steps, resumed=steps)
        if type(steps) is not int or history.steps != steps or type(code) is not str:
            raise ValueError("the number of its steps, or the version of its code, is not one")
        return model, Config.from_json(kept), history, code
    except Exception as error:  # of many kinds, since what was kept may be anything
        raise CheckpointError.damaged(path, error) from None


def newest() -> Path:
    """The checkpoint that was last kept, or found, in the folder runs/.

    Raises:
        CheckpointError: if there is none.
    """
    paths = list(FOLDER.glob("*.safetensors"))
    if not paths:
        raise CheckpointError(f"the folder '{FOLDER}' holds no checkpoint yet")
    return max(paths, key=lambda path: path.stat().st_mtime)


def _code_of(run: Run) -> str:
    """The version of the code that this run is trained by."""
    return CODE_FOR_CNF if run.config.method in (CNF, REFLOW) else CODE


def _version(patterns) -> str:
    """A digest of code, and MLX's version."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
        digest.update(path.read_bytes())
    return f"{digest.hexdigest()[:12]} mlx {mx.__version__}"


# taken once: the code that is running, whatever becomes of the files
CODE, CODE_FOR_CNF = _version(DECISIVE), _version(DECISIVE + DECISIVE_FOR_CNF)
