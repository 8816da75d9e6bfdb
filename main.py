"""The command line: parse, call, report. No mathematics and no drawing happen here."""

import blas  # noqa: F401  before MLX, which it makes fast

import hashlib
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import mlx.core as mx
import numpy as np

from cfm import METHODS, Method
from datasets import DATASETS, Dataset
from metrics import FlowDistances, flow_distances
from models import ACTIVATIONS, NETWORKS
from odeint import OdeError, Solution, odeint
from options import FigurePath, Name, Number, SectionedCommand, Whole, option, require_writable
from progress import training_progress
from randomness import EVALUATION, step_key
from solver import SOLVERS
from training import History, NonFiniteLossError, save_checkpoint, train

FIGURES = (".png", ".pdf", ".svg")
FIXED_STEPS = 100  # of a solver without an error estimate, unless --ode-steps says otherwise
FRAMES = 101  # times at which the paths are drawn
FIGURE_POINTS = 200_000  # of the target, for its density
W2_POINTS = 2048  # a draw at most, since the exact assignment takes cubic time
W2_DRAWS = 3

flow, network, training, solving, output = map(
    option, ("Flow", "Network", "Training", "Solving", "Output")
)


@click.command(cls=SectionedCommand, context_settings={"max_content_width": 100})
@flow("--method", type=Name(METHODS), default="cfm", help="Flow-matching method.")
@flow(
    "--source",
    type=Name(DATASETS),
    help="Where the flow starts.  [default: 8gaussians; normal for fm]",
)
@flow("--target", type=Name(DATASETS), default="moons", help="Where it ends.")
@flow("--sigma", type=Number(0, 10), help="Width of the path.  [default: the method's own]")
@network("--network", type=Name(NETWORKS), default="mlp", help="Architecture.")
@network("--width", type=Whole(1, 4096), default=64, help="Units of a hidden layer.")
@network("--depth", type=Whole(1, 64), default=3, help="Hidden layers.")
@network("--activation", type=Name(ACTIVATIONS), default="isru", help="Between the layers.")
@training("--steps", type=Whole(1, 10_000_000), default=10_000, help="Updates.")
@training("--batch-size", type=Whole(1, 100_000), default=256, help="Pairs an update.")
@training(
    "--lr",
    type=Number(0, 1, min_open=True),
    default=5e-3,
    help="Learning rate at the start; it falls to 0 as half a cosine.",
)
@training("--seed", type=Whole(0, 2**31 - 1), default=0, help="Decides every random draw.")
@solving("--solver", type=Name(SOLVERS), default="dopri5", help="ODE solver.")
@solving(
    "--ode-steps",
    type=Whole(1, 1_000_000),
    help=f"Equal steps.  [default: as the error allows, {FIXED_STEPS} where none is estimated]",
)
@solving("--rtol", type=Number(1e-8, 1), default=1e-5, help="Relative tolerance of a step.")
@solving("--atol", type=Number(1e-8, 1), default=1e-5, help="Absolute tolerance of a step.")
@solving("--samples", type=Whole(2, 100_000), default=W2_POINTS, help="Points to generate.")
@output(
    "--out",
    type=FigurePath(FIGURES),
    help="Figure, .png, .pdf or .svg.  [default: media/trajectories_METHOD_SOLVER.png]",
)
@output(
    "--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", help="Where to compute."
)
def main(**options):
    """Train a flow from source to target, follow it, and draw the trajectories.

    \b
    Example:
      python main.py --method vp --solver dopri5
    """
    device, out = options.pop("device"), options.pop("out")
    _use_device(device)
    config, method = _settle(options)
    out = out or Path("media", f"trajectories_{method.name}_{config['solver']}.png")
    require_writable(out, "--out")
    require_writable(Path("runs", "checkpoint.safetensors"), "the folder 'runs'")
    source, target = DATASETS[config["source"]], DATASETS[config["target"]]

    mx.random.seed(config["seed"])
    model = NETWORKS[config["network"]](**config["model"])
    history = _train(model, method, source, target, config)
    checkpoint = _save(model, config, history)
    _report_training(model, history, config)
    result = _generate(model, source, target, config)
    _report_result(result, config)
    _draw(out, result, target, method, config)
    click.echo(f"figure      {out}\ncheckpoint  {checkpoint}")


def _use_device(name: str):
    if name == "auto":
        return
    device = mx.Device(getattr(mx, name))
    if not mx.is_available(device):
        raise click.BadParameter(
            f"'{name}' is not there; use cpu or auto.", param_hint="'--device'"
        )
    mx.set_default_device(device)


def _settle(options: dict) -> tuple[dict, Method]:
    """The configuration of a run, as JSON can hold it, and its method."""
    method = METHODS[options["method"]](options["sigma"])
    default_source = "normal" if method.normal_source else "8gaussians"
    config = {**options, "sigma": method.sigma, "source": options["source"] or default_source}
    source, target = DATASETS[config["source"]], DATASETS[config["target"]]
    if method.normal_source and not source.standard_normal:
        raise click.BadParameter(
            f"'{source.name}' is not N(0, I), which the formulas of '{method.name}' need. "
            "Use --source normal, or --method cfm.",
            param_hint="'--source'",
        )
    shape = {name: config.pop(name) for name in ("width", "depth", "activation")}
    return {**config, "model": {"dim": target.dim, **shape}}, method


def _train(model, method: Method, source: Dataset, target: Dataset, config: dict) -> History:
    """Train behind a progress bar; where the loss runs off, keep the last good weights."""
    settings = {name: config[name] for name in ("steps", "batch_size", "lr", "seed")}
    try:
        with training_progress(config["steps"]) as show:
            return train(model, method, source, target, on_look=show, **settings)
    except NonFiniteLossError as error:
        kept = _save(model, config, error.history)
        raise click.ClickException(
            f"{error}. The weights after step {error.history.steps:,}, still good, are in {kept}."
        ) from None


def _save(model, config: dict, history: History) -> Path:
    """Save under a name that only the same configuration, trained as long, has too."""
    config = {**config, "trained_steps": history.steps}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:6]
    flow_name = "_".join(config[name] for name in ("method", "source", "target"))
    path = Path("runs", f"{flow_name}_seed{config['seed']}_{digest}.safetensors")
    save_checkpoint(path, model, config)
    return path


@dataclass(frozen=True)
class _Generated:
    """What the flow made of fresh source samples, and how good it is."""

    solution: Solution
    seconds: float
    distances: FlowDistances


def _generate(model, source: Dataset, target: Dataset, config: dict) -> _Generated:
    """Carry fresh source samples to the target and measure how well they fit there."""
    paths_key, distance_key = mx.random.split(step_key(config["seed"], EVALUATION))
    tableau = SOLVERS[config["solver"]]
    solve = partial(
        odeint,
        model,
        solver=tableau.name,
        rtol=config["rtol"],
        atol=config["atol"],
        steps=config["ode_steps"] or (None if tableau.adaptive else FIXED_STEPS),
    )
    count = config["samples"]
    try:
        began = time.perf_counter()
        solution = solve(source.sample(count, paths_key), np.linspace(0, 1, FRAMES))
        mx.eval(solution.x)
        seconds = time.perf_counter() - began
        distances = flow_distances(
            lambda x0: solve(x0, [0.0, 1.0]).x[-1],
            source,
            target,
            min(count, W2_POINTS),
            mx.random.split(distance_key, W2_DRAWS),
        )
    except OdeError as error:
        raise click.ClickException(f"{tableau.name} failed: {error}") from None
    return _Generated(solution, seconds, distances)


def _report_training(model, history: History, config: dict):
    stopped = f" of {config['steps']:,}: stopped by Ctrl-C" if history.interrupted else ""
    click.echo(
        f"network     {model}\n"
        f"training    {history.steps:,} steps{stopped}, {history.seconds:.1f} s, "
        f"{history.steps_per_second:,.0f} steps/s, after {history.compile_seconds:.1f} s "
        f"of compiling; loss {history.losses[-1][1]:.4f}"
    )


def _report_result(result: _Generated, config: dict):
    solution, distances = result.solution, result.distances
    click.echo(
        f"sampling    {config['samples']:,} points with {config['solver']}, "
        f"{result.seconds:.2f} s, NFE {solution.nfe} "
        f"({solution.accepted} steps accepted, {solution.rejected} rejected)\n"
        f"W2²         {distances.to_target:.4f} ± {distances.error:.4f} to fresh samples of "
        f"{config['target']}; two true samples are {distances.best:.4f} apart"
    )


def _draw(out: Path, result: _Generated, target: Dataset, method: Method, config: dict):
    from plots import plot_trajectories  # here, since matplotlib takes long to import

    plot_trajectories(
        out,
        np.array(result.solution.x),
        np.array(target.sample(FIGURE_POINTS, mx.random.key(config["seed"]))),
        title=f"{method.title}, {config['solver']}\nNFE {result.solution.nfe}, "
        f"$W_2^2$ = {result.distances.to_target:.3f} ± {result.distances.error:.3f}",
        names=(config["source"], config["target"]),
    )


if __name__ == "__main__":
    main()
