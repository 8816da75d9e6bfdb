"""What a run is, and which options change nothing in it."""

from dataclasses import dataclass

from cfm import Method
from datasets import Dataset, Points
from lab.config import CNF, EXACT, Config
from lab.methods import FLOWS
from lab.sides import sides_of
from likelihood import MaximumLikelihood
from maps import MapMethod, in_steps
from noise import why_no_score


@dataclass(frozen=True)
class Run:
    """What is learned, and how.

    Attributes:
        config: the options. Defaults that depend on others are filled in; options without effect
            are as if they had not been given, so that the same training has the same config.
        method: one of `cfm.METHODS` or `maps.MAPS`, made, or `likelihood.MaximumLikelihood`.
        source: where the flow starts, in the units that networks see.
        target: where it ends, in its own units; networks see `target.standardized()`.
    """

    config: Config
    method: Method | MaximumLikelihood
    source: Dataset
    target: Dataset

    @property
    def solving(self) -> dict:
        """How the flow is solved, as arguments of `odeint`."""
        config = self.config
        return {
            "solver": config.solver,
            "steps": config.ode_steps,
            "rtol": config.rtol,
            "atol": config.atol,
        }

    def followed(self, field):
        """What `odeint` is to solve for a field: the field, or the steps of a map."""
        return in_steps(field, self.config.ode_steps) if self.is_map else field

    @property
    def is_map(self) -> bool:
        """Whether it learns mean velocities, which carry points in steps of any length."""
        return isinstance(self.method, MapMethod)

    @property
    def label(self) -> str:
        """The method's name, with its pairs where these are not its own, and the round of a flow
        that was rectified several times."""
        rounds = len(self.config.ancestors)
        pairs = "" if self.has_own_pairs else f"-{self.config.coupling}"
        return f"{self.config.method}{pairs}{rounds if rounds > 1 else ''}"

    @property
    def has_own_pairs(self) -> bool:
        """Whether samples are paired as the method pairs them unless told otherwise."""
        method = self.method
        if method.name not in FLOWS:
            return True
        return method.coupling.name == FLOWS[method.name]().coupling.name

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes are called that its network is told; () if it is told none."""
        return self.target.classes if self.config.conditional else ()

    @property
    def changed_files(self) -> list[str]:
        """The files of points that are not what they were in training."""
        sides = (self.config.source, self.source), (self.config.target, self.target)
        return [file for file, points in sides if not points.unchanged]

    @property
    def is_exact(self) -> bool:
        """Whether it follows the exact field, and trains nothing."""
        return self.config.network == EXACT

    @property
    def is_usual(self) -> bool:
        """Whether source and target are those one gets without naming any."""
        usual = [side.name for side in sides_of(Config(method=self.config.method))]
        return [self.config.source, self.config.target] == usual

    @property
    def title(self) -> str:
        """The method's name in print, with its coupling where that is not its own."""
        method = self.method
        if self.has_own_pairs:
            rounds = len(self.config.ancestors)
            return f"{method.title}, {rounds} rounds" if rounds > 1 else method.title
        return f"{method.title}, {method.coupling.title}"

    @property
    def flow(self) -> str:
        """What flows where, in print."""
        exact = ", exact field" if self.is_exact else ""
        return f"{self.title}{exact}, {self.source.name} to {self.target.name}{self.besides}"

    @property
    def besides(self) -> str:
        """What leads points besides their own velocity, in print; nothing for nothing."""
        guidance, noise = self.config.guidance, self.config.diffusion
        told = f", guidance {guidance:g}" if guidance != 1 else ""
        return told + (f", diffusion {noise:g}" if noise else "")

    @property
    def no_score(self) -> str | None:
        """Why no score of the flow is known, in a sentence without its full stop; or None."""
        if self.is_exact or self.method.learns_score:
            return None
        if self.is_map:
            return f"'{self.config.method}' is a map, which knows no velocity on the way"
        return why_no_score(self.method, self.source)


def without_effect(run: Run) -> dict[str, str]:
    """Options that change nothing in this run, each with the reason."""
    config, reasons = run.config, {}

    def say(why: str, *names: str):
        reasons.update(dict.fromkeys(names, why))

    if config.method != CNF:
        say("only --method cnf trains through a solver", "train_solver", "train_ode_steps")
        say("only --method cnf trains through a solver", "gradient")
        say("only --method cnf trains by the divergence", "divergence", "probes")
    elif config.divergence == "exact":
        say("the exact divergence needs no probes", "probes")
    if config.method != CNF and config.coupling != "entropic":
        pairs = config.coupling or "those of a flow"
        say(f"only entropic pairs have one, and these are {pairs}", "regularization")
    if not config.conditional:
        say("no class is told without --conditional", "drop")
    if not isinstance(run.target, Points) or run.config.target_units is None:
        say("only a target of a file has units of its own", "units")
    if config.ode_steps:
        say(f"{config.solver} takes {config.ode_steps:,} equal steps here", "rtol", "atol")
    if run.is_exact:
        training = ("steps", "batch_size", "regress", "optimizer", "lr", "schedule", "weight_decay")
        say("the exact field is not trained", "drop", *training, "save_every", "retrain")
        say("the exact field has no layers", "width", "depth", "activation")
    return reasons
