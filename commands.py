"""The commands beside the main job: each parses, calls and reports, like `main.py`."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import click
import mlx.core as mx
import numpy as np

import comparison
import evaluation
import runs
from arguments import (
    SUFFIXES_OF_FIGURES,
    checkpoint,
    device,
    divergence,
    flow,
    other_solving,
    network,
    output,
    probes,
    run_options,
    solving,
    usage_errors,
)
from cfm import METHODS
from couplings import SinkhornWarning
from datasets import DATASETS, Points
from evaluation import Fitness, W2_POINTS
from models import NETWORKS
from options import (
    FigurePath,
    Name,
    Number,
    SectionedCommand,
    Whole,
    option,
    require_writable,
)
from progress import overall_progress
from settings import CNF, OptionError, Run
from solver import SOLVERS

GALLERY_POINTS = 5_000
SAMPLES_PART = 50_000  # points in one solve
CLOSED_FORMS = [name for name, make in METHODS.items() if make().coupling.match is None]
PLANAR = [name for name, data in DATASETS.items() if data.dim == 2]
MIXTURES = [name for name in PLANAR if DATASETS[name].mixture]
comparing = option("Comparison")


def command(function):
    return click.command(cls=SectionedCommand)(function)


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
    from plots import plot_gallery

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
@checkpoint
@output(
    "--out",
    type=FigurePath(SUFFIXES_OF_FIGURES),
    help="Figure, .png, .pdf or .svg.  [default: media/density_CHECKPOINT.png]",
)
@divergence
@probes
@solving("--samples", type=Whole(2, 100_000), default=W2_POINTS, help="Fresh target samples.")
@device
def density(checkpoint, out, samples, **how):
    """Draw the density a flow has learned, beside the true one.

    \b
    Example:
      python main.py density runs/cfm_8gaussians_moons_seed0_c30748.safetensors
    """
    with usage_errors():
        run, model = runs.load(checkpoint)
        if run.target.dim > 2 and out:
            raise OptionError(
                "out",
                f"'{out}' cannot be drawn: the flow has {run.target.dim} dimensions, and "
                "densities of one and two are.",
            )
        out = out or Path("media", f"density_{checkpoint.stem}.png")
        require_writable(out, "--out")
        _warn_of_other_points(run)
        fitness = evaluation.likelihood_of_target(run, model, samples, **how)
        drawn = evaluation.densities(run, model) if run.target.dim <= 2 else None
    _report_fitness(fitness, run, samples)
    if drawn is None:
        click.echo(f"figure      none: the flow has {run.target.dim} dimensions")
        return
    from plots import plot_density

    plot_density(out, *drawn, title=f"{run.title}, {run.source.name} to {run.target.name}")
    click.echo(f"figure      {out}")


def _warn_of_other_points(run: Run):
    target = run.target
    if isinstance(target, Points) and target.points is not None and not target.unchanged:
        name = run.config["target"]
        click.echo(f"Warning: '{name}' is not what it was when the flow was trained.", err=True)


def _report_fitness(fitness: Fitness, run: Run, count: int):
    click.echo(
        f"NLL         {fitness.nll:.4f} ± {fitness.nll_error:.4f} nats, of {count:,} fresh samples "
        f"of {run.target.name}"
    )
    if fitness.entropy is not None:
        click.echo(
            f"entropy     {fitness.entropy:.4f} nats, that of {run.target.name} itself: the least "
            f"NLL there is\n"
            f"KL          {fitness.gap:.4f} ± {fitness.gap_error:.4f} nats, their difference: the "
            f"Kullback–Leibler divergence"
        )


@command
@checkpoint
@other_solving
@solving("--samples", "-n", type=Whole(1, 10_000_000), default=10_000, help="Points to generate.")
@solving("--seed", type=Whole(0, 2**31 - 1), help="Of their starts.  [default: the run's]")
@output("--log-prob", is_flag=True, help="One column more: the flow's log-density there, in nats.")
@output(
    "--out",
    type=FigurePath((".npy", ".csv")),
    help="File, .npy or .csv.  [default: runs/CHECKPOINT_samples.npy]",
)
@device
def sample(checkpoint, out, log_prob, samples, seed, **changes):
    """Generate points with a trained flow, and write them to a file.

    \b
    Example:
      python main.py sample runs/cfm_8gaussians_moons_seed0_c30748.safetensors -n 1000 --out a.csv
    """
    out = out or Path("runs", f"{checkpoint.stem}_samples.npy")
    require_writable(out, "--out")
    with usage_errors():
        run, model = runs.load(checkpoint, **changes)
        run = replace(
            run, config=run.config | {"seed": run.config["seed"] if seed is None else seed}
        )
        parts = []
        with overall_progress(samples, "sampling") as show:
            for rows in evaluation.sample_in_parts(run, model, samples, SAMPLES_PART, log_prob):
                parts.append(rows)
                show(sum(map(len, parts)), "")
    digits = 17 if isinstance(run.target, Points) else 9
    _write_rows(out, np.concatenate(parts), log_prob, digits)
    click.echo(f"samples     {out}: {samples:,} points with {run.config['solver']}")


def _write_rows(out: Path, rows: np.ndarray, log_prob: bool, digits: int):
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".npy":
        np.save(out, rows)
        return
    names = [f"x{d + 1}" for d in range(rows.shape[1] - log_prob)] + ["log_prob"] * log_prob
    np.savetxt(out, rows, fmt=f"%.{digits}g", delimiter=",", header=",".join(names), comments="")


@command
@checkpoint
@other_solving
@solving("--samples", type=Whole(2, 100_000), help="Points to generate.  [default: the run's]")
@output("--json", "as_json", is_flag=True, help="One JSON object, and nothing else.")
@device
def evaluate(checkpoint, as_json, **changes):
    """Measure a trained flow: distances, paths, likelihood.

    \b
    Example:
      python main.py evaluate runs/cfm_8gaussians_moons_seed0_c30748.safetensors --json
    """
    with usage_errors():
        run, model = runs.load(checkpoint, **changes)
        _warn_of_other_points(run)
        numbers = evaluation.evaluate(run, model)
    names = ("method", "source", "target", "sigma", "seed", "trained_steps")
    numbers = {"checkpoint": str(checkpoint)} | {n: run.config.get(n) for n in names} | numbers
    if as_json:
        click.echo(json.dumps(numbers, indent=2, allow_nan=False))
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        shown = "–" if value is None else f"{value:.5g}" if isinstance(value, float) else value
        click.echo(f"{name:{width}}  {shown}")


@command
@checkpoint
@other_solving
@solving("--samples", type=Whole(2, 20_000), default=W2_POINTS, help="Points that flow.")
@output("--seconds", type=Number(0.5, 60), default=5.0, help="How long it takes.")
@output(
    "--out",
    type=FigurePath((".gif", ".mp4", ".html")),
    help="File: .gif, .mp4 (by ffmpeg), or .html, a page with a slider.  "
    "[default: media/CHECKPOINT.gif]",
)
@device
def animate(checkpoint, out, seconds, **changes):
    """Show particles flowing, as a film or as a page.

    \b
    Example:
      python main.py animate runs/cfm_8gaussians_moons_seed0_c30748.safetensors --out media/flow.gif
    """
    out = out or Path("media", f"{checkpoint.stem}.gif")
    require_writable(out, "--out")
    with usage_errors():
        run, model = runs.load(checkpoint, **changes)
        paths = evaluation.paths(run, model)
        known = not isinstance(run.target, Points) or run.target.points is not None
        draw = run.target.sample_exactly if known else lambda n, key: None
        target = draw(evaluation.FIGURE_POINTS, mx.random.key(0))
    about = {
        "title": f"{run.title}, {run.source.name} to {run.target.name}",
        "names": (run.source.name, run.target.name),
        "target": target,
    }
    if out.suffix.lower() == ".html":
        from pages import flow_page

        flow_page(out, paths, **about)
    else:
        _film(out, paths, seconds=seconds, **about)
    click.echo(f"animation   {out}, {out.stat().st_size / 1e6:.1f} MB")


def _film(out: Path, paths: np.ndarray, **how):
    from animation import AnimationError, animate

    try:
        with overall_progress(1.0, "drawing") as show:
            animate(out, paths, progress=lambda done, total: show(done / total, ""), **how)
    except AnimationError as error:
        raise click.UsageError(f"{error}.") from None


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
    from pages import exact_page

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
    from panels import plot_comparison

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
        rows=list({of[0].method.name: (of[0].method.name, of[0].title) for of in planned}.values()),
        columns=[run.config["solver"] for run in planned[0]],
        targets=first.target.sample_exactly(evaluation.FIGURE_POINTS, mx.random.key(0)),
        title=f"{first.source.name} to {first.target.name}",
        names=(first.source.name, first.target.name),
    )
    click.echo(table)
    click.echo("\n".join(f"saved       {path}" for path in (*tables, out)))


COMMANDS = [compare, sample, density, animate, evaluate, datasets, exact]
