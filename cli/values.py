"""What the command line accepts: choices from the registries, numbers within reason, paths.

A value that is not accepted is answered with one sentence that names the option, the value and
what is allowed, and exit code 2. What the options do is the business of `main.py`.
"""

import math
import tempfile
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import click


class Name(click.Choice):
    """One of a registry's names; a near miss is told the nearest."""

    def get_invalid_choice_message(self, value, ctx):
        near = get_close_matches(str(value), self.choices, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        return f"'{value}' is not known. {hint}There are {', '.join(self.choices)}."


class NameOrFile(Name):
    """One of a registry's names, or a file with one of some suffixes."""

    def __init__(self, choices, suffixes):
        super().__init__(choices)
        self.suffixes = suffixes

    def convert(self, value, param, ctx):
        if Path(value).suffix.lower() in self.suffixes:
            return value
        return super().convert(value, param, ctx)

    def get_invalid_choice_message(self, value, ctx):
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message[:-1]}, or a file ending in one of {', '.join(self.suffixes)}."


class Whole(click.IntRange):
    """A whole number between two others."""

    def convert(self, value, param, ctx):
        try:
            int(value)
        except ValueError:
            self.fail(f"'{value}' is not a whole number from {self.min} to {self.max}.", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A finite number between two others."""

    def convert(self, value, param, ctx):
        try:
            finite = math.isfinite(float(value))
        except ValueError:
            finite = False
        if not finite:
            allowed = f"a finite number from {self.min} to {self.max}"
            self.fail(f"'{value}' is not {allowed}.", param, ctx)
        return super().convert(value, param, ctx)


class FigurePath(click.Path):
    """A file to write a figure to: its suffix says the format."""

    def __init__(self, suffixes):
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value, param, ctx):
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in self.suffixes:
            allowed = ", ".join(self.suffixes)
            self.fail(f"'{path}' must end in one of {allowed}.", param, ctx)
        return path


def require_writable(path: Path, what: str):
    """Raise a usage error unless `path` can be written. Missing folders would be made.

    Found out by trying, since permissions alone do not tell; nothing is left behind.
    """
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        if path.exists():
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise click.UsageError(
            f"Invalid value for {what}: '{path}' cannot be written: {error.strerror}."
        ) from None


class Option(click.Option):
    """An option that belongs to a section of the help page and shows its default."""

    def __init__(self, *args, section: str = "Other", **kwargs):
        kwargs.setdefault("show_default", True)
        if isinstance(kwargs.get("type"), click.IntRange | click.FloatRange):
            kwargs.setdefault("metavar", "N" if isinstance(kwargs["type"], click.IntRange) else "X")
        super().__init__(*args, **kwargs)
        self.section = section


class Sectioned:
    """A command whose help page lists its options by section, in the order they were declared."""

    def format_options(self, ctx, formatter):
        sections: dict[str, list] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                sections.setdefault(getattr(param, "section", "Other"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class SectionedCommand(Sectioned, click.Command):
    pass


class SectionedGroup(Sectioned, click.Group):
    """Such a command that has others beside it, whose help pages look alike."""

    command_class = SectionedCommand

    def format_options(self, ctx, formatter):
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def forbid_options_before_a_command(ctx):
    """Raise a usage error for options of the main job in front of another command's name."""
    for param in ctx.command.params:
        if ctx.get_parameter_source(param.name) == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"'{param.opts[0]}' stands before '{ctx.invoked_subcommand}': options of a command "
                "come after its name."
            )


def option(section: str):
    """`click.option` for a section of the help page."""
    return partial(click.option, cls=Option, section=section)
