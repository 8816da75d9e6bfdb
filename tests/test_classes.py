"""Networks that are told classes: what training shows them, and the fields that they then have."""

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from cfm import METHODS
from classes import NOTHING, labelled, with_classes
from datasets import DATASETS
from models import MLP
from training import _batches, train

MOONS, SOURCE = DATASETS["moons"], DATASETS["8gaussians"]


class Halves:
    """Moons in two classes, by place."""

    name = "halves"

    def sample(self, n, key=None):
        return MOONS.sample(n, key)

    def sample_with_classes(self, n, key=None):
        x = self.sample(n, key)
        return x, (x[:, 0] > 1).astype(mx.int32)


def shown(method, steps=3, count=64, start=0):
    batches = _batches(method, SOURCE, Halves(), count, 0, start)
    return [next(batches) for _ in range(steps)]


@pytest.mark.parametrize("coupling", ["independent", "ot", "entropic"])
def test_the_pairs_are_those_of_a_network_that_is_told_nothing(coupling):
    method = METHODS["cfm"](coupling=coupling)
    for plain, told in zip(shown(method), shown(with_classes(method, 0.3)), strict=True):
        for a, b in zip(plain, told[:-1], strict=True):
            assert mx.array_equal(a, b)


@pytest.mark.parametrize("coupling", ["independent", "ot", "entropic", "conditional-ot"])
def test_every_pair_has_the_class_of_its_end(coupling):
    """Without noise x1 = xt + (1 − t) ut."""
    method = METHODS["cfm"](sigma=0.0, coupling=coupling)
    for t, xt, ut, label in shown(with_classes(method, 0.0)):
        x1 = np.array(xt + (1 - t) * ut)
        np.testing.assert_array_equal(np.array(label), x1[:, 0] > 1)


def test_classes_are_kept_back_by_chance_and_the_same_ones_again():
    method = with_classes(METHODS["cfm"](), 0.3)
    labels = np.array([label for *_, label in shown(method, 100)])
    part = (labels == NOTHING).mean()
    assert part == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / labels.size))
    assert len({tuple(row == NOTHING) for row in labels}) == 100
    later = np.array([label for *_, label in shown(method, 2, start=57)])
    np.testing.assert_array_equal(later, labels[57:59])
    # whether a class is kept back says nothing of the time
    t = np.array([t for t, *_ in shown(method, 100)])[..., 0]
    assert t[labels == NOTHING].mean() == pytest.approx(0.5, abs=4 * 0.29 / np.sqrt(1920))


def test_a_network_learns_the_field_of_each_class_and_that_of_all():
    """Classes at (3, 0) and (−3, 0), from N(0, I), σ = 0: at t = 0 the mean velocity of class c is
    its own mean minus x, and that of all −x."""

    class Two:
        name = "two"

        def sample(self, n, key=None):
            return self.sample_with_classes(n, key)[0]

        def sample_with_classes(self, n, key=None):
            which = mx.arange(n) % 2
            x = mx.stack([3.0 - 6 * which, mx.zeros(n)], axis=1)
            return x + mx.random.normal((n, 2), key=key), which

    mx.random.seed(0)
    model, normal = MLP(width=32, depth=2, classes=2), DATASETS["normal"]
    train(
        model,
        with_classes(METHODS["cfm"](sigma=0.0), 0.2),
        normal,
        Two(),
        steps=250,
        batch_size=512,
    )
    x = normal.sample(500, mx.random.key(1))
    for label, mean in ((0, 3.0), (1, -3.0), (NOTHING, 0.0)):
        velocity = np.array(labelled(model, mx.array(label))(mx.array(0.0), x))
        np.testing.assert_allclose((velocity + np.array(x)).mean(axis=0), [mean, 0], atol=0.4)


def test_the_score_of_a_class_is_learned_too():
    mx.random.seed(0)
    model = MLP(width=16, depth=1, classes=2)
    model.score = MLP(width=16, depth=1, classes=2)
    before = np.array(model.score.layers[0].weight)
    train(model, with_classes(METHODS["sf2m"](), 0.1), SOURCE, Halves(), steps=20, batch_size=64)
    assert np.abs(np.array(model.score.layers[0].weight) - before).max() > 1e-3
    x, label = mx.ones((2, 2)), mx.array([0, 1])
    found = labelled(model, label).score(mx.array(0.5), x)
    assert mx.array_equal(found, model.score(mx.array(0.5), x, label=label))
    assert not hasattr(labelled(MLP(classes=2), label), "score")


def test_training_that_goes_on_ends_at_the_same_bits():
    method, how = with_classes(METHODS["ot"](), 0.3), {"batch_size": 32, "steps": 12}

    def trained(**more):
        mx.random.seed(0)
        model = MLP(width=8, depth=1, classes=2)
        train(model, method, SOURCE, Halves(), **how, **more)
        return model.parameters()

    kept = []
    whole = trained(save_every=5, on_save=lambda history: kept.append(history.state))
    again = trained(state=kept[0])
    assert kept[0].step == 5
    for (_, a), (_, b) in zip(tree_flatten(whole), tree_flatten(again), strict=True):
        assert mx.array_equal(a, b)
