"""Which figures of a run there are: `FIGURES` is what --figure offers.

Every file in the folder `kinds` whose name does not begin with an underscore is one, under the
name of the file. It has

    draw(out: Path, subject: Subject)   compute what the figure shows, and write it to `out`
    refusal(run) -> str | None          only if some runs cannot have it: one sentence that says why

Nothing is imported before a figure is asked for, since matplotlib takes long to import.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """A kind of figure, by the name of its file."""

    name: str

    def draw(self, out: Path, subject):
        """Write the figure of a `subject.Subject` to a .png, .pdf or .svg."""
        self._file.draw(out, subject)

    def refusal(self, run) -> str | None:
        """Why this figure cannot be drawn of a run, in one sentence; None where it can."""
        return self._file.refusal(run) if hasattr(self._file, "refusal") else None

    @property
    def _file(self):
        return import_module(f"figures.kinds.{self.name}")


FIGURES: dict[str, Figure] = {
    path.stem: Figure(path.stem)
    for path in sorted(Path(__file__).with_name("kinds").glob("[!_]*.py"))
}
