"""Where a run's flow starts and ends: the datasets, or the files of points, that options name."""

from dataclasses import replace

from datasets import DATASETS, Dataset, Points, load_points, standard_normal
from files.tables import ColumnError, LabelError
from lab.config import CNF, STANDARD, Config, ConfigError
from lab.methods import learns_score
from models import TRAINABLE


def sides_of(config: Config) -> tuple[Dataset, Dataset]:
    """The source, in the units that networks see, and the target, in its own.

    Raises:
        ConfigError: for a file that cannot be used, and for sides that do not go together.
    """
    target = _target(config)
    source = _source(config, target)
    if source.dim != target.dim:
        return _of_one_dimension(source, target)
    if isinstance(source, Points) and isinstance(target, Points):
        source = source.seen_in(target.units)
    return source, target


def _target(config: Config) -> Dataset:
    """The dataset, or a file's points: in the units in which a network has seen them, if it has."""
    name = config.target
    if name not in DATASETS:
        return _points(config, "target", config.units == STANDARD)
    if config.columns and not _is_file(config.source):
        raise ConfigError("columns", f"columns are chosen from a file, and '{name}' is none.")
    if config.label:
        raise ConfigError("label", f"a label is a column of the target's file; '{name}' is none.")
    return DATASETS[name]


def _is_file(source: str | None) -> bool:
    return source not in (None, TRAINABLE, *DATASETS)


def _points(config: Config, side: str, standard: bool) -> Points:
    """The points of a file that is the source or the target."""
    path, units = getattr(config, side), getattr(config, f"{side}_units")
    label = config.label if side == "target" else None
    try:
        return load_points(path, config.columns, units, standard, label)
    except ValueError as error:
        option = {ColumnError: "columns", LabelError: "label"}.get(type(error), side)
        raise ConfigError(option, f"{error}.") from None


def _source(config: Config, target: Dataset) -> Dataset:
    name = config.source
    if name == TRAINABLE:
        if config.method != CNF:
            raise ConfigError("source", f"'{TRAINABLE}' is learned by --method {CNF} only.")
        return replace(standard_normal(2), name=TRAINABLE, standard_normal=False)
    if _is_file(name):
        return _points(config, "source", standard=False)
    if name:
        return DATASETS[name]
    plain = target.dim == 2 and not isinstance(target, Points)
    return DATASETS["8gaussians" if plain and not _asks_for_normal(config) else "normal"]


def _asks_for_normal(config: Config) -> bool:
    """Whether the method, or noise along the flow, asks for the source N(0, I)."""
    if config.method in ("fm", CNF):
        return True
    return bool(config.diffusion) and not learns_score(config.method)


def _of_one_dimension(source: Dataset, target: Dataset) -> tuple[Dataset, Dataset]:
    """Both in as many dimensions as the one that is not normal."""
    if source.name == TRAINABLE:
        return replace(standard_normal(target.dim), name=TRAINABLE), target
    if source.standard_normal:
        return standard_normal(target.dim), target
    if target.standard_normal:
        return source, standard_normal(source.dim)
    raise ConfigError(
        "source",
        f"'{source.name}' has {source.dim} dimensions and the target '{target.name}' has "
        f"{target.dim}. Use --source normal, which takes as many as are needed.",
    )
