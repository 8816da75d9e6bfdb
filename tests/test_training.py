import os
import signal
import sys
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from shared import spoiled

from cfm import METHODS
from couplings import Coupling, independent
from datasets import DATASETS
from files.checkpoints import CheckpointError
from likelihood import MaximumLikelihood
from models import MLP, ConcatSquash
from odeint import StepBudgetError
from training import (
    LOOK_EVERY,
    LR_SCHEDULES,
    NonFiniteLossError,
    TrainingError,
    load_checkpoint,
    load_training,
    save_checkpoint,
    train,
)

NORMAL = DATASETS["normal"]
INDEPENDENT = independent()


def small(seed=0):
    mx.random.seed(seed)
    return MLP(width=8, depth=1, waves_of_t=0, waves_of_x=0)


def weights(model):
    return {name: np.array(leaf) for name, leaf in tree_flatten(model.parameters())}


def same(a, b) -> bool:
    """Whether two trees have the same names and the same bits."""
    a, b = ({name: np.array(leaf) for name, leaf in tree_flatten(tree)} for tree in (a, b))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@dataclass
class Recorder:
    """A method whose loss is the mean of the model's output at the batch it was given: a new
    batch every step makes it move, the same one again would not."""

    loss_of: object
    coupling: Coupling = INDEPENDENT

    def examples(self, x0, x1, key):
        return x0, x1, key

    def error(self, model, *examples):
        return self.loss_of(model, *examples)


def test_draws_differ_from_step_to_step_and_follow_the_seed():
    """Weights are frozen by a tiny rate, so that the losses show the draws alone."""

    def losses(seed):
        seen = []
        method = Recorder(
            lambda model, x0, x1, key: mx.mean(x0) + 0 * model(mx.array(0.0), x0).sum()
        )
        train(
            small(),
            method,
            NORMAL,
            NORMAL,
            steps=4 * LOOK_EVERY,
            batch_size=1,
            lr=1e-9,
            seed=seed,
            on_look=lambda history: seen.append(history.losses[-1][1]),
        )
        return seen

    first, again, other = losses(0), losses(0), losses(1)
    assert first == again
    assert first != other
    assert len(set(first)) == len(first)
    # 100 independent standard normals have a mean of deviation 0.1, one repeated has 1
    assert np.std(first[1:]) < 0.4


def test_same_seed_same_weights():
    runs = []
    for seed in (0, 0, 1):
        model = small()
        train(model, METHODS["cfm"](), NORMAL, DATASETS["moons"], steps=50, seed=seed)
        runs.append(model)
    assert same(runs[0].parameters(), runs[1].parameters())
    assert not same(runs[0].parameters(), runs[2].parameters())


def test_learns_a_shift():
    """From N(0, I) to N(0, I) + (3, −1) by `cfm` with σ = 0 the flow's mean velocity is (3, −1)."""

    class Shifted:
        def sample(self, n, key):
            return NORMAL.sample(n, key) + mx.array([3.0, -1.0])

    model = small()
    history = train(model, METHODS["cfm"](sigma=0.0), NORMAL, Shifted(), steps=1500, lr=1e-2)
    x = NORMAL.sample(2000, mx.random.key(9))
    mean = np.array(mx.mean(model(mx.array(0.0), x), axis=0))
    np.testing.assert_allclose(mean, [3, -1], atol=0.15)
    # ut given xt has variance (1 − t)² + t² − …: the loss cannot fall below ∫ 1/((1−t)² + t²) dt
    assert history.losses[-1][1] == pytest.approx(np.pi / 2, abs=0.25)


def test_senseless_arguments():
    with pytest.raises(ValueError, match="steps must be 1 or more"):
        train(small(), METHODS["cfm"](), NORMAL, NORMAL, steps=0)
    with pytest.raises(ValueError, match="N\\(0, I\\), not moons"):
        train(small(), METHODS["fm"](), DATASETS["moons"], NORMAL, steps=1)


def test_history():
    looks = []
    steps = 2 * LOOK_EVERY + 7
    history = train(
        small(),
        METHODS["cfm"](),
        NORMAL,
        NORMAL,
        steps=steps,
        on_look=lambda history: looks.append(history.steps),
    )
    assert history.steps == steps
    assert looks == [step for step, _ in history.losses] == [1, LOOK_EVERY, 2 * LOOK_EVERY, steps]
    assert not history.interrupted
    assert history.steps_per_second > 0


def test_the_model_ends_with_averaged_weights():
    """With a loss linear in the weights Adam moves every one of them by lr a step; the average
    lags behind the last weights by the mean of the steps since."""
    method = Recorder(
        lambda model, x0, x1, key: sum(leaf.sum() for _, leaf in tree_flatten(model.parameters()))
    )
    steps, decay, lr = 400, 0.9, 1e-3
    model = small()
    start = weights(model)
    train(model, method, NORMAL, NORMAL, steps=steps, lr=lr, average=decay)
    rates = lr * (1 + np.cos(np.pi * np.arange(steps) / steps)) / 2
    weight = average = 0.0
    for n, rate in enumerate(rates, start=1):
        weight -= rate
        kept = min(decay, n / (9 + n))
        average = kept * average + (1 - kept) * weight
    for name, end in weights(model).items():
        np.testing.assert_allclose(end - start[name], average, rtol=2e-3)


def slope_of_one(model, x0, x1, key):
    """A loss by which Adam moves every weight down by the learning rate, step by step."""
    return sum(leaf.sum() for _, leaf in tree_flatten(model.parameters()))


RATES = {
    "constant": lambda n, steps: np.ones(steps),
    "cosine": lambda n, steps: (1 + np.cos(np.pi * n / steps)) / 2,
    "one-cycle": lambda n, steps: np.where(
        n < 0.3 * steps,
        1 / 25 + 24 / 25 * n / (0.3 * steps),
        (1 + np.cos(np.pi * (n - 0.3 * steps) / (0.7 * steps))) / 2,
    ),
}


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_schedules(schedule):
    """The way that weights go is the sum of the rates."""
    steps, lr, seen = 200, 1e-3, []
    model = small()
    start = weights(model)["layers.0.weight"]

    def look(history):
        seen.append((history.steps, np.mean(start - weights(model)["layers.0.weight"])))

    train(
        model,
        Recorder(slope_of_one),
        NORMAL,
        NORMAL,
        steps=steps,
        lr=lr,
        schedule=schedule,
        on_look=look,
        look_every=20,
    )
    way = lr * np.cumsum(RATES[schedule](np.arange(steps), steps))
    for step, moved in seen:
        assert moved == pytest.approx(way[step - 1], rel=0.01)


def test_weight_decay_is_that_of_adamw():
    """Each step shrinks a weight by lr · decay besides Adam's own step, lr."""
    steps, lr, decay = 100, 1e-2, 0.5
    model, ends = small(), []
    start = weights(model)["layers.0.weight"]
    train(
        model,
        Recorder(slope_of_one),
        NORMAL,
        NORMAL,
        steps=steps,
        lr=lr,
        schedule="constant",
        weight_decay=decay,
        average=0.0,
        on_look=lambda history: ends.append(weights(model)["layers.0.weight"]),
    )
    expected = start
    for _ in range(steps):
        expected = expected * (1 - lr * decay) - lr
    np.testing.assert_allclose(weights(model)["layers.0.weight"], expected, rtol=1e-4, atol=1e-5)


def test_transport_is_trained_by_the_seed_alone(monkeypatch):
    """However many threads assign, and however many batches ahead."""
    ends = []
    for ahead in (1, 2**23):
        monkeypatch.setattr("training.MATCH_AHEAD", ahead)
        model = small()
        train(model, METHODS["ot"](), NORMAL, DATASETS["moons"], steps=30, batch_size=32, seed=4)
        ends.append(weights(model)["layers.0.weight"])
    np.testing.assert_allclose(*ends, rtol=1e-5)


@pytest.mark.parametrize("name", ["ot", "sb"])
def test_training_sees_the_coupled_pairs(name):
    """What a network is shown are pairs much nearer than independent ones."""
    distances = {}
    for coupling in ("independent", name):
        method = Recorder(
            lambda model, x0, x1, key: (
                mx.mean(mx.sum(mx.square(x0 - x1), axis=1)) + 0 * model(0.0, x0).sum()
            ),
            METHODS[name](coupling=None if coupling == name else coupling).coupling,
        )
        train(
            small(),
            method,
            NORMAL,
            DATASETS["8gaussians"],
            steps=20,
            batch_size=64,
            on_look=lambda history, c=coupling: distances.update({c: history.losses[-1][1]}),
        )
    assert distances[name] < 0.7 * distances["independent"]


def test_non_finite_loss_keeps_the_last_good_weights():
    """The loss drives a bias upwards and stops being a number once the bias passes a limit."""
    model = small()
    begin = model.layers[-1].bias[0].item()
    limit = begin + 0.25

    def loss(model, x0, x1, key):
        bias = model.layers[-1].bias[0]
        return -bias / mx.where(bias < limit, 1.0, mx.nan)

    with pytest.raises(NonFiniteLossError, match="smaller --lr") as caught:
        train(model, Recorder(loss), NORMAL, NORMAL, steps=10_000, lr=1e-3, average=0.5)
    # at 1e-3 a step the limit is passed near step 250; the look before it was at step 200
    assert caught.value.history.steps == 2 * LOOK_EVERY
    assert all(np.isfinite(leaf).all() for leaf in weights(model).values())
    kept = caught.value.history.state  # from which training could go on as from any other
    assert kept.step == 2 * LOOK_EVERY and same(kept.averaged, model.parameters())
    assert all(np.isfinite(np.array(leaf)).all() for _, leaf in tree_flatten(kept.weights))
    assert model.layers[-1].bias[0].item() == pytest.approx(begin + 0.2, abs=0.01)


def test_a_failed_solve_keeps_the_last_good_weights():
    """A solver gives up in step 14; what is kept is that of the look after step 10, bit for bit."""

    def failing(steps):
        calls = []

        def loss(model, x0, x1, key):
            calls.append(1)
            if len(calls) > steps:
                raise StepBudgetError("10 steps did not reach t = 1; raise max_steps.", 0.5, 0.1)
            return mx.mean(mx.square(model(0.5, x0) - x1))

        method = Recorder(loss)
        method.compiled = False
        return method

    how = {"batch_size": 8, "look_every": 10, "schedule": "constant"}
    expected, model = small(), small()
    train(expected, failing(100), NORMAL, NORMAL, steps=10, **how)
    with pytest.raises(TrainingError, match="by step 14: 10 steps did not reach t = 1") as caught:
        train(model, failing(13), NORMAL, NORMAL, steps=50, **how)
    assert caught.value.history.steps == caught.value.history.state.step == 10
    assert same(model.parameters(), expected.parameters())


def test_non_finite_from_the_start():
    model = small()
    before = weights(model)
    method = Recorder(lambda model, x0, x1, key: model(mx.array(0.0), x0).sum() * mx.inf)
    with pytest.raises(NonFiniteLossError) as caught:
        train(model, method, NORMAL, NORMAL, steps=500)
    assert caught.value.history.steps == 0
    assert all(np.array_equal(before[name], leaf) for name, leaf in weights(model).items())


def test_interrupt_keeps_what_was_learned():
    def press(history):
        if history.steps > LOOK_EVERY:
            os.kill(os.getpid(), signal.SIGINT)

    model = small()
    before = small()
    history = train(
        model, METHODS["cfm"](), NORMAL, DATASETS["moons"], steps=100_000, on_look=press
    )
    assert history.interrupted
    assert LOOK_EVERY < history.steps < 5 * LOOK_EVERY
    assert not same(model.parameters(), before.parameters())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


MOONS = DATASETS["moons"]
TRAININGS = {
    "cfm": (METHODS["cfm"](), {}),
    "AdamW, one cycle": (METHODS["vp"](), {"weight_decay": 0.1, "schedule": "one-cycle"}),
    "ot": (METHODS["ot"](), {}),
    "sb": (METHODS["sb"](), {"schedule": "constant"}),
    "cnf": (MaximumLikelihood(NORMAL.log_prob, steps=2), {"steps": 13}),
}


@pytest.mark.parametrize("name", TRAININGS)
@pytest.mark.parametrize("stop", [5, 37])
def test_resumed_training_ends_with_the_same_bits(tmp_path, name, stop):
    """As if it had never stopped: through a file, into a network with other weights."""
    method, how = TRAININGS[name]
    how = {"steps": 60, "batch_size": 32, "seed": 3} | how
    stop, path = min(stop, how["steps"] - 2), tmp_path / "run.safetensors"

    def save(history):
        if history.steps == stop:
            save_checkpoint(path, model, {}, history.state)

    model = small()
    history = train(model, method, NORMAL, MOONS, on_save=save, save_every=stop, **how)
    _, _, state = load_training(path)
    assert state.step == stop and state.seconds > 0
    resumed = small(seed=1)
    again = train(resumed, method, NORMAL, MOONS, state=state, **how)
    assert same(model.parameters(), resumed.parameters())
    assert same(history.state.optimizer, again.state.optimizer)
    assert same(history.state.weights, again.state.weights)
    assert again.resumed == stop and again.steps == how["steps"]
    assert again.losses[0][0] <= stop and again.losses[-1][0] == how["steps"]


def test_what_is_kept_is_loaded(tmp_path):
    """The average is the network; training goes on with the weights themselves."""
    path, model = tmp_path / "run.safetensors", small()
    state = train(model, METHODS["cfm"](), NORMAL, MOONS, steps=250).state
    save_checkpoint(path, model, {"note": "σ"}, state)
    loaded, config = load_checkpoint(path)
    found = load_training(path)[2]
    assert config == {"note": "σ"}
    assert same(loaded.parameters(), model.parameters())
    assert same(found.averaged, model.parameters()) and same(found.weights, state.weights)
    assert not same(found.averaged, found.weights)
    assert [step for step, _ in found.losses] == [1, 100, 200, 250]
    np.testing.assert_allclose(found.losses, state.losses, rtol=1e-6)
    assert found.seconds == state.seconds


@pytest.mark.parametrize("network", [MLP, ConcatSquash])
def test_a_network_without_a_state(tmp_path, network):
    model = network(dim=3, width=8, depth=2, activation="tanh")
    save_checkpoint(tmp_path / "run.safetensors", model, {"a": 1})
    loaded, config, state = load_training(tmp_path / "run.safetensors")
    assert (config, state) == ({"a": 1}, None)
    x = mx.random.normal((5, 3))
    assert mx.array_equal(model(mx.array(0.3), x), loaded(mx.array(0.3), x))


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
        (lambda a, m: m.update(config="{"), "damaged"),
        (lambda a, m: m.update(network="[]"), "damaged"),
        (lambda a, m: m.update(network=m["network"].replace("mlp", "vq")), "damaged"),
        (lambda a, m: m.update(network=m["network"].replace("width", "w")), "damaged"),
    ],
)
def test_damage_is_told(tmp_path, spoil, complaint):
    path, model = tmp_path / "run.safetensors", small()
    state = train(model, METHODS["cfm"](), NORMAL, MOONS, steps=5).state
    save_checkpoint(path, model, {}, state)
    spoiled(path, spoil)
    with pytest.raises(CheckpointError, match=complaint) as caught:
        load_training(path)
    assert "damaged" in str(caught.value)


def test_a_state_is_not_changed_by_later_training():
    """Nor by resuming from it, twice."""
    states, how = [], {"steps": 40, "batch_size": 16, "seed": 2}
    model = small()
    keep = lambda history: states.append(history.state)  # noqa: E731
    train(model, METHODS["cfm"](), NORMAL, MOONS, on_save=keep, save_every=15, **how)
    first = states[0]
    before = tree_map(mx.array, [first.weights, first.averaged, first.optimizer])
    for seed in (5, 6):
        again = small(seed)
        train(again, METHODS["cfm"](), NORMAL, MOONS, state=first, **how)
        assert same(again.parameters(), model.parameters())
    assert same([first.weights, first.averaged, first.optimizer], before)
    assert first.step == first.losses[-1][0] == 15


@pytest.mark.slow
def test_memory_stays_level_over_many_steps():
    """By MLX's counters and by the size of the process, which never shrinks."""
    import resource

    sizes = []

    def look(history):
        if history.steps in (20_000, 100_000):
            process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            unit = 1 if sys.platform == "darwin" else 1024
            sizes.append((mx.get_active_memory(), mx.get_peak_memory(), process * unit))

    how = {"steps": 100_000, "batch_size": 16, "on_look": look, "look_every": 5_000}
    train(small(), METHODS["vp"](), NORMAL, DATASETS["moons"], **how)
    (active, peak, process), later = sizes
    assert later[0] <= active + 2**16
    assert later[1] <= peak + 2**16
    assert later[2] <= process + 2**23
