"""A user's own points, as a distribution: drawn again from a file, in units that suit networks.

Networks see mean 0 and standard deviation 1 in every column, unless they are asked to see the
points as they are; what they make is told in the user's own units. A column of the file may say
which class every point is of.
"""

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import machine  # noqa: F401  before MLX, which it makes fast

import mlx.core as mx
import numpy as np

from data.distributions import Dataset
from files.tables import read_labelled

LONGEST_NAME = 40  # letters of a file's name, since file systems have a limit, of 255 bytes mostly


@dataclass(frozen=True)
class Units:
    """The units in which networks see a user's points, and what those points were.

    Attributes:
        mean, scale: of each column, its mean and standard deviation.
        columns: their names.
        digest: of the points, and of their classes.
        classes, counts: what these are called, and how many points each has.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    columns: tuple[str, ...]
    digest: str
    classes: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, kept: dict) -> "Units":
        """The Units whose `asdict` went through JSON.

        Raises:
            ValueError: for what they cannot have been.
        """
        try:
            mean, scale = (tuple(map(float, kept[name])) for name in ("mean", "scale"))
            classes, counts = tuple(map(str, kept["classes"])), tuple(map(int, kept["counts"]))
            columns, digest = tuple(map(str, kept["columns"])), str(kept["digest"])
            units = cls(mean, scale, columns, digest, classes, counts)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the units of the points cannot be read: {error}") from None
        sizes = {len(mean), len(scale), len(units.columns)}
        if asdict(units).keys() != kept.keys() or len(sizes) > 1 or 0 in sizes:
            raise ValueError("the units of the points do not fit together")
        if len(classes) != len(counts) or min(counts, default=1) < 1:
            raise ValueError("the classes of the points do not fit together")
        if not all(map(math.isfinite, mean + scale)) or min(scale) <= 0:
            raise ValueError("the units of the points are not finite, or not positive")
        return units


@dataclass(frozen=True)
class Points(Dataset):
    """A finite set of points, drawn with replacement.

    Attributes:
        points: (M, D) float64; None if only their units are known any more.
        units: in which `standardized()` has them.
        labels: (M,) whole numbers, the class of each; None where nothing tells.
    """

    points: np.ndarray | None = None
    units: Units | None = None
    labels: np.ndarray | None = None

    @classmethod
    def of(
        cls, name: str, description: str, points: np.ndarray, units: Units, labels=None, classes=()
    ) -> "Points":
        """The points (M, D), with units of their own or of others before them.

        `labels`, (M,), are places in `classes`, of which each has at least one point.
        """
        parts = tuple(
            cls.of(word, f"points of {name} of class {word}", points[labels == k], units)
            for k, word in enumerate(classes)
        )
        how = {"points": points, "units": units, "labels": labels, "parts": parts}
        which = _resampling(labels, mx.int32) if parts else None  # the rows that `draw` takes
        draw = _resampling(points)
        return cls(name, description, points.shape[1], draw, which=which, **how)

    @property
    def columns(self) -> tuple[str, ...]:
        return self.units.columns

    @property
    def fresh(self) -> str:
        return f"points drawn again from {self.name}"

    @property
    def shares(self) -> np.ndarray:
        if not self.parts:
            return super().shares
        counts = self.units.counts if self.labels is None else np.bincount(self.labels)
        return np.array(counts) / np.sum(counts)

    @property
    def unit(self) -> np.ndarray:
        return np.array(self.units.scale)

    @property
    def standard_points(self) -> np.ndarray:
        """(M, D) in the units of `standardized()`."""
        return (self.points - np.array(self.units.mean)) / self.unit

    @property
    def known(self) -> bool:
        return self.points is not None

    @property
    def unchanged(self) -> bool:
        return self.known and (_digest(self.points, self.labels, self.classes) == self.units.digest)

    @property
    def deviation(self) -> float:
        """The root mean square, over the columns, of their standard deviations."""
        return float(np.sqrt(self.points.var(axis=0).mean()))

    def seen_in(self, units: Units) -> "Points":
        """The same points, drawn in the units of others that they flow to."""
        if not self.known:
            return self
        points = (self.points - np.array(units.mean)) / np.array(units.scale)
        parts = tuple(part.seen_in(units) for part in self.parts)
        return replace(self, draw=_resampling(points), parts=parts)

    def standardized(self) -> Dataset:
        return self.seen_in(self.units)

    def restore(self, x) -> np.ndarray:
        return np.asarray(x, np.float64) * self.unit + np.array(self.units.mean)

    def standardize(self, x):
        z = (np.asarray(x, np.float64) - np.array(self.units.mean)) / self.unit
        return mx.array(z.astype(np.float32)), float(np.log(self.unit).sum())


def units_of(points: np.ndarray, columns: tuple[str, ...]) -> Units:
    """Units in which points (M, D) have mean 0 and standard deviation 1 in every column."""
    mean, scale = points.mean(axis=0), points.std(axis=0)
    return Units(tuple(mean.tolist()), tuple(scale.tolist()), columns, _digest(points))


def own_units(points: np.ndarray, columns: tuple[str, ...]) -> Units:
    """Units in which points (M, D) are as they are."""
    dim = points.shape[1]
    return Units((0.0,) * dim, (1.0,) * dim, columns, _digest(points))


def a_few_points(dataset: Dataset, count: int, key) -> Points:
    """So many points of a dataset, or all if it has fewer, as a dataset in the same units.

    It has the classes that some of the points are of.
    """
    labels = None
    if isinstance(dataset, Points):
        rows = np.array(mx.random.permutation(len(dataset.points), key=key))[:count]
        points, units = dataset.points[rows], dataset.units
        labels = dataset.labels[rows] if dataset.parts else None
    else:
        points = np.array(dataset.sample(count, key), np.float64)
        units = own_units(points, dataset.columns)
        labels = np.array(dataset.which(count, key)) if dataset.parts else None
    classes = ()
    if dataset.parts:
        found, labels = np.unique(labels, return_inverse=True)
        classes = tuple(dataset.classes[k] for k in found)
    name = f"{len(points):,} point{'s' * (len(points) > 1)} of {dataset.name}"
    units = _with_classes(units, points, labels, classes)
    return Points.of(name, name, points, units, labels, classes)


def load_points(
    path, columns=None, units: Units | None = None, standard: bool = True, label=None
) -> Points:
    """The points of a file as a dataset: .csv, .npy or .npz, see `files.tables.read_table`.

    Args:
        path: the file.
        columns: names or numbers, from 1, of the columns that are the points; all if None.
        units: those in which a network has seen the points that were in this file. Then these are
            the dataset's, whatever is in the file now; and a file that is not there any more gives
            a dataset that knows its units and cannot be sampled.
        standard: without `units`, whether networks shall see mean 0 and standard deviation 1 in
            every column; otherwise they see the points as they are.
        label: name or number, from 1, of a column of words or whole numbers that says which class
            each point is of. It is no coordinate.

    Raises:
        ValueError: for a file that cannot be used; one sentence says why.
    """
    path = Path(path)
    if units and not path.exists():
        return _forgotten(path, units)
    points, names, labels, classes = read_labelled(path, columns, label)
    count, dim = points.shape
    if units and len(units.mean) != dim:
        raise ValueError(
            f"the number of columns of '{path}' is {dim} now, and was {len(units.mean)} in training"
        )
    about = f"{count:,} points of {path}, drawn with replacement"
    if units is None:
        units = (units_of if standard else own_units)(points, names)
        units = _with_classes(units, points, labels, classes)
    return Points.of(name_of(path), about, points, units, labels, classes)


def name_of(path) -> str:
    """What the points of a file are called, in figures and in other files' names: its own name,
    cut where it is long, without what is no text.
    """
    name = re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", Path(path).stem)
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _with_classes(units: Units, points: np.ndarray, labels, classes) -> Units:
    """The same units, of these points."""
    counts = tuple(np.bincount(labels).tolist()) if classes else ()
    digest = _digest(points, labels, classes)
    return replace(units, digest=digest, classes=tuple(classes), counts=counts)


def _forgotten(path: Path, units: Units) -> Points:
    def draw(n, key):
        raise ValueError(f"the file {path.absolute()} is not there, and so neither are its points")

    law = len(units.mean), draw
    parts = tuple(
        Points(word, f"points of {path} of class {word}", *law, units=units)
        for word in units.classes
    )
    how = {"units": units, "parts": parts, "which": draw}
    return Points(name_of(path), f"points of {path}", *law, **how)


def _digest(points: np.ndarray, labels=None, classes=()) -> str:
    content = points.astype("<f8").tobytes()
    if classes:
        content += repr([classes[k] for k in labels]).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _resampling(rows: np.ndarray, dtype=mx.float32) -> Callable:
    held = mx.array(rows, dtype)
    return lambda n, key: held[mx.random.randint(0, len(held), (n,), key=key)]
