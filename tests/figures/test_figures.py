import inspect
from pathlib import Path

import matplotlib.image
import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner

from figures.registry import FIGURES
from main import main
from solver import SOLVERS

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
        (["--target", "line.csv"], ["workprecision"]),
        (["--target", "space.csv"], ["field", "density", "workprecision"]),
        (["--method", "cnf", "--steps", "3", "--train-ode-steps", "2"], ["workprecision"]),
        (
            ["--network", "exact", "--points", "3", "--target", "annulus", "--sigma", "0.5"],
            ["loss", "density", "workprecision"],
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
        (["--method", "ot"], ["--method", "ot"]),
        (["--method", "fm", "--source", "8gaussians"], ["--source", "8gaussians"]),
        (["--source", "moons"], ["--source", "moons", "8gaussians"]),
        (["--target", "gaussian4d"], ["--target", "gaussian4d"]),
        (["--points", "600"], ["--points", "600"]),
        (["--out", "a.png"], ["--out", ".html"]),
    ],
)
def test_pages_that_cannot_be(run, arguments, words):
    result = CliRunner().invoke(main, ["exact", *arguments])
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.output


@pytest.fixture
def drawn(monkeypatch):
    """What the drawing functions are given, by name."""
    from figures import panels
    from figures import plots

    seen = {}
    for module, names in (
        (plots, ("plot_work_precision", "plot_density")),
        (panels, ("plot_field", "plot_samples", "plot_time")),
    ):
        for name in names:
            function = getattr(module, name)

            def record(out, *arguments, name=name, function=function, **named):
                bound = inspect.signature(function).bind(out, *arguments, **named)
                seen[name] = bound.arguments

            monkeypatch.setattr(module, name, record)
    return seen


def test_figures_are_given_what_they_show(run, drawn, monkeypatch):
    """For a field that is known: everything moves by (3, −4)."""
    monkeypatch.setattr("models.MLP.__call__", lambda self, t, x: mx.array([3.0, -4.0]) + 0 * x)
    monkeypatch.delattr("models.MLP.with_jvp")
    names = ("field", "samples", "time", "workprecision", "density")
    options = ["--source", "normal", "--target", "8gaussians", "--samples", "1000"]
    result = run(*options, *(part for name in names for part in ("--figure", name)))
    assert result.exit_code == 0, result.output
    velocity = drawn["plot_field"]["velocity"](0.3, np.zeros((2, 2)))
    np.testing.assert_allclose(velocity, [[3, -4]] * 2)
    for t, cloud in zip(drawn["plot_field"]["times"], drawn["plot_field"]["points"], strict=True):
        np.testing.assert_allclose(cloud.mean(axis=0), [3 * t, -4 * t], atol=0.2)
    samples = drawn["plot_samples"]
    np.testing.assert_allclose(samples["source"].mean(axis=0), [0, 0], atol=0.2)
    np.testing.assert_allclose(samples["generated"].mean(axis=0), [3, -4], atol=0.2)
    assert np.abs(np.linalg.norm(samples["target"], axis=1) - 5).max() < 2
    time = drawn["plot_time"]
    training, flow = time["rows"].values()
    assert len(training) == len(flow) == len(time["times"]) == 7
    assert (
        np.linalg.norm(training[0], axis=1).mean()
        < 2
        < 4
        < np.linalg.norm(training[-1], axis=1).mean()
    )
    np.testing.assert_allclose(flow[3].mean(axis=0), [1.5, -2], atol=0.2)
    assert drawn["plot_work_precision"]["adaptive"] == {
        name for name, tableau in SOLVERS.items() if tableau.adaptive
    }
    box, learned = drawn["plot_density"]["box"], drawn["plot_density"]["learned"]
    row, column = np.unravel_index(learned.argmax(), learned.shape)
    place = [
        a + (b - a) * (k + 0.5) / len(learned) for (a, b), k in ((box[:2], column), (box[2:], row))
    ]
    np.testing.assert_allclose(place, [3, -4], atol=0.2)
