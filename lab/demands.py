"""What classes, and mean velocities, demand of all other options of a run."""

import machine  # noqa: F401  before MLX, which it makes fast

from cfm import METHODS
from datasets import DATASETS, Dataset
from files.cells import listed
from lab.config import Config, ConfigError


def check_classes(config: Config, method, target: Dataset):
    """Raise a ConfigError for a conditional run that cannot be, or for what only such a run has."""
    if not config.conditional:
        if config.guidance != 1:
            raise ConfigError(
                "guidance",
                f"'{config.guidance:g}' leads to a class, and without --conditional the network is "
                "told none; 1 is all that is allowed.",
            )
        if method.coupling.by_class:
            raise ConfigError(
                "coupling",
                f"'{config.coupling}' pairs points within their classes, which --conditional tells "
                "it; without classes it is 'ot'.",
            )
        return
    if config.method not in METHODS:
        raise ConfigError(
            "conditional",
            f"'{config.method}' learns no classes; use a method of {', '.join(METHODS)}.",
        )
    if not target.classes:
        raise ConfigError(
            "conditional",
            f"'{target.name}' has no parts to tell apart; of a file, --label names the column that "
            f"tells, and of the others {', '.join(n for n, d in DATASETS.items() if d.classes)} "
            "have some.",
        )
    if config.target_units and config.target_units.classes != target.classes:
        now, then = map(listed, (target.classes, config.target_units.classes))
        raise ConfigError(
            "target",
            f"the classes of '{config.target}' are {now} now, and were {then} in training.",
        )
    if config.regress == "marginal":
        raise ConfigError("regress", "'marginal' is a mean over all classes; use 'pairs'.")
    if config.diffusion and config.guidance != 1:
        raise ConfigError(
            "guidance",
            f"'{config.guidance:g}' makes a flow whose law at every time is not known, and so no "
            "noise that leaves it as it is; use --guidance 1 with --diffusion.",
        )


def check_marginal(config: Config, method, source: Dataset):
    """Raise a ConfigError where no mean velocity of all pairs at a place is known."""
    paths = config.method in METHODS and method.coupling.is_independent
    if not paths or source.mixture is None or method.learns_score:
        raise ConfigError(
            "regress",
            "'marginal' is known for independent pairs and a source of Gaussians only. Use "
            "--method cfm or vp, and --source normal or 8gaussians.",
        )
