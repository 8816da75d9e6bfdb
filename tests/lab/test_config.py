"""The options of a run: read strictly, kept as JSON, settled into what they stand for."""

import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from cfm import METHODS
from lab.config import HELP, OPTIONS, Config, ConfigError
from lab.run import without_effect
from lab.settling import settle
from lab.values import Name, Names, Number, OneOf, Whole, YesOrNo
from maps import MAPS
from models import NETWORKS
from learning.optimizers import OPTIMIZERS


def test_every_field_is_an_option_with_a_whole_sentence():
    for name in OPTIONS:
        sentence = HELP[name].partition("  [")[0]
        assert sentence.endswith("."), name
        assert sentence[0].isupper() and len(sentence.split()) >= 4, name
    others = {"target_units", "source_units", "ancestors"}
    assert {each.name for each in fields(Config)} == {*OPTIONS, *others}
    assert set(HELP) >= {*OPTIONS}


def test_the_help_page_tells_the_defaults_that_are():
    """Those that depend on other choices stand there in words."""
    where = {"coupled pairs": {"coupling": "ot"}, "cnf": {"method": "cnf"}}
    where |= {name: {"method": name} for name in MAPS}
    where |= {name: {"network": name} for name in NETWORKS}
    where |= {name: {"optimizer": name} for name in OPTIMIZERS}
    for name in ("steps", "batch_size", "optimizer", "lr", "weight_decay", "width", "activation"):
        for clause in HELP[name].partition("[default: ")[2].removesuffix("]").split(", or "):
            told, _, cases = clause.partition(" for ")
            for case in re.split(", | and ", cases):
                value = getattr(settle(Config(**where.get(case, {}))).config, name)
                assert told == (value if isinstance(value, str) else f"{value:,g}"), (name, case)
                assert not case or case in where
    fixed = settle(Config(method="cnf", solver="euler", train_solver="heun")).config
    for name in ("ode_steps", "train_ode_steps"):
        assert HELP[name].endswith(f"or {getattr(fixed, name)} where it has none]")
    assert f"[default: {settle(Config(network='exact')).config.points}," in HELP["points"]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            Whole(1, 10_000),
            {"3": 3, 10: 10, " 7 ": 7, "1e4": 10_000, "2,000": 2000},
            ["0", 10_001, "2.5", 2.0, True, "x", None, [1]],
        ),
        (Number(0, 1), {"0.5": 0.5, 0: 0.0, 1.0: 1.0}, ["nan", "inf", -0.1, True, "x", None, {}]),
        (Number(0, 1, above=True), {"1e-9": 1e-9}, [0, "0", "1.1"]),
        (OneOf(["a", "b"], (".csv",)), {"a": "a", "my/B.CSV": "my/B.CSV"}, ["c", 1, None, "x.npy"]),
        (Name(), {" kind": "kind", "3": "3"}, ["", " ", None, 3, ["a"], "\udcff"]),
        (YesOrNo(), {True: True, False: False}, [None, "yes", 1, "true"]),
        (Names(), {"x, y": ("x", "y"), ("a",): ("a",)}, ["", "x,,y", [1], 5]),
    ],
)
def test_kinds_of_values(kind, good, bad):
    for value, meaning in good.items():
        found = kind.read(value)
        assert found == meaning and type(found) is type(meaning)
    for value in bad:
        with pytest.raises(ValueError, match=r"^'"):
            kind.read(value)
    with pytest.raises(ValueError) as caught:
        kind.read("9" * 5000 + ",")
    assert len(str(caught.value)) < 300


def test_a_config_is_its_json(tmp_path):
    table = np.random.default_rng(0).normal([3, 40], size=(30, 2))
    np.savetxt(tmp_path / "own.csv", table, delimiter=",")
    rows = [f"{x},{y},{'ab'[k % 2]}" for k, (x, y) in enumerate(table)]
    (tmp_path / "named.csv").write_text("\n".join(["x,y,kind", *rows]))
    for config in (
        Config(),
        Config(method="poly", power=3, sigma=0.5, coupling="ot", activation="silu", lr=0.1),
        Config(target=str(tmp_path / "own.csv"), columns=("2", "1")),
        Config(target=str(tmp_path / "named.csv"), label="kind", conditional=True, drop=0.5),
    ):
        for each in (config, settle(config).config):
            assert Config.from_json(json.loads(json.dumps(each.to_json()))) == each


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"samples": None}, "'None' is not a whole number"),
        ({"width": 2.5}, "'2.5' is not a whole number"),
        ({"width": True}, "not a whole number"),
        ({"lr": float("nan")}, "not a number"),
        ({"method": ["cfm"]}, "not known"),
        ({"colour": "red"}, "'colour' is unknown"),
        ({"target_units": [1, 2]}, "units"),
        ({"target_units": {"mean": [1, 2]}}, "units"),
    ],
)
def test_json_is_read_strictly(changes, complaint):
    with pytest.raises((ValueError, TypeError), match=complaint):
        Config.from_json(Config().to_json() | changes)
    for name in ("seed", "units"):
        kept = Config().to_json()
        del kept[name]
        with pytest.raises(ValueError, match=f"'{name}' is missing"):
            Config.from_json(kept)


def test_a_wrong_value_names_its_option():
    with pytest.raises(ConfigError) as caught:
        Config(batch_size=0)
    assert caught.value.option == "batch_size"


@pytest.mark.parametrize("method", [*METHODS, *MAPS, "reflow", "cnf"])
@pytest.mark.parametrize("network", NETWORKS)
def test_settling_twice_is_settling_once(method, network):
    if method in MAPS and network == "concatsquash":
        return
    for options in ({}, {"solver": "euler"}, {"target": "gaussian4d"}, {"train_solver": "dopri5"}):
        config = settle(Config(method=method, network=network, **options)).config
        assert settle(config).config == config
        assert None not in (config.source, config.steps, config.lr)
        assert (config.sigma is None) == (method == "cnf")


def test_the_usual_pair_depends_on_the_method():
    assert settle(Config()).is_usual and settle(Config(source="8gaussians")).is_usual
    assert settle(Config(method="fm", source="normal")).is_usual
    assert not settle(Config(source="normal")).is_usual
    assert not settle(Config(target="annulus")).is_usual


def test_what_has_no_effect_changes_nothing():
    """Settled with and without such an option, the method, source and solve are the same."""
    for config in (Config(), Config(solver="euler"), Config(method="sb"), Config(method="cnf")):
        run = settle(config)
        for name in without_effect(run):
            if name in ("save_every", "retrain"):
                continue
            other = {"rtol": 1e-2, "atol": 1e-2, "probes": 3, "regularization": 0.7}
            other |= {"train_solver": "heun", "train_ode_steps": 3, "gradient": "adjoint"}
            other |= {"divergence": "hutchinson", "units": "data", "drop": 0.5}
            changed = settle(replace(config, **{name: other[name]}))
            if run.method.name == "cnf":
                assert replace(changed.method, probes=run.method.probes) == run.method
            else:
                assert changed.method.coupling.name == run.method.coupling.name
                assert changed.method.sigma == run.method.sigma
            if name in ("rtol", "atol"):
                assert changed.solving["steps"] == run.solving["steps"] == 100
            else:
                assert changed.solving == run.solving
