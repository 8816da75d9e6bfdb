"""The kinds of values that an option can have, and the sentence that answers any other.

`read` takes what a user typed, or what a file holds, and returns the value that it means; it
raises a ValueError whose message is a whole sentence but for its full stop.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

LONGEST_NAME = 200  # letters of a column's
ECHOED = 60  # letters of a value that are repeated to whoever gave it


def shortened(value, most: int = ECHOED) -> str:
    """A value as it is repeated in a sentence, cut where it is long."""
    text = str(value)
    return text if len(text) <= most else f"{text[:most]}…"


def is_text(name: str) -> bool:
    """Whether a name can be written into a file in UTF-8; a file's may be any bytes."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


@dataclass(frozen=True)
class OneOf:
    """One of a registry's names; or, where suffixes are given, a file that ends in one of them."""

    names: Iterable[str]
    suffixes: tuple[str, ...] = ()

    def read(self, value) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        if isinstance(value, str) and Path(value).suffix.lower() in self.suffixes:
            if not is_text(value):
                raise ValueError(f"the name of the file '{shortened(value)}' is not in UTF-8")
            return value
        near = get_close_matches(str(value)[:ECHOED].lower(), self.names, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        files = f", or a file ending in one of {', '.join(self.suffixes)}" if self.suffixes else ""
        raise ValueError(
            f"'{shortened(value)}' is not known. {hint}There are {', '.join(self.names)}{files}"
        )


@dataclass(frozen=True)
class Whole:
    """A whole number between two others, both allowed."""

    low: int
    high: int

    def read(self, value) -> int:
        try:
            number = float(value.replace(",", "")) if isinstance(value, str) else value
            if isinstance(value, str) and number == int(number):  # 10,000 and 1e4 are whole too
                number = int(number)
        except (ValueError, OverflowError):
            number = None
        if type(number) is not int or not self.low <= number <= self.high:
            raise ValueError(
                f"'{shortened(value)}' is not a whole number from {self.low:,} to {self.high:,}"
            )
        return number


@dataclass(frozen=True)
class Number:
    """A finite number between two others, both allowed, or all above the lower one."""

    low: float
    high: float
    above: bool = False

    def read(self, value) -> float:
        try:
            number = float(value) if type(value) in (str, int, float) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not self.low <= number <= self.high or (self.above and number == self.low):
            least = f"above {self.low:g} and up to" if self.above else f"from {self.low:g} to"
            raise ValueError(f"'{shortened(value)}' is not a number {least} {self.high:g}")
        return number


@dataclass(frozen=True)
class Name:
    """A name, as of a column."""

    def read(self, value) -> str:
        name = value.strip() if isinstance(value, str) else ""
        if not 0 < len(name) <= LONGEST_NAME or not is_text(name):
            raise ValueError(f"'{shortened(value)}' is not a name")
        return name


@dataclass(frozen=True)
class YesOrNo:
    """Whether something is to be so."""

    def read(self, value) -> bool:
        if type(value) is not bool:
            raise ValueError(f"'{shortened(value)}' is neither true nor false")
        return value


@dataclass(frozen=True)
class Names:
    """Names separated by commas."""

    def read(self, value) -> tuple[str, ...]:
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"'{shortened(value)}' is not a list of names")
        names = tuple(name.strip() for name in names)
        if not all(names):
            raise ValueError(f"'{shortened(value)}' has an empty name between its commas")
        return names
