"""The commands that need no checkpoint: each parses, calls and reports, like `main.py`."""

import warnings
from pathlib import Path

import click
import mlx.core as mx
import numpy as np

from lab import comparison
from lab import evaluation
from cli.options import (
    SUFFIXES_OF_FIGURES,
    command,
    device,
    flow,
    network,
    output,
    run_options,
    usage_errors,
)
from cfm import METHODS
from couplings import SinkhornWarning
from datasets import DATASETS
from models import NETWORKS
from cli.values import FigurePath, Name, Number, Whole, option, require_writable
from cli.progress import overall_progress
from lab.run import CNF, OptionError, Run
from solver import SOLVERS

GALLERY_POINTS = 5_000
CLOSED_FORMS = [name for name, make in METHODS.items() if make().coupling.match is None]
PLANAR = [name for name, data in DATASETS.items() if data.dim == 2]
MIXTURES = [name for name in PLANAR if DATASETS[name].mixture]
comparing = option("Comparison")


@command
@output(
    "--out",
    type=FigurePath(SUFFIXES_OF_FIGURES),
    default="media/datasets.png",
    help="Figure, .png, .pdf or .svg.",
)
def datasets(out):
    """Draw every dataset.

    \b
    Example:
      python main.py datasets --out media/datasets.png
    """
    from figures.plots import plot_gallery

    require_writable(out, "--out")
    key = mx.random.key(0)
    plot_gallery(
        out, {name: np.array(data.sample(GALLERY_POINTS, key)) for name, data in DATASETS.items()}
    )
    for name, data in DATASETS.items():
        density = "" if data.log_prob is None else " (density known)"
        click.echo(f"{name:13}{data.description}{density}")
    click.echo(f"figure       {out}")


@command
@flow("--method", type=Name(CLOSED_FORMS), default="cfm", help="One with independent pairs.")
@flow("--source", type=Name(MIXTURES), default="normal", help="A mixture of Gaussians.")
@flow("--target", type=Name(PLANAR), default="annulus", help="Where the points are from.")
@flow("--points", type=Whole(1, 512), default=128, help="Of the target, at most.")
@flow("--sigma", type=Number(0, 10), help="Width of the path.  [default: the method's own]")
@flow("--seed", type=Whole(0, 2**31 - 1), default=0, help="Decides the points.")
@output("--out", type=FigurePath((".html",)), default="media/exact.html", help="Page, .html.")
def exact(method, source, target, points, sigma, seed, out):
    """Write a page that explores the exact field of a few points.

    A reader moves sliders for the time, the number of points and σ: from one point to many.

    \b
    Example:
      python main.py exact --target annulus --out media/exact.html
    """
    from figures.pages import exact_page

    require_writable(out, "--out")
    source, target, made = DATASETS[source], DATASETS[target], METHODS[method](sigma)
    with usage_errors():
        if made.normal_source and not source.standard_normal:
            raise OptionError(
                "source", f"'{source.name}' is not N(0, I), which '{method}' is defined for."
            )
        chosen = np.array(target.sample(points, mx.random.key(seed)))
        exact_page(out, made, source, chosen, title=f"{made.title}: {source.name} to {target.name}")
    click.echo(f"page        {out}, {out.stat().st_size / 1000:.0f} kB")


@command
@run_options("method", "solver", "points", "network")
@comparing(
    "--method",
    "methods",
    type=Name([*METHODS, CNF]),
    multiple=True,
    default=["cfm", "vp", "ot"],
    help="Flow-matching method, trained once; may be given several times.",
)
@comparing(
    "--solver",
    "solvers",
    type=Name(SOLVERS),
    multiple=True,
    default=["euler", "rk4", "dopri5"],
    help="ODE solver; may be given several times.",
)
@network("--network", type=Name(NETWORKS), default="mlp", help="Architecture.")
@comparing(
    "--nfe",
    type=Whole(1, 1_000_000),
    help="Evaluations by every fixed solver, whole steps; adaptive ones keep their tolerances.",
)
@comparing("--seeds", type=Whole(1, 100), default=1, help="Of training, from --seed on.")
@comparing("--retrain", is_flag=True, help="Even what a comparison before has trained.")
@output(
    "--out",
    type=FigurePath(SUFFIXES_OF_FIGURES),
    default="media/compare.png",
    help="Figure; the tables are put beside it, .md and .csv.",
)
@device
def compare(methods, solvers, nfe, seeds, retrain, out, **options):
    """Compare methods and solvers in one figure and one table.

    Every method is trained once a seed, and its flow followed by every solver. Ctrl-C keeps what
    is finished, and the same command goes on from there.

    \b
    Examples:
      python main.py compare --method cfm --method vp --method ot --solver euler --solver dopri5
      python main.py compare --solver euler --solver midpoint --solver rk4 --nfe 20 --seeds 5
    """
    methods, solvers = (list(dict.fromkeys(names)) for names in (methods, solvers))
    tables = [out.with_suffix(suffix) for suffix in (".md", ".csv")]
    for path in (out, *tables, Path("runs", "checkpoint.safetensors")):
        require_writable(path, "--out")
    with usage_errors():
        planned = comparison.plan({**options, "points": None}, methods, solvers, seeds, nfe)
    cells, stopped = _compared(planned, retrain)
    if any(cell.numbers for cell in cells):
        _save_comparison(cells, planned, out, tables)
    for cell in cells:
        if cell.failure:
            name = f"{cell.run.method.name} with {cell.run.config['solver']}"
            click.echo(f"Warning: {name} failed: {cell.failure}", err=True)
    if not stopped and all(cell.failure for cell in cells):
        raise click.ClickException("nothing could be compared.")
    if stopped:
        raise click.ClickException(
            f"stopped by Ctrl-C after {len(cells)} of {sum(map(len, planned))} solves. What is "
            "trained is kept: the same command goes on from there."
        )


def _compared(planned: list[list[Run]], retrain: bool):
    """All cells, or those that were finished when Ctrl-C was pressed."""
    cells = []
    with warnings.catch_warnings(), overall_progress(comparison.cost(planned), "compare") as show:
        warnings.simplefilter("ignore", SinkhornWarning)
        try:
            for cell in comparison.compare(planned, retrain, show):
                cells.append(cell)
        except (KeyboardInterrupt, comparison.Interrupted):
            return cells, True
    return cells, False


def _save_comparison(cells, planned, out: Path, tables: list[Path]):
    from figures.panels import plot_comparison

    table = comparison.markdown(cells)
    out.parent.mkdir(parents=True, exist_ok=True)
    tables[0].write_text(table, encoding="utf-8")
    comparison.write_csv(tables[1], cells)
    first = planned[0][0]
    seed = first.config["seed"]
    drawn = [cell for cell in cells if cell.run.config["seed"] == seed and not cell.failure]
    plot_comparison(
        out,
        {(cell.run.method.name, cell.run.config["solver"]): cell.drawn for cell in drawn},
        rows=list(dict.fromkeys((of[0].method.name, of[0].title) for of in planned)),
        columns=[run.config["solver"] for run in planned[0]],
        targets=first.target.sample_exactly(evaluation.FIGURE_POINTS, mx.random.key(0)),
        title=f"{first.source.name} to {first.target.name}",
        names=(first.source.name, first.target.name),
    )
    click.echo(table)
    click.echo("\n".join(f"saved       {path}" for path in (*tables, out)))


COMMANDS = [compare, datasets, exact]
