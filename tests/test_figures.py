from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner

from figures import FIGURES
from main import main

QUICK = ["--steps", "30", "--batch-size", "32", "--samples", "64", "--width", "8", "--depth", "1"]
ALL = [part for name in FIGURES for part in ("--figure", name)]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savetxt("line.csv", rng.normal(size=(300, 1)))
    np.savetxt("space.csv", rng.normal(size=(300, 3)), delimiter=",")
    return lambda *arguments: CliRunner().invoke(main, [*QUICK, *arguments])


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (["--method", "vp"], []),
        (["--target", "line.csv"], []),
        (["--target", "space.csv"], ["field", "density"]),
        (["--method", "cnf", "--steps", "3", "--train-ode-steps", "2"], []),
        (
            ["--network", "exact", "--points", "3", "--target", "annulus", "--sigma", "0.5"],
            ["loss"],
        ),
    ],
)
def test_all_figures_at_once(run, arguments, left_out):
    names = [name for name in FIGURES if name not in left_out]
    result = run(*arguments, *(part for name in names for part in ("--figure", name)))
    assert result.exit_code == 0, result.output
    drawn = sorted(path.name.split("_")[0] for path in Path("media").iterdir())
    assert drawn == sorted(names)
    for path in Path("media").iterdir():
        assert matplotlib.image.imread(path).std() > 0.01, path
        assert path.stat().st_size < 300_000, path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "space.csv", "--figure", "field"], ["--figure", "field", "3"]),
        (["--target", "space.csv", "--figure", "density"], ["--figure", "density", "3"]),
        (["--network", "exact", "--figure", "loss"], ["--figure", "exact"]),
        (["--source", "moons", "--figure", "density"], ["--figure", "moons", "log-density"]),
        (["--figure", "feild"], ["--figure", "field"]),
        (["--figure", "loss", "--figure", "field", "--out", "a.png"], ["--out", "a.png", "2"]),
    ],
)
def test_figures_that_cannot_be(run, arguments, words):
    """Told before anything is trained."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
    assert not Path("runs").exists()


@pytest.mark.parametrize("target", ["moons", "line.csv", "space.csv"])
@pytest.mark.parametrize("suffix", [".gif", ".html"])
def test_animate(run, target, suffix):
    run("--target", target)
    (path,) = Path("runs").iterdir()
    out = Path("new", f"flow{suffix}")
    short = ["--seconds", "0.5", "--samples", "50", "--solver", "rk4"]
    result = CliRunner().invoke(main, ["animate", str(path), "--out", str(out), *short])
    assert result.exit_code == 0, result.output
    assert str(out) in result.stdout
    assert out.read_bytes().startswith({".gif": b"GIF89a", ".html": b"<!"}[suffix])


def test_a_film_without_ffmpeg(run, monkeypatch):
    run()
    (path,) = Path("runs").iterdir()
    monkeypatch.setattr("shutil.which", lambda name: None)
    result = CliRunner().invoke(main, ["animate", str(path), "--out", "a.mp4"])
    assert result.exit_code == 2
    assert "ffmpeg is not installed" in result.output and not Path("a.mp4").exists()


def test_the_page_of_the_exact_field(run):
    result = CliRunner().invoke(main, ["exact", "--method", "vp", "--points", "5"])
    assert result.exit_code == 0, result.output
    assert "Variance-preserving" in Path("media/exact.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "ot"], ["ot", "independent"]),
        (["--method", "fm", "--source", "8gaussians"], ["--source", "8gaussians"]),
        (["--source", "moons"], ["moons", "isotropic Gaussians"]),
        (["--target", "gaussian4d"], ["2"]),
        (["--points", "600"], ["--points", "600"]),
        (["--out", "a.png"], ["--out", ".html"]),
    ],
)
def test_pages_that_cannot_be(run, arguments, words):
    result = CliRunner().invoke(main, ["exact", *arguments])
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output
