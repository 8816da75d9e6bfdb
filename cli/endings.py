"""How a command ends that does not end well: with one sentence and an exit code.

1 where something failed, 2 where the command line makes no sense (click's own), and 128 and the
number of the signal where it was stopped: 130 after Ctrl-C. The codes are in docs/running.md.

A sentence is for what a user or a machine can mend. A mistake of our own must not hide behind one:
it shows its traceback, or says how to see that where there is something to be told besides.
"""

import os
import re
import signal
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import click

from files.checkpoints import CheckpointError
from lab.config import ConfigError
from lab.values import shortened
from odeint import OdeError, RoundingWarning

GOES_ON = "What was learned is kept in runs/: the same command goes on from there."
TRACEBACK = "FLOW_MATCHING_TRACEBACK"  # an environment variable: show where a failure comes from
# what MLX says, as RuntimeError, where the machine is to blame; else the mistake is ours
MACHINE = re.compile(r"memory|alloc|failed to (compile|load|open)|metal|cuda", re.IGNORECASE)
OUR_OWN = click.ClickException, click.exceptions.Exit, click.exceptions.Abort


def stopped(error: KeyboardInterrupt, more: str = "") -> click.ClickException:
    """What is to be raised after Ctrl-C, SIGTERM or SIGHUP; `more` is a second sentence."""
    number = getattr(error, "number", signal.SIGINT)
    name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    ending = click.ClickException(f"stopped by {name}. {more}".strip())
    ending.exit_code = 128 + number
    return ending


def warn(message):
    """One sentence on the standard error stream."""
    click.echo(f"Warning: {message}.", err=True)


@contextmanager
def said(*kinds: type[Warning]):
    """Tell the user of warnings in sentences; of each of these kinds, of a message once."""
    with warnings.catch_warnings():
        for kind in kinds:
            warnings.simplefilter("once", kind)
        warnings.showwarning = lambda message, *_: warn(message)
        yield


@contextmanager
def usage_errors():
    """Tell the user in one sentence what was wrong with an option, a file, or a solve."""
    try:
        with said(RoundingWarning):
            yield
    except ConfigError as error:
        hint = f"'--{error.option.replace('_', '-')}'"
        raise click.BadParameter(str(error), param_hint=hint) from None
    except CheckpointError as error:
        raise click.BadParameter(f"{error}.", param_hint="'CHECKPOINT'") from None
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    except OdeError as error:
        raise click.ClickException(f"Following the flow failed: {error}") from None


@contextmanager
def failures():
    """Tell the user in one sentence why the machine, or a signal, ended a command."""
    try:
        yield
    except OUR_OWN as error:
        if error.__cause__ and os.environ.get(TRACEBACK):
            traceback.print_exception(error.__cause__)
        raise
    except KeyboardInterrupt as error:
        raise stopped(error) from None
    except OSError as error:
        where = f"'{error.filename}': " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}.") from None
    except (RuntimeError, MemoryError) as error:
        if not _is_the_machines(error):
            raise
        raise click.ClickException(f"computing failed: {_said(error)}.") from None


@contextmanager
def after_training(kept: Path | None):
    """Whatever fails from now on, say where the network is kept."""
    try:
        yield
    except OUR_OWN:
        raise
    except Exception as error:
        what = "Following the flow" if isinstance(error, OdeError) else "Measuring or drawing"
        where = f" The network is kept in '{kept}'." if kept else ""
        if not _is_the_machines(error):
            where += f" Run with {TRACEBACK}=1 in the environment, it says where."
        raise click.ClickException(f"{what} failed: {_said(error)}.{where}") from error


def _is_the_machines(error: Exception) -> bool:
    """Whether something failed that no program can help, and a sentence says all."""
    if type(error) is RuntimeError:
        return bool(MACHINE.search(str(error)))
    return isinstance(error, OSError | MemoryError | OdeError)


def _said(error: Exception) -> str:
    """The first line of an error, after its kind where that is no kind of ours."""
    if isinstance(error, OdeError):
        return str(error).rstrip(".")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    kind = type(error).__name__
    return f"{kind}: {shortened(str(error).partition(chr(10))[0], 200)}".rstrip(".: ")
