"""Pages to show and to play with: one HTML file each, that needs nothing else, not even a network.

Every page is a function of arrays, or of a method and its data, that writes a file: it puts the
numbers, as one JSON object, into a template of the folder `pages/`, where JavaScript draws them.
Boxes and densities are those of the figures (`plots.py`). The field of the exact page is that of
`exact.py`, written a second time for browsers and tested against the first.
"""

import html
import json
import math
import re
from base64 import b64encode
from pathlib import Path

import mlx.core as mx
import numpy as np
from scipy.ndimage import gaussian_filter1d

from exact import exact_velocity
from figures.plots import bounding_box, density_grid

TEMPLATES = Path(__file__).parent / "web"
PARTICLES, FRAMES = 1000, 201  # drawn at most, and times at which their places are kept
DENSITIES = 51  # times at which the density is kept
GRIDS = {1: (160, 0.02), 2: (80, 0.014)}  # dimensions → its cells a side, and bandwidth
SCHEDULES = ("cfm", "vp", "fm", "poly", "cosine")  # that the exact page knows
MOST_POINTS = 512


def flow_page(out, paths, *, title: str, names=("source", "target"), target=None):
    """Particles flowing over their density, with a clock to play, stop and set.

    Args:
        out: file to write.
        paths: (T, N, D), the states of N particles at T times evenly from 0 to 1. The first
            1 000 are drawn, the density is that of all. D = 1 is drawn over time; D > 2 shows
            the first two, and says so.
        title: of the page.
        names: of source and target, for the legend.
        target: (M, D), a sample of the target to draw behind, or None.

    Raises:
        ValueError: unless the paths and the target are such arrays, and finite.
    """
    paths = np.asarray(paths)
    if paths.ndim != 3 or len(paths) < 2 or not paths.size:
        raise ValueError(f"paths must be (T, N, D), T at least 2, not {paths.shape}")
    if not np.isfinite(paths).all():
        raise ValueError("paths must be finite, and some of these particles are lost on the way")
    dim = paths.shape[2]
    target = np.empty((0, dim)) if target is None else np.asarray(target)
    if target.ndim != 2 or target.shape[1] != dim or not np.isfinite(target).all():
        raise ValueError(f"the target must be (M, {dim}) and finite")
    drawn, states = _evenly(paths[:, :PARTICLES, :2], FRAMES), _evenly(paths[..., :2], DENSITIES)
    clouds = [*states, target[:, :2]] if len(target) else list(states)
    box = _box(drawn, clouds[0], *clouds[len(states) - 1 :])
    densities = (_profiles if dim == 1 else _heat_maps)(clouds, box)
    low, high = np.reshape(box, (2, 2))[-dim:].T
    low, high = 2 * low - high, 2 * high - low  # what goes farther out is out of sight
    data = {
        "names": list(names),
        "dim": dim,
        "count": paths.shape[1],
        "shape": drawn.shape,
        "box": box,
        "low": low.tolist(),
        "high": high.tolist(),
        "paths": _quantised((drawn - low) / (high - low), "<u2"),
        "densityFrames": len(states),
        "cells": GRIDS[min(dim, 2)][0],
        "densities": _quantised(densities[: len(states)], "u1"),
        "target": _quantised(densities[len(states) :], "u1"),
    }
    _write(out, "flow.html", title, data)


def exact_page(out, method, source, points, *, title: str, power: float | None = None):
    """The exact density and velocity of a small target, at the t, n and σ a reader chooses.

    Args:
        out: file to write.
        method: one of `cfm.METHODS`, made, with independent pairs.
        source: a dataset in the plane that is a mixture of isotropic Gaussians.
        points: (M, 2), up to 512 points of the target; the page takes the first n of them.
        title: of the page.
        power: of the method `poly`; unless given, it is read off the schedule.

    Raises:
        ValueError: for what has no closed form, or not one that the page knows.
    """
    exact_velocity(method, source, points)  # what it refuses has no page
    if method.name not in SCHEDULES:
        raise ValueError(
            f"the page knows the paths of {', '.join(SCHEDULES)}, not of {method.name}"
        )
    points = np.asarray(points, np.float64)
    if source.dim != 2 or len(points) > MOST_POINTS:
        raise ValueError(f"points must be (M, 2), M up to {MOST_POINTS}, not {points.shape}")
    if method.name == "poly" and power is None:
        power = round(-math.log2(method.schedule.alpha(mx.array(0.5)).item()), 4)
    means, std = np.array(source.mixture.means, np.float64), source.mixture.std
    shown = np.concatenate([means - 2.5 * std, means + 2.5 * std, points])
    centre = (shown.min(axis=0) + shown.max(axis=0)) / 2
    half = 0.53 * np.ptp(shown, axis=0).max()
    data = {
        "method": method.name,
        "title": method.title,
        "sigma": method.sigma,
        "power": power,
        "source": source.name,
        "means": means.tolist(),
        "std": std,
        "points": points.tolist(),
        "box": [centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half],
    }
    _write(out, "exact.html", title, data)


def _evenly(paths, count: int) -> np.ndarray:
    """Paths (T, N, D) at so many times evenly from 0 to 1, or at their own if these are fewer."""
    places = np.linspace(0, len(paths) - 1, min(count, len(paths)))
    before = np.minimum(places.astype(int), len(paths) - 2)
    part = (places - before)[:, None, None]
    return (1 - part) * paths[before] + part * paths[before + 1]


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


def _write(out, template: str, title: str, data: dict):
    """Fill in a template, in one pass: what is filled in stays as it is."""
    words = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}  # lest the JSON end its script
    blob = re.sub("[<>&]", lambda found: words[found[0]], json.dumps(data, allow_nan=False))
    parts = {
        "title": html.escape(title),
        "style": (TEMPLATES / "page.css").read_text("utf-8"),
        "script": (TEMPLATES / "page.js").read_text("utf-8"),
        "data": blob,
    }
    page = (TEMPLATES / template).read_text("utf-8")
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], page), "utf-8")
