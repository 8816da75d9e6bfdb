"""Where a picture ends, and how dense the points in it are: boxes and density estimates.

Plain numpy without a drawing, so that pages for a browser share them.
"""

import numpy as np

LEAST_RATIO = 1 / 5  # of the sides of a box whose two axes share a scale


def bounding_box(*clouds: np.ndarray, margin: float = 0.06):
    """A box around nearly all points of all clouds, as (x0, x1, y0, y1).

    Square, unless one side would be more than five times the other.
    """
    low = np.min([np.quantile(cloud[:, :2], 0.001, axis=0) for cloud in clouds], axis=0)
    high = np.max([np.quantile(cloud[:, :2], 0.999, axis=0) for cloud in clouds], axis=0)
    centre, sides = (low + high) / 2, high - low
    if np.min(sides) >= LEAST_RATIO * np.max(sides):
        sides = np.max(sides)
    half = (0.5 + margin) * sides * np.ones(2)
    return centre[0] - half[0], centre[0] + half[0], centre[1] - half[1], centre[1] + half[1]


def bounding_limits(*clouds: np.ndarray, margin: float = 0.06) -> tuple[float, float]:
    """Limits around nearly all numbers of all clouds, of any shape."""
    ends = [np.quantile(cloud, [0.001, 0.999]) for cloud in clouds]
    low, high = np.min(ends), np.max(ends)
    room = margin * ((high - low) or 1.0)
    return low - room, high + room


def is_square(box) -> bool:
    """Whether the two axes of a box may share a scale: neither side is five times the other."""
    sides = box[1] - box[0], box[3] - box[2]
    return min(sides) >= LEAST_RATIO * max(sides)


def middles(limits, cells: int) -> np.ndarray:
    """The middles of equal cells between two limits."""
    return limits[0] + (limits[1] - limits[0]) * (np.arange(cells) + 0.5) / cells


def between(paths: np.ndarray, times) -> np.ndarray:
    """States (S, …) at S times in [0, 1] of paths (T, …), by straight lines from time to time."""
    place = np.asarray(times) * (len(paths) - 1)
    before = np.minimum(place.astype(int), len(paths) - 2)
    late = (place - before).reshape(-1, *[1] * (paths.ndim - 1))
    return (1 - late) * paths[before] + late * paths[before + 1]


def density_grid(points: np.ndarray, box, cells: int = 200, bandwidth: float | None = None):
    """A kernel density estimate of points (N, ≥ 2) on a grid over box = (x0, x1, y0, y1).

    Args:
        bandwidth: standard deviation of the Gaussian kernel, as a fraction of the box; unless it
            is given, the smaller the more points there are.

    Returns:
        (cells, cells), rows along y, largest value 1.
    """
    from scipy.ndimage import gaussian_filter

    ranges = [box[2:], box[:2]]
    counts, _, _ = np.histogram2d(points[:, 1], points[:, 0], bins=cells, range=ranges)
    bandwidth = bandwidth or 0.016 * rarity(points[:, 0]) ** (1 / 3)
    density = gaussian_filter(counts, bandwidth * cells)
    return density / (density.max() or 1.0)


def density_line(values: np.ndarray, limits, cells: int = 200, bandwidth: float | None = None):
    """A kernel density estimate of values (N,) between two limits.

    Args:
        bandwidth: as for `density_grid`, a fraction of the limits' distance.

    Returns:
        (places, density), both (cells,); the density has the mass 1 between the limits.
    """
    from scipy.ndimage import gaussian_filter1d

    counts, _ = np.histogram(values, bins=cells, range=limits, density=True)
    bandwidth = bandwidth or 0.016 * rarity(values) ** (1 / 5)
    return middles(limits, cells), gaussian_filter1d(counts, bandwidth * cells)


def rarity(values: np.ndarray) -> float:
    """2048 over the number of different values: to draw the same again tells nothing new."""
    return 2048 / len(np.unique(values))


def level_around(density: np.ndarray, mass: float) -> float:
    """The level of a density on a grid above which it has so much of its mass."""
    falling = np.sort(density, axis=None)[::-1]
    total = np.cumsum(falling)
    return falling[np.searchsorted(total, mass * total[-1])]
