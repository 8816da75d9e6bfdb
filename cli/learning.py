"""To learn a field behind a progress bar, and to say how that went."""

import click

from cli.endings import GOES_ON, said, stopped, warn
from cli.progress import training_progress
from couplings import SinkhornWarning
from files.checkpoints import CheckpointError
from lab import store
from lab.run import Run
from lab.store import Learned
from likelihood import CoarseSolveWarning
from training import TrainingError


def learn(run: Run, **how) -> Learned:
    """Learn the run's field behind a progress bar; where the loss runs off, say what is left."""
    try:
        kinds = SinkhornWarning, CoarseSolveWarning
        with said(*kinds), training_progress(run.config.steps) as show:
            learned = store.learn(run, show, **how)
    except CheckpointError as error:  # of the flow that this one learns from
        raise click.UsageError(f"{error}.") from None
    except KeyboardInterrupt as error:
        raise stopped(error, GOES_ON) from None
    except TrainingError as error:
        raise click.ClickException(
            f"{error}. The weights after step {error.history.steps:,}, still good, are in "
            f"{error.kept}."
        ) from None
    if learned.replaced:
        warn(f"'{learned.path}' was trained by other code, and has been trained again")
    return learned


def report_training(learned: Learned):
    """Say what was learned, how long it took, and where it is kept."""
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
