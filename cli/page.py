"""`python main.py page`: a page on which to explore the exact field of a few points."""

import click
import numpy as np
import mlx.core as mx

from cfm import METHODS
from cli.files import require_writable
from cli.options import command, config_option, option, out, usage_errors
from cli.values import WritablePath
from datasets import DATASETS
from lab.config import FIRST, ConfigError
from lab.values import OneOf, Whole

CLOSED_FORMS = [name for name, make in METHODS.items() if make().coupling.match is None]
PLANAR = [name for name, data in DATASETS.items() if data.dim == 2]
MIXTURES = [name for name in PLANAR if DATASETS[name].mixture]


@command
@config_option(
    "method", kind=OneOf(CLOSED_FORMS), help="Flow-matching method with independent pairs."
)
@config_option(
    "source",
    kind=OneOf(MIXTURES),
    default="normal",
    help="Distribution the flow starts from: a mixture of Gaussians.",
)
@config_option(
    "target",
    kind=OneOf(PLANAR),
    default="annulus",
    help="Dataset that the points are drawn from.",
)
@option(
    FIRST,
    "--points",
    kind=Whole(1, 512),
    default=128,
    help="Number of points of the target; the page shows as many of them as its reader wants.",
)
@config_option("sigma")
@config_option("seed", help="Number that decides which points are drawn.")
@out("media/exact.html", WritablePath(".html"), "Page to write, .html.")
def page(method, source, target, points, sigma, seed, out):
    """Write a page that explores the exact field of a few points.

    A reader moves sliders for the time, the number of points and σ: from one point to many.

    \b
    Example:
      python main.py page --target annulus --out media/exact.html
    """
    from figures.pages import exact_page

    require_writable(out)
    source, target, made = DATASETS[source], DATASETS[target], METHODS[method](sigma)
    with usage_errors():
        if made.normal_source and not source.standard_normal:
            raise ConfigError(
                "source", f"'{source.name}' is not N(0, I), which '{method}' is defined for."
            )
        chosen = np.array(target.sample(points, mx.random.key(seed)))
        title = f"{made.title}: {source.name} to {target.name}"
        exact_page(out, METHODS[method], source, chosen, title=title, sigma=sigma)
    click.echo(f"page        {out}, {out.stat().st_size / 1000:.0f} kB")
