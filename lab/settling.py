"""From options to a run: `settle` looks them up, fills them in and holds them against one another.

What depends on the source and the target alone is in `sides.py`, and what a method asks for is in
`methods.py`.
"""

import inspect
from dataclasses import replace

from cfm import REFLOW
from datasets import Dataset, Points
from lab.config import (
    BATCH,
    CNF,
    CNF_BATCH,
    CNF_LR,
    CNF_STEPS,
    CNF_WIDTH,
    COUPLED_BATCH,
    COUPLED_LR,
    COUPLED_STEPS,
    EXACT,
    FIXED_STEPS,
    MAP_LR,
    MAP_STEPS,
    ODE_SOLVER,
    OPTIONS,
    SDE_SOLVER,
    SOLVING_OPTIONS,
    STEPS,
    Config,
    ConfigError,
)
from lab.demands import check_classes, check_marginal
from lab.methods import method_of, remembered
from lab.run import Run, without_effect
from lab.sides import sides_of
from maps import MAPS, MapMethod
from models import NETWORKS
from learning.optimizers import OPTIMIZERS
from sde import SDE_SOLVERS
from solver import SOLVERS

MAP_SOLVER = "euler"  # whose steps are those of a map, where it takes their mean velocity
NOT_SOLVING = OPTIONS.keys() - SOLVING_OPTIONS
INSTEAD = "Use --source normal with independent pairs, as cfm and vp have; or --method sf2m."


def settle(config: Config) -> Run:
    """The run that options describe. Settling a run's own `config` again gives the same run.

    Raises:
        ConfigError: where options contradict each other.
    """
    source, target = sides_of(config)
    for side, points in (("target_units", target), ("source_units", source)):
        if isinstance(points, Points):
            config = replace(config, **{side: points.units})
    method = method_of(config, source, target)
    config = _filled(config, method, source)
    check_classes(config, method, target)
    if config.regress == "marginal":
        check_marginal(config, method, source)
    if config.network == EXACT:
        config, target = remembered(config, method, source, target)
    elif config.points is not None:
        raise ConfigError("points", "only --network exact is made of points.")
    run = Run(config, method, source, target)
    if config.diffusion and run.no_score:
        raise ConfigError("diffusion", f"{run.no_score}. {INSTEAD}")
    if run.is_exact:
        return run
    idle = {name: OPTIONS[name].default for name in without_effect(run) if name in NOT_SOLVING}
    return replace(run, config=replace(config, **idle))


def _filled(config: Config, method, source: Dataset) -> Config:
    """The options with every default that depended on others."""
    cnf = config.method == CNF
    usual = config.optimizer or ("adam" if cnf or config.network == "plain" else "muon")
    optimizer, weight_decay = OPTIMIZERS[usual], config.weight_decay
    steps, batch_size, lr = STEPS, BATCH, optimizer.lr
    if cnf:
        steps, batch_size, lr = CNF_STEPS, CNF_BATCH, CNF_LR
    elif method.coupling.match is not None:
        steps, batch_size, lr = COUPLED_STEPS, COUPLED_BATCH, COUPLED_LR
    elif config.method in MAPS:
        steps, lr = MAP_STEPS, MAP_LR
    if optimizer.weight_decay is None and weight_decay:
        raise ConfigError("weight_decay", f"'{usual}' has no weight decay; muon and adamw have.")
    return replace(
        config,
        source=config.source if isinstance(source, Points) else source.name,
        sigma=None if cnf else method.sigma,
        coupling=None if cnf or config.method == REFLOW else method.coupling.name,
        steps=config.steps or steps,
        batch_size=config.batch_size or batch_size,
        optimizer=usual,
        lr=config.lr or lr,
        weight_decay=optimizer.weight_decay if weight_decay is None else weight_decay,
        width=config.width or (CNF_WIDTH if cnf else _usual(config.network, "width")),
        activation=config.activation or _usual(config.network, "activation"),
        train_ode_steps=method.steps if cnf else config.train_ode_steps,
        **_solved(method, config.solver, config.ode_steps, config.diffusion),
    )


def _solved(method, solver: str | None, steps: int | None, noise: float) -> dict:
    """The solver, and its equal steps: None if it chooses its own."""
    if isinstance(method, MapMethod):
        return _steps_of_a_map(method, solver, steps)
    solver = solver or (SDE_SOLVER if noise else ODE_SOLVER)
    if noise and solver in SOLVERS:
        raise ConfigError(
            "solver",
            f"'{solver}' follows ordinary equations, and --diffusion makes a stochastic one. Use "
            f"{' or '.join(SDE_SOLVERS)}.",
        )
    if not noise and solver in SDE_SOLVERS:
        raise ConfigError(
            "solver",
            f"'{solver}' follows a flow with noise; say by --diffusion how much there is, or use "
            f"{ODE_SOLVER}.",
        )
    adaptive = solver in SOLVERS and SOLVERS[solver].adaptive
    return {"solver": solver, "ode_steps": steps if steps or adaptive else FIXED_STEPS}


def _steps_of_a_map(method, solver: str | None, steps: int | None) -> dict:
    if solver not in (None, MAP_SOLVER):
        adaptive = solver in SOLVERS and SOLVERS[solver].adaptive and not steps
        why = "no error to choose steps by" if adaptive else "no velocities between its steps"
        raise ConfigError(
            "solver",
            f"'{solver}' needs a velocity field, and '{method.name}' is a map, with {why}: "
            "--ode-steps says how many steps it takes.",
        )
    return {"solver": MAP_SOLVER, "ode_steps": steps or 1}


def solved_by(run: Run, solver: str, steps: int | None, diffusion: float = 0.0) -> Run:
    """The same run, its flow followed by another solver; with noise, if that is stochastic."""
    noise = diffusion if solver in SDE_SOLVERS else 0.0
    how = {"diffusion": noise} | _solved(run.method, solver, steps, noise)
    return replace(run, config=replace(run.config, **how))


def _usual(network: str, name: str):
    """What a network has of an argument unless it is told otherwise; None for the exact field."""
    if network not in NETWORKS:
        return None
    return inspect.signature(NETWORKS[network]).parameters[name].default
