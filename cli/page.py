"""`python main.py page`: a page on which to explore the exact field of a few points."""

from pathlib import Path

import click
import mlx.core as mx

from cfm import METHODS
from cli.files import require_writable
from cli.options import command, config_option, option, out, usage_errors
from cli.values import WritablePath
from datasets import DATASETS, Dataset, Points, a_few_points, load_points
from files.tables import SUFFIXES, ColumnError
from lab.config import FIRST, ConfigError
from lab.values import OneOf, Whole

CLOSED_FORMS = [name for name, make in METHODS.items() if make().coupling.match is None]
PLANAR = [name for name, data in DATASETS.items() if data.dim == 2]
MIXTURES = [name for name in PLANAR if DATASETS[name].mixture]
OFFERED = 1024  # points of every target


@command
@config_option(
    "method", kind=OneOf(CLOSED_FORMS), help="Flow-matching method that the page begins with."
)
@config_option(
    "source",
    kind=OneOf(MIXTURES),
    default="normal",
    help="Distribution the flow starts from: a mixture of Gaussians.",
)
@config_option(
    "target",
    kind=OneOf(PLANAR, SUFFIXES),
    default="annulus",
    help="Dataset, or file of points in the plane, that the points are drawn from.",
)
@option(
    FIRST,
    "--points",
    kind=Whole(1, OFFERED),
    default=8,
    help="Number of points of the target that the page begins with.",
)
@config_option("columns")
@config_option("sigma")
@config_option("seed", help="Number that decides which points are drawn.")
@out("media/exact.html", WritablePath(".html"), "Page to write, .html.")
def page(method, source, target, points, columns, sigma, seed, out):
    """Write a page that explores the exact field of a few points.

    A reader draws and moves points, chooses the method, the source and the target, looks at one
    point and at all: from a Gaussian that moves and narrows to the target itself.

    \b
    Example:
      python main.py page --target annulus --out media/exact.html
    """
    from figures.exact_page import exact_page, with_independent_pairs

    require_writable(out)
    with usage_errors():
        if METHODS[method]().normal_source and not DATASETS[source].standard_normal:
            raise ConfigError(
                "source", f"'{source}' is not N(0, I), which '{method}' is defined for."
            )
        targets = {name: _points(DATASETS[name], seed) for name in PLANAR}
        if target not in targets:
            file, target = target, Path(target).name
            targets[target] = _points(_of_file(file, columns), seed)
        elif columns:
            raise ConfigError("columns", f"columns are chosen from a file, and '{target}' is none.")
        exact_page(
            out,
            with_independent_pairs(),
            [DATASETS[name] for name in MIXTURES],
            targets,
            title="The exact flow to a few points",
            method=method,
            source=source,
            target=target,
            n=min(points, len(targets[target][0])),
            sigma=sigma,
        )
    click.echo(f"page        {out}, {out.stat().st_size / 1000:.0f} kB")


def _of_file(path: str, columns) -> Points:
    """A user's points in the plane."""
    try:
        target = load_points(path, columns)
    except ValueError as error:
        option = "columns" if isinstance(error, ColumnError) else "target"
        raise ConfigError(option, f"{error}.") from None
    if target.dim != 2:
        raise ConfigError("target", f"'{path}' has {target.dim} columns, and a page draws 2.")
    return target


def _points(target: Dataset, seed: int):
    """The points that are offered of a target, and the names of their axes."""
    chosen = a_few_points(target, OFFERED, mx.random.key(seed))
    if isinstance(target, Points):
        return chosen.standard_points, [f"{name}, standardised" for name in target.columns]
    return chosen.points, target.columns
