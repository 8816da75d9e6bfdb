"""The options that commands share, each made once, so that they mean the same everywhere.

Those that describe a run are the fields of `lab.config.Config`. A help page lists options in
sections, and what most people need first.
"""

from pathlib import Path

import click
import mlx.core as mx

from cli.endings import failures, usage_errors, warn
from cli.values import Value
from lab import store
from lab.config import FIRST, HELP, OPTIONS, SOLVING, SOLVING_OPTIONS, TRAINING
from lab.run import Run, without_effect
from lab.values import OneOf, Whole, YesOrNo

OUTPUT = "Output"
LAST = (
    "Take the checkpoint in runs/ that was trained, or found there, last. Without this, CHECKPOINT "
    "is to name one."
)
FORMER_NAMES = {"exact": "page"}  # of commands, still understood and not listed


class Option(click.Option):
    """An option that belongs to a section of the help page and shows its default."""

    def __init__(self, *args, section: str = "Other", **kwargs):
        kwargs.setdefault("show_default", True)
        super().__init__(*args, **kwargs)
        self.section = section


class Sectioned:
    """A command whose help page lists its options by section, the most needed ones first."""

    def format_options(self, ctx, formatter):
        sections: dict[str, list] = {FIRST: []}
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for param in sorted(options, key=lambda param: not hasattr(param, "section")):
            if record := param.get_help_record(ctx):
                sections.setdefault(getattr(param, "section", "Other"), []).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class Command(Sectioned, click.Command):
    pass


class Group(Sectioned, click.Group):
    """Such a command that has others beside it, which its help page lists before its options."""

    command_class = Command

    def make_context(self, *arguments, **how):
        with failures():
            return super().make_context(*arguments, **how)

    def invoke(self, ctx):
        with failures():
            return super().invoke(ctx)

    def get_command(self, ctx, name):
        return super().get_command(ctx, FORMER_NAMES.get(name, name))

    def format_options(self, ctx, formatter):
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)


def option(section: str, *names: str, kind=None, **about):
    """`click.option` for a section of the help page, of a kind of `lab/values.py`."""
    if isinstance(kind, YesOrNo):
        about["is_flag"] = True
    elif kind:
        about["type"] = Value(kind)
    return click.option(*names, cls=Option, section=section, **about)


def config_option(name: str, *, section=None, otherwise: str | None = None, names=(), **about):
    """The option for a field of `Config`.

    Args:
        otherwise: what is taken in place of the field's default, in words.
        names: of the option, in place of the field's own.
    """
    each = OPTIONS[name]
    text = HELP.get(name, "")
    default = each.default
    if otherwise:
        default, text = None, f"{text.partition('  [')[0]}  [default: {otherwise}]"
    about = {"help": text, "default": default} | about
    names = names or (f"--{name.replace('_', '-')}",)
    section = section or each.metadata["section"]
    return option(section, *names, **({"kind": each.metadata["kind"]} | about))


def config_options(*omitted: str):
    """Give a command the options that describe a run, all but some."""
    return _all(config_option(name) for name in OPTIONS if name not in omitted)


def other_solving(*omitted: str):
    """Give a command the options by which a checkpoint's flow is solved otherwise than before."""
    names = [name for name in SOLVING_OPTIONS if name not in omitted]
    return _all(config_option(name, section=SOLVING, otherwise="the run's") for name in names)


def _all(options):
    options = list(options)

    def decorate(command):
        for add in reversed(options):
            command = add(command)
        return command

    return decorate


def _use_device(context, parameter, name: str):
    if name == "auto":
        return
    device = mx.Device(getattr(mx, name))
    if not mx.is_available(device):
        raise click.BadParameter(f"'{name}' is not there; use cpu or auto.")
    mx.set_default_device(device)


device = option(
    OUTPUT,
    "--device",
    kind=OneOf(["auto", "cpu", "gpu"]),
    default="auto",
    callback=_use_device,
    expose_value=False,
    help="Device that computes: the GPU where there is one, unless told otherwise.",
)


retrain = option(
    TRAINING,
    "--retrain",
    is_flag=True,
    help="Train even if runs/ has a network that was trained by the same options and code.",
)
save_every = option(
    TRAINING,
    "--save-every",
    kind=Whole(1, 10_000_000),
    help="Number of steps after which training is kept.  [default: only at its end]",
)


def out(default: str | None, type, help: str):
    """The option --out: a file to write."""
    return option(OUTPUT, "--out", type=type, default=default, help=help)


def command(function):
    """`click.command` with a help page in sections."""
    return click.command(cls=Command)(function)


def _checkpoint(context, parameter, path):
    """The file that is named, or the newest for --last."""
    last = context.params.pop("last", False)
    if last and path:
        raise click.UsageError(f"--last stands for the last checkpoint, and '{path}' was named.")
    if not (last or path):
        raise click.UsageError(
            "Missing argument 'CHECKPOINT': a file in runs/, or --last for the last one there."
        )
    with usage_errors():
        return store.newest() if last else path


def checkpoint(command):
    """Give a command the argument CHECKPOINT, or the option --last in its place."""
    last = option(FIRST, "--last", is_flag=True, is_eager=True, help=LAST)
    path = click.Path(path_type=Path)
    argument = click.argument("checkpoint", type=path, required=False, callback=_checkpoint)
    return last(argument(command))


def given(context) -> dict:
    """The parameters that stand on the command line, and their values."""
    source = click.core.ParameterSource.COMMANDLINE
    return {n: v for n, v in context.params.items() if context.get_parameter_source(n) == source}


def say_what_has_no_effect(context, *runs: Run):
    """Warn of every option on the command line that changes nothing in any of these runs."""
    reasons = [without_effect(run) for run in runs]
    for name in given(context):
        if all(name in of for of in reasons):
            option = f"--{name.replace('_', '-')}"
            warn(f"{option} has no effect: {reasons[0][name]}")


def with_noise(run: Run) -> str:
    """What the name of a file says of the guidance and the noise along a flow."""
    guidance, noise = run.config.guidance, run.config.diffusion
    told = f"_guidance{guidance:g}" if guidance != 1 else ""
    return told + (f"_diffusion{noise:g}" if noise else "")


def warn_of_other_points(run: Run):
    """Warn where a user's points are not those that the flow was trained with."""
    for name in run.changed_files:
        if Path(name).exists():
            warn(f"'{name}' is not what it was when the flow was trained")
