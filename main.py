"""The command line: parse, call, report. No mathematics and no drawing happen here.

The main job is here, and its sisters are in `commands.py` and `checkpoint_commands.py`.
"""

import machine.blas  # noqa: F401  before MLX, which it makes fast

import warnings
from pathlib import Path

import click

from lab import store as runs
from cli.options import SUFFIXES_OF_FIGURES, device, output, run_options, training, usage_errors
from cli.checkpoint_commands import CHECKPOINT_COMMANDS
from files.checkpoints import CheckpointError
from cli.commands import COMMANDS
from couplings import SinkhornWarning
from lab.evaluation import Generated, excess, generate
from figures.registry import FIGURES, Subject, require_drawable
from metrics import ExcessLoss
from cli.values import (
    FigurePath,
    Name,
    SectionedGroup,
    Whole,
    forbid_options_before_a_command,
    require_writable,
)
from cli.progress import training_progress
from lab.run import SOLVING, OptionError, Run, settle
from training import History, NonFiniteLossError


@click.group(
    cls=SectionedGroup,
    invoke_without_command=True,
    context_settings={"max_content_width": 100},
)
@run_options()
@training(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Go on with the training that is kept there, to the weights it would have had.",
)
@training(
    "--save-every",
    type=Whole(1, 10_000_000),
    help="Steps after which training is kept.  [default: all]",
)
@output(
    "--figure",
    "figures",
    type=Name(FIGURES),
    multiple=True,
    default=["trajectories"],
    help="What to draw; may be given several times.",
)
@output(
    "--out",
    type=FigurePath(SUFFIXES_OF_FIGURES),
    help="Figure, .png, .pdf or .svg.  [default: media/FIGURE_METHOD_SOLVER.png]",
)
@device
@click.pass_context
def main(context, figures, out, resume, save_every, **options):
    """Train a flow from source to target, follow it, and draw the trajectories.

    \b
    Examples:
      python main.py --method vp --solver dopri5
      python main.py --network exact --points 8 --target annulus
      python main.py --target points.csv --figure trajectories --figure loss
    """
    if context.invoked_subcommand:
        forbid_options_before_a_command(context)
        return
    figures = list(dict.fromkeys(figures))
    with usage_errors():
        run, model, state = _resumed(context, resume) if resume else (settle(options), None, None)
        outs = _figure_paths(run, figures, out)
    field, history = _learned(run, model, state, save_every)
    run = runs.with_learned_source(run, field)
    with usage_errors():
        result, found = generate(run, field), excess(run, field)
        _report(run, result, found)
        _draw(outs, run, field, result, found, history)


for command in (*COMMANDS, *CHECKPOINT_COMMANDS):
    main.add_command(command)


def _resumed(context, path: Path):
    """The run that is kept in a file, with such options changed as do not change its training."""
    source = click.core.ParameterSource.COMMANDLINE
    given = {n: v for n, v in context.params.items() if context.get_parameter_source(n) == source}
    changes = {name: given[name] for name in SOLVING if name in given}
    try:
        run, model, state = runs.load_to_resume(path, **changes)
    except CheckpointError as error:
        raise OptionError("resume", f"{error}.") from None
    for name, value in given.items():
        before = run.config.get(name, run.config["model"].get(name, value))
        if name not in SOLVING and before != value:
            raise OptionError(
                name.replace("_", "-"),
                f"{value!r} cannot be changed in training that is resumed; it began with "
                f"{before!r}.",
            )
    if state is None:
        raise OptionError("resume", f"'{path}' holds a network, and no training to go on with.")
    if not run.target.unchanged:
        raise OptionError(
            "resume", f"'{run.config['target']}' is not what it was when this training began."
        )
    return run, model, state


def _figure_paths(run: Run, figures: list[str], out: Path | None) -> dict[str, Path]:
    """Where each figure goes; found out before training whether it can."""
    if out and len(figures) > 1:
        raise OptionError("out", f"'{out}' is one file, and {len(figures)} figures were asked for.")
    require_drawable(run, figures)
    flow_name = f"{run.method.name}_{'exact_' if run.is_exact else ''}{run.config['solver']}"
    outs = {figure: out or Path("media", f"{figure}_{flow_name}.png") for figure in figures}
    for path in outs.values():
        require_writable(path, "--out")
    if not run.is_exact:
        require_writable(Path("runs", "checkpoint.safetensors"), "the folder 'runs'")
    return outs


def _learned(run: Run, model, state, save_every: int | None):
    """The field of a run, trained and saved where it is a network, and how training went."""
    if state and state.step >= run.config["steps"]:
        click.echo(f"network     {model}\ntraining    {state.step:,} steps, all done before")
        return model, History(state.step, state.step, state.seconds, state.losses, state=state)
    model = model or runs.new_model(run)
    if run.is_exact:
        click.echo(f"field       exact, from {run.source.name} to {run.target.name}")
        return model, None
    history, checkpoint = _train(run, model, state, save_every)
    stopped = f" of {run.config['steps']:,}: stopped by Ctrl-C" if history.interrupted else ""
    resumed = f", resumed after {history.resumed:,}" if history.resumed else ""
    click.echo(
        f"network     {model}\n"
        f"training    {history.steps:,} steps{stopped}{resumed}, {history.seconds:.1f} s, "
        f"{history.steps_per_second:,.0f} steps/s, after {history.compile_seconds:.1f} s "
        f"of compiling; loss {history.losses[-1][1]:.4f}\n"
        f"checkpoint  {checkpoint}"
    )
    return model, history


def _train(run: Run, model, state, save_every: int | None) -> tuple[History, Path]:
    """Train behind a progress bar; where the loss runs off, keep the last good weights."""
    try:
        with warnings.catch_warnings(), training_progress(run.config["steps"]) as show:
            warnings.simplefilter("once", SinkhornWarning)
            warnings.showwarning = _warn
            return runs.learn(run, model, show, state, save_every)
    except NonFiniteLossError as error:
        kept = runs.keep(run, model, error.history)
        raise click.ClickException(
            f"{error}. The weights after step {error.history.steps:,}, still good, are in {kept}."
        ) from None


def _warn(message, *_):
    click.echo(f"Warning: {message}.", err=True)


def _report(run: Run, result: Generated, found: ExcessLoss | None):
    solution, distances = result.solution, result.distances
    if found:
        click.echo(
            f"excess      loss of fresh pairs {found.loss:.3f}, least possible {found.floor:.3f} ± "
            f"{found.floor_error:.3f}; excess {found.excess:.4f} ± {found.excess_error:.4f}, "
            f"velocity off by {found.velocity_error:.1%}"
        )
    click.echo(
        f"sampling    {run.config['samples']:,} points with {run.config['solver']}, "
        f"{result.seconds:.2f} s, NFE {solution.nfe} "
        f"({solution.accepted} steps accepted, {solution.rejected} rejected)\n"
        f"W2²         {distances.to_target:.4g} ± {distances.error:.2g} to fresh samples of "
        f"{run.target.name}; two true samples are {distances.best:.4g} apart"
    )


def _draw(outs: dict[str, Path], run: Run, *found):
    subject = Subject(run, *found)
    for name, path in outs.items():
        FIGURES[name](path, subject)
        click.echo(f"figure      {path}")


if __name__ == "__main__":
    main()
