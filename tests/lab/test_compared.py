"""Trainings at once end as they would one after the other."""

import os
import signal
from pathlib import Path

import mlx.core as mx
import pytest

from lab import comparison, store
from lab.config import Config
from lab.settling import settle

STEPS = 1500


def test_interrupted_trainings_go_on_together(tmp_path, monkeypatch):
    small = {"steps": STEPS, "batch_size": 16, "width": 8, "depth": 1}
    runs = [settle(Config(method, **small)) for method in ("cfm", "vp")]
    monkeypatch.chdir(tmp_path)
    alone = [mx.load(str(store.learn(run).path)) for run in runs]
    for path in Path("runs").iterdir():
        path.unlink()
    pressed, seen = [], []

    def press(done, text):
        if done and not pressed:
            pressed.append(done)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        comparison.train_at_once(runs, 2, retrain=False, show=press)
    parts = [int(path.stem.rpartition("_step")[2]) for path in Path("runs").iterdir()]
    assert parts and all(0 < steps < STEPS for steps in parts)
    again = comparison.train_at_once(runs, 2, False, lambda done, text: seen.append(done))
    assert again == {} and seen == sorted(seen)
    assert seen[0] == pytest.approx(sum(parts) / 2)
    assert seen[-1] == pytest.approx(sum(comparison.training_costs(runs, 2)))
    for run, expected in zip(runs, alone, strict=True):
        kept = mx.load(str(store.checkpoint_path(run)))
        weights = [name for name in kept if not name.startswith("losses")]
        assert weights and all(mx.array_equal(kept[name], expected[name]) for name in weights)
