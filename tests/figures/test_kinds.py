"""What each kind of figure shows, given arrays; how they are filled is in `test_figures.py`."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from figures import style
from figures.kinds import field
from figures.kinds.density import plot_density
from figures.kinds.error import plot_error
from figures.kinds.field import SPEED, VELOCITY, plot_field
from figures.kinds.loss import plot_loss
from figures.kinds.samples import plot_samples
from figures.kinds.time import plot_time
from figures.kinds.trajectories import plot_trajectories
from figures.kinds.workprecision import plot_work_precision
from metrics import ExcessLoss

rng = np.random.default_rng(0)
START = rng.normal(size=(500, 2))
PATHS = START + np.linspace(0, 1, 41)[:, None, None] * [5, 1]
LABELS = ("width", "price_$")


def turning(t, x):
    """A rotation about the origin, faster as time passes."""
    return (1 + t) * np.stack([-x[:, 1], x[:, 0]], axis=1)


def mass_and_middle(axes):
    """Of the filled density in axes of one dimension."""
    (shape,) = axes.collections
    x, height = shape.get_paths()[0].vertices.T
    above = height > 0
    x, height = x[above], height[above]
    step = x[1] - x[0]
    return height.sum() * step, (height * x).sum() * step


def test_paths_lead_from_the_blue_source_to_vermilion_points(drawn):
    (axes,) = drawn(plot_trajectories, PATHS, PATHS[-1], "t", labels=LABELS, shown=100).axes
    lines, source, generated, outline = axes.collections
    for dots, k, colour in ((source, 0, style.SOURCE), (generated, -1, style.GENERATED)):
        assert (dots.get_offsets() == PATHS[k]).all()
        assert dots.get_facecolor()[0, :3] == pytest.approx(to_rgb(colour))
    pieces, colours = lines.get_paths(), lines.get_colors()
    assert len(pieces) == 100 * 20
    for piece, k, colour in ((7, 0, style.SOURCE), (19 * 100 + 7, -1, style.GENERATED)):
        end = pieces[piece].vertices[k]
        assert end == pytest.approx(PATHS[k, 7])
        assert colours[piece][:3] == pytest.approx(to_rgb(colour), abs=0.03)
    assert outline.get_zorder() > generated.get_zorder() > lines.get_zorder()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", r"price_\$")


def test_points_and_paths_have_the_colours_of_their_classes(drawn):
    labels = rng.integers(0, 3, 500)
    classes = style.Classes(("a", "b $", "c"), labels)
    figure = drawn(plot_trajectories, PATHS, PATHS[-1], "t", shown=100, classes=classes)
    lines, source, generated, _ = figure.axes[0].collections
    expected = np.array([to_rgb(style.CLASSES[k]) for k in labels])
    np.testing.assert_allclose(lines.get_colors()[:, :3], expected[:100])
    assert lines.get_paths()[7].vertices == pytest.approx(PATHS[:, 7])
    np.testing.assert_allclose(generated.get_facecolor()[:, :3], expected)
    assert source.get_facecolor()[0, :3] == pytest.approx(to_rgb(style.SOURCE))
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["source: source", "100 paths", "a", r"b \$", "c", "target: target"]
    assert list(style.class_marks([str(k) for k in range(40)])) == ["40 classes"]
    assert len({*map(tuple, style.class_colours(40))}) == 40
    few = style.class_colours(8)
    assert not {*map(tuple, few)} & {(*to_rgb(c), 1) for c in (style.SOURCE, style.GENERATED)}


def test_samples_of_classes(drawn):
    labels = rng.integers(0, 2, 500)
    classes = style.Classes(("a", "b"), labels)
    about = {"classes": classes, "target_classes": classes}
    figure = drawn(plot_samples, START, START + 1, START - 1, "t", **about)
    for axes in figure.axes[1:]:
        hues = axes.collections[0].get_facecolor()[:, :3]
        np.testing.assert_allclose(hues, [to_rgb(style.CLASSES[k]) for k in labels])
    line = [x[:, :1] for x in (START, START + 1, START - 1)]
    axes = drawn(plot_samples, *line, "t", **about).axes[2]
    areas = []
    for shape in axes.collections:  # of a share of the points, as large as it is
        x, height = shape.get_paths()[0].vertices.T
        areas.append(height[height > 0].sum() * np.diff(np.unique(x)).mean())
    np.testing.assert_allclose(areas, np.bincount(labels) / 500, atol=0.02)


def test_the_outline_holds_nine_tenths_of_the_target(drawn):
    """Of a standard normal distribution: a circle of radius √(2 ln 10) = 2.15."""
    target = rng.normal(size=(200_000, 2))
    (axes,) = drawn(plot_trajectories, PATHS[:, :50], target, "t").axes
    around = np.concatenate([path.vertices for path in axes.collections[3].get_paths()])
    radii = np.hypot(*around.T)
    assert radii.mean() == pytest.approx(2.15, abs=0.1)
    assert radii.std() < 0.1


def test_a_few_points_are_crosses(drawn):
    few = PATHS[-1, :5]
    figure = drawn(plot_trajectories, PATHS, few[rng.integers(0, 5, 1000)], "t")
    crosses = figure.axes[0].collections[3].get_offsets()
    assert {tuple(point) for point in crosses} == {tuple(point) for point in few}
    assert figure.legends[0].legend_handles[-1].get_marker() == "+"


def test_one_dimension_is_drawn_over_time(drawn):
    (axes,) = drawn(plot_trajectories, PATHS[..., :1], PATHS[-1, :, :1] + 3, "t").axes
    lines = next(each for each in axes.collections if len(each.get_paths()) > 100)
    assert lines.get_paths()[7].vertices[0] == pytest.approx([0, PATHS[0, 7, 0]])
    assert lines.get_paths()[-1].vertices[-1, 0] == 1
    (generated,) = axes.lines
    t, x = generated.get_data()
    assert x[np.nanargmax(t)] == pytest.approx(5, abs=0.7)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$t$", "$x$")


def test_more_dimensions_show_the_first_two(drawn):
    wide = np.concatenate([PATHS, 100 * PATHS], axis=2)
    for plot, *arguments in (
        (plot_trajectories, wide, wide[-1], "t"),
        (plot_samples, wide[0], wide[-1], wide[-1], "t"),
        (plot_time, {"flow": wide[[0, -1]]}, [0, 1], "t"),
    ):
        figure = drawn(plot, *arguments)
        assert figure.get_suptitle() == "t\nthe first two of 4 dimensions"
        assert np.ptp(figure.axes[0].get_ylim()) < 20


def test_errors_are_shown_in_parts_of_the_velocity(drawn):
    error, spread = np.array([0.01, 0.04, 0.09, 0.06]), np.array([1.0, 2.0, 3.0, 2.0])
    figure = drawn(plot_error, error, spread, 4.0, "t")
    (axes,) = figure.axes
    pairs, learned = axes.lines
    assert learned.get_xdata().tolist() == [0.125, 0.375, 0.625, 0.875]
    np.testing.assert_allclose(learned.get_ydata(), [5, 10, 15, 12.247], rtol=1e-4)
    np.testing.assert_allclose(pairs.get_ydata(), [50, 70.711, 86.603, 70.711], rtol=1e-4)
    assert figure.get_suptitle() == "t\nvelocity off by 11.2%"  # √(0.05 / 4)


def test_the_loss_is_shown_from_its_first_value_to_its_floor(drawn):
    losses = [(1, 20.0), *((100 * k, 5 + 3 / k) for k in range(1, 60))]
    excess = ExcessLoss(5.1, 5.0, 0.05, 0.1, 0.01, 0.1)
    figure = drawn(plot_loss, losses, excess, "t")
    (axes,) = figure.axes
    dots, smooth, floor = axes.lines
    assert np.transpose(dots.get_data()).tolist() == [list(loss) for loss in losses]
    assert axes.get_ylim()[0] < 4.95 and axes.get_ylim()[1] > 20
    assert axes.get_xscale() == "symlog" and axes.get_yscale() == "log"
    assert floor.get_ydata() == [5.0, 5.0]
    assert "5.00 ± 0.05" in axes.get_legend().get_texts()[-1].get_text()
    assert figure.get_suptitle() == "t\nexcess over the least possible 0.100 ± 0.010"
    near = [loss for step, loss in losses if 0.85 * 3000 <= step <= 3000 / 0.85]
    assert smooth.get_ydata()[30] == pytest.approx(np.mean(near))


@pytest.mark.parametrize("losses", [[(1, 3.0)], [(1, 3.0), (10, -1.0)]])
def test_the_loss_of_a_short_training_or_below_nought(drawn, losses):
    (axes,) = drawn(plot_loss, losses, None, "t", "nats").axes
    assert axes.get_ylabel() == "nats"
    assert axes.get_yscale() == ("log" if len(losses) == 1 else "linear")


def test_densities_side_by_side(drawn):
    """On one scale; samples are turned into a density of mass one."""
    learned = np.zeros((20, 20))
    learned[3, 2] = 2.0
    samples = np.stack([np.full(500, 0.75), np.full(500, -0.25)], axis=1)
    samples += 1e-3 * rng.normal(size=samples.shape)
    first, second, _ = drawn(plot_density, (-1, 1, -1, 1), learned, samples, "t").axes
    (left,), (right,) = first.images, second.images
    assert (left.get_array() == learned).all()
    assert np.unravel_index(right.get_array().argmax(), (20, 20)) == (7, 17)
    assert right.get_array().sum() * (2 / 20) ** 2 == pytest.approx(1)
    assert left.get_clim() == right.get_clim()
    assert left.get_extent() == [-1, 1, -1, 1]


def test_a_density_on_a_line(drawn):
    x = np.linspace(-5, 5, 101)
    values = rng.normal(size=(100_000, 1))
    true = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    (axes,) = drawn(plot_density, (-5, 5), true, values, "t", LABELS[:1]).axes
    assert mass_and_middle(axes) == pytest.approx((1, 0), abs=0.03)
    assert (axes.lines[0].get_ydata() == true).all()
    assert axes.get_xlabel() == "width"


def test_samples_stand_in_order_on_one_scale(drawn):
    samples = [START + shift for shift in (0, 10, 20)]
    figure = drawn(plot_samples, *samples, "t", ("he$re", "there"))
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [r"source: he\$re", "target: there", "generated"]
    colours = style.SOURCE, style.TARGET_DOTS, style.GENERATED
    for axes, points, colour in zip(figure.axes, samples, colours, strict=True):
        dots = axes.collections[0]
        assert (dots.get_offsets() == points).all()
        assert dots.get_facecolor()[0, :3] == pytest.approx(to_rgb(colour))
        assert axes.get_xlim() == figure.axes[0].get_xlim()
        assert axes.get_xlim()[0] < -2 and axes.get_xlim()[1] > 22


def test_samples_of_one_dimension_are_densities_of_mass_one(drawn):
    figure = drawn(plot_samples, *[START[:, :1] + shift for shift in (0, 10, 20)], "t")
    for axes, shift in zip(figure.axes, (0, 10, 20), strict=True):
        mass, middle = mass_and_middle(axes)
        assert mass == pytest.approx(1, abs=0.02)
        assert middle == pytest.approx(START[:, 0].mean() + shift, abs=0.3)


def test_the_law_of_a_time_is_in_its_row_and_column(drawn):
    """Of clouds that stand still in one row and move to the right in the other."""
    rows = {"still": np.stack([START] * 3), "moving": np.stack([START, START + 5, START + 10])}
    figure = drawn(plot_time, rows, [0, 0.5, 1], "t", ("he$re", "there"), LABELS)
    *panels, bar = figure.axes
    titles = [axes.get_title() for axes in panels[:3]]
    assert titles == ["he\\$re\n$t = 0$", "$t = 0.5$", "there\n$t = 1$"]
    masses = []
    for axes, shift in zip(panels, (0, 0, 0, 0, 5, 10), strict=True):
        density = axes.images[0].get_array()
        x0, x1, _, _ = axes.images[0].get_extent()
        x = x0 + (x1 - x0) * (np.arange(density.shape[1]) + 0.5) / density.shape[1]
        masses.append(density.sum())
        mean = density.sum(axis=0) @ x / density.sum()
        assert mean == pytest.approx(START[:, 0].mean() + shift, abs=0.2)
        assert axes.images[0].get_clim() == (0, 1)
    np.testing.assert_allclose(masses[:3], masses[3:])  # one scale at each time
    assert "density" in bar.get_ylabel()
    assert (panels[4].get_xlabel(), panels[3].get_ylabel()) == ("width", "moving\nprice_\\$")


def test_laws_on_a_line_stand_at_their_times(drawn):
    rows = {"moving": np.stack([START, START + 5, START + 10])[..., :1]}
    figure = drawn(plot_time, rows, [0, 0.5, 1], "t", ("here", "there"))
    for shape, t, shift in zip(figure.axes[0].collections, (0, 0.5, 1), (0, 5, 10), strict=True):
        (path,) = shape.get_paths()
        height, x = path.vertices[np.argmax(path.vertices[:, 0])]
        assert path.vertices[:, 0].min() == pytest.approx(t)
        assert t < height < t + 0.5
        assert x == pytest.approx(shift, abs=0.7)
        assert shape.get_facecolor()[0] == pytest.approx(style.TIME(float(t)))
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["$t = 0$\nhere", "$t = 0.5$", "$t = 1$\nthere"]


def test_the_shade_of_a_field_is_its_speed_and_its_arrows_point_along_it(drawn):
    clouds = [np.full((5, 2), t) for t in (0, 0.5, 1)]
    box, times = (-2, 2, -1, 3), (0, 0.5, 1)
    figure = drawn(plot_field, turning, box, "t", times, clouds, LABELS)
    for axes, t, cloud in zip(figure.axes[:3], times, clouds, strict=True):
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
        assert (axes.collections[-1].get_offsets() == cloud).all()
    tops = {axes.images[0].norm.vmax for axes in figure.axes[:3]}
    assert len(tops) == 1  # one scale
    assert 0.9 * 2 * np.hypot(2, 3) * 0.75 < tops.pop() < 2 * np.hypot(2, 3)
    assert figure.axes[0].get_ylabel() == r"price_\$"


def test_arrows_point_along_the_field_on_paper_too():
    """Along the diagonal of a box whose sides differ by a factor of a thousand."""
    figure = Figure()
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1000))
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 117), np.linspace(0, 1000, 117)), axis=-1)
    field._draw_arrows(axes, grid, np.broadcast_to([1.0, 1000.0], grid.shape))
    figure.draw_without_rendering()
    corners = np.unique(axes.collections[0].get_paths()[0].vertices.round(6), axis=0)  # in pixels
    along = np.linalg.svd(corners - corners.mean(axis=0))[2][0]
    width, height = axes.bbox.size
    assert abs(along[1] / along[0]) == pytest.approx(height / width, rel=0.02)


def test_a_field_at_rest_and_one_beyond_all_colours(drawn):
    rest = drawn(plot_field, lambda t, x: 0 * x, (-1, 1, -1, 1), "t", times=(0,))
    assert (rest.axes[0].images[0].get_array() == 0).all()
    broken = drawn(plot_field, lambda t, x: np.where(x > 0.5, np.inf, x), (0, 1, 0, 1), "t", (0,))
    assert np.isfinite(broken.axes[0].images[0].norm.vmax)


def test_a_field_in_one_dimension_has_its_sign(drawn):
    axes = drawn(plot_field, lambda t, x: (t - 0.5) * np.ones_like(x), (-1, 1), "t").axes[0]
    (image,) = axes.images
    velocity = image.get_array()
    assert (velocity[:, 0] < -0.45).all() and (velocity[:, -1] > 0.45).all()
    for value, colour in ((-1, VELOCITY(0.0)), (0, (1, 1, 1)), (1, VELOCITY(1.0))):
        assert image.to_rgba(value)[:3] == pytest.approx(colour[:3], abs=0.01)


@pytest.mark.parametrize("points", [None, np.zeros((5, 9, 3))])
def test_a_field_of_three_dimensions_is_refused(tmp_path, points):
    box = (0, 1) * (3 if points is None else 2)
    with pytest.raises(ValueError, match="a velocity of 3 dimensions cannot be drawn"):
        plot_field(tmp_path / "a.png", turning, box, "t", points=points)


def test_the_shades_of_speed_darken_evenly():
    rgb = np.array([SPEED(k / 12)[:3] for k in range(13)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    steps = -np.diff(116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16)
    assert 0.7 * steps.mean() < steps.min() <= steps.max() < 1.3 * steps.mean()


def test_work_and_precision(drawn):
    curves = {"euler": [(16, 0.05), (8, 0.1)], "dopri5": [(30, 1e-2)], "exact": [(4, 0.0)]}
    figure = drawn(plot_work_precision, curves, "t", adaptive={"dopri5"})
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    lines = {line.get_label(): line for line in axes.lines}
    for name, points in curves.items():
        nfe, error = lines[name].get_data()
        found = sorted(zip(nfe, np.nan_to_num(error), strict=True))
        assert found == sorted(points)
    assert [lines[name].get_linestyle() for name in ("euler", "dopri5")] == ["--", "-"]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["adaptive", "dopri5", "fixed steps", "euler", "exact"]


def test_many_solvers_are_told_apart(drawn):
    """By a colour each up to twelve, and by colour and mark together up to more than a hundred."""
    curves = {f"solver {k}": [(10, 1.0), (20, 0.5)] for k in range(100)}
    lines = drawn(plot_work_precision, curves, "t").axes[0].lines[:100]
    assert len({line.get_color() for line in lines[:12]}) == 12
    assert len({line.get_marker() for line in lines[:13]}) == 13
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 100
