"""What the command line accepts: values of the kinds of `lab/values.py`, and paths to write to.

Anything else is answered with one sentence that names the option, the value and what is allowed,
and exit code 2.
"""

from pathlib import Path

import click

from lab.values import Name, Names, Number, OneOf, Whole

METAVARS = {Whole: "N", Number: "X", Name: "NAME", Names: "NAMES"}


class Value(click.ParamType):
    """A kind of value, as click wants it."""

    name = "value"

    def __init__(self, kind):
        self.kind = kind

    def convert(self, value, param, ctx):
        try:
            return self.kind.read(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)

    def get_metavar(self, param, ctx):
        if isinstance(self.kind, OneOf):
            names = [*self.kind.names, *(["FILE"] if self.kind.suffixes else [])]
            return f"[{'|'.join(names)}]"
        return METAVARS[type(self.kind)]


class WritablePath(click.Path):
    """A file to write, whose suffix says its format."""

    def __init__(self, *suffixes: str):
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value, param, ctx):
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in self.suffixes:
            self.fail(f"'{path}' must end in one of {', '.join(self.suffixes)}.", param, ctx)
        return path


FIGURE = WritablePath(".png", ".pdf", ".svg")
