"""Figures of runs: every kind there is, in one, two and three dimensions, and what fills them."""

import html
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from figures import style
from figures.kinds.density import densities
from figures.kinds.field import velocity_in_units
from figures.kinds.time import law_of_training
from figures.kinds.workprecision import work_precision
from figures.registry import FIGURES
from figures.subject import Subject, target_sample
from lab.config import Config
from lab.densities import log_density
from lab.evaluation import generate
from lab.settling import settle
from lab.store import new_model
from training import History

NASTY = "a_$b$<c> 50%"  # a file's name, and a column's, of which nothing may be interpreted
LOSSES = [(1, 4.0), (100, 2.0), (200, 1.5)]


def bend(t, x):
    return mx.tanh(x[:, ::-1]) - t * x


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """Dimension → what there is to draw of an untrained flow to a user's points."""
    found, rng = {}, np.random.default_rng(0)
    for dim in (1, 2, 3):
        path = tmp_path_factory.mktemp(str(dim)) / f"{NASTY}.csv"
        header = ",".join([NASTY, "wide", "x3"][:dim])
        points = rng.normal(size=(300, dim)) * [1, 20, 3][:dim]
        np.savetxt(path, points, header=header, comments="", delimiter=",")
        run = settle(Config(target=str(path), samples=64, width=8, depth=1))
        field = new_model(run)
        found[dim] = Subject(run, field, generate(run, field), None, History(losses=LOSSES))
    return found


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_or_refused(tmp_path, monkeypatch, subjects, name, dim):
    """In all formats, twice in the same bytes, with a user's words in it letter by letter."""
    subject, save = subjects[dim], style.save
    if why := FIGURES[name].refusal(subject.run):
        assert f"'{name}'" in why and why.endswith(".")
        assert str(dim) in why or "use --network exact" in why
        return

    def save_all(figure, out):
        for suffix in (".png", ".pdf", ".svg"):
            save(figure, Path(out).with_suffix(suffix))

    monkeypatch.setattr(style, "save", save_all)
    monkeypatch.setitem(style.STYLE, "savefig.dpi", 60)
    monkeypatch.setattr("figures.kinds.workprecision.MOST_NFE", 100)
    FIGURES[name].draw(tmp_path / "new" / "a.png", subject)
    if dim == 2:
        FIGURES[name].draw(tmp_path / "b.png", subject)
    for suffix, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        file = (tmp_path / "new" / f"a{suffix}").read_bytes()
        assert file.startswith(start)
        assert dim != 2 or file == (tmp_path / f"b{suffix}").read_bytes()
    words = html.unescape(file.decode())
    assert NASTY in words


def test_the_kinds_are_the_files_and_nothing_is_imported_for_their_names():
    root = Path(__file__).parents[2]
    code = "import sys, figures.registry as r; print('matplotlib' in sys.modules, *r.FIGURES)"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    files = sorted(path.stem for path in (root / "figures/kinds").glob("[!_]*.py"))
    assert done.stdout.split() == ["False", *files]
    assert {"trajectories", "field", "density", "loss"} <= set(files)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("loss", {"network": "exact"}, "not trained"),
        ("density", {"source": "moons"}, "'moons' has no"),
        ("field", {"target": "gaussian4d"}, "4"),
    ],
)
def test_figures_that_cannot_be(name, options, words):
    assert words in FIGURES[name].refusal(settle(Config(**options)))


def test_the_title_has_the_distances(drawn, subjects):
    subject = subjects[2]
    title = drawn(FIGURES["trajectories"].draw, subject).get_suptitle()
    assert f"NFE {subject.generated.solution.nfe}\n" in title
    assert "±" in title and f"{subject.generated.distances.best:.2g}" in title


def test_figures_are_given_what_they_show(drawn):
    """For a field that is known: everything moves by (3, −4)."""

    def shift(t, x):
        return mx.array([3.0, -4.0]) + 0 * x

    run = settle(Config(source="normal", target="8gaussians", samples=1000))
    subject = Subject(run, shift, generate(run, shift), None, History(losses=LOSSES))
    for t, cloud in zip((0, 0.25, 1), subject.states((0, 0.25, 1)), strict=True):
        np.testing.assert_allclose(cloud.mean(axis=0), [3 * t, -4 * t], atol=0.2)
    *panels, _ = drawn(FIGURES["field"].draw, subject).axes
    for axes, t in zip(panels, (0, 0.25, 0.5, 0.75, 1), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), 5, rtol=1e-5)
        middle = axes.collections[-1].get_offsets().mean(axis=0)
        np.testing.assert_allclose(middle, [3 * t, -4 * t], atol=0.2)
    source, target, generated = drawn(FIGURES["samples"].draw, subject).axes
    for axes, place in ((source, [0, 0]), (generated, [3, -4])):
        middle = axes.collections[0].get_offsets().mean(axis=0)
        np.testing.assert_allclose(middle, place, atol=0.2)
    radii = np.linalg.norm(target.collections[0].get_offsets(), axis=1)
    assert np.abs(radii - 5).max() < 2
    assert np.abs(np.linalg.norm(target_sample(run), axis=1).mean() - 5) < 0.05
    learned, true = (axes.images[0] for axes in drawn(FIGURES["density"].draw, subject).axes[:2])
    x0, x1, y0, _ = learned.get_extent()
    row, column = np.unravel_index(learned.get_array().argmax(), learned.get_array().shape)
    cell = (x1 - x0) / len(learned.get_array())
    place = x0 + cell * (column + 0.5), y0 + cell * (row + 0.5)
    np.testing.assert_allclose(place, [3, -4], atol=0.2)
    assert true.get_array().sum() * cell**2 == pytest.approx(1, abs=0.01)


def test_a_velocity_is_in_the_units_of_the_target(subjects):
    """Of the field that is x itself, in the units that networks see."""
    run = subjects[2].run
    place = run.target.points[:4]
    velocity = velocity_in_units(run, lambda t, x: x)(0.3, place)
    np.testing.assert_allclose(velocity, place - run.target.points.mean(axis=0), rtol=1e-3)


def test_the_law_of_training(subjects):
    """Mean and covariance of xt for independent pairs, short ways for paired ones, and units."""
    run = settle(Config(method="vp", source="normal", target="normal"))
    for xt in law_of_training(run, (0, 0.5, 1), 20_000):  # variance-preserving: always N(0, I)
        np.testing.assert_allclose(np.cov(xt.T), np.eye(2), atol=0.04)
    ways = {}
    for method in ("cfm", "ot"):
        run = settle(Config(method=method, source="8gaussians", sigma=0.0))
        start, end = law_of_training(run, (0, 1), 2_000)
        ways[method] = ((end - start) ** 2).sum(axis=1).mean()
    assert ways["ot"] < 0.5 * ways["cfm"]
    run = subjects[2].run
    for xt in law_of_training(run, (0, 1), 3_000):
        np.testing.assert_allclose(xt.std(axis=0), run.target.points.std(axis=0), rtol=0.1)


def test_work_precision_has_the_orders_of_the_solvers():
    curves = work_precision(settle(Config(source="normal")), bend)
    for name, order in (("euler", 1), ("midpoint", 2), ("heun", 2)):
        (nfe, error), (more, less) = curves[name][2:4]
        assert np.log(error / less) / np.log(more / nfe) == pytest.approx(order, abs=0.2)
    assert all(nfe > 0 and error < 0.5 for nfe, error in curves["dopri5"])
    assert curves["dopri5"][-1][1] < 1e-5 < curves["euler"][-1][1]


def test_densities_are_those_of_the_middles_of_cells():
    run = settle(Config(source="normal"))
    (x0, x1, y0, y1), learned, sample = densities(run, bend)
    x, y = (a + (b - a) * 0.5 / len(learned) for a, b in ((x0, x1), (y0, y1)))
    corners = np.exp(log_density(run, bend, np.array([[x, y], [x1 - (x - x0), y]])))
    assert learned[0, [0, -1]] == pytest.approx(corners, rel=1e-3)
    assert learned.sum() * (x1 - x0) * (y1 - y0) / learned.size == pytest.approx(1, abs=0.05)
    assert np.mean((sample > [x0, y0]) & (sample < [x1, y1])) > 0.998
