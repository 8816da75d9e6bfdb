import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from files import checkpoints
from cfm import METHODS
from files.checkpoints import (
    CheckpointError,
    code_version,
    load_checkpoint,
    load_training,
    save_checkpoint,
)
from datasets import DATASETS
from likelihood import MaximumLikelihood
from models import MLP
from training import train

NORMAL = DATASETS["normal"]
MOONS = DATASETS["moons"]


def small(seed=0):
    mx.random.seed(seed)
    return MLP(width=8, depth=1, frequencies=0)


def weights(tree):
    return {name: np.array(leaf) for name, leaf in tree_flatten(tree)}


def same(a, b):
    a, b = (weights(model.parameters()) for model in (a, b))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


CONFIG = {
    "network": "mlp",
    "model": {"dim": 2, "width": 8, "depth": 2, "activation": "tanh"},
    "note": "σ = 0.1",
}


def test_checkpoint_round_trip(tmp_path):
    model = MLP(**CONFIG["model"])
    path = tmp_path / "deep" / "run.safetensors"
    save_checkpoint(path, model, CONFIG)
    loaded, config = load_checkpoint(path)
    assert config == CONFIG
    assert same(model, loaded)
    x = mx.random.normal((5, 2))
    assert mx.array_equal(model(mx.array(0.3), x), loaded(mx.array(0.3), x))
    assert [file.name for file in path.parent.iterdir()] == ["run.safetensors"]


def test_checkpoint_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, small(1), {"network": "mlp", "model": {}})
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(mx, "save_safetensors", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, small(2), {"network": "mlp", "model": {}})
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def _write(path, arrays, **metadata):
    mx.save_safetensors(str(path), arrays, {name: str(value) for name, value in metadata.items()})


GOOD = {"format": "flow-matching-checkpoint", "version": "2"}


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: None, "cannot be read"),
        (lambda path: path.write_text("weights"), "cannot be read"),
        (lambda path: _write(path, {"a": mx.ones(3)}), "not a checkpoint of this program"),
        (lambda path: _write(path, {}, **{**GOOD, "version": "9"}), "a newer version"),
        (lambda path: _write(path, {}, **{**GOOD, "version": "1"}), "another version"),
        (lambda path: _write(path, {}, **GOOD), "damaged"),
        (lambda path: _write(path, {}, **GOOD, config="{"), "damaged"),
        (lambda path: _write(path, {}, **GOOD, config='{"network": "x", "model": {}}'), "damaged"),
        (
            lambda path: _write(path, {}, **GOOD, config='{"network": "mlp", "model": {}}'),
            "damaged",
        ),
    ],
)
def test_what_is_no_checkpoint(tmp_path, spoil, complaint):
    path = tmp_path / "x.safetensors"
    spoil(path)
    with pytest.raises(CheckpointError, match=complaint):
        load_checkpoint(path)


def test_a_truncated_checkpoint(tmp_path):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, small(), {"network": "mlp", "model": {}})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)


CNF = MaximumLikelihood(NORMAL.log_prob, steps=2)
TRAININGS = {
    "cfm": (METHODS["cfm"](), {}),
    "AdamW, one cycle": (METHODS["vp"](), {"weight_decay": 0.1, "schedule": "one-cycle"}),
    "ot": (METHODS["ot"](), {}),
    "sb": (METHODS["sb"](), {"schedule": "constant"}),
    "cnf": (CNF, {"steps": 13}),
}
SMALL_CONFIG = {"network": "mlp", "model": {"width": 8, "depth": 1, "frequencies": 0}}


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("stop", [5, 37])
def test_resumed_training_ends_with_the_same_bits(tmp_path, name, stop):
    """As if it had never stopped: through a file, into a network with other weights."""
    method, how = TRAININGS[name]
    how = {"steps": 60, "batch_size": 32, "seed": 3} | how
    stop, path = min(stop, how["steps"] - 2), tmp_path / "run.safetensors"

    def save(history):
        if history.steps == stop:
            save_checkpoint(path, model, SMALL_CONFIG, history.state)

    model = small()
    history = train(model, method, NORMAL, MOONS, on_save=save, save_every=stop, **how)
    _, _, state, _ = load_training(path)
    assert state.step == stop and state.seconds > 0
    resumed = small(seed=1)
    again = train(resumed, method, NORMAL, MOONS, state=state, **how)
    assert same(model, resumed)
    assert again.resumed == stop and again.steps == how["steps"]
    for tree, other in (
        (history.state.optimizer, again.state.optimizer),
        (history.state.weights, again.state.weights),
    ):
        tree, other = weights(tree), weights(other)
        assert all(np.array_equal(leaf, other[name]) for name, leaf in tree.items())
    assert again.losses[0][0] <= stop and again.losses[-1][0] == how["steps"]


def test_a_network_is_the_average_while_training_is_not(tmp_path):
    path, model = tmp_path / "run.safetensors", small()
    history = train(model, METHODS["cfm"](), NORMAL, MOONS, steps=50)
    save_checkpoint(path, model, SMALL_CONFIG, history.state)
    loaded, _ = load_checkpoint(path)
    assert same(loaded, model)
    state = load_training(path)[2]
    averaged = weights(state.averaged)
    current = weights(state.weights)
    assert all(np.array_equal(a, averaged[n]) for n, a in weights(model.parameters()).items())
    assert not all(np.array_equal(a, averaged[n]) for n, a in current.items())


def test_without_a_state_there_is_nothing_to_resume(tmp_path):
    save_checkpoint(tmp_path / "run.safetensors", small(), SMALL_CONFIG)
    _, config, state, code = load_training(tmp_path / "run.safetensors")
    assert state is None and config == SMALL_CONFIG and code == code_version()


def _spoiled(path, spoil):
    arrays, metadata = mx.load(str(path), format="safetensors", return_metadata=True)
    spoil(arrays, metadata)
    mx.save_safetensors(str(path), arrays, metadata)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda a, m: a.pop("model.layers.0.weight"), "layers.0.weight is missing"),
        (lambda a, m: a.update({"model.extra": mx.ones(3)}), "model.extra|extra"),
        (lambda a, m: a.update({"model.layers.0.bias": mx.ones(9)}), r"\(9,\), and should be"),
        (lambda a, m: a.update({"model.layers.0.bias": mx.full((8,), mx.nan)}), "not finite"),
        (lambda a, m: a.pop("weights.layers.1.bias"), "layers.1.bias is missing"),
        (lambda a, m: a.pop("optimizer.layers.1.bias.m"), "layers.1.bias.m is missing"),
        (lambda a, m: a.update({"optimizer.layers.0.bias.v": mx.ones(9)}), "should be"),
        (lambda a, m: a.pop("optimizer.step"), "step"),
        (lambda a, m: a.pop("losses.step"), "losses|step"),
        (lambda a, m: m.update(step="many"), "damaged"),
        (lambda a, m: m.pop("seconds"), "seconds"),
        (lambda a, m: m.update(config="[]"), "damaged"),
        (lambda a, m: m.update(config=json.dumps(SMALL_CONFIG | {"model": "x"})), "damaged"),
        (lambda a, m: m.update(config=json.dumps(SMALL_CONFIG | {"model": {"w": 1}})), "damaged"),
    ],
)
def test_damage_is_told(tmp_path, spoil, complaint):
    path, model = tmp_path / "run.safetensors", small()
    history = train(model, METHODS["cfm"](), NORMAL, MOONS, steps=5)
    save_checkpoint(path, model, SMALL_CONFIG, history.state)
    _spoiled(path, spoil)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_training(path)
    assert "damaged" in str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_garbage_is_told(tmp_path, seed):
    """Bytes of a good file overwritten at random: an error of ours, or a file that still reads."""
    path, model = tmp_path / "run.safetensors", small()
    save_checkpoint(path, model, SMALL_CONFIG)
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(seed)
    places = rng.integers(0, min(len(content), 600), size=3)
    for place in places:
        content[place] = rng.integers(0, 256)
    path.write_bytes(content)
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error)


def test_a_state_is_not_changed_by_later_training():
    """Nor by resuming from it, twice."""
    states, how = [], {"steps": 40, "batch_size": 16, "seed": 2}
    model = small()
    keep = lambda history: states.append(history.state)  # noqa: E731
    train(model, METHODS["cfm"](), NORMAL, MOONS, on_save=keep, save_every=15, **how)
    first = states[0]
    before = weights([first.weights, first.averaged, first.optimizer])
    for seed in (5, 6):
        again = small(seed)
        train(again, METHODS["cfm"](), NORMAL, MOONS, state=first, **how)
        assert same(again, model)
    after = weights([first.weights, first.averaged, first.optimizer])
    assert all(np.array_equal(leaf, after[name]) for name, leaf in before.items())
    assert first.step == first.losses[-1][0] == 15


def test_what_is_saved_is_loaded(tmp_path):
    path, model = tmp_path / "run.safetensors", small()
    state = train(model, METHODS["cfm"](), NORMAL, MOONS, steps=250).state
    save_checkpoint(path, model, SMALL_CONFIG, state)
    loaded = load_training(path)[2]
    assert [step for step, _ in loaded.losses] == [1, 100, 200, 250]
    np.testing.assert_allclose(loaded.losses, state.losses, rtol=1e-6)
    assert loaded.seconds == state.seconds


def test_the_code_version_is_of_the_code(monkeypatch, tmp_path):
    before = code_version()
    for name in checkpoints.SOURCES:
        source = Path(checkpoints.__file__).with_name(f"{name}.py").read_bytes()
        (tmp_path / f"{name}.py").write_bytes(source)
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "checkpoints.py"))
    assert code_version() == before
    (tmp_path / "cfm.py").write_bytes(b"# another")
    assert code_version() != before
