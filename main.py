"""The command line: parse, call, report. No mathematics and no drawing happen here."""

import blas  # noqa: F401  before MLX, which it makes fast

import warnings
from pathlib import Path

import click
import mlx.core as mx
import numpy as np

import runs
from arguments import FIGURES, device, divergence, out, output, probes, run_options, solving
from couplings import SinkhornWarning
from datasets import DATASETS
from odeint import OdeError
from options import (
    FigurePath,
    Name,
    SectionedGroup,
    Whole,
    forbid_options_before_a_command,
    require_writable,
)
from progress import training_progress
from randomness import EVALUATION, step_key
from runs import Fitness, Generated
from settings import OptionError, Run, settle
from training import CheckpointError, History, NonFiniteLossError

GALLERY_POINTS = 5_000


@click.group(
    cls=SectionedGroup,
    invoke_without_command=True,
    context_settings={"max_content_width": 100},
)
@run_options
@output(
    "--figure",
    "figures",
    type=Name(["trajectories", "loss"]),
    multiple=True,
    default=["trajectories"],
    help="What to draw; may be given several times.",
)
@output(
    "--out",
    type=FigurePath(FIGURES),
    help="Figure, .png, .pdf or .svg.  [default: media/FIGURE_METHOD_SOLVER.png]",
)
@device
@click.pass_context
def main(context, figures, out, device, **options):
    """Train a flow from source to target, follow it, and draw the trajectories.

    \b
    Examples:
      python main.py --method vp --solver dopri5
      python main.py --network exact --points 8 --target annulus
      python main.py --target points.csv --figure trajectories --figure loss
    """
    if context.invoked_subcommand:
        forbid_options_before_a_command(context)
        return
    _use_device(device)
    try:
        run = settle(options)
    except OptionError as error:
        raise click.BadParameter(str(error), param_hint=f"'--{error.option}'") from None
    outs = _figure_paths(run, list(dict.fromkeys(figures)), out)
    field, history = _learned(run)
    run = runs.with_learned_source(run, field)
    try:
        result = runs.generate(run, field)
    except OdeError as error:
        raise click.ClickException(f"{run.config['solver']} failed: {error}") from None
    _report(result, run)
    for figure, path in outs.items():
        DRAWINGS[figure](path, run, result, history)
        click.echo(f"figure      {path}")


@main.command()
@out
def datasets(out):
    """Draw every dataset.

    \b
    Example:
      python main.py datasets --out media/datasets.png
    """
    from plots import plot_gallery

    out = out or Path("media", "datasets.png")
    require_writable(out, "--out")
    key = mx.random.key(0)
    plot_gallery(
        out, {name: np.array(data.sample(GALLERY_POINTS, key)) for name, data in DATASETS.items()}
    )
    for name, data in DATASETS.items():
        density = "" if data.log_prob is None else " (density known)"
        click.echo(f"{name:13}{data.description}{density}")
    click.echo(f"figure       {out}")


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@out
@divergence
@probes
@solving("--samples", type=Whole(2, 100_000), default=runs.W2_POINTS, help="Fresh target samples.")
@device
def density(checkpoint, out, samples, device, **how):
    """Draw the density that a trained flow has learned, beside the true one.

    \b
    Example:
      python main.py density runs/cfm_8gaussians_moons_seed0_c9a8ab.safetensors
    """
    _use_device(device)
    run, model = _loaded(checkpoint)
    if run.target.dim > 2 and out:
        raise click.BadParameter(
            f"'{out}' cannot be drawn: the flow has {run.target.dim} dimensions, and densities of "
            "one and two are.",
            param_hint="'--out'",
        )
    out = out or Path("media", f"density_{checkpoint.stem}.png")
    require_writable(out, "--out")
    try:
        fitness = runs.likelihood_of_target(run, model, samples, **how)
        drawn = runs.densities(run, model, **how) if run.target.dim <= 2 else None
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    except OdeError as error:
        raise click.ClickException(f"{run.config['solver']} failed: {error}") from None
    _report_fitness(fitness, run, samples)
    if drawn is None:
        click.echo(f"figure      none: the flow has {run.target.dim} dimensions")
        return
    from plots import plot_density

    plot_density(out, *drawn, title=f"{run.title}, {run.source.name} to {run.target.name}")
    click.echo(f"figure      {out}")


def _loaded(checkpoint: Path):
    try:
        return runs.load(checkpoint)
    except (CheckpointError, OptionError) as error:
        raise click.BadParameter(f"{error}", param_hint="'CHECKPOINT'") from None


def _report_fitness(fitness: Fitness, run: Run, count: int):
    click.echo(
        f"NLL         {fitness.nll:.4f} ± {fitness.nll_error:.4f} nats, of {count:,} fresh samples "
        f"of {run.target.name}"
    )
    if fitness.entropy is not None:
        click.echo(
            f"entropy     {fitness.entropy:.4f} nats, that of {run.target.name} itself: the least "
            f"NLL there is\n"
            f"divergence  {fitness.gap:.4f} ± {fitness.gap_error:.4f} nats (Kullback–Leibler)"
        )


def _use_device(name: str):
    if name == "auto":
        return
    device = mx.Device(getattr(mx, name))
    if not mx.is_available(device):
        raise click.BadParameter(
            f"'{name}' is not there; use cpu or auto.", param_hint="'--device'"
        )
    mx.set_default_device(device)


def _figure_paths(run: Run, figures: list[str], out: Path | None) -> dict[str, Path]:
    """Where each figure goes; found out before training whether it can."""
    if out and len(figures) > 1:
        raise click.BadParameter(
            f"'{out}' is one file, and {len(figures)} figures were asked for.",
            param_hint="'--out'",
        )
    exact = run.is_exact
    if exact and "loss" in figures:
        raise click.BadParameter("'exact' has no loss: it is not trained.", param_hint="'--figure'")
    flow_name = f"{run.method.name}_{'exact_' if exact else ''}{run.config['solver']}"
    outs = {figure: out or Path("media", f"{figure}_{flow_name}.png") for figure in figures}
    for path in outs.values():
        require_writable(path, "--out")
    if not exact:
        require_writable(Path("runs", "checkpoint.safetensors"), "the folder 'runs'")
    return outs


def _learned(run: Run):
    """The field of a run, trained and saved where it is a network, and how training went."""
    model = runs.new_model(run)
    if run.is_exact:
        click.echo(f"field       exact, from {run.source.name} to {run.target.name}")
        return model, None
    history = _train(run, model)
    checkpoint = runs.keep(run, model, history)
    stopped = f" of {run.config['steps']:,}: stopped by Ctrl-C" if history.interrupted else ""
    click.echo(
        f"network     {model}\n"
        f"training    {history.steps:,} steps{stopped}, {history.seconds:.1f} s, "
        f"{history.steps_per_second:,.0f} steps/s, after {history.compile_seconds:.1f} s "
        f"of compiling; loss {history.losses[-1][1]:.4f}\n"
        f"checkpoint  {checkpoint}"
    )
    return model, history


def _train(run: Run, model) -> History:
    """Train behind a progress bar; where the loss runs off, keep the last good weights."""
    try:
        with warnings.catch_warnings(), training_progress(run.config["steps"]) as show:
            warnings.simplefilter("once", SinkhornWarning)
            warnings.showwarning = _warn
            return runs.learn(run, model, show)
    except NonFiniteLossError as error:
        kept = runs.keep(run, model, error.history)
        raise click.ClickException(
            f"{error}. The weights after step {error.history.steps:,}, still good, are in {kept}."
        ) from None


def _warn(message, *_):
    click.echo(f"Warning: {message}.", err=True)


def _report(result: Generated, run: Run):
    solution, distances, fit = result.solution, result.distances, result.fit
    if fit:
        click.echo(
            f"excess      loss of fresh pairs {fit.loss:.3f}, least possible {fit.floor:.3f} ± "
            f"{fit.floor_error:.3f}; excess {fit.excess:.4f} ± {fit.excess_error:.4f}, velocity "
            f"off by {fit.relative_error:.1%}"
        )
    click.echo(
        f"sampling    {run.config['samples']:,} points with {run.config['solver']}, "
        f"{result.seconds:.2f} s, NFE {solution.nfe} "
        f"({solution.accepted} steps accepted, {solution.rejected} rejected)\n"
        f"W2²         {distances.to_target:.4g} ± {distances.error:.2g} to fresh samples of "
        f"{run.target.name}; two true samples are {distances.best:.4g} apart"
    )


def _draw_trajectories(path: Path, run: Run, result: Generated, history: History | None):
    from plots import plot_trajectories  # here, since matplotlib takes long to import

    key = step_key(run.config["seed"], EVALUATION)
    exact = ", exact field" if run.is_exact else ""
    plot_trajectories(
        path,
        result.paths,
        np.array(run.target.sample(runs.FIGURE_POINTS, key)),
        title=f"{run.title}{exact}, {run.config['solver']}\nNFE {result.solution.nfe}, "
        f"$W_2^2$ = {result.distances.to_target:.3g} ± {result.distances.error:.1g}",
        names=(run.source.name, run.target.name),
    )


def _draw_loss(path: Path, run: Run, result: Generated, history: History):
    from plots import plot_loss

    plot_loss(
        path,
        history.losses,
        result.fit,
        title=f"{run.title}, {run.source.name} to {run.target.name}",
    )


DRAWINGS = {"trajectories": _draw_trajectories, "loss": _draw_loss}


if __name__ == "__main__":
    main()
