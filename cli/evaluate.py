"""`python main.py evaluate`: every number of a trained flow."""

import json

import click

from cli.options import (
    checkpoint,
    command,
    device,
    option,
    other_solving,
    say_what_has_no_effect,
    usage_errors,
    warn_of_other_points,
)
from lab import by_class, evaluation, store
from lab.config import FIRST

NAMED = ("method", "source", "target", "sigma", "seed")  # of the configuration, also by themselves


@command
@checkpoint
@option(FIRST, "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@other_solving()
@device
@click.pass_context
def evaluate(context, checkpoint, as_json, **changes):
    """Measure a trained flow: distances, paths, likelihood.

    \b
    Example:
      python main.py evaluate --last --json
    """
    with usage_errors():
        learned = store.load(checkpoint, **changes)
        warn_of_other_points(learned.run)
        say_what_has_no_effect(context, learned.run)
        numbers = evaluation.evaluate(learned.run, learned.field)
        numbers |= by_class.evaluate(learned.run, learned.field)
    config = learned.run.config.to_json()
    about = {"checkpoint": str(checkpoint)} | {name: config[name] for name in NAMED}
    numbers = about | {"trained_steps": learned.history.steps} | numbers
    if as_json:
        click.echo(json.dumps(numbers | {"config": config}, indent=2, allow_nan=False))
        return
    numbers = by_class.flat(numbers)
    width = max(map(len, numbers))
    for name, value in numbers.items():
        shown = "–" if value is None else f"{value:.5g}" if isinstance(value, float) else value
        click.echo(f"{name:{width}}  {shown}")
