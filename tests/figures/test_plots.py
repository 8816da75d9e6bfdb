import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.quiver import Quiver

from figures import panels
from figures import plots
from figures import style
from metrics import ExcessLoss
from figures.panels import plot_comparison, plot_field, plot_samples, plot_time
from figures.plots import (
    bounding_box,
    density_grid,
    plot_density,
    plot_gallery,
    plot_loss,
    plot_trajectories,
    plot_work_precision,
)

SUFFIXES = (".png", ".pdf", ".svg")
rng = np.random.default_rng(0)
START = rng.normal(size=(500, 2))
PATHS = np.stack([START + k * np.array([0.5, 0.1]) for k in range(11)])
BLUE, VERMILION = (0, 114, 178), (213, 94, 0)


@pytest.fixture
def figure(monkeypatch):
    """Draw by a function, and give the figure instead of writing it to a file."""
    kept = []
    for module in (plots, panels):
        monkeypatch.setattr(module, "save", lambda figure, out: kept.append(figure))
    yield lambda plot, *arguments, **options: plot("a.png", *arguments, **options) or kept.pop()
    plt.close("all")


def turning(t, x):
    """A rotation about the origin, faster as time passes."""
    return (1 + t) * np.stack([-x[:, 1], x[:, 0]], axis=1)


CURVES = {"euler": [(8, 0.1), (16, 0.05)], "dopri5": [(30, 1e-2), (60, 1e-5)], "exact": [(4, 0.0)]}
ROWS, COLUMNS = [("cfm", "Conditional flow matching"), ("ot", "Optimal transport")], ["rk4", "x"]
CELLS = {
    (row, column): (PATHS + 100 * i + 10 * j, f"{row} by {column}")
    for i, (row, _) in enumerate(ROWS)
    for j, column in enumerate(COLUMNS)
}
FIGURES = {
    "trajectories": (plot_trajectories, PATHS, PATHS[-1], "t"),
    "trajectories 1": (plot_trajectories, PATHS[..., :1], PATHS[-1, :, :1], "t"),
    "gallery": (plot_gallery, {"a": START, "b": START}, 2),
    "comparison": (plot_comparison, CELLS, ROWS[:1], COLUMNS[:1], PATHS[-1], "t"),
    "samples": (plot_samples, PATHS[0], PATHS[-1], PATHS[-1], "t"),
    "time": (plot_time, {"flow": PATHS[[0, -1]]}, [0, 1], "t"),
    "time 1": (plot_time, {"flow": PATHS[::5, :, :1]}, [0, 0.5, 1], "t"),
    "field": (plot_field, turning, (-1, 1, -1, 1), "t", (0,)),
    "field 1": (plot_field, lambda t, x: -x, (-1, 1), "t"),
    "work and precision": (plot_work_precision, CURVES, "t"),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_figure_in_every_format(tmp_path, name, suffix):
    out = tmp_path / "new" / f"figure{suffix}"
    plot, *arguments = FIGURES[name]
    plot(out, *arguments)
    start = out.read_bytes()[:400]
    assert {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix] in start
    assert out.stat().st_size < (300_000 if suffix == ".png" else 1_000_000)


def test_the_figure_is_not_blank(tmp_path):
    out = tmp_path / "figure.png"
    plot_trajectories(out, PATHS, PATHS[-1], "a title")
    image = matplotlib.image.imread(out)[..., :3]
    assert min(image.shape[:2]) > 700
    for colour in (BLUE, VERMILION):
        assert colours(out, colour) > 300


def test_more_than_two_dimensions_show_the_first_two(tmp_path):
    paths = np.concatenate([PATHS, 100 * PATHS[..., :1]], axis=-1)
    plot_trajectories(tmp_path / "a.png", paths, paths[-1], "t")
    plot_trajectories(tmp_path / "b.png", PATHS, PATHS[-1], "t")
    a, b = (matplotlib.image.imread(tmp_path / name) for name in ("a.png", "b.png"))
    assert np.mean(np.abs(a - b) > 0.05) < 0.02  # but for the words under the axes


def test_bounding_box_is_square_and_holds_the_points():
    box = bounding_box(START, PATHS[-1])
    assert box[1] - box[0] == pytest.approx(box[3] - box[2])
    inside = (START[:, 0] > box[0]) & (START[:, 0] < box[1])
    assert inside.mean() > 0.99


def test_density_grid_is_a_smoothed_histogram():
    """Of a point in one corner of the box: all mass there, rows along y."""
    density = density_grid(np.full((10, 2), [0.9, 0.1]), (0, 1, 0, 1), cells=50, bandwidth=0.02)
    assert density.max() == 1
    assert np.unravel_index(density.argmax(), density.shape) == (5, 45)
    rings = np.exp(-0.5 * (np.arange(5) / 1.0) ** 2)
    np.testing.assert_allclose(density[5, 45:], rings, atol=0.02)


def colours(path, colour, tolerance=0.1) -> int:
    """How many pixels have nearly this colour."""
    image = matplotlib.image.imread(path)[..., :3]
    return int(np.sum(np.abs(image - np.array(colour) / 255).max(axis=-1) < tolerance))


def test_one_dimension_is_drawn_over_time(tmp_path):
    plot_trajectories(tmp_path / "a.png", PATHS[..., :1], PATHS[-1, :, :1], "t")
    assert colours(tmp_path / "a.png", BLUE) > 200
    assert colours(tmp_path / "a.png", VERMILION) > 200


def test_the_loss_and_its_floor(tmp_path):
    losses = [(100 * k + 1, 5 + 3 / (1 + k)) for k in range(60)]
    plot_loss(tmp_path / "with.png", losses, ExcessLoss(5.1, 5.0, 0.05, 0.1, 0.01, 0.1), "t")
    plot_loss(tmp_path / "without.png", losses, None, "t")
    plot_loss(tmp_path / "short.png", [(1, 3.0)], None, "t")
    assert colours(tmp_path / "with.png", VERMILION) > 200
    assert colours(tmp_path / "without.png", VERMILION) == 0
    assert colours(tmp_path / "without.png", BLUE) > 300


def test_densities_side_by_side(tmp_path):
    """Mass at the left of the learned and at the right of the true one, given either way."""
    box, grid = (-1, 1, -1, 1), np.zeros((20, 20))
    learned, true = grid.copy(), grid.copy()
    learned[:, 2], true[:, 17] = 1, 1
    samples = np.stack([np.full(500, 0.75), rng.uniform(-1, 1, 500)], axis=1)
    for name, target in (("grid", true), ("samples", samples)):
        plot_density(tmp_path / f"{name}.png", box, learned, target, "t")
        image = matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3].sum(axis=-1)
        rows = image[image.shape[0] // 2 - 40 : image.shape[0] // 2 + 40]
        dark = rows < 0.1
        left, right = np.split(dark, [image.shape[1] * 47 // 100], axis=1)
        assert dark.mean() > 0.4
        for panel, lit in ((left, "first"), (right, "last")):
            places = np.flatnonzero(panel.mean(axis=0) > 0.9)
            middle = (places[0] + places[-1]) / 2
            inside = np.arange(places[0], places[-1])
            bright = inside[panel.mean(axis=0)[places[0] : places[-1]] < 0.5]
            assert (bright.mean() < middle) == (lit == "first")


def test_a_density_on_a_line(tmp_path):
    x = np.linspace(-3, 3, 50)
    plot_density(tmp_path / "a.png", (-3, 3), np.exp(-(x**2)), np.exp(-(x**2)), "t")
    assert colours(tmp_path / "a.png", VERMILION) > 200


def test_gallery(tmp_path):
    plot_gallery(tmp_path / "a.png", {"a": START, "b": START, "c": PATHS[-1]}, columns=2)
    assert colours(tmp_path / "a.png", BLUE, tolerance=0.4) > 500


def test_boxes_of_very_different_sides_are_not_square():
    box = bounding_box(START * [1e6, 1])
    assert (box[1] - box[0]) > 1e5 * (box[3] - box[2])


def test_a_png_with_a_palette_looks_the_same(tmp_path):
    """As it was drawn, but for colours too near to tell; and white stays white."""
    drawn, axes = plt.subplots()
    axes.imshow(np.linspace(0, 1, 40_000).reshape(200, 200), cmap="magma")
    drawn.savefig(tmp_path / "full.png")
    style.save(drawn, tmp_path / "palette.png")
    full, palette = (
        matplotlib.image.imread(tmp_path / name)[..., :3] for name in ("full.png", "palette.png")
    )
    assert np.abs(full - palette).mean() < 0.004
    assert np.quantile(np.abs(full - palette), 0.999) < 0.1
    assert (palette[0, 0] == 1).all()
    assert (tmp_path / "palette.png").stat().st_size < (tmp_path / "full.png").stat().st_size


def test_the_colours_of_speed_darken_evenly():
    rgb = np.array([style.SPEED(k / 12)[:3] for k in range(13)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    steps = -np.diff(lightness)
    assert steps.min() > 0.7 * steps.mean()
    assert steps.max() < 1.3 * steps.mean()


def test_a_density_on_a_line_has_the_mass_one():
    values = rng.normal(size=100_000)
    x, density = style.density_line(values, (-5, 5))
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1)
    np.testing.assert_allclose(density, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), atol=0.02)


def test_the_colour_of_a_field_is_its_speed_and_its_arrows_point_along_it(figure):
    drawn = figure(plot_field, turning, (-2, 2, -1, 3), "t", times=(0, 0.5, 1))
    for axes, t in zip(drawn.axes[:3], (0, 0.5, 1), strict=True):
        (image,) = axes.images
        speed = image.get_array()
        side = (np.arange(len(speed)) + 0.5) / len(speed)
        x, y = np.meshgrid(4 * side - 2, 4 * side - 1)
        np.testing.assert_allclose(speed, (1 + t) * np.hypot(x, y), rtol=1e-6)
        assert image.get_extent() == [-2, 2, -1, 3]
        (arrows,) = (artist for artist in axes.collections if isinstance(artist, Quiver))
        x, y = arrows.get_offsets().T
        length = np.maximum(np.hypot(x, y), 1e-9)
        np.testing.assert_allclose([arrows.U, arrows.V], [-y / length, x / length], atol=1e-6)
    tops = {axes.images[0].norm.vmax for axes in drawn.axes[:3]}
    assert len(tops) == 1  # one scale
    assert 0.9 * 2 * np.hypot(2, 3) * 0.75 < tops.pop() < 2 * np.hypot(2, 3)


def test_arrows_point_along_the_field_on_paper_too():
    """Along the diagonal of a box whose sides differ by a factor of a thousand."""
    drawn, axes = plt.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1000))
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 117), np.linspace(0, 1000, 117)), axis=-1)
    panels._draw_arrows(axes, grid, np.broadcast_to([1.0, 1000.0], grid.shape), 1.0)
    drawn.canvas.draw()
    (arrows,) = axes.collections
    corners = np.unique(arrows.get_paths()[0].vertices.round(6), axis=0)  # in pixels
    along = np.linalg.svd(corners - corners.mean(axis=0))[2][0]
    width, height = axes.bbox.size
    assert abs(along[1] / along[0]) == pytest.approx(height / width, rel=0.02)
    plt.close(drawn)


def test_a_field_at_rest_and_one_beyond_all_colours(figure):
    rest = figure(plot_field, lambda t, x: 0 * x, (-1, 1, -1, 1), "t", times=(0,))
    assert (rest.axes[0].images[0].get_array() == 0).all()
    broken = figure(plot_field, lambda t, x: np.where(x > 0.5, np.inf, x), (0, 1, 0, 1), "t", (0,))
    assert np.isfinite(broken.axes[0].images[0].norm.vmax)


def test_a_field_in_one_dimension_has_its_sign(figure):
    drawn = figure(plot_field, lambda t, x: (t - 0.5) * np.ones_like(x), (-1, 1), "t")
    (image,) = drawn.axes[0].images
    velocity = image.get_array()
    assert (velocity[:, 0] < -0.45).all()
    assert (velocity[:, -1] > 0.45).all()
    down, rest, up = (image.to_rgba(value)[:3] for value in (-1, 0, 1))
    assert down == pytest.approx(to_rgb(style.SOURCE), abs=0.01)
    assert rest == pytest.approx((1, 1, 1), abs=0.01)
    assert up == pytest.approx(to_rgb(style.GENERATED), abs=0.01)


def test_particles_are_drawn_at_their_times(figure):
    clouds = [np.full((5, 2), t) for t in (0, 0.5)]
    drawn = figure(plot_field, turning, (-1, 1, -1, 1), "t", times=(0, 0.5), points=clouds)
    for axes, cloud in zip(drawn.axes[:2], clouds, strict=True):
        assert (axes.collections[-1].get_offsets() == cloud).all()


@pytest.mark.parametrize("points", [None, np.zeros((5, 9, 3))])
def test_a_field_of_three_dimensions_is_refused(tmp_path, points):
    box = (0, 1) * (3 if points is None else 2)
    with pytest.raises(ValueError, match="a velocity of 3 dimensions cannot be drawn"):
        plot_field(tmp_path / "a.png", turning, box, "t", points=points)


def test_samples_stand_in_order_on_one_scale(figure):
    samples = [START + shift for shift in (0, 10, 20)]
    drawn = figure(plot_samples, *samples, "t", ("here", "there"))
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles == ["source: here", "target: there", "generated"]
    for axes, points, colour in zip(
        drawn.axes, samples, (style.SOURCE, style.TARGET_DOTS, style.GENERATED), strict=True
    ):
        (dots,) = axes.collections
        assert (dots.get_offsets() == points).all()
        assert dots.get_facecolor()[0, :3] == pytest.approx(to_rgb(colour))
        assert axes.get_xlim() == drawn.axes[0].get_xlim()
        assert axes.get_xlim()[0] < -2
        assert axes.get_xlim()[1] > 22


def test_samples_of_one_dimension_are_histograms_of_mass_one(figure):
    drawn = figure(plot_samples, *[START[:, :1] + shift for shift in (0, 10, 20)], "t")
    for axes, shift in zip(drawn.axes, (0, 10, 20), strict=True):
        places = np.array([bar.get_x() + bar.get_width() / 2 for bar in axes.patches])
        masses = np.array([bar.get_height() * bar.get_width() for bar in axes.patches])
        assert masses.sum() == pytest.approx(1)
        assert masses @ places == pytest.approx(START[:, 0].mean() + shift, abs=0.3)


def test_figures_of_more_dimensions_say_so(figure):
    wide = np.concatenate([PATHS, PATHS], axis=2)
    for plot, *arguments in (
        (plot_samples, wide[0], wide[-1], wide[-1], "t"),
        (plot_time, {"flow": wide[[0, -1]]}, [0, 1], "t"),
        (plot_comparison, {("cfm", "rk4"): (wide, "")}, ROWS, COLUMNS, wide[-1], "t"),
    ):
        assert "first two of 4 dimensions" in figure(plot, *arguments).get_suptitle()


def test_the_law_of_a_time_is_in_its_row_and_column(figure):
    """Of clouds that stand still in one row and move to the right in the other."""
    rows = {"still": np.stack([START] * 3), "moving": np.stack([START, START + 5, START + 10])}
    drawn = figure(plot_time, rows, [0, 0.5, 1], "t", ("here", "there"))
    titles = [axes.get_title() for axes in drawn.axes[:3]]
    assert titles == ["here\n$t = 0$", "$t = 0.5$", "there\n$t = 1$"]
    for axes, shift in zip(drawn.axes, (0, 0, 0, 0, 5, 10), strict=True):
        density = axes.images[0].get_array()
        x0, x1, _, _ = axes.images[0].get_extent()
        x = x0 + (x1 - x0) * (np.arange(density.shape[1]) + 0.5) / density.shape[1]
        assert density.sum() == pytest.approx(1)
        assert density.sum(axis=0) @ x == pytest.approx(START[:, 0].mean() + shift, abs=0.2)
    for above, below in zip(drawn.axes[:3], drawn.axes[3:], strict=True):
        assert above.images[0].norm.vmax == below.images[0].norm.vmax


def test_laws_on_a_line_stand_at_their_times(figure):
    rows = {"moving": np.stack([START, START + 5, START + 10])[..., :1]}
    drawn = figure(plot_time, rows, [0, 0.5, 1], "t", ("here", "there"))
    for shape, t, shift in zip(drawn.axes[0].collections, (0, 0.5, 1), (0, 5, 10), strict=True):
        (path,) = shape.get_paths()
        height, x = path.vertices[np.argmax(path.vertices[:, 0])]
        assert path.vertices[:, 0].min() == pytest.approx(t)
        assert t < height < t + 0.5
        assert x == pytest.approx(shift, abs=0.7)
    labels = [label.get_text() for label in drawn.axes[0].get_xticklabels()]
    assert labels == ["$t = 0$\nhere", "$t = 0.5$", "$t = 1$\nthere"]


def test_work_and_precision(figure):
    drawn = figure(plot_work_precision, CURVES, "t", adaptive={"dopri5"})
    (axes,) = drawn.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.lines}
    for name, points in CURVES.items():
        nfe, error = lines[name].get_data()
        assert nfe.tolist() == [point[0] for point in points]
        assert np.nan_to_num(error).tolist() == [point[1] for point in points]
    assert lines["dopri5"].get_linestyle() == "-"
    assert lines["euler"].get_linestyle() == "--"
    assert len({line.get_marker() for line in lines.values()}) == len(CURVES)
    words = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert words == ["adaptive", "dopri5", "fixed steps", "euler", "exact"]


def test_many_solvers_are_told_apart_in_grey(figure):
    curves = {f"solver {k}": [(10, 1.0), (20, 0.5)] for k in range(11)}
    lines = figure(plot_work_precision, curves, "t").axes[0].lines
    assert len({line.get_marker() for line in lines}) == 11


def test_comparison_has_each_flow_in_its_cell(figure):
    """The cells' paths are shifted by 100 a row and 10 a column; one was not run."""
    cells = {key: cell for key, cell in CELLS.items() if key != ("ot", "rk4")}
    drawn = figure(plot_comparison, cells, ROWS, COLUMNS, PATHS[-1], "t")
    grid = np.reshape(drawn.axes, (2, 2))
    for i, (row, _) in enumerate(ROWS):
        for j, column in enumerate(COLUMNS):
            axes = grid[i, j]
            words = [text.get_text() for text in axes.texts]
            if (row, column) == ("ot", "rk4"):
                assert words == ["not run"]
                assert not axes.collections
                assert not axes.images
                continue
            lines, source, generated = axes.collections
            for artist, k in ((source, 0), (generated, -1)):
                assert (artist.get_offsets() == cells[row, column][0][k]).all()
            assert lines.get_paths()[3].vertices == pytest.approx(cells[row, column][0][:, 3])
            assert axes.get_title() == f"{row} by {column}"
            assert words == ([column] if i == 0 else [])
    assert len({axes.get_xlim() for axes in drawn.axes}) == 1
    assert grid[0, 0].get_ylabel().replace("\n", " ").startswith("Conditional flow matching")
    assert grid[1, 0].get_ylabel().startswith("Optimal")


def test_a_comparison_of_which_nothing_was_run(figure):
    drawn = figure(plot_comparison, {}, ROWS, COLUMNS, PATHS[-1], "t")
    assert all("not run" in [text.get_text() for text in axes.texts] for axes in drawn.axes)


def flow_like_paths(count=2048):
    """From a normal to a ring, on curved ways."""
    start, t = rng.normal(size=(count, 2)), np.linspace(0, 1, 101)[:, None, None]
    ring = 3 * start / np.linalg.norm(start, axis=1, keepdims=True) + 0.1 * rng.normal(
        size=(count, 2)
    )
    return np.cos(np.pi * t / 2) * start[::-1] + np.sin(np.pi * t / 2) * ring


@pytest.mark.slow
def test_a_comparison_is_light(tmp_path):
    cells = {(i, j): (flow_like_paths(), "NFE 224, W₂² 0.058") for i in range(3) for j in "abc"}
    rows = [(i, "Variance-preserving interpolant") for i in range(3)]
    target = flow_like_paths()[-1]
    plot_comparison(tmp_path / "a.png", cells, rows, "abc", target, "t")
    assert (tmp_path / "a.png").stat().st_size < 600_000


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_largest_comparison_is_light(tmp_path, suffix):
    paths = flow_like_paths()
    rows, columns = [(i, "Variance-preserving interpolant") for i in range(8)], "abcdef"
    cells = {(i, j): (paths, "NFE 224, W₂² 0.058") for i, _ in rows for j in columns}
    plot_comparison(tmp_path / f"a{suffix}", cells, rows, columns, paths[-1], "t")
    assert (tmp_path / f"a{suffix}").stat().st_size < 2_000_000
