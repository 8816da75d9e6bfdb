"""The page of a flow: particles that were carried, over their density, for whoever has no Python.

What is drawn was computed before: places at many times, and densities at fewer, as small whole
numbers. Boxes and densities are those of the figures.
"""

from base64 import b64encode

import numpy as np
from matplotlib.colors import to_hex
from scipy.ndimage import gaussian_filter1d

from figures.geometry import between, bounding_box, density_grid
from figures.pages import write_page

PARTICLES, FRAMES = 1000, 201  # drawn at most, and times at which their places are kept
DENSITIES = 51  # times at which the density is kept
GRIDS = {1: (160, 0.02), 2: (80, 0.014)}  # dimensions → its cells a side, and bandwidth


def flow_page(out, paths, *, title: str, names=("", ""), target=None, labels=None, classes=None):
    """Particles flowing over their density, with a clock to play, stop and set.

    Args:
        out: file to write.
        paths: (T, N, D), the states of N particles at T times evenly from 0 to 1. The first
            1 000 are drawn, the density is that of all. D = 1 is drawn over time; D > 2 shows
            the first two, and says so.
        title: of the page.
        names: of source and target, for the legend; "" for none.
        target: (M, D), a sample of the target to draw behind, or None.
        labels: the D dimensions' names, for the axes; x1, x2, … if None.
        classes: `style.Classes` of the N particles, which have their colours then.

    Raises:
        ValueError: unless the paths and the target are such arrays, and finite.
    """
    paths, target = _checked(paths, target)
    dim = paths.shape[2]
    drawn, states = _evenly(paths[:, :PARTICLES, :2], FRAMES), _evenly(paths[..., :2], DENSITIES)
    clouds = [*states, target[:, :2]] if len(target) else list(states)
    box = _box(drawn, clouds[0], *clouds[len(states) - 1 :])
    densities = (_profiles if dim == 1 else _heat_maps)(clouds, box)
    low, high = np.reshape(box, (2, 2))[-dim:].T
    low, high = 2 * low - high, 2 * high - low  # what goes farther out is out of sight
    data = {
        "names": list(names),
        "labels": _labels(labels, dim),
        "dim": dim,
        "count": paths.shape[1],
        "shape": drawn.shape,
        "box": box,
        "low": low.tolist(),
        "high": high.tolist(),
        "paths": _quantised((drawn - low) / (high - low), "<u2"),
        "densityFrames": len(states),
        "densities": _quantised(densities[: len(states)], "u1"),
        "target": _quantised(densities[len(states) :], "u1"),
    }
    if classes:
        data["classes"] = {
            "names": list(classes.names),
            "colours": [to_hex(colour) for colour in classes.colours],
            "labels": classes.labels[: drawn.shape[1]].tolist(),
        }
    write_page(out, title, data, aside="flow.html", scripts=["flow.js"])


def _checked(paths, target) -> tuple[np.ndarray, np.ndarray]:
    """Paths (T, N, D) and a sample (M, D) of the target, M = 0 for None; refused unless finite."""
    paths = np.asarray(paths)
    if paths.ndim != 3 or len(paths) < 2 or not paths.size:
        raise ValueError(f"paths must be (T, N, D), T at least 2, not {paths.shape}")
    if not np.isfinite(paths).all():
        raise ValueError("paths must be finite, and some of these particles are lost on the way")
    dim = paths.shape[2]
    target = np.empty((0, dim)) if target is None else np.asarray(target)
    if target.ndim != 2 or target.shape[1] != dim or not np.isfinite(target).all():
        raise ValueError(f"the target must be (M, {dim}) and finite")
    return paths, target


def _labels(labels, dim: int) -> list[str]:
    """What the one or two axes of places are called."""
    plain = [f"x{d + 1}" for d in range(dim)]
    if list(labels or plain) == plain:
        return ["x"] if dim == 1 else ["x₁", "x₂"]
    return list(labels[:2])


def _evenly(paths, count: int) -> np.ndarray:
    """Paths (T, N, D) at so many times evenly from 0 to 1, or at their own if these are fewer."""
    return between(paths, np.linspace(0, 1, min(count, len(paths))))


def _box(drawn, *ends) -> list[float]:
    """(x0, x1, y0, y1) of the picture; in one dimension x is time, and y the place."""
    if drawn.shape[2] == 1:
        places = np.concatenate([cloud.ravel() for cloud in (drawn, *ends)])
        low, high = np.quantile(places, [0.001, 0.999])
        room = 0.06 * (high - low)
        box = 0.0, 1.22, low - room, high + room
    else:
        box = bounding_box(drawn.reshape(-1, 2), *ends)
    wide = [(a, b) if b > a else (a - 0.5, b + 0.5) for a, b in (box[:2], box[2:])]
    return [float(side) for pair in wide for side in pair]


def _heat_maps(clouds, box) -> np.ndarray:
    """Densities in the plane, each on a scale of its own."""
    return np.array([density_grid(cloud, box, *GRIDS[2]) for cloud in clouds])


def _profiles(clouds, box) -> np.ndarray:
    """Densities in one dimension, on one scale."""
    cells, bandwidth = GRIDS[1]
    counts = [np.histogram(cloud, cells, box[2:])[0] / len(cloud) for cloud in clouds]
    profiles = gaussian_filter1d(counts, bandwidth * cells, mode="constant")
    return profiles / profiles.max()


def _quantised(parts, dtype) -> str:
    """Numbers from 0 to 1 as base64 of unsigned integers, 1 the largest of them."""
    top = np.iinfo(dtype).max
    return b64encode(np.round(np.clip(parts, 0, 1) * top).astype(dtype).tobytes()).decode()
