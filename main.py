"""The main job: train a flow from source to target, follow it, and draw it.

It parses, calls and reports; what it calls is in `lab/` and `figures/`. Its sister commands are in
`cli/`, one file each.
"""

import signal

if __name__ == "__main__":  # Ctrl-C among imports ends all without a word: there is nothing to keep
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import machine  # noqa: F401  before MLX, which it makes fast

import warnings
from pathlib import Path

import click

from cli.animate import animate
from cli.compare import compare
from cli.datasets import datasets
from cli.density import density
from cli.evaluate import evaluate
from cli.options import (
    Group,
    config_options,
    device,
    given,
    option,
    out,
    require_runs,
    retrain,
    say_what_has_no_effect,
    usage_errors,
    warn,
    with_noise,
)
from cli.page import page
from cli.progress import training_progress
from cli.sample import sample
from cli.values import FIGURE, require_writable
from couplings import SinkhornWarning
from figures.registry import FIGURES
from figures.subject import Subject
from files.checkpoints import CheckpointError
from lab import store
from lab.config import EXACT_POINTS, FIRST, OPTIONS, TRAINING, Config, ConfigError
from lab.evaluation import Generated, excess, generate
from lab.run import Run, settle
from lab.store import Learned
from lab.values import OneOf, Whole
from metrics import ExcessLoss, quoted
from training import NonFiniteLossError

VERSION = "1.1.0"


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
@config_options()
@option(
    TRAINING,
    "--resume",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Go on with the unfinished training that is kept in this file, by its own options.",
)
@retrain
@option(
    TRAINING,
    "--save-every",
    kind=Whole(1, 10_000_000),
    help="Number of steps after which training is kept.  [default: only at its end]",
)
@option(
    FIRST,
    "--figure",
    "figures",
    kind=OneOf(FIGURES),
    multiple=True,
    default=["trajectories"],
    help="What to draw; may be given several times.",
)
@out(
    None,
    FIGURE,
    "Figure to write, .png, .pdf or .svg.  [default: media/FIGURE_METHOD_SOLVER.png, with source "
    "and target in its name where they were chosen]",
)
@device
@click.version_option(VERSION, prog_name="flow-matching laboratory")
@click.pass_context
def main(context, figures, out, resume, retrain, save_every, **options):
    """Train a flow from source to target, follow it, and draw its trajectories.

    \b
    Examples:
      python main.py --method vp --solver dopri5
      python main.py --network exact --points 8 --target annulus
      python main.py --target points.csv --figure trajectories --figure loss
    """
    if context.invoked_subcommand:
        _forbid_options_before_a_command(context)
        return
    with usage_errors():
        start = _resumed(context, resume) if resume else None
        run = start.run if start else settle(Config(**options))
        outs = _figure_paths(run, list(dict.fromkeys(figures)), out)
    say_what_has_no_effect(context, run)
    _report_points(run)
    learned = _learn(run, start=start, retrain=retrain, save_every=save_every)
    if learned.replaced:
        warn(f"'{learned.path}' was trained by other code, and has been trained again")
    _report_training(learned)
    with usage_errors():
        generated, loss = generate(learned.run, learned.field), excess(learned.run, learned.field)
        _report_flow(learned.run, generated, loss)
        for name, path in outs.items():
            FIGURES[name].draw(
                path, Subject(learned.run, learned.field, generated, loss, learned.history)
            )
            click.echo(f"figure      {path}")


for command in (compare, sample, density, animate, evaluate, datasets, page):
    main.add_command(command)


def _forbid_options_before_a_command(context):
    for name in given(context):
        raise click.UsageError(
            f"'--{name.replace('_', '-')}' stands before '{context.invoked_subcommand}': options "
            "of a command come after its name."
        )


def _resumed(context, path: Path) -> Learned:
    """What is kept in a file, to go on from."""
    changes = given(context)
    if "retrain" in changes:
        raise ConfigError("retrain", "begins anew, and --resume goes on; choose one.")
    try:
        return store.load_to_resume(path, {n: v for n, v in changes.items() if n in OPTIONS})
    except CheckpointError as error:
        raise ConfigError("resume", f"{error}.") from None


def _figure_paths(run: Run, figures: list[str], out: Path | None) -> dict[str, Path]:
    """Where each figure goes; found out before training whether it can."""
    if out and len(figures) > 1:
        raise ConfigError("out", f"'{out}' is one file, and {len(figures)} figures were asked for.")
    for name in figures:
        if why := FIGURES[name].refusal(run):
            raise ConfigError("figure", why)
    outs = {figure: out or Path("media", f"{figure}_{_flow_name(run)}.png") for figure in figures}
    for path in outs.values():
        require_writable(path)
    if not run.is_exact:
        require_runs()
    return outs


def _flow_name(run: Run) -> str:
    """What a figure's file is called after: the method, what was chosen besides, the solver."""
    config, parts = run.config, [run.config.method]
    if run.is_exact:
        parts += ["exact" if config.points == EXACT_POINTS else f"exact{config.points}"]
    if not run.is_usual:
        parts += [run.source.name, Path(config.target).stem]
    return "_".join([*parts, config.solver]) + with_noise(run)


def _learn(run: Run, **how) -> Learned:
    """Learn the run's field behind a progress bar; where the loss runs off, say what is left."""
    try:
        with warnings.catch_warnings(), training_progress(run.config.steps) as show:
            warnings.simplefilter("once", SinkhornWarning)
            warnings.showwarning = lambda message, *_: warn(message)
            return store.learn(run, show, **how)
    except NonFiniteLossError as error:
        raise click.ClickException(
            f"{error}. The weights after step {error.history.steps:,}, still good, are in "
            f"{error.kept}."
        ) from None


def _report_points(run: Run):
    """What was read from a user's file."""
    if run.config.units:
        names = ", ".join(run.target.columns)
        click.echo(f"target      {run.target.description}; columns: {names}")


def _report_training(learned: Learned):
    run, history = learned.run, learned.history
    if run.is_exact:
        click.echo(f"field       exact, from {run.source.name} to {run.target.name}")
        return
    loss = f"loss {history.losses[-1][1]:.4f}"
    steps = f"{history.steps:,} steps"
    if learned.found:
        done = (
            f"found in {learned.path}: {steps}, {history.total_seconds:.1f} s, {loss}; --retrain "
            "trains again"
        )
    else:
        rate = f", {history.steps_per_second:,.0f} steps/s" if history.steps_per_second else ""
        stopped = f" of {run.config.steps:,}: stopped by Ctrl-C" if history.interrupted else ""
        again = "; the same command goes on from here" if history.interrupted else ""
        resumed = f", resumed after {history.resumed:,}" if history.resumed else ""
        done = (
            f"{steps}{stopped}{resumed}, {history.seconds:.1f} s{rate}, after "
            f"{history.compile_seconds:.1f} s of compiling; {loss}{again}"
        )
    click.echo(f"network     {learned.field}\ntraining    {done}\ncheckpoint  {learned.path}")


def _report_flow(run: Run, generated: Generated, loss: ExcessLoss | None):
    solution, distances = generated.solution, generated.distances
    if loss:
        click.echo(
            f"excess      loss of fresh pairs {loss.loss:.3f}, least possible "
            f"{quoted(loss.floor, loss.floor_error)}; excess "
            f"{quoted(loss.excess, loss.excess_error)}, velocity off by {loss.velocity_error:.1%}"
            + (f", score off by {loss.score_error:.1%}" if run.config.diffusion else "")
        )
    unit = ""
    if units := run.config.units:
        unit = f", in squared units of '{run.config.target}'"
        if len(units.columns) > 1:
            _, widest = max(zip(units.scale, units.columns, strict=True), key=lambda pair: pair[0])
            unit += f", of which {widest} is the widest column"
    click.echo(
        f"sampling    {run.config.samples:,} points with {run.config.solver}{run.noise}, "
        f"{generated.seconds:.2f} s, NFE {solution.nfe} "
        f"({solution.accepted} steps accepted, {solution.rejected} rejected)\n"
        f"W2²         {quoted(distances.to_target, distances.error)} to "
        f"{run.target.fresh}; two true samples are {quoted(distances.best, digits=2)} apart{unit}"
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
