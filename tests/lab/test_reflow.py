"""Pairs that a flow makes: they are that flow's, training goes on with them, and others are not
taken for them."""

from dataclasses import replace

import json
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from cfm import rectified
from couplings import of_a_flow
from exact import nearly_exact_velocity, on_marginal
from datasets import DATASETS
from files.checkpoints import CheckpointError
from lab import reflow, store
from lab.config import Ancestor, Config, ConfigError
from lab.settling import settle
from odeint import odeint

SMALL = Config(steps=20, batch_size=16, width=8, depth=1, samples=32)
QUICK = {"steps": 20, "batch_size": 16, "samples": 32}


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reflow, "PAIRS", 512)
    return store.learn(settle(SMALL))


def straightened(learned, **options):
    return reflow.reflowed(learned.run, learned.field, learned.path, **QUICK | options)


def test_pairs_are_the_flows(teacher):
    run = straightened(teacher)
    coupling = reflow.taught_by(teacher.field, run).coupling
    x0, x1 = coupling.draw(200, mx.random.key(3))
    ends = odeint(teacher.field, x0, [0.0, 1.0], solver="dopri8", rtol=1e-6, atol=1e-6).x[-1]
    np.testing.assert_allclose(np.array(x1), np.array(ends), atol=2e-3)
    again = reflow.taught_by(teacher.field, run).coupling.draw(200, mx.random.key(3))
    assert mx.array_equal(x0, again[0]) and mx.array_equal(x1, again[1])
    assert not coupling.is_independent


def test_every_pair_of_the_table_is_drawn_alike():
    table = mx.arange(100, dtype=mx.float32)[:, None]
    draw = of_a_flow(table, -table).draw
    counts = np.zeros(100)
    for seed in range(40):
        x0, x1 = draw(500, mx.random.key(seed))
        assert mx.array_equal(x1, -x0)
        counts += np.bincount(np.array(x0[:, 0]).astype(int), minlength=100)
    assert np.abs(counts / 200 - 1).max() < 0.1  # 200 each
    order = np.array(draw(500, mx.random.key(1))[0][:, 0])  # times are in order, pairs must not be
    assert abs(np.corrcoef(order, np.arange(500))[0, 1]) < 0.2


def test_a_straight_flow_is_learned_without_a_rest():
    """The pairs (x, Ax + b) have one velocity at every place, which is its own mean: the least
    loss is 0, and that of independent pairs with the same ends is not."""
    slope, shift = mx.array([0.5, 2.0]), mx.array([1.0, -3.0])
    x0 = mx.random.normal((4096, 2), key=mx.random.key(0))
    method = replace(rectified(), coupling=of_a_flow(x0, slope * x0 + shift))

    def field(t, x):
        start = (x - t * shift) / (1 - t + t * slope)
        return (slope - 1) * start + shift

    pairs = method.coupling.draw(1000, mx.random.key(1))
    assert method.pair_loss(field, *pairs, mx.random.key(2)).item() < 1e-9
    shuffled = pairs[0], pairs[1][::-1]
    assert method.pair_loss(field, *shuffled, mx.random.key(2)).item() > 0.5


def test_training_goes_on_bit_for_bit(teacher):
    whole = store.learn(straightened(teacher, steps=40))
    kept = []

    def stop(history):
        if history.steps == 20:
            kept.append(history.state)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.learn(whole.run, stop, retrain=True, save_every=10)
    partial = store._partial_paths(whole.run)
    assert partial
    whole.path.unlink()
    again = store.learn(whole.run)
    assert not again.found and again.history.resumed in (10, 20)
    for (name, a), (_, b) in zip(
        tree_flatten(whole.field.parameters()), tree_flatten(again.field.parameters()), strict=True
    ):
        assert mx.array_equal(a, b), name


def test_ancestry_is_kept(teacher):
    first = store.learn(straightened(teacher))
    second = store.learn(straightened(first))
    config = store.load(second.path).run.config
    assert [each.checkpoint for each in config.ancestors] == [str(teacher.path), str(first.path)]
    assert [first.run.label, second.run.label] == ["reflow", "reflow2"]
    assert len({teacher.path, first.path, second.path}) == 3
    assert (config.source, config.target) == ("8gaussians", "moons")
    assert store.learn(straightened(teacher)).found


def test_without_a_checkpoint_it_straightens_cfm(teacher):
    learned = store.learn(settle(replace(SMALL, method="reflow")))
    assert learned.path == store.learn(straightened(teacher)).path
    assert store.learn(settle(replace(SMALL, method="reflow"))).found


def test_another_flow_in_its_place_is_not_learned_from(teacher):
    run = straightened(teacher)
    store.learn(settle(SMALL), retrain=True)  # the same weights again
    assert store.learn(run).path.exists()
    other = store.learn(settle(replace(SMALL, seed=5)))
    other.path.replace(teacher.path)
    with pytest.raises(CheckpointError, match="not the flow that this one learns from"):
        store.learn(run, retrain=True)
    teacher.path.unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        store.learn(run, retrain=True)
    assert store.find(run)  # what was learned needs it no more


def test_what_is_no_flow_is_refused(teacher):
    for config, why in (
        (Config(method="meanflow"), "a map and no flow"),
        (Config("cnf", "trainable-normal"), "source of its own"),
    ):
        with pytest.raises(CheckpointError, match=why):
            reflow.reflowed(settle(config), teacher.field, teacher.path)


def test_options_that_these_pairs_leave_no_room_for(teacher):
    for name, value in (("coupling", "ot"), ("regularization", 0.1), ("sigma", 0.2)):
        with pytest.raises(ConfigError) as caught:
            straightened(teacher, **{name: value})
        assert caught.value.option == name
    with pytest.raises(ConfigError, match="independent pairs"):
        straightened(teacher, regress="marginal")
    with pytest.raises(ConfigError, match="independent pairs"):
        straightened(teacher, network="exact")
    run = straightened(teacher)
    moons = DATASETS["moons"]
    assert nearly_exact_velocity(run.method, run.source, moons, mx.random.key(0)) is None
    with pytest.raises(ValueError, match="independent"):
        on_marginal(run.method, run.source)


def test_ancestors_are_read_strictly():
    kept = json.loads(json.dumps(Config(ancestors=(Ancestor("a", "b"),)).to_json()))
    assert Config.from_json(kept).ancestors == (Ancestor("a", "b"),)
    for wrong in ([{"checkpoint": "a"}], ["a"], [{"checkpoint": "a", "weights": "b", "more": 1}]):
        with pytest.raises(ValueError, match="ancestor"):
            Config.from_json(kept | {"ancestors": wrong})
