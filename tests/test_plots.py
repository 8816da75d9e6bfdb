import matplotlib.image
import numpy as np
import pytest

from arguments import FIGURES
from metrics import Fit
from plots import (
    bounding_box,
    density_grid,
    plot_density,
    plot_gallery,
    plot_loss,
    plot_trajectories,
)

rng = np.random.default_rng(0)
START = rng.normal(size=(500, 2))
PATHS = np.stack([START + k * np.array([0.5, 0.1]) for k in range(11)])


@pytest.mark.parametrize("suffix", FIGURES)
def test_trajectories(tmp_path, suffix):
    out = tmp_path / "new" / f"figure{suffix}"
    plot_trajectories(out, PATHS, PATHS[-1], "a title", names=("here", "there"))
    start = out.read_bytes()[:400]
    assert {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix] in start
    assert out.stat().st_size < 2_000_000


def test_the_figure_is_not_blank(tmp_path):
    out = tmp_path / "figure.png"
    plot_trajectories(out, PATHS, PATHS[-1], "a title")
    image = matplotlib.image.imread(out)[..., :3]
    assert min(image.shape[:2]) > 700
    assert out.stat().st_size < 500_000
    blue, vermilion = np.array([0, 114, 178]) / 255, np.array([213, 94, 0]) / 255
    for colour in (blue, vermilion):
        assert np.sum(np.abs(image - colour).max(axis=-1) < 0.1) > 300


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


BLUE, VERMILION = (0, 114, 178), (213, 94, 0)


def test_one_dimension_is_drawn_over_time(tmp_path):
    plot_trajectories(tmp_path / "a.png", PATHS[..., :1], PATHS[-1, :, :1], "t")
    assert colours(tmp_path / "a.png", BLUE) > 200
    assert colours(tmp_path / "a.png", VERMILION) > 200


def test_the_loss_and_its_floor(tmp_path):
    losses = [(100 * k + 1, 5 + 3 / (1 + k)) for k in range(60)]
    plot_loss(tmp_path / "with.png", losses, Fit(5.1, 5.0, 0.05, 0.1, 0.01, 0.1), "t")
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
