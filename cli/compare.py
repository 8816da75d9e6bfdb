"""`python main.py compare`: methods against solvers, in one figure and one table."""

import json
import warnings
from collections import Counter
from pathlib import Path

import click

from cli.comparisons import COMPARISONS
from cli.endings import GOES_ON, after_training, said, stopped
from cli.files import inputs_of, require_runs, require_writable
from cli.options import (
    OUTPUT,
    command,
    config_option,
    config_options,
    device,
    given,
    option,
    out,
    retrain,
    say_what_has_no_effect,
    usage_errors,
    warn,
)
from cli.progress import overall_progress
from cli.values import FIGURE
from couplings import SinkhornWarning
from lab import comparison, store, tables
from lab.config import FIRST, SOLVING_OPTIONS, TRAINING, Config, ConfigError
from lab.run import Run
from lab.values import OneOf, Whole
from machine.processes import ProcessError
from models import NETWORKS


@command
@click.argument("checkpoints", nargs=-1, type=click.Path(path_type=Path), metavar="[CHECKPOINT]...")
@config_option(
    "method",
    names=("--method", "methods"),
    multiple=True,
    default=[],
    help="Flow-matching method, trained once for all solvers; may be given several times.  "
    "[default: cfm, vp and ot, or none where a CHECKPOINT is named]",
)
@config_option(
    "solver",
    names=("--solver", "solvers"),
    multiple=True,
    default=["euler", "rk4", "dopri5"],
    help="Solver; may be given several times. With --diffusion a stochastic one is among them, "
    "which follows the flows with noise.",
)
@config_option(
    "coupling",
    names=("--coupling", "couplings"),
    multiple=True,
    default=[],
    help="How source and target samples are paired; may be given several times, and every method "
    "is trained by each.  [default: the method's own]",
)
@config_options("method", "solver", "coupling", "points", "network")
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
    "--figure",
    kind=OneOf(COMPARISONS),
    default="paths",
    help="What to draw: the paths of every flow by every solver, quality against the number of "
    "evaluations, or how well points of conditional flows come out in their classes.",
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
@out(
    None,
    FIGURE,
    "Figure to write; the tables go beside it, .md and .csv.  [default: media/compare.png, "
    "media/budget.png or media/classes.png]",
)
@option(OUTPUT, "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@device
@click.pass_context
def compare(
    context,
    checkpoints,
    methods,
    solvers,
    couplings,
    nfe,
    figure,
    seeds,
    processes,
    retrain,
    out,
    as_json,
    **options,
):
    """Compare methods and solvers in one figure and one table.

    Every method is trained once for each seed, on a CPU as many at once as there are cores, and its
    flow is followed by every solver. A flow that is kept in a CHECKPOINT, such as a rectified one,
    is compared as it is. Ctrl-C keeps what is finished, and the same command goes on from there.

    \b
    Examples:
      python main.py compare --method cfm --method vp --method ot --solver euler --solver dopri5
      python main.py compare --solver euler --solver midpoint --solver rk4 --nfe 20 --seeds 5
      python main.py compare --figure budget --method cfm --method meanflow --method flowmap
      python main.py compare --figure classes --conditional --method cfm --coupling ot
    """
    shown = COMPARISONS[figure]
    out = out or Path("media", f"{shown.file}.png")
    methods = methods or (() if checkpoints else ("cfm", "vp", "ot"))
    methods, solvers = (list(dict.fromkeys(names)) for names in (methods, solvers))
    markdown, csv = (out.with_suffix(suffix) for suffix in (".md", ".csv"))
    with usage_errors():
        if figure == "budget" and (nfe or options["ode_steps"]):
            option = "nfe" if nfe else "ode_steps"
            raise ConfigError(option, "has no place in a budget, which tries many.")
        kept = _kept(context, checkpoints, options)
        planned = comparison.plan(Config(**options), methods, solvers, seeds, nfe, kept, couplings)
        if figure == "classes" and not all(runs[0].classes for runs in planned):
            raise ConfigError("figure", "'classes' is drawn of flows that all are --conditional.")
    unnamed = dict.fromkeys([markdown, csv], tables.is_table)
    require_writable(out, inputs=[*inputs_of(planned[0][0]), *checkpoints], unnamed=unnamed)
    require_runs(*comparison.to_train(planned, kept))
    say_what_has_no_effect(context, *(run for runs in planned for run in runs))
    how = {"kept": kept, "measure": shown.measure}
    cells, ending = _compared(planned, retrain, processes or comparison.one_a_core(), **how)
    saved = [markdown, csv, out]
    if ending and any(path.exists() for path in saved):
        saved = []  # what is whole may not be replaced by a part
    if any(cell.numbers for cell in cells):
        table = shown.markdown(cells)
        with after_training(store.FOLDER):
            if saved:
                tables.write_markdown(markdown, table)
                tables.write_csv(csv, cells)
                shown.draw(cells, planned, out)
        _report(cells, table, saved, as_json)
    failed = [cell for cell in cells if cell.failure]
    _say_what_failed(failed)
    if ending:
        raise _stopped(ending, cells, planned, None if saved else out)
    if len(failed) == len(cells):
        raise click.ClickException("nothing could be compared.")


def _say_what_failed(failed: list):
    """Of several seeds that fail for the same reason, once."""
    reasons = Counter(
        (cell.run.label, cell.run.config.solver, cell.failure.rstrip(".")) for cell in failed
    )
    for (label, solver, why), seeds in reasons.items():
        warn(f"{label} with {solver} failed{f' in {seeds} seeds' if seeds > 1 else ''}: {why}")


def _stopped(ending: KeyboardInterrupt, cells, planned, left: Path | None):
    """What is to be raised after a signal; `left` is a figure that was not replaced."""
    unchanged = f" '{left}' and its tables are left as they were." if left else ""
    return stopped(
        ending,
        f"Of {len(planned)} networks {comparison.count_trained(planned)} are trained, of "
        f"{sum(map(len, planned))} solves {len(cells)} are done.{unchanged} {GOES_ON}",
    )


def _kept(context, checkpoints, options: dict) -> list:
    """The flows that are named. Source and target, unless given, become theirs."""
    solving = {name: options[name] for name in SOLVING_OPTIONS if name in options}
    solving["ode_steps"] = None
    kept = [store.load(path, **solving) for path in dict.fromkeys(checkpoints)]
    if kept:
        for name in ("source", "target", "columns", "label", "units"):
            if name not in given(context):
                options[name] = getattr(kept[0].run.config, name)
    return kept


def _compared(planned: list[list[Run]], retrain: bool, processes: int, **how):
    """All cells, or those that were finished when a signal came; and that as an error, or None."""
    cells, whole = [], comparison.cost(planned, processes, how["kept"])
    with said(), overall_progress(whole, "compare") as show:
        warnings.simplefilter("ignore", SinkhornWarning)
        try:
            for cell in comparison.compare(planned, retrain, show, processes, **how):
                cells.append(cell)
        except KeyboardInterrupt as error:
            return cells, error
        except ProcessError as error:
            raise click.ClickException(
                f"a process that trained {error}. What is trained is kept: the same command goes "
                "on from there, and --processes 1 does without such processes."
            ) from None
    return cells, None


def _report(cells, table: str, paths: list[Path], as_json: bool):
    if as_json:
        click.echo(json.dumps(tables.as_json(cells), indent=2, allow_nan=False))
        return
    click.echo(table)
    click.echo("\n".join(f"saved       {path}" for path in paths))
