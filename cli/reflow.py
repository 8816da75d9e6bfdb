"""`python main.py reflow`: a trained flow, straightened."""

import click

from cli.endings import after_training
from cli.files import require_runs
from cli.learning import learn, report_training
from cli.options import (
    checkpoint,
    command,
    config_option,
    device,
    option,
    retrain,
    save_every,
    usage_errors,
    warn_of_other_points,
)
from lab import store
from lab.config import FIRST
from lab.evaluation import generate, path_shape
from lab.reflow import reflowed
from lab.settling import solved_by
from lab.store import Learned
from lab.values import Whole
from metrics import quoted

HEADS = ("flow", "straightness", "path energy", "W2², one Euler step", "W2², dopri5")


@command
@checkpoint
@option(
    FIRST,
    "--rounds",
    kind=Whole(1, 10),
    default=1,
    help="How often to straighten: every round learns from the flow of the one before.",
)
@config_option("steps", otherwise="as of independent pairs")
@config_option("batch_size", otherwise="as of independent pairs")
@config_option("lr", otherwise="the optimizer's own")
@config_option("seed", otherwise="the checkpoint's")
@config_option("samples")
@save_every
@retrain
@device
def reflow(checkpoint, rounds, samples, retrain, save_every, **options):
    """Straighten a trained flow, so that few steps follow it.

    A new network learns the pairs that the flow makes of fresh source samples, and is kept in runs/
    like any other. The same command goes on with what was stopped.

    \b
    Example:
      python main.py reflow --last --rounds 2
    """
    with usage_errors():
        learned = store.load(checkpoint, samples=samples)
        warn_of_other_points(learned.run)
        if not learned.run.target.known:
            raise ValueError(f"'{learned.run.config.target}' cannot be read any more")
    click.echo(f"flow        {learned.path}")
    rows = [HEADS]
    for _ in range(rounds):
        with usage_errors():
            run = reflowed(learned.run, learned.field, learned.path, samples=samples, **options)
            require_runs(run)
            rows.append(_row(learned))
        learned = learn(run, retrain=retrain, save_every=save_every)
        report_training(learned)
        if learned.history.interrupted:
            break
    with after_training(learned.path):
        rows.append(_row(learned))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(map(str.ljust, row, widths)).rstrip())


def _row(learned: Learned) -> tuple[str, ...]:
    """A flow in numbers, followed finely and in one step."""
    fine, coarse = (solved_by(learned.run, *how) for how in (("dopri5", None), ("euler", 1)))
    shape = path_shape(fine, learned.field)
    made = [generate(run, learned.field).distances for run in (coarse, fine)]
    distances = [quoted(each.to_target, each.error) for each in made]
    return learned.run.label, quoted(shape.straightness), quoted(shape.energy), *distances
