"""What makes no sense is answered with one sentence, exit code 2, and nothing made."""

from pathlib import Path

import pytest
from shared import QUICK, the_error

CNF = ("--method", "cnf", "--steps", "3", "--train-ode-steps", "2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "vq"], ["--method", "'vq'", "Did you mean 'vp'?", "cfm, vp, fm, ot, sb"]),
        (["--solver", "dopri55"], ["--solver", "Did you mean 'dopri5'?"]),
        (["--source", "8gaussian"], ["--source", "Did you mean '8gaussians'?"]),
        (["--target", "moon"], ["--target", "Did you mean 'moons'?"]),
        (["--activation", "zilu"], ["--activation", "Did you mean 'silu'?"]),
        (["--network", "xyz"], ["--network", "There are mlp"]),
        (["--steps", "0"], ["--steps", "0"]),
        (["--steps", "many"], ["--steps", "'many' is not a whole number from 1 to 10,000,000"]),
        (["--width", "2.5"], ["--width", "'2.5' is not a whole number"]),
        (["--lr", "fast"], ["--lr", "'fast' is not a number above 0 and up to 1"]),
        (["--steps", "1e12"], ["--steps"]),
        (["--batch-size", "-1"], ["--batch-size", "-1"]),
        (["--batch-size", "1000000000"], ["--batch-size"]),
        (["--width", "0"], ["--width"]),
        (["--depth", "0"], ["--depth"]),
        (["--samples", "0"], ["--samples"]),
        (["--samples", "1000000000"], ["--samples"]),
        (["--ode-steps", "0"], ["--ode-steps"]),
        (["--rtol", "0"], ["--rtol"]),
        (["--rtol", "1e-9"], ["--rtol", "1e-08"]),
        (["--atol", "-1e-5"], ["--atol"]),
        (["--rtol", "nan"], ["--rtol", "not a number from"]),
        (["--sigma", "nan"], ["--sigma", "not a number from"]),
        (["--sigma", "-0.1"], ["--sigma"]),
        (["--sigma", "inf"], ["--sigma"]),
        (["--lr", "0"], ["--lr"]),
        (["--lr", "inf"], ["--lr"]),
        (["--lr", "nan"], ["--lr", "not a number above"]),
        (["--seed", "-1"], ["--seed"]),
        (["--method", "fm", "--source", "moons"], ["--source", "'moons'", "--source normal"]),
        (["--coupling", "otp"], ["--coupling", "independent, ot, entropic"]),
        (["--power", "3"], ["--power", "'cfm' has no power"]),
        (["--method", "ot", "--batch-size", "50000"], ["--batch-size", "50,000", "4,096"]),
        (["--target", "moonz"], ["--target", "'moons'", "or a file ending in one of .csv"]),
        (["--target", "gone.csv"], ["--target", "'gone.csv' cannot be read"]),
        (
            ["--target", "gaussian4d", "--source", "moons"],
            ["--source", "'moons' has 2 dimensions", "has 4", "--source normal"],
        ),
        (["--source", "gaussian4d"], ["--source", "'gaussian4d' has 4 dimensions"]),
        ([*CNF, "--source", "moons"], ["--source", "'moons' has no log-density"]),
        ([*CNF, "--sigma", "0.1"], ["--sigma", "'cnf' has no paths"]),
        ([*CNF, "--network", "exact"], ["--network", "not for 'cnf'"]),
        (["--source", "trainable-normal"], ["--source", "--method cnf"]),
        (["--schedule", "cosin"], ["--schedule", "Did you mean 'cosine'?"]),
        (["--gradient", "adjoin"], ["--gradient", "Did you mean 'adjoint'?"]),
        (["--points", "5"], ["--points", "--network exact"]),
        (["--optimizer", "moun"], ["--optimizer", "Did you mean 'muon'?"]),
        (
            ["--optimizer", "adam", "--weight-decay", "0.1"],
            ["--weight-decay", "'adam' has no weight decay", "muon and adamw"],
        ),
        (["--regress", "marginal", "--method", "ot"], ["--regress", "independent pairs"]),
        (["--regress", "marginal", "--source", "moons"], ["--regress", "--source normal"]),
        ([*CNF, "--regress", "marginal"], ["--regress", "independent pairs"]),
        (["--conditional", "--target", "annulus"], ["--conditional", "'annulus' has no parts"]),
        (["--conditional", "--target", "annulus"], ["--label", "8gaussians, moons"]),
        ([*CNF, "--conditional"], ["--conditional", "'cnf' learns no classes"]),
        (["--method", "meanflow", "--conditional"], ["'meanflow' learns no classes", "cfm, vp"]),
        (["--method", "reflow", "--conditional"], ["'reflow' learns no classes"]),
        (["--conditional", "--regress", "marginal"], ["--regress", "mean over all classes"]),
        (["--conditional", "--drop", "1"], ["--drop", "'1' is not a number from 0 to 0.9"]),
        (["--guidance", "2"], ["--guidance", "'2' leads to a class"]),
        (["--conditional", "--guidance", "-1"], ["--guidance", "not a number from 0 to 100"]),
        (
            ["--conditional", "--guidance", "2", "--diffusion", "1"],
            ["--guidance", "--guidance 1 with --diffusion"],
        ),
        (["--coupling", "conditional-ot"], ["--coupling", "--conditional", "'ot'"]),
        (["--label", "kind"], ["--label", "column of the target's file", "'moons' is none"]),
        (["--label", " "], ["--label", "' ' is not a name"]),
        (["--method", "ot", "--figure", "error"], ["--figure", "'error' needs the exact field"]),
        (["--network", "exact", "--method", "ot"], ["--network", "independent pairs only"]),
        (["--network", "exact", "--source", "moons"], ["--network", "isotropic Gaussians"]),
        (["--network", "exact", "--figure", "loss"], ["--figure", "not trained"]),
        (["--figure", "loss", "--figure", "trajectories", "--out", "a.png"], ["--out", "one file"]),
        (["datasets"], ["stands before 'datasets'"]),
        (["--device", "gpu0"], ["--device", "gpu0"]),
        (["--out", "figure.jpeg"], ["--out", "figure.jpeg", ".png, .pdf, .svg"]),
        (["--out", "figure"], ["--out", ".png, .pdf, .svg"]),
        (["--out", "/proc/figure.png"], ["--out", "/proc/figure.png", "cannot be written"]),
        (["--frobnicate"], ["--frobnicate"]),
    ],
)
def test_bad_input(program, arguments, words):
    sentence = the_error(program(*QUICK, *arguments))
    for word in words:
        assert word in sentence
    assert not list(Path().iterdir()), "something was made before the error was found"


def test_a_device_that_is_not_there(program, monkeypatch):
    monkeypatch.setattr("cli.options.mx.is_available", lambda device: False)
    assert "'gpu' is not there; use cpu or auto" in the_error(program("--device", "gpu"))


def test_out_in_the_way(program):
    Path("file").write_text("")
    Path("folder.png").mkdir()
    for out in ("file/figure.png", "folder.png"):
        assert out in the_error(program(*QUICK, "--out", out))


def test_runs_in_the_way(program):
    Path("runs").write_text("")
    assert "runs" in the_error(program(*QUICK))


@pytest.mark.parametrize("command", ["sample", "density", "animate", "evaluate"])
def test_a_checkpoint_is_named_or_the_last(program, command):
    assert "--last" in the_error(program(command))
    assert "holds no checkpoint yet" in the_error(program(command, "--last"))
    assert "does not exist" in the_error(program(command, "gone.safetensors"))
    Path("text.safetensors").write_text("weights")
    assert "no safetensors file" in the_error(program(command, "text.safetensors"))
    assert "was named" in the_error(program(command, "text.safetensors", "--last"))


def test_labels_of_a_file(program):
    Path("a.csv").write_text("x,y,kind,one,size\n1,2,p,s,0.5\n3,5,q,s,1\n4,4,q,s,2\n")
    for label, words in (
        ("kid", ["--label", "no column 'kid'", "x, y, kind"]),
        ("one", ["--label", "two classes are needed"]),
        ("size", ["--label", "0.5 in line 2", "whole numbers"]),
    ):
        few = ["--target", "a.csv", "--columns", "x,y", "--label", label, "--conditional"]
        sentence = the_error(program(*QUICK, *few))
        for word in words:
            assert word in sentence
    few = ["--target", "a.csv", "--columns", "x,y", "--conditional"]
    assert "'a' has no parts" in the_error(program(*QUICK, *few))
    twice = ["--target", "a.csv", "--columns", "x,size", "--label", "size"]
    assert "--columns" in the_error(program(*QUICK, *twice))
