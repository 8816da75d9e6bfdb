"""The options that commands share, each written once, so that they mean the same everywhere.

Which values make sense together, `settings.py` decides.
"""

from contextlib import contextmanager
from pathlib import Path

import click
import mlx.core as mx

from cfm import METHODS
from files.checkpoints import CheckpointError
from couplings import COUPLINGS
from datasets import DATASETS
from lab.evaluation import W2_POINTS
from likelihood import DIVERGENCES
from models import ACTIVATIONS, NETWORKS, TRAINABLE
from odeint import GRADIENTS, OdeError
from cli.values import Name, NameOrFile, Number, SectionedCommand, Whole, option
from files.tables import SUFFIXES
from lab.run import (
    CNF,
    EXACT,
    EXACT_POINTS,
    EXACT_POINTS_MOST,
    FIXED_STEPS,
    LR,
    STEPS,
    TRAIN_STEPS,
    USUAL_LR,
    USUAL_STEPS,
    OptionError,
)
from solver import SOLVERS
from training import SCHEDULES

SUFFIXES_OF_FIGURES = (".png", ".pdf", ".svg")

flow, network, training, likelihood, solving, output = map(
    option, ("Flow", "Network", "Training", "Maximum likelihood", "Solving", "Output")
)
divergence = likelihood(
    "--divergence", type=Name(DIVERGENCES), default="exact", help="Of the velocity."
)
probes = likelihood("--probes", type=Whole(1, 1000), default=1, help="Of Hutchinson's estimate.")


def _use_device(context, parameter, name: str):
    if name == "auto":
        return
    device = mx.Device(getattr(mx, name))
    if not mx.is_available(device):
        raise click.BadParameter(f"'{name}' is not there; use cpu or auto.")
    mx.set_default_device(device)


device = output(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    callback=_use_device,
    expose_value=False,
    help="Where to compute.",
)
checkpoint = click.argument("checkpoint", type=click.Path(path_type=Path))


def command(function):
    """`click.command` with a help page in sections."""
    return click.command(cls=SectionedCommand)(function)


RUN = (
    flow(
        "--method",
        type=Name([*METHODS, CNF]),
        default="cfm",
        help="Flow-matching method; 'cnf' trains by maximum likelihood instead.",
    ),
    flow(
        "--source",
        type=Name([*DATASETS, TRAINABLE]),
        help="Where the flow starts.  [default: 8gaussians; normal for fm, cnf, for points from a "
        "file and for more than two dimensions]",
    ),
    flow(
        "--target",
        type=NameOrFile(DATASETS, SUFFIXES),
        default="moons",
        help="Where it ends: a dataset, or a file of points, .csv, .npy or .npz.",
    ),
    flow("--sigma", type=Number(0, 10), help="Width of the path.  [default: the method's own]"),
    flow("--coupling", type=Name(COUPLINGS), help="Pairs.  [default: the method's own]"),
    flow(
        "--regularization",
        type=Number(0, 1e6),
        help="Of entropic pairs, a squared distance.  [default: 2σ² for sb, otherwise 0.5]",
    ),
    flow("--power", type=Number(1, 100), help="Of t, in poly.  [default: 2]"),
    network(
        "--network",
        type=Name([*NETWORKS, EXACT]),
        default="mlp",
        help="Architecture; 'exact' trains nothing and follows the field that a perfect network "
        "would learn from a few points.",
    ),
    network(
        "--points",
        type=Whole(1, EXACT_POINTS_MOST),
        help=f"Of the target, that 'exact' knows.  [default: {EXACT_POINTS}; all of a file's]",
    ),
    network("--width", type=Whole(1, 4096), default=64, help="Units of a hidden layer."),
    network("--depth", type=Whole(1, 64), default=3, help="Hidden layers."),
    network(
        "--activation",
        type=Name(ACTIVATIONS),
        help="Between the layers.  [default: isru; tanh in concatsquash]",
    ),
    training(
        "--steps",
        type=Whole(1, 10_000_000),
        help=f"Updates.  [default: {USUAL_STEPS:,}; {STEPS[CNF]:,} for cnf]",
    ),
    training("--batch-size", type=Whole(1, 100_000), default=256, help="Pairs an update."),
    training(
        "--lr",
        type=Number(0, 1, min_open=True),
        help=f"Largest learning rate.  [default: {USUAL_LR:g}; {LR[CNF]:g} for cnf]",
    ),
    training(
        "--schedule",
        type=Name(SCHEDULES),
        default="cosine",
        help="What becomes of it over the steps.",
    ),
    training(
        "--weight-decay", type=Number(0, 10), default=0.0, help="Of AdamW; with 0 it is Adam."
    ),
    training("--seed", type=Whole(0, 2**31 - 1), default=0, help="Decides every random draw."),
    likelihood(
        "--train-solver",
        type=Name(SOLVERS),
        default="rk4",
        help="ODE solver that cnf is trained through.",
    ),
    likelihood(
        "--train-ode-steps",
        type=Whole(1, 10_000),
        help=f"Its equal steps.  [default: as the error allows, {TRAIN_STEPS} where none is "
        "estimated]",
    ),
    likelihood("--gradient", type=Name(GRADIENTS), default="direct", help="Through the solver."),
    divergence,
    probes,
    solving("--solver", type=Name(SOLVERS), default="dopri5", help="ODE solver."),
    solving(
        "--ode-steps",
        type=Whole(1, 1_000_000),
        help=f"Equal steps.  [default: as the error allows, {FIXED_STEPS} where none is estimated]",
    ),
    solving("--rtol", type=Number(1e-8, 1), default=1e-5, help="Relative tolerance of a step."),
    solving("--atol", type=Number(1e-8, 1), default=1e-5, help="Absolute tolerance of a step."),
    solving("--samples", type=Whole(2, 100_000), default=W2_POINTS, help="Points to generate."),
)


def run_options(*omitted: str):
    """Give a command the options that describe a run, but for some parameters."""

    def decorate(command):
        others = len(getattr(command, "__click_params__", []))
        for add in reversed(RUN):
            command = add(command)
        found = command.__click_params__
        found[others:] = [p for p in found[others:] if p.name not in omitted]
        return command

    return decorate


OTHERWISE = (
    solving("--solver", type=Name(SOLVERS), help="ODE solver.  [default: the run's]"),
    solving("--ode-steps", type=Whole(1, 1_000_000), help="Equal steps.  [default: the run's]"),
    solving("--rtol", type=Number(1e-8, 1), help="Relative tolerance.  [default: the run's]"),
    solving("--atol", type=Number(1e-8, 1), help="Absolute tolerance.  [default: the run's]"),
)


def other_solving(command):
    """Give a command the options by which a checkpoint is solved otherwise than its run was."""
    for add in reversed(OTHERWISE):
        command = add(command)
    return command


@contextmanager
def usage_errors():
    """Tell the user in one sentence what was wrong with an option, a file, or a solve."""
    try:
        yield
    except OptionError as error:
        raise click.BadParameter(str(error), param_hint=f"'--{error.option}'") from None
    except CheckpointError as error:
        raise click.BadParameter(f"{error}.", param_hint="'CHECKPOINT'") from None
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    except OdeError as error:
        raise click.ClickException(f"Following the flow failed: {error}") from None
