"""Pages for tests: a flow, an exact field, and the methods that such a field is known for."""

import json
import re
from dataclasses import replace
from functools import partial

import mlx.core as mx
import numpy as np

from cfm import METHODS
from datasets import DATASETS
from figures.exact_page import exact_page
from figures.flow_page import flow_page

rng = np.random.default_rng(0)
START = rng.normal(size=(1500, 2))
BEND = np.sin(np.linspace(0, 3, 101))[:, None, None] * rng.normal(size=(1500, 2))
PATHS = START + np.linspace(0, 1, 101)[:, None, None] * np.array([3.0, 1.0]) + BEND
# to the digits that a page keeps
POINTS = np.round(np.array(DATASETS["annulus"].sample(40, mx.random.key(0)), np.float64), 3)

# Every method with independent pairs, a new one too; one whose slopes are unbounded at both ends,
# and one that bends more than the others.
MAKERS = {name: make for name, make in METHODS.items() if make().coupling.match is None} | {
    "sb with independent pairs": partial(METHODS["sb"], coupling="independent"),
    "poly of power 3.5": partial(METHODS["poly"], power=3.5),
}


def a_flow(folder, paths=PATHS, **options):
    page = folder / "new" / "flow.html"
    flow_page(page, paths, title="A flow", **options)
    return page


def an_exact(folder, make=METHODS["cfm"], source=None, points=POINTS, sigma=None, **options):
    """A page of one method, one source and one target; `options` are those of `exact_page`."""
    page = folder / "exact.html"
    source = source or source_of(make)
    sources = [source] if source.standard_normal else [DATASETS["normal"], source]
    begin = {"method": make().name, "source": source.name, "target": "some", "n": 8}
    options = {"title": "An exact flow", "sigma": sigma} | begin | options
    makers = options.pop("makers", {make().name: make})
    targets = options.pop("targets", {"some": (points, ("x1", "x2"))})
    exact_page(page, makers, sources, targets, **options)
    return page


def source_of(make):
    """The source that a method is shown with."""
    return DATASETS["normal" if make().normal_source else "8gaussians"]


def squared(sigma=None):
    """A method whose width is σ², and so is not affine in σ."""
    method = METHODS["cfm"](0.5 if sigma is None else sigma)
    schedule = replace(method.schedule, sigma=lambda t: mx.full(t.shape, method.sigma**2, t.dtype))
    return replace(method, schedule=schedule)


def data_of(page) -> dict:
    """The JSON object in a page."""
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script id="data" [^>]*>(.*?)</script>', text, re.S)[1])
