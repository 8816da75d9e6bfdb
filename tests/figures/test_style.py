import html
import io

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from figures import style
from figures.geometry import (
    bounding_box,
    bounding_limits,
    density_grid,
    density_line,
    is_square,
    level_around,
)

rng = np.random.default_rng(0)
CLOUD = rng.normal(size=(500, 2))
NASTY = r"$\alpha$_1 <b> & 50% \$ 中"  # of which nothing may be taken for mathematics or markup


def ramp(values):
    """A figure of an image with a colour bar."""
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    figure.colorbar(axes.imshow(values, cmap="magma"), ax=axes)
    return figure


def pixels(image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), int)


def rendered(figure) -> np.ndarray:
    """What a figure looks like, to the last colour."""
    plain = io.BytesIO()
    with matplotlib.rc_context(style.STYLE):
        figure.savefig(plain, format="png")
    return pixels(Image.open(plain))


@pytest.mark.parametrize("heavy", [False, True])
def test_a_png_looks_as_it_was_drawn(tmp_path, monkeypatch, heavy):
    """To the last colour if it is light, else nearly: also where few pixels are, in the bar."""
    figure = ramp(np.linspace(0, 1, 40_000).reshape(200, 200) ** 4)
    monkeypatch.setattr(style, "HEAVY", 1_000 if heavy else 300_000)
    with matplotlib.rc_context(style.STYLE):
        style.save(figure, tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    assert image.mode == ("P" if heavy else "RGBA")
    assert np.abs(pixels(image) - rendered(figure)).max() <= (6 if heavy else 0)
    assert (pixels(image)[0, 0] == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_same_figure_is_the_same_file(tmp_path, suffix):
    files = []
    for name in "ab":
        with style.drawing(tmp_path / f"{name}{suffix}", 3, 3, **{"savefig.dpi": 50}) as figure:
            axes = figure.subplots()
            axes.plot([0, 1], [0, 1])
            axes.scatter(*CLOUD.T, **style.DOTS)
        files.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert files[0] == files[1]
    assert {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix] in files[0][:400]


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    def full(figure, path, **_):
        path.write_text("half a")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    (tmp_path / "a.pdf").write_text("old")
    with pytest.raises(OSError, match="no space"):
        style.save(Figure(), tmp_path / "a.pdf")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_names_are_drawn_letter_by_letter(tmp_path, recwarn):
    with style.drawing(tmp_path / "a.svg", 8, 3) as figure:
        axes = figure.subplots()
        axes.set_xlabel(style.axis_labels([NASTY], 1)[0])
        style.set_title(figure, f"{NASTY} to the target")
        style.legend(figure, (NASTY, NASTY), "paths")
    svg = html.unescape((tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert svg.count(NASTY) == 4
    assert not recwarn.list


def test_letters_that_no_file_may_hold_are_replaced():
    """Control characters make an .svg invalid, and half a surrogate cannot be encoded."""
    assert style.literal("a\x00b\x1b\udcff$") == "a\ufffdb\ufffd\ufffd\\$"
    assert style.literal("x" * 100, 40) == "x" * 20 + "…" + "x" * 20


def test_axes_are_called_by_the_names_of_the_columns():
    assert style.axis_labels(None, 1) == style.axis_labels(("x1",), 1) == ["$x$"]
    assert style.axis_labels(("x1", "x2"), 2) == ["$x_{1}$", "$x_{2}$"]
    assert style.axis_labels(("width", "$ per_day"), 2) == ["width", r"\$ per_day"]


def test_long_titles_and_legends_stay_inside_the_figure(tmp_path):
    long = " ".join(["very long name"] * 30)
    with style.drawing(tmp_path / "a.png", 5.2, 5.2) as figure:
        figure.subplots()
        style.set_title(figure, long, dim=3)
        style.legend(figure, (long, long), "200 paths")
    assert figure.get_suptitle().endswith("\nthe first two of 3 dimensions")
    assert Image.open(tmp_path / "a.png").width <= 5.3 * style.STYLE["savefig.dpi"]


def test_time_turns_the_source_into_what_is_generated():
    assert style.TIME(0.0)[:3] == pytest.approx(to_rgb(style.SOURCE), abs=0.005)
    assert style.TIME(1.0)[:3] == pytest.approx(to_rgb(style.GENERATED), abs=0.005)


def test_boxes_hold_nearly_all_points_and_are_square_if_they_can():
    box = bounding_box(CLOUD, CLOUD + 5)
    assert box[1] - box[0] == pytest.approx(box[3] - box[2])
    for cloud in (CLOUD, CLOUD + 5):
        inside = (cloud > [box[0], box[2]]) & (cloud < [box[1], box[3]])
        assert inside.mean() > 0.99
    flat = bounding_box(CLOUD * [1e6, 1])
    assert (flat[1] - flat[0]) > 1e5 * (flat[3] - flat[2])
    assert is_square(box) and not is_square(flat)
    low, high = bounding_limits(CLOUD)
    assert np.mean((low < CLOUD) & (high > CLOUD)) > 0.99


def test_a_density_on_a_grid_is_a_smooth_histogram():
    """Of a point in one corner of the box: all mass there, rows along y."""
    density = density_grid(np.full((10, 2), [0.9, 0.1]), (0, 1, 0, 1), cells=50, bandwidth=0.02)
    assert density.max() == 1
    assert np.unravel_index(density.argmax(), density.shape) == (5, 45)
    rings = np.exp(-0.5 * np.arange(5) ** 2)
    np.testing.assert_allclose(density[5, 45:], rings, atol=0.02)


def test_a_density_on_a_line_has_the_mass_one():
    values = rng.normal(size=100_000)
    x, density = density_line(values, (-5, 5))
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1)
    np.testing.assert_allclose(density, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), atol=0.02)


def test_few_values_drawn_many_times_are_no_comb():
    """One hump, however often each of a hundred values of a normal distribution is drawn."""
    few = np.sort(rng.normal(size=100))
    x, density = density_line(rng.choice(few, 100_000), (-5, 5))
    middle = density[(x > few[10]) & (x < few[90])]
    assert middle.min() > 0.3 * density.max()


@pytest.mark.parametrize("mass", [0.5, 0.9])
def test_the_level_around_a_mass(mass):
    """Of a standard normal density in the plane: exp(−r²/2) = 1 − mass."""
    x = np.linspace(-6, 6, 401)
    density = np.exp(-(x**2 + x[:, None] ** 2) / 2)
    assert level_around(density, mass) == pytest.approx(1 - mass, rel=0.02)
