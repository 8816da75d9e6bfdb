import matplotlib.image
import numpy as np
import pytest

from arguments import FIGURES
from plots import bounding_box, density_grid, plot_trajectories

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
