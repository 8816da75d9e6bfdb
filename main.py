"""The main job: train a flow from source to target, follow it, and draw it.

It parses, calls and reports; what it calls is in `lab/` and `figures/`. Its sister commands are in
`cli/`, one file each.
"""

import signal

if __name__ == "__main__":  # Ctrl-C among imports ends all without a word: there is nothing to keep
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cli import streams

    streams.steady()

import machine  # noqa: F401  before MLX, which it makes fast

from pathlib import Path

import click

from cli import VERSION
from cli.animate import animate
from cli.compare import compare
from cli.datasets import datasets
from cli.density import density
from cli.doctor import doctor
from cli.endings import after_training
from cli.evaluate import evaluate
from cli.files import inputs_of, require_runs, require_writable
from cli.learning import learn, report_training
from cli.options import (
    Group,
    config_options,
    device,
    given,
    option,
    out,
    retrain,
    save_every,
    say_what_has_no_effect,
    usage_errors,
    with_noise,
)
from cli.page import page
from cli.reflow import reflow
from cli.sample import sample
from cli.values import FIGURE
from data.points import name_of
from figures.registry import FIGURES
from figures.subject import Subject
from files.checkpoints import CheckpointError
from files.cells import listed
from lab import store
from lab.by_class import OfClass, by_class, share_right
from lab.config import EXACT_POINTS, FIRST, OPTIONS, TRAINING, Config, ConfigError
from lab.evaluation import Generated, excess, generate, score_off
from lab.run import Run
from lab.settling import settle
from lab.store import Learned
from lab.values import OneOf
from machine import interrupts, ranks
from metrics import ExcessLoss, quoted


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
@save_every
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
        if ranks.count() > 1:
            raise click.UsageError(
                f"'{context.invoked_subcommand}' is done by one process; mlx.launch is for the "
                "main job, which trains one network."
            )
        _forbid_options_before_a_command(context)
        return
    with usage_errors():
        start = _resumed(context, resume) if resume else None
        run = start.run if start else settle(Config(**options))
        outs = _figure_paths(run, list(dict.fromkeys(figures)), out)
    say_what_has_no_effect(context, run)
    _report_points(run)
    with ranks.ending_together(lambda: _what_is_left(run)):
        learned = learn(run, start=start, retrain=retrain, save_every=save_every)
    if not ranks.is_first():
        return
    report_training(learned)
    with after_training(learned.path):
        generated, loss = generate(learned.run, learned.field), excess(learned.run, learned.field)
        noisy = learned.run.config.diffusion
        score = score_off(learned.run, learned.field) if noisy else None
        _report_flow(learned.run, generated, loss, score)
        _report_classes(learned.run, by_class(learned.run, learned.field))
        for name, path in outs.items():
            FIGURES[name].draw(
                path, Subject(learned.run, learned.field, generated, loss, learned.history)
            )
            click.echo(f"figure      {path}")


for command in (compare, reflow, sample, density, animate, evaluate, datasets, page, doctor):
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
    require_writable(*outs.values(), inputs=inputs_of(run))
    if not run.is_exact:
        require_runs(run)
    return outs


def _flow_name(run: Run) -> str:
    """What a figure's file is called after: the method, what was chosen besides, the solver."""
    config, parts = run.config, [run.config.method]
    if run.is_exact:
        parts += ["exact" if config.points == EXACT_POINTS else f"exact{config.points}"]
    if not run.is_usual:
        parts += [run.source.name, name_of(config.target)]
    return "_".join([*parts, config.solver]) + with_noise(run)


def _what_is_left(run: Run) -> str:
    """What to say where another process of the same training died."""
    left = "nothing is kept here; --save-every keeps training on its way"
    if kept := store.last_kept(run):
        left = f"{kept} is kept, and the same command goes on from there"
    return f"another process of this training ended, and so all do; {left}."


def _report_points(run: Run):
    """What was read from a user's files."""
    for side in ("source", "target"):
        points = getattr(run, side)
        if getattr(run.config, f"{side}_units"):
            click.echo(f"{side}      {points.description}; columns: {listed(points.columns)}")


def _report_flow(run: Run, generated: Generated, loss: ExcessLoss | None, score: float | None):
    solution, distances = generated.solution, generated.distances
    if loss:
        pairs = "fresh pairs, told no class," if run.classes else "fresh pairs"
        click.echo(
            f"excess      loss of {pairs} {loss.loss:.3f}, least possible "
            f"{quoted(loss.floor, loss.floor_error)}; excess "
            f"{quoted(loss.excess, loss.excess_error)}, velocity off by {loss.velocity_error:.1%}"
            + (f", score off by {score:.1%}" if score is not None else "")
        )
    unit = ""
    if units := run.config.target_units:
        unit = f", in squared units of '{run.config.target}'"
        if len(set(units.scale)) > 1:
            _, widest = max(zip(units.scale, units.columns, strict=True), key=lambda pair: pair[0])
            unit += f", of which {widest} is the widest column"
    click.echo(
        f"sampling    {run.config.samples:,} points with {run.config.solver}{run.besides}, "
        f"{generated.seconds:.2f} s, NFE {solution.nfe} "
        f"({solution.accepted} steps accepted, {solution.rejected} rejected)\n"
        f"W2²         {quoted(distances.to_target, distances.error)} to "
        f"{run.target.fresh}; two true samples are {quoted(distances.best, digits=2)} apart{unit}"
    )


def _report_classes(run: Run, found: list[OfClass]):
    for each in found:
        distance = quoted(each.distances.to_target, each.distances.error)
        off = f"; velocity off by {each.excess.velocity_error:.1%}" if each.excess else ""
        click.echo(
            f"class       {each.name}: W2² {distance}, two true samples "
            f"{quoted(each.distances.best, digits=2)}; {each.right:.1%} right, of true points "
            f"{each.right_of_true:.1%}{off}"
        )
    if found:
        click.echo(
            f"right       {share_right(run, found):.1%} are nearest to points of their class"
        )


if __name__ == "__main__":
    ranks.be_silent_unless_first()
    interrupts.listen()
    try:
        main()
    except SystemExit as ending:
        interrupts.ignore()  # what is left to do is to leave
        if ending.code:
            ranks.let_first_fail_before()
        streams.leave(ending.code)
