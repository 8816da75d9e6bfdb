"""`python main.py sample`: points of a trained flow, in a file."""

from pathlib import Path

import click
import numpy as np

from cli.options import (
    checkpoint,
    command,
    config_option,
    device,
    option,
    other_solving,
    out,
    usage_errors,
)
from cli.progress import overall_progress
from cli.values import WritablePath, require_writable
from datasets import Points
from files.whole import whole
from lab import evaluation, store
from lab.config import FIRST
from lab.values import Whole

PART = 50_000  # points in one solve


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
def sample(checkpoint, out, log_prob, samples, **changes):
    """Generate points with a trained flow, and write them to a file.

    \b
    Example:
      python main.py sample --last -n 1000 --log-prob --out samples.csv
    """
    out = out or Path("runs", f"{checkpoint.stem}_samples.npy")
    require_writable(out)
    with usage_errors():
        learned = store.load(checkpoint, **changes)
        run, parts = learned.run, []
        with overall_progress(samples, "sampling") as show:
            for rows in evaluation.sample_in_parts(run, learned.field, samples, PART, log_prob):
                parts.append(rows)
                show(sum(map(len, parts)), "")
    names = [*run.target.columns, *(["log_prob"] if log_prob else [])]
    _write_rows(out, np.concatenate(parts), names, 17 if isinstance(run.target, Points) else 9)
    many = f"{samples:,} point{'s' if samples > 1 else ''}"
    click.echo(f"checkpoint  {checkpoint}\nsamples     {out}: {many} with {run.config.solver}")


def _write_rows(out: Path, rows: np.ndarray, names: list[str], digits: int):
    with whole(out) as part:
        if out.suffix.lower() == ".npy":
            with part.open("wb") as file:
                np.save(file, rows)
        else:
            quoted = [f'"{name}"' if set(name) & set(',"') else name for name in names]
            about = {"header": ",".join(quoted), "comments": "", "encoding": "utf-8"}
            np.savetxt(part, rows, fmt=f"%.{digits}g", delimiter=",", **about)
