"""`python main.py sample`: points of a trained flow, in a file."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from cli.options import (
    checkpoint,
    command,
    config_option,
    device,
    option,
    other_solving,
    out,
    usage_errors,
    with_noise,
)
from cli.files import inputs_of, require_writable
from cli.progress import overall_progress
from cli.values import WritablePath
from datasets import Points
from files.cells import listed
from files.rows import write_rows
from lab import following, store
from lab.classes import place_of
from lab.config import FIRST
from lab.values import Name, Whole


@command
@checkpoint
@option(
    FIRST,
    "--samples",
    "-n",
    kind=Whole(1, 10_000_000),
    default=10_000,
    help="Number of points to generate.",
)
@option(
    FIRST,
    "--class",
    "of_class",
    kind=Name(),
    help="Class of the points, of a conditional flow.  [default: all, each as often as in the "
    "target; one more column says which]",
)
@option(FIRST, "--log-prob", is_flag=True, help="Add a column: the flow's log-density, in nats.")
@other_solving("samples")
@config_option(
    "seed",
    otherwise="the run's",
    help="Number that decides the points' starts.  [default: the run's]",
)
@out(
    None,
    WritablePath(".npy", ".csv"),
    "File to write, .npy or .csv.  [default: runs/CHECKPOINT_samples.npy]",
)
@device
def sample(checkpoint, out, of_class, log_prob, samples, **changes):
    """Generate points with a trained flow, and write them to a file.

    \b
    Examples:
      python main.py sample --last -n 1000 --log-prob --out samples.csv
      python main.py sample --last -n 1000 --class upper --guidance 2
    """
    with usage_errors():
        learned = store.load(checkpoint, **changes)
        run = learned.run
        label = None if of_class is None else place_of(run, of_class)
        out = out or Path("runs", f"{checkpoint.stem}_samples{with_noise(run)}.npy")
        require_writable(out, inputs=[checkpoint, *inputs_of(run)])
        names = [*run.target.columns, *(["log_prob"] if log_prob else [])]
        names += ["class"] if run.classes and label is None else []
        digits = 17 if isinstance(run.target, Points) else 9
        with overall_progress(samples, "sampling") as show:
            parts = following.sample_in_parts(run, learned.field, samples, log_prob, label)
            write_rows(out, _shown(parts, show), samples, names, digits)
    many = f"{samples:,} point{'s' if samples > 1 else ''}"
    many += f" of class {of_class}" if of_class else ""
    if run.classes and not of_class:
        told = listed(f"{k} {name}" for k, name in enumerate(run.classes))
        click.echo(f"classes     {told}")
    click.echo(
        f"checkpoint  {checkpoint}\nsamples     {out}: {many} with {run.config.solver}{run.besides}"
    )


def _shown(parts: Iterable, show: Callable) -> Iterator:
    """The parts, and progress after each."""
    done = 0
    for rows in parts:
        yield rows
        done += len(rows)
        show(done, "")
