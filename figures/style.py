"""What figures share: their look and colours, words, legends, and how they become files.

Colours are those of Okabe & Ito (2008), told apart by colour-blind readers too, and mean the same
everywhere: the source is blue, what was generated vermilion, and time turns the one into the
other; the target is light grey with a black outline; classes have colours that mean nothing else.
Every text that a caller gives, a title or a name, is drawn letter by letter and never read as
mathematics.
"""

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import AutoLocator, LogLocator, NullLocator
from PIL import Image

from files.whole import whole
from figures.geometry import is_square

SOURCE, GENERATED, INK = "#0072B2", "#D55E00", "#000000"
TARGET, TARGET_DOTS, GRID = "#C4C4C4", "#8C8C8C", "#E5E5E5"
TIME = LinearSegmentedColormap.from_list("time", [SOURCE, GENERATED])
DENSITY = "magma"
# The rest of Okabe & Ito (2008), and three of Paul Tol's that keep apart from these.
CLASSES = (
    *("#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#332288", "#999933", "#882255", "#F0E442"),
)
MOST_NAMED = 12  # classes that a legend names
DOTS = {"linewidths": 0, "alpha": 0.7, "rasterized": True}  # one piece in .pdf and .svg
LETTERS_AN_INCH = 11.5  # of a title
LONGEST_NAME = 40  # letters, in a legend or along an axis
# DejaVu Sans comes with matplotlib; the others, where they are installed, have letters it lacks.
FONTS = ("DejaVu Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Arial Unicode MS", "Noto Sans")
STYLE = {
    "font.family": [name for name in FONTS if name in fontManager.get_font_names()],
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.titlesize": 10,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
    "savefig.pad_inches": 0.05,
    "svg.fonttype": "none",
    "svg.hashsalt": "figures",  # or the names in an .svg would be others every time
    "pdf.fonttype": 42,
}
SMALL_TICKS = {"xtick.labelsize": 8, "ytick.labelsize": 8}
HEAVY = 300_000  # bytes of a PNG
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def in_style(**rc) -> Iterator[None]:
    """Draw in our style, with other parameters of matplotlib where they are given."""
    with matplotlib.rc_context({**STYLE, **rc}), warnings.catch_warnings():
        # Where no font has a letter of a user's name, a box stands for it.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


@contextmanager
def drawing(out, width: float, height: float, layout="constrained", **rc) -> Iterator[Figure]:
    """A figure of a size in inches to draw in, in our style, which is then written to `out`."""
    with in_style(**rc):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        save(figure, out)


def save(figure: Figure, out):
    """Write a figure to a .png, .pdf or .svg: the same bytes for the same figure.

    A PNG that would be heavy gets a palette of 256 colours. They are chosen to cover all that
    there are, however few pixels have them.
    """
    kind = Path(out).suffix.lower().removeprefix(".")
    with whole(out) as part:
        if kind != "png":
            figure.savefig(part, format=kind, metadata=UNDATED.get(kind))
            return
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
        if drawn.tell() > HEAVY:
            image = Image.open(drawn)
            how = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 3, "dither": Image.Dither.NONE}
            reduced = image.convert("RGB").quantize(256, **how)
            drawn = io.BytesIO()
            reduced.save(drawn, "PNG", dpi=image.info["dpi"])
        part.write_bytes(drawn.getvalue())


def panels(rows: int, columns: int, width: float, height: float) -> dict:
    """The size and layout, for `drawing`, of a figure with panels of a size in inches."""
    return {
        "width": 0.7 + width * columns,
        "height": 1.2 + height * rows,
        "layout": "compressed",
        **SMALL_TICKS,
    }


def shared_axes(figure: Figure, rows: int, columns: int) -> np.ndarray:
    """Axes (rows, columns) that share both scales."""
    return figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def literal(text: str, most: int | None = None) -> str:
    """Text as matplotlib draws it letter by letter; cut in the middle beyond so many letters."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    if most and len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2) :]}"
    return text.replace("$", r"\$")


def wrapped(text: str, most: float) -> str:
    """Text letter by letter, in lines of so many letters at most."""
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, int(most))]
    return "\n".join(map(literal, lines))


def set_title(figure: Figure, title: str, dim: int = 2):
    """Above all panels, in lines no longer than the figure is wide.

    It says so where only two of more dimensions are drawn.
    """
    more = f"\nthe first two of {dim} dimensions" if dim > 2 else ""
    figure.suptitle(wrapped(title + more, LETTERS_AN_INCH * figure.get_figwidth()))


def axis_labels(labels: Sequence[str] | None, dim: int) -> list[str]:
    """What the axes of D dimensions are called, as matplotlib takes it.

    Args:
        labels: the dimensions' names, as `Dataset.columns` has them; x1, x2, … if None.
        dim: D.
    """
    plain = [f"x{d + 1}" for d in range(dim)]
    if list(labels or plain) == plain:
        return ["$x$"] if dim == 1 else [f"$x_{{{d + 1}}}$" for d in range(dim)]
    return [literal(label, LONGEST_NAME) for label in labels]


def aspect(box) -> str:
    """The aspect of axes over a box."""
    return "equal" if is_square(box) else "auto"


def plain_log(axis, values):
    """Number a logarithmic axis, which already has its scale, with a few plain numbers."""
    near = np.max(values) < 5 * np.min(values)
    axis.set_major_locator(AutoLocator() if near else LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def show_grid(axes, values: np.ndarray, box, **look):
    """Values (C, C) on a grid over a box, rows along y, as an image."""
    return axes.imshow(values, extent=box, origin="lower", aspect=aspect(box), **look)


@dataclass(frozen=True)
class Classes:
    """Which class each of the points that are drawn is of.

    Attributes:
        names: of all classes.
        labels: (N,), the place of every point's in these.
    """

    names: Sequence[str]
    labels: np.ndarray

    @property
    def colours(self) -> np.ndarray:
        """That of every class, (K, 4)."""
        return class_colours(len(self.names))

    @property
    def hues(self) -> np.ndarray:
        """The colour of every point, (N, 4)."""
        return self.colours[self.labels]


def class_colours(count: int) -> np.ndarray:
    """A colour for every class, (K, 4): of more than a few, those of a rainbow."""
    if count <= len(CLASSES):
        return to_rgba_array([*CLASSES[:count]])  # old matplotlibs take two in a tuple for one
    return matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, count))


def class_marks(names: Sequence[str]) -> dict:
    """For a legend: a dot for every class, by its name; of very many, some for all."""
    colours = class_colours(len(names))
    dots = [Line2D([], [], marker="o", ls="", ms=4, color=colour) for colour in colours]
    if len(dots) > MOST_NAMED:
        return {f"{len(dots)} classes": tuple(dots[:: len(dots) // 8])}
    words = (f"class {name}" if name.isdigit() else name for name in names)
    return {literal(word, LONGEST_NAME): dot for word, dot in zip(words, dots, strict=True)}


def class_legend(figure: Figure, names: Sequence[str]):
    """Under the figure, the name of every class beside its colour."""
    legend_of(figure, class_marks(names))


def legend(
    figure: Figure, names, paths: str, crosses: bool = False, classes: Classes | None = None
):
    """Under the figure, with marks large enough to see.

    Args:
        names: of source and target; None for a target that is not drawn.
        paths: what the lines are.
        crosses: whether the target is a few points, each drawn as a cross.
        classes: of the generated points, and of their paths, which have their colours then.
    """
    source, target = (name and literal(name, LONGEST_NAME) for name in names)
    hues = classes.colours[:12] if classes else TIME(np.linspace(0, 1, 12))
    line = tuple(Line2D([], [], lw=1.5, color=hue, solid_capstyle="projecting") for hue in hues)
    marks = {
        f"source: {source}": Line2D([], [], marker="o", ls="", ms=4, color=SOURCE),
        paths: line,
    }
    if classes:
        marks |= class_marks(classes.names)
    else:
        marks["generated"] = Line2D([], [], marker="o", ls="", ms=4, color=GENERATED)
    if crosses:
        marks[f"target: {target}"] = Line2D([], [], marker="+", ls="", ms=6, color=INK)
    elif target:
        marks[f"target: {target}"] = Rectangle((0, 0), 1, 1, fc=TARGET, ec=INK, lw=0.8)
    legend_of(figure, marks)


def legend_of(figure: Figure, marks: dict):
    """Marks and what they mean, under a figure."""
    figure.legend(
        marks.values(),
        marks,
        loc="outside lower center",
        ncols=_columns(list(marks), LETTERS_AN_INCH * figure.get_figwidth()),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        handletextpad=0.5,
        columnspacing=1.4,
    )


def _columns(labels: list[str], room: float) -> int:
    """In how many columns, of one width each, a legend fits into room for so many letters."""
    longest = max(map(len, labels)) + 5  # five for a mark
    tried = (len(labels), 2, 1) if len(labels) < 5 else range(len(labels), 0, -1)
    return next(n for n in tried if n == 1 or n * longest <= room)
