"""Noise along a flow, on the command line: where it can be, what it changes, what it has not."""

import json
from pathlib import Path

import numpy as np
import pytest
from shared import QUICK, newest, the_error

NOISE = ("--source", "normal", "--diffusion", "0.5")


def test_paths_with_noise_have_a_figure_of_their_own(run):
    output = run(*NOISE).output
    assert "with stochastic-heun, diffusion 0.5" in output and "score off by" in output
    assert "found in runs/" in run("--source", "normal").output  # noise is not of training
    names = {path.name for path in Path("media").iterdir()}
    assert names == {
        "trajectories_cfm_normal_moons_stochastic-heun_diffusion0.5.png",
        "trajectories_cfm_normal_moons_dopri5.png",
    }


def test_samples_follow_the_seed_and_not_the_velocity(program, checkpoint):
    path = checkpoint("--source", "normal")
    drawn = {}
    for name, how in {"flow": (), "noisy": NOISE[2:], "again": NOISE[2:]}.items():
        out = f"{name}.npy"
        assert program("sample", path, "-n", "40", *how, "--out", out).exit_code == 0
        drawn[name] = np.load(out)
    np.testing.assert_array_equal(drawn["noisy"], drawn["again"])
    assert np.abs(drawn["noisy"] - drawn["flow"]).mean() > 0.1
    assert program("sample", path, "-n", "9", *NOISE[2:]).exit_code == 0
    assert [each.stem[-12:] for each in Path("runs").glob("*.npy")] == ["diffusion0.5"]


def test_numbers_with_noise(program, checkpoint):
    path = checkpoint("--source", "normal")
    flow, noisy = (
        json.loads(program("evaluate", path, "--json", *how).output) for how in ((), NOISE[2:])
    )
    assert flow["velocity_error"] == noisy["velocity_error"] and flow["score_error"] > 0
    assert noisy["nll"] is None and noisy["path_energy"] is None and flow["nll"] > 0
    assert (noisy["solver"], noisy["diffusion"], noisy["ode_steps"]) == (
        "stochastic-heun",
        0.5,
        100,
    )


def test_flows_beside_noisy_ones(program):
    """Where a method has no score, the others are compared all the same."""
    methods = ("--method", "cfm", "--method", "ot", "--method", "sf2m")
    how = ("--solver", "rk4", "--diffusion", "0.3", "--ode-steps", "8", "--json")
    result = program("compare", *QUICK, *methods, *how, "--out", "a.png")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    solvers = {(row["method"], row["solver"]): row for row in rows}
    assert len(solvers) == 6 and all(row["source"] == "normal" for row in rows)
    noisy = {method: solvers[method, "stochastic-heun"] for method in ("cfm", "ot", "sf2m")}
    assert "independent pairs alone" in noisy["ot"]["failure"]
    assert noisy["cfm"]["w2_squared"] > 0 and noisy["sf2m"]["w2_squared"] > 0


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("--source", "8gaussians", "--diffusion", "1"), "for the source N(0, I) alone"),
        ((*NOISE, "--method", "ot"), "for independent pairs alone"),
        ((*NOISE, "--method", "cnf"), "no paths of a known noise"),
        ((*NOISE, "--method", "meanflow"), "is a map"),
        ((*NOISE, "--solver", "dopri5"), "follows ordinary equations"),
        (("--solver", "stochastic-heun"), "say by --diffusion how much"),
        ((*NOISE, "--figure", "workprecision"), "leave out --diffusion"),
        ((*NOISE, "--figure", "density"), "leave out --diffusion"),
        (("--diffusion", "-1"), "is not a number from 0"),
    ],
)
def test_refusals(program, arguments, complaint):
    assert complaint in the_error(program(*QUICK, *arguments))
    assert not Path("runs").exists()


def test_densities_are_those_of_the_flow_alone(program, checkpoint):
    path = checkpoint(*NOISE)
    assert "--diffusion" in the_error(program("sample", path, "--log-prob"))
    assert program("sample", path, "--log-prob", "--diffusion", "0", "-n", "9").exit_code == 0
    assert program("animate", path, "--out", "a.html").exit_code == 0
    assert newest().suffix == ".npy"
