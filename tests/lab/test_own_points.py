"""A user's points on either side of a flow: in whose units, and whether they are still the same."""

import json
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from shared import newest, options_of, the_error

from lab.config import Config, ConfigError
from lab.evaluation import path_shape
from lab.settling import settle
from metrics import w2_squared


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two tables far apart, in wide units; the second has a column more."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    tables = rng.normal([5, -300], [2, 40], (60, 2)), rng.normal([9, -100, 0], [3, 20, 1], (70, 3))
    np.save("from.npy", tables[0])
    np.savetxt("to.csv", tables[1], delimiter=",", header="a,b,c", comments="")
    return tables


BOTH = {"source": "from.npy", "target": "to.csv", "columns": ("1", "2")}


@pytest.mark.parametrize("units", ["standard", "data"])
def test_both_sides_are_seen_in_the_units_of_the_target(files, units):
    run = settle(Config(**BOTH, units=units))
    source, target = files[0], files[1][:, :2]
    mean, scale = target.mean(axis=0), target.std(axis=0)
    if units == "data":
        mean, scale = np.zeros(2), np.ones(2)
    for points, side in ((source, run.source), (target, run.target.standardized())):
        drawn = np.array(side.sample(4000, mx.random.key(0)))
        seen = (points - mean) / scale
        nearest = np.abs(drawn[:, None] - seen).sum(axis=2)
        assert nearest.min(axis=1).max() < 1e-3
        assert set(nearest.argmin(axis=1)) == set(range(len(seen)))
    back = run.target.restore(run.source.sample(4000, mx.random.key(0)))
    np.testing.assert_allclose(back.mean(axis=0), source.mean(axis=0), rtol=0.02)
    again = Config.from_json(json.loads(json.dumps(run.config.to_json())))
    assert settle(again).config == run.config == again


def test_standard_units_widen_a_normal_source(files):
    """N(0, I) becomes N(mean, diag std²) of the data, and the least path energy another."""
    target, least = files[1], {}
    for units in ("standard", "data"):
        run = settle(Config(target="to.csv", units=units, samples=300, solver="euler"))
        least[units] = path_shape(run, lambda t, x: 0 * x).least
    rng = np.random.default_rng(1)
    x1, x0 = target[rng.integers(70, size=300)], rng.normal(size=(300, 3))
    widened = target.mean(axis=0) + target.std(axis=0) * x0
    assert least["standard"] == pytest.approx(w2_squared(widened, x1), rel=0.2)
    assert least["data"] == pytest.approx(w2_squared(x0, x1), rel=0.05)
    assert least["data"] > 50 * least["standard"]


def test_a_file_may_flow_to_a_dataset(files):
    run = settle(Config(source="from.npy", target="moons", units="data"))
    assert run.config.units == "standard"  # which has no effect here
    drawn = np.array(run.source.sample(500, mx.random.key(0)))
    assert np.abs(drawn[:, None] - files[0]).sum(axis=2).min(axis=1).max() < 1e-3


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({"source": "gone.csv"}, "source", "'gone.csv' cannot be read"),
        ({"source": "from.npy", "target": "to.csv"}, "source", "has 2 dimensions and the target"),
        ({**BOTH, "columns": ("b", "c")}, "columns", "'from.npy' has no column 'b'"),
        ({**BOTH, "network": "exact"}, "network", "isotropic Gaussians, which 'from' is not"),
        ({**BOTH, "method": "cnf"}, "source", "'from' has no log-density"),
        ({**BOTH, "method": "fm"}, "source", r"'from' is not N\(0, I\)"),
        ({**BOTH, "regress": "marginal"}, "regress", "a source of Gaussians only"),
        ({**BOTH, "units": "metres"}, "units", "There are standard, data"),
    ],
)
def test_what_such_a_source_cannot_do(files, options, option, words):
    with pytest.raises(ConfigError, match=words) as caught:
        settle(Config(**options))
    assert caught.value.option == option


def test_a_flow_between_files(files, run, program):
    """In the data's units, from beginning to end; a source that changed is noticed."""
    np.save("from.npy", files[0]), np.savetxt("to.csv", files[1], delimiter=",", header="a,b,c")
    how = ["--source", "from.npy", "--target", "to.csv", "--columns", "1,2", "--units", "data"]
    how += ["--steps", "400", "--width", "64", "--batch-size", "256"]
    output = run(*how).output
    assert "source      60 points of from.npy" in output
    path = newest()
    kept = mx.load(str(path), return_metadata=True)[1]
    scale = np.sqrt(files[1][:, :2].var(axis=0).mean())
    assert json.loads(kept["network"])["shape"]["scale"] == pytest.approx(scale)
    assert options_of(path)["target_units"]["scale"] == [1, 1]
    done = program("sample", path, "-n", "1000", "--out", "s.npy")
    assert done.exit_code == 0, done.output
    made = np.load("s.npy")
    assert (np.abs(made.mean(axis=0) - files[1][:, :2].mean(axis=0)) < [2, 8]).all()
    assert "found in" in run(*how).output
    np.save("from.npy", files[0] + 1)
    assert "is not what it was" in program("evaluate", path).output
    assert "'from.npy' is not what it was" in the_error(program("--resume", path))
    Path("from.npy").unlink()
    assert "from.npy is not there" in the_error(program("evaluate", path))


def test_kept_units_need_no_file(files):
    config = settle(Config(**BOTH)).config
    Path("from.npy").unlink()
    forgotten = settle(config).source
    assert not forgotten.known and forgotten.dim == 2
    assert settle(replace(config)).config == config
