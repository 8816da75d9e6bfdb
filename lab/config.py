"""Everything that describes a run, as one frozen record.

A `Config` is made where a run begins: from the command line, from the file that an earlier run was
kept in, or in Python. From then on it is read and never changed. Every field but the last three is
an option of the command line: its kind of value and its default are written here, and what its
docstring says of it is what the help page says. A default of None depends on other choices;
`settling.py` fills it in. The JSON of a Config is what a checkpoint keeps.
"""

import inspect
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cfm import METHODS, REFLOW
from couplings import COUPLINGS
from datasets import DATASETS, Units
from files.tables import SUFFIXES
from learning.layers import ACTIVATIONS
from lab.values import Name, Names, Number, OneOf, Whole, YesOrNo, shortened
from likelihood import DIVERGENCES
from maps import MAPS
from models import NETWORKS, TRAINABLE
from odeint import GRADIENTS
from learning.optimizers import LR_SCHEDULES, OPTIMIZERS
from sde import SDE_SOLVERS
from solver import SOLVERS

CNF = "cnf"  # the method that is trained by maximum likelihood
EXACT = "exact"  # in place of a network: the exact field, which needs no training
ODE_SOLVER, SDE_SOLVER = "dopri5", "stochastic-heun"  # of flows without noise, and with it
FIXED_STEPS = 100  # of a solver that cannot choose its steps
TRAIN_FIXED_STEPS = 8  # likewise, while training through the solver
STEPS, BATCH = 1_300, 2_048  # of training
COUPLED_STEPS, COUPLED_BATCH = 4_000, 256  # matching pairs costs at least the batch's square
COUPLED_LR = 5e-3  # so small a batch is noisy
MAP_STEPS, MAP_LR = 4_000, 5e-3  # a map learns from itself, and must not run after its own noise
CNF_STEPS, CNF_BATCH, CNF_WIDTH = 1_000, 256, 64  # a step of cnf takes a hundred times as long
CNF_LR = 2e-3  # it tends to fail at more
EXACT_POINTS = 64  # of the target, that the exact field is made of
MOST_EXACT_POINTS = 100_000

REGRESS = ("pairs", "marginal")
STANDARD, DATA = "standard", "data"  # units

FIRST, FLOW, NETWORK, TRAINING = "What most people need", "Flow", "Network", "Training"
LIKELIHOOD, SOLVING = "Maximum likelihood", "Solving"


def option(section: str, kind, default=None) -> Any:
    """A field of `Config` that is an option, of a section of the help page."""
    return field(default=default, metadata={"section": section, "kind": kind})


class ConfigError(ValueError):
    """Options that make no sense, or not together; `option` is the one to change."""

    def __init__(self, option: str, message: str):
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class Ancestor:
    """A flow that another one learned from.

    Attributes:
        checkpoint: the file it was kept in.
        weights: a digest of its weights.
    """

    checkpoint: str
    weights: str

    @classmethod
    def from_json(cls, kept: dict) -> "Ancestor":
        """The Ancestor whose `asdict` went through JSON; ValueError for what it cannot be."""
        if not isinstance(kept, dict) or sorted(kept) != ["checkpoint", "weights"]:
            raise ValueError("an ancestor of the flow cannot be read")
        return cls(str(kept["checkpoint"]), str(kept["weights"]))


@dataclass(frozen=True)
class Config:
    """The options of a run.

    Attributes:
        method: Flow-matching method. 'cnf' trains by maximum likelihood instead; 'meanflow' and
            'flowmap' learn maps, which need one evaluation; 'reflow' trains cfm and straightens it.
        source: Distribution the flow starts from: a dataset, or a file of points like the
            target's.  [default: 8gaussians, or normal where the method, the dimension or a file of
            points asks for it]
        target: Distribution the flow ends at: a dataset, or a file of points, .csv, .npy or .npz.
        steps: Number of training steps.  [default: 1,300, or 4,000 for coupled pairs, meanflow
            and flowmap, or 1,000 for cnf]
        solver: Solver that follows the flow: of the ordinary equation, or, with --diffusion, of the
            stochastic one.  [default: dopri5, or stochastic-heun with --diffusion, or euler, which
            takes the steps of a map]
        columns: Columns of a file of points to use, by name or by number from 1, for example
            'x,y'; of both files where there are two.  [default: all]
        label: Column of the target's file, by name or by number from 1, that says of which class
            each point is, in words or whole numbers. It is no coordinate.
        units: Units in which the network sees the points of the target's file: standard, shifted
            and scaled to mean 0 and standard deviation 1 in every column, or data, as they are.
        sigma: Width σ of the paths, or the noise of a bridge.  [default: the method's own]
        coupling: How source and target samples are paired.  [default: the method's own]
        regularization: Regularization ε of the entropic coupling, a squared distance.  [default:
            2σ² for sb, otherwise 0.5]
        power: Exponent n of the path tⁿ of method poly.  [default: 2]
        network: Network to train; or 'exact', which trains nothing and follows the exact field
            that a perfect network would learn from a few points.
        points: How many points of the target the exact field is made of.  [default: 64, or all
            of a file]
        width: Units in each hidden layer.  [default: 128, or 64 for plain, concatsquash and cnf]
        depth: Number of hidden layers.
        activation: Activation function between the layers.  [default: isru, or tanh for
            concatsquash, or selu for plain]
        regress: What the network is shown: the velocity of each pair, or the mean velocity of all
            pairs at its place, which is known for independent pairs from a mixture of Gaussians.
        conditional: Tell the network of which class each point is, where the target has parts, so
            that it has a flow for every class.
        drop: Part of the pairs whose class is kept back from a conditional network, so that it
            learns the flow of all classes together, too.
        batch_size: Pairs of samples in each training step.  [default: 2,048, or 256 for coupled
            pairs and cnf]
        optimizer: What moves the weights: muon takes equally long steps in all directions of a
            hidden layer.  [default: muon, or adam for plain and cnf]
        lr: Largest learning rate of the training.  [default: 0.015, or 0.005 for coupled pairs,
            meanflow, flowmap, adam and adamw, or 0.002 for cnf]
        schedule: How the learning rate changes over the training steps.
        weight_decay: Weight decay of muon and adamw.  [default: 0, or 0.01 for adamw]
        seed: Number that decides every random draw of the run.
        train_solver: ODE solver that cnf is trained through.
        train_ode_steps: Number of equal steps that solver takes.  [default: as its error estimate
            allows, or 8 where it has none]
        gradient: How training differentiates the solve.
        divergence: How the divergence of the velocity is computed: exactly, or by Hutchinson's
            estimate.
        probes: Number of random directions in Hutchinson's estimate.
        guidance: Weight w of a class in (1 − w) v(∅) + w v(class), where v(∅) is the velocity of
            all classes together: 1 is the flow of the class by itself, and more exaggerates what
            sets it apart.
        diffusion: Strength G of noise along the flow, which leaves the law at every time as it is;
            0 follows the ordinary equation. Noise needs the score: of a source N(0, I) and
            independent pairs, or of method sf2m.
        ode_steps: Number of equal steps the solver takes.  [default: as its error estimate
            allows, or 1 of a map, or 100 where it has none]
        rtol: Relative tolerance of each step of an adaptive solver.
        atol: Absolute tolerance of each step of an adaptive solver.
        samples: Number of points to generate.
        target_units, source_units: of a user's points, as training saw them; no options.
        ancestors: of a rectified flow, from the first to the one it learned from; no option.

    Raises:
        ConfigError: for a value that its option does not allow.
    """

    method: str = option(FIRST, OneOf([*METHODS, *MAPS, REFLOW, CNF]), "cfm")
    source: str | None = option(FIRST, OneOf([*DATASETS, TRAINABLE], SUFFIXES))
    target: str = option(FIRST, OneOf(DATASETS, SUFFIXES), "moons")
    steps: int | None = option(FIRST, Whole(1, 10_000_000))
    solver: str | None = option(FIRST, OneOf([*SOLVERS, *SDE_SOLVERS]))
    columns: tuple[str, ...] | None = option(FLOW, Names())
    label: str | None = option(FLOW, Name())
    units: str = option(FLOW, OneOf([STANDARD, DATA]), STANDARD)
    sigma: float | None = option(FLOW, Number(0, 10))
    coupling: str | None = option(FLOW, OneOf(COUPLINGS))
    regularization: float | None = option(FLOW, Number(0, 1e6))
    power: float | None = option(FLOW, Number(1, 100))
    network: str = option(NETWORK, OneOf([*NETWORKS, EXACT]), "mlp")
    points: int | None = option(NETWORK, Whole(1, MOST_EXACT_POINTS))
    width: int | None = option(NETWORK, Whole(1, 4096))
    depth: int = option(NETWORK, Whole(1, 64), 3)
    activation: str | None = option(NETWORK, OneOf(ACTIVATIONS))
    regress: str = option(TRAINING, OneOf(REGRESS), "pairs")
    conditional: bool = option(TRAINING, YesOrNo(), False)
    drop: float = option(TRAINING, Number(0, 0.9), 0.1)
    batch_size: int | None = option(TRAINING, Whole(1, 100_000))
    optimizer: str | None = option(TRAINING, OneOf(OPTIMIZERS))
    lr: float | None = option(TRAINING, Number(0, 1, above=True))
    schedule: str = option(TRAINING, OneOf(LR_SCHEDULES), "cosine")
    weight_decay: float | None = option(TRAINING, Number(0, 10))
    seed: int = option(TRAINING, Whole(0, 2**31 - 1), 0)
    train_solver: str = option(LIKELIHOOD, OneOf(SOLVERS), "rk4")
    train_ode_steps: int | None = option(LIKELIHOOD, Whole(1, 10_000))
    gradient: str = option(LIKELIHOOD, OneOf(GRADIENTS), "direct")
    divergence: str = option(LIKELIHOOD, OneOf(DIVERGENCES), "exact")
    probes: int = option(LIKELIHOOD, Whole(1, 1000), 1)
    guidance: float = option(SOLVING, Number(0, 100), 1.0)
    diffusion: float = option(SOLVING, Number(0, 10), 0.0)
    ode_steps: int | None = option(SOLVING, Whole(1, 1_000_000))
    rtol: float = option(SOLVING, Number(1e-8, 1), 1e-5)
    atol: float = option(SOLVING, Number(1e-8, 1), 1e-5)
    samples: int = option(SOLVING, Whole(2, 100_000), 2048)
    target_units: Units | None = None
    source_units: Units | None = None
    ancestors: tuple[Ancestor, ...] = ()

    def __post_init__(self):
        for name, each in OPTIONS.items():
            value = getattr(self, name)
            if value is None and each.default is None:
                continue
            try:
                object.__setattr__(self, name, each.metadata["kind"].read(value))
            except ValueError as error:
                raise ConfigError(name, f"{error}.") from None

    def to_json(self) -> dict:
        """All fields, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict) -> "Config":
        """The Config that `to_json` was asked for.

        Raises:
            ValueError: if a field is missing, is unknown, or holds what `to_json` does not write.
        """
        names = {each.name for each in fields(cls)}
        for name in names ^ set(kept):
            raise ValueError(f"'{name}' is {'missing' if name in names else 'unknown'}")
        sides = {name: kept[name] for name in ("target_units", "source_units")}
        sides = {name: each and Units.from_json(each) for name, each in sides.items()}
        ancestors = tuple(map(Ancestor.from_json, kept["ancestors"]))
        config = cls(**kept | sides | {"ancestors": ancestors})
        for name, value in json.loads(json.dumps(config.to_json())).items():
            if value != kept[name]:
                raise ValueError(f"'{name}' cannot be {shortened(repr(kept[name]))}")
        return config

    def of_training(self) -> "Config":
        """This Config without what training ignores: how the flow is solved afterwards."""
        return replace(self, **{name: OPTIONS[name].default for name in SOLVING_OPTIONS})


OPTIONS = {each.name: each for each in fields(Config) if each.metadata}
# `getdoc`, since Python 3.13 takes the margin off by itself, and those before do not
SAID = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(Config) or "", re.MULTILINE)
HELP = {name: " ".join(words.split()).replace(" [default", "  [default") for name, words in SAID}
# that training ignores
SOLVING_OPTIONS = ("solver", "guidance", "diffusion", "ode_steps", "rtol", "atol", "samples")
