"""`python main.py compare`: methods against solvers, in one figure and one table."""

import json
import warnings
from pathlib import Path

import click

from cli.options import (
    OUTPUT,
    command,
    config_option,
    config_options,
    device,
    option,
    out,
    require_runs,
    retrain,
    say_what_has_no_effect,
    usage_errors,
    warn,
)
from cli.progress import overall_progress
from cli.values import FIGURE, require_writable
from couplings import SinkhornWarning
from figures.subject import target_sample
from lab import comparison
from lab.config import FIRST, TRAINING, Config
from lab.run import Run
from lab.values import OneOf, Whole
from machine.processes import ProcessError
from models import NETWORKS


@command
@config_option(
    "method",
    names=("--method", "methods"),
    multiple=True,
    default=["cfm", "vp", "ot"],
    help="Flow-matching method, trained once for all solvers; may be given several times.",
)
@config_option(
    "solver",
    names=("--solver", "solvers"),
    multiple=True,
    default=["euler", "rk4", "dopri5"],
    help="Solver; may be given several times. With --diffusion a stochastic one is among them, "
    "which follows the flows with noise.",
)
@config_options("method", "solver", "points", "network")
@config_option("network", help="Network to train.", kind=OneOf(NETWORKS))
@option(
    FIRST,
    "--nfe",
    kind=Whole(1, 1_000_000),
    help="Number of times that every fixed solver evaluates the network, which decides its steps.  "
    "[default: as --ode-steps says, for all alike]",
)
@option(
    FIRST,
    "--seeds",
    kind=Whole(1, 100),
    default=1,
    help="Train every method with so many seeds, from --seed on.",
)
@option(
    TRAINING,
    "--processes",
    kind=Whole(1, 64),
    help="Number of trainings at once, each in a process of its own.  [default: one a core, or 1 "
    "on a GPU]",
)
@retrain
@out("media/compare.png", FIGURE, "Figure to write; the tables go beside it, .md and .csv.")
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@device
@click.pass_context
def compare(context, methods, solvers, nfe, seeds, processes, retrain, out, as_json, **options):
    """Compare methods and solvers in one figure and one table.

    Every method is trained once for each seed, on a CPU as many at once as there are cores, and its
    flow is followed by every solver. Ctrl-C keeps what is finished, and the same command goes on
    from there.

    \b
    Examples:
      python main.py compare --method cfm --method vp --method ot --solver euler --solver dopri5
      python main.py compare --solver euler --solver midpoint --solver rk4 --nfe 20 --seeds 5
    """
    methods, solvers = (list(dict.fromkeys(names)) for names in (methods, solvers))
    tables = [out.with_suffix(suffix) for suffix in (".md", ".csv")]
    for path in (out, *tables):
        require_writable(path)
    require_runs()
    with usage_errors():
        planned = comparison.plan(Config(**options), methods, solvers, seeds, nfe)
    say_what_has_no_effect(context, *(run for runs in planned for run in runs))
    cells, stopped = _compared(planned, retrain, processes or comparison.one_a_core())
    if any(cell.numbers for cell in cells):
        _save(cells, planned, out, tables)
        _report(cells, [*tables, out], as_json)
    for cell in cells:
        if cell.failure:
            config = cell.run.config
            warn(f"{config.method} with {config.solver} failed: {cell.failure.rstrip('.')}")
    if not stopped and all(cell.failure for cell in cells):
        raise click.ClickException("nothing could be compared.")
    if stopped:
        raise click.ClickException(
            f"stopped by Ctrl-C after {len(cells)} of {sum(map(len, planned))} solves. What is "
            "trained is kept: the same command goes on from there."
        )


def _compared(planned: list[list[Run]], retrain: bool, processes: int):
    """All cells, or those that were finished when Ctrl-C was pressed; and whether it was."""
    cells, whole = [], comparison.cost(planned, processes)
    with warnings.catch_warnings(), overall_progress(whole, "compare") as show:
        warnings.simplefilter("ignore", SinkhornWarning)
        try:
            for cell in comparison.compare(planned, retrain, show, processes):
                cells.append(cell)
        except KeyboardInterrupt:
            return cells, True
        except ProcessError as error:
            raise click.ClickException(
                f"a process that trained {error}. What is trained is kept: the same command goes "
                "on from there, and --processes 1 does without such processes."
            ) from None
    return cells, False


def _save(cells, planned, out: Path, tables: list[Path]):
    """Write the tables, and the figure of the first seed."""
    from figures.comparison import plot_comparison

    comparison.write_markdown(tables[0], cells)
    comparison.write_csv(tables[1], cells)
    first, rows = planned[0][0], {}
    for runs in planned:
        rows.setdefault(runs[0].config.method, runs[0].title)
    drawn = {
        (cell.run.config.method, cell.run.config.solver): (cell.paths, cell.caption)
        for cell in cells
        if cell.run.config.seed == first.config.seed and not cell.failure
    }
    plot_comparison(
        out,
        drawn,
        rows=list(rows.items()),
        columns=[run.config.solver for run in planned[0]],
        targets=target_sample(first),
        title=f"{first.source.name} to {first.target.name}",
        names=(first.source.name, first.target.name),
        labels=first.target.columns,
        seed=first.config.seed,
        seeds=len(planned) // len(rows),
        best=next(c.numbers["w2_squared_of_true_samples"] for c in cells if c.numbers),
    )


def _report(cells, paths: list[Path], as_json: bool):
    if as_json:
        click.echo(json.dumps(comparison.as_json(cells), indent=2, allow_nan=False))
        return
    click.echo(comparison.markdown(cells))
    click.echo("\n".join(f"saved       {path}" for path in paths))
