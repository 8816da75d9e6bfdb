"""Runs are kept, found again, and go on to what they would have been."""

import json
import os
import re
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shared import QUICK, arrays_of, newest, options_of, spoiled, the_error

from files.checkpoints import CheckpointError
from lab import store
from lab.config import Config
from lab.settling import settle
from likelihood import CoarseSolveWarning
from odeint import OdeError

SMALL = Config(steps=20, batch_size=16, width=8, depth=1, samples=32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_a_run_is_learned_once(folder):
    run = settle(SMALL)
    learned = store.learn(run)
    assert not learned.found and learned.path == store.checkpoint_path(run)
    again = store.learn(settle(replace(SMALL, solver="rk4", samples=8)))
    assert again.found and again.path == learned.path
    assert again.run.config.solver == "rk4"
    np.testing.assert_allclose(again.history.losses, learned.history.losses, rtol=1e-6)
    x = mx.random.normal((5, 2))
    assert mx.array_equal(learned.field(0.3, x), again.field(0.3, x))
    assert not store.learn(run, retrain=True).found
    assert not store.learn(settle(replace(SMALL, seed=1))).found
    assert len(list(folder.iterdir())) == 2


def test_another_code_is_another_run(folder, monkeypatch):
    run = settle(SMALL)
    store.learn(run)
    assert store.find(run)
    monkeypatch.setattr("lab.store.CODE", "another")
    assert store.find(run) is None


def test_the_code_version_is_of_the_code(tmp_path, monkeypatch):
    root = store.ROOT
    patterns = store.DECISIVE + store.DECISIVE_FOR_CNF
    for pattern in patterns:
        for path in root.glob(pattern):
            copy = tmp_path / path.relative_to(root)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(store, "ROOT", tmp_path)
    assert store._version(store.DECISIVE) == store.CODE
    assert store._version(patterns) == store.CODE_FOR_CNF
    (tmp_path / "solver.py").write_bytes(b"# another")
    assert store._version(store.DECISIVE) == store.CODE
    assert store._version(patterns) != store.CODE_FOR_CNF
    (tmp_path / "cfm.py").write_bytes(b"# another")
    assert store._version(store.DECISIVE) != store.CODE


def test_what_is_loaded_is_what_was_kept(folder):
    run = settle(replace(SMALL, method="poly", power=3.0, solver="euler", ode_steps=7))
    path = store.learn(run).path
    loaded = store.load(path)
    assert loaded.run.config == run.config
    assert loaded.run.method.name == "poly" and loaded.history.steps == 20
    other = store.load(path, solver="dopri5", samples=5)
    assert other.run.config == replace(run.config, solver="dopri5", ode_steps=None, samples=5)


def test_a_learned_source_is_loaded(folder):
    config = Config(method="cnf", source="trainable-normal", steps=3, width=8, depth=1)
    path = store.learn(settle(replace(config, batch_size=16, train_ode_steps=2))).path
    first, second = store.load(path), store.load(path)
    key = mx.random.key(0)
    assert mx.array_equal(first.run.source.sample(4, key), second.run.source.sample(4, key))
    normal = mx.random.normal((4, 2), key=key)
    assert not mx.allclose(first.run.source.sample(4, key), normal, atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda kept: kept.pop("lr"), "'lr' is missing"),
        (lambda kept: kept.update(speed=3), "'speed' is unknown"),
        (lambda kept: kept.update(width="wide"), "'wide' is not a whole number"),
        (lambda kept: kept.update(method="vq"), "'vq' is not known"),
        (lambda kept: kept.update(depth=10**7), "not a whole number from 1 to 64"),
        (lambda kept: kept.pop("code"), "code"),
        (lambda kept: kept.update(units={"mean": 1}), "damaged"),
    ],
)
def test_damaged_options_are_told(folder, spoil, complaint):
    path = store.learn(settle(SMALL)).path

    def rewrite(arrays, words):
        kept = json.loads(words["config"])
        spoil(kept)
        words["config"] = json.dumps(kept)

    spoiled(path, rewrite)
    with pytest.raises(CheckpointError, match=re.escape(complaint)):
        store.load(path)


def test_only_its_own_files_are_removed(folder):
    """What lies beside a finished run under like names stays."""
    run = settle(SMALL)
    whole = store.checkpoint_path(run)
    others = [f"{whole.stem}_step5_samples.npy", f"{whole.stem}_step5_mine.safetensors"]
    folder.mkdir()
    for name in others:
        (folder / name).write_text("mine")
    store.learn(run, save_every=5)
    assert {path.name for path in folder.iterdir()} == {whole.name, *others}


@pytest.mark.parametrize("gain", [0.3, None])
def test_a_loss_that_a_finer_solve_does_not_find_is_told_once(folder, monkeypatch, gain):
    """Also where the flow cannot even be followed; a small difference is none."""

    def found(self, model, x1, key):
        if gain is None:
            raise OdeError("10 steps did not reach t = 1", 0.5, 0.1)
        return gain

    monkeypatch.setattr("lab.store.CHECK_EVERY", 1)
    monkeypatch.setattr("lab.store.CNF_LOOK_EVERY", 1)
    monkeypatch.setattr("likelihood.MaximumLikelihood.gain", found)
    config = replace(SMALL, method="cnf", steps=3, train_solver="euler", train_ode_steps=1)
    with pytest.warns(CoarseSolveWarning, match="after 1 steps .* smaller --lr") as warned:
        store.learn(settle(config))
    assert len(warned) == 1
    monkeypatch.setattr("likelihood.MaximumLikelihood.gain", lambda *_: 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.learn(settle(config), retrain=True)


def test_the_newest(folder):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        store.newest()
    first, second = (store.learn(settle(replace(SMALL, seed=seed))).path for seed in (0, 1))
    assert store.newest() == second
    store.learn(settle(SMALL))  # found, and so the newest
    assert store.newest() == first


def _interrupted_at(monkeypatch, step: int):
    """Ctrl-C when training has come so far."""
    train = store.train

    def pressing(*arguments, on_look, **how):
        def look(history):
            if history.steps >= step:
                os.kill(os.getpid(), signal.SIGINT)
            on_look(history)

        return train(*arguments, on_look=look, **how)

    monkeypatch.setattr("lab.store.LOOK_EVERY", 10)
    monkeypatch.setattr("lab.store.train", pressing)


@pytest.mark.parametrize("how", ["--resume", "the same command"])
def test_training_goes_on_to_the_same_weights(program, run, monkeypatch, how):
    arguments = ["--method", "ot", "--seed", "5"]
    run(*arguments)
    (whole,) = Path("runs").iterdir()
    expected = whole.read_bytes()
    whole.unlink()
    with monkeypatch.context() as patched:
        _interrupted_at(patched, 10)
        assert "10 steps of 30: stopped by Ctrl-C" in run(*arguments).output
    (part,) = Path("runs").iterdir()
    assert part.stem == f"{whole.stem}_step10"
    if how == "--resume":
        again = program("--resume", part, "--solver", "rk4", "--samples", "32")
    else:
        again = run(*arguments, "--solver", "rk4")
    assert again.exit_code == 0, again.output
    assert "30 steps, resumed after 10" in again.output and "with rk4" in again.output
    assert list(Path("runs").iterdir()) == [whole]
    ours, theirs = (arrays_of(content) for content in (whole.read_bytes(), expected))
    assert ours == theirs
    done = program("--resume", whole)
    assert done.exit_code == 0 and f"found in {whole}: 30 steps" in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lr", "0.1"], ["--lr", "0.1", "0.015"]),
        (["--method", "vp"], ["--method", "vp", "cfm"]),
        (["--width", "9"], ["--width", "9", "8"]),
        (["--steps", "20"], ["--steps", "20", "30"]),
        (["--steps", "40"], ["--steps", "40", "30", "To train longer", "without --resume"]),
        (["--retrain"], ["--retrain", "--resume"]),
    ],
)
def test_resumed_training_goes_on_as_it_began(program, checkpoint, arguments, words):
    path = checkpoint()
    sentence = the_error(program("--resume", path, *arguments))
    for word in words:
        assert word in sentence
    assert program("--resume", path, "--width", "8", "--lr", "0.015").exit_code == 0


def test_training_at_a_constant_rate_can_be_made_longer(program, run, checkpoint):
    path = checkpoint("--schedule", "constant")
    longer = program("--resume", path, "--steps", "40")
    assert longer.exit_code == 0 and "40 steps, resumed after 30" in longer.output
    ours = arrays_of(newest().read_bytes())
    run("--schedule", "constant", "--steps", "40", "--retrain")
    assert arrays_of(newest().read_bytes()) == ours


def test_nothing_to_resume(program):
    Path("x.safetensors").write_bytes(b"weights")
    for name in ("x.safetensors", "y.safetensors"):
        sentence = the_error(program(*QUICK, "--resume", name))
        assert "--resume" in sentence and "cannot be read" in sentence


def test_training_on_other_points_is_not_resumed(program, checkpoint):
    points = np.random.default_rng(0).normal(size=(50, 2))
    np.savetxt("a.csv", points, delimiter=",")
    resume = ["--resume", checkpoint("--target", "a.csv"), "--samples", "16"]
    assert program(*resume).exit_code == 0
    np.savetxt("a.csv", points + np.array([0, 1e-9]), delimiter=",")
    assert "'a.csv' is not what it was" in the_error(program(*resume))
    Path("a.csv").unlink()
    assert "'a.csv' is not what it was" in the_error(program(*resume))


def test_saving_on_the_way_leaves_one_file(run, monkeypatch):
    kept = []
    keep = store._keep
    monkeypatch.setattr("lab.store._keep", lambda *a: kept.append(keep(*a)) or kept[-1])
    run("--save-every", "8")
    assert [path.stem.rpartition("_step")[2] for path in kept[:-1]] == ["8", "16", "24"]
    assert list(Path("runs").iterdir()) == [kept[-1]]
    assert options_of(kept[-1])["trained_steps"] == 30
