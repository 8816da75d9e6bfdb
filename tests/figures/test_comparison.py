from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from figures import style
from figures.comparison import plot_comparison
from figures.gallery import plot_gallery

rng = np.random.default_rng(0)
PATHS = rng.normal(size=(500, 2)) + np.linspace(0, 1, 11)[:, None, None] * [5, 1]
ROWS, COLUMNS = [("cfm", "Conditional flow matching"), ("ot", "Optimal transport")], ["rk4", "x"]
CELLS = {
    (row, column): (PATHS + 100 * i + 10 * j, f"{row} by {column}")
    for i, (row, _) in enumerate(ROWS)
    for j, column in enumerate(COLUMNS)
}


def test_each_flow_is_in_its_cell(drawn):
    """The cells' paths are shifted by 100 a row and 10 a column; one was not run."""
    cells = {key: cell for key, cell in CELLS.items() if key != ("ot", "rk4")}
    figure = drawn(plot_comparison, cells, ROWS, COLUMNS, PATHS[-1], "t")
    grid = np.reshape(figure.axes, (2, 2))
    for i, (row, _) in enumerate(ROWS):
        for j, column in enumerate(COLUMNS):
            axes = grid[i, j]
            words = [text.get_text() for text in axes.texts]
            if (row, column) == ("ot", "rk4"):
                assert words == ["not run"]
                assert not axes.collections and not axes.images
                continue
            paths, caption = cells[row, column]
            lines, source, generated, _ = axes.collections
            assert (source.get_offsets() == paths[0]).all()
            assert (generated.get_offsets() == paths[-1]).all()
            assert lines.get_paths()[3].vertices[0] == pytest.approx(paths[0, 3])
            assert axes.get_title() == caption
            assert words == ([column] if i == 0 else [])
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    assert grid[0, 0].get_ylabel().replace("\n", " ").startswith("Conditional flow matching")
    assert grid[1, 0].get_ylabel().startswith("Optimal")


def test_the_title_says_which_seed_it_is_and_what_is_best(drawn):
    one = CELLS, ROWS, COLUMNS, PATHS[-1], "a to b"
    assert drawn(plot_comparison, *one).get_suptitle() == "a to b"
    assert drawn(plot_comparison, *one, seed=3).get_suptitle() == "a to b, seed 3"
    title = drawn(plot_comparison, *one, seed=3, seeds=5, best=0.00641).get_suptitle()
    assert title == "a to b, seed 3, the first of 5\nW₂² of two true samples 0.0064"


def test_a_comparison_of_which_nothing_was_run(drawn):
    figure = drawn(plot_comparison, {}, ROWS, COLUMNS, PATHS[-1], "t")
    assert all("not run" in [text.get_text() for text in axes.texts] for axes in figure.axes)


@pytest.mark.parametrize("dim", [1, 4])
def test_a_comparison_in_other_dimensions(drawn, dim):
    paths = np.repeat(PATHS[..., :1], dim, axis=2)
    figure = drawn(plot_comparison, {("ot", "x"): (paths, "")}, ROWS, COLUMNS, paths[-1], "t")
    assert ("first two of 4 dimensions" in figure.get_suptitle()) == (dim == 4)
    assert figure.axes[2].get_xlabel() == ("$t$" if dim == 1 else "$x_{1}$")


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_largest_comparison_is_light(tmp_path, suffix):
    """Of paths from a normal to a ring, on curved ways."""
    start, t = rng.normal(size=(2048, 2)), np.linspace(0, 1, 101)[:, None, None]
    ring = 3 * start / np.linalg.norm(start, axis=1, keepdims=True) + 0.1 * start[::-1]
    paths = np.cos(np.pi * t / 2) * start[::-1] + np.sin(np.pi * t / 2) * ring
    rows, columns = [(i, "Variance-preserving interpolant") for i in range(8)], "abcdef"
    cells = {(i, j): (paths, "NFE 224, W₂² 0.058 ± 0.004") for i, _ in rows for j in columns}
    plot_comparison(tmp_path / f"a{suffix}", cells, rows, columns, paths[-1], "t")
    assert (tmp_path / f"a{suffix}").stat().st_size < 3_500_000


def test_the_parts_of_datasets_have_colours(drawn):
    """Every point that of its class, of few and of many; without classes that of a source."""
    clouds = {name: rng.normal(size=(99, 2)) for name in "abc"}
    which = {"a": np.arange(99) % 2, "b": np.arange(99) % 8}
    first, many, none = drawn(plot_gallery, clouds, classes=which).axes[:3]
    for axes, name, count in ((first, "a", 2), (many, "b", 8)):
        colours = axes.collections[0].get_facecolors()[:, :3]
        assert len(np.unique(colours, axis=0)) == count
        for k in range(count):
            np.testing.assert_array_equal(
                colours[which[name] == k], np.tile(colours[k], (sum(which[name] == k), 1))
            )
    np.testing.assert_allclose(none.collections[0].get_facecolors()[0, :3], to_rgb(style.SOURCE))


def test_datasets_are_drawn_on_one_scale_with_labels_around(drawn):
    clouds = {name: k * rng.normal(size=(99, 2 + k)) for k, name in enumerate(["a_$b$", "c", "d"])}
    figure = drawn(plot_gallery, clouds, columns=2)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [r"a_\$b\$", "c", "d"]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in shown}) == 1
    for axes, points in zip(shown, clouds.values(), strict=True):
        assert (axes.collections[0].get_offsets() == points[:, :2]).all()
    assert [bool(axes.get_xlabel()) for axes in shown] == [False, True, True]
    assert [bool(axes.get_ylabel()) for axes in shown] == [True, False, True]
    assert [text.get_text() for text in shown[2].texts] == ["$x_{1}$ and $x_{2}$ of 4"]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (1, 5)])
def test_no_words_lie_on_others(drawn, rows, columns):
    """The title, the names of the columns, the captions, the axes' labels and the legend."""
    names = [f"solver {n}" for n in range(columns)]
    lines = [(f"m{n}", "Independent CFM") for n in range(rows)]
    paths = 3 * rng.normal(size=(500, 2)) + np.linspace(0, 1, 11)[:, None, None]  # as high as wide
    cells = {(key, name): (paths, "NFE 100, $W_2^2$ 0.05") for key, _ in lines for name in names}
    figure = drawn(plot_comparison, cells, lines, names, paths[-1], "8gaussians to moons", best=0.1)
    FigureCanvasAgg(figure).draw()
    texts = [figure._suptitle, figure.legends[0]]
    for axes in figure.axes:
        texts += [axes.title, *axes.texts, axes.xaxis.label]
    boxes = [text.get_window_extent() for text in texts if text.get_visible()]
    boxes = [box for box in boxes if box.width and box.height]
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)
