"""The commands about a checkpoint: each parses, calls and reports, like `main.py`."""

import json
from dataclasses import replace
from pathlib import Path

import click
import mlx.core as mx
import numpy as np

from lab import evaluation
from lab import store as runs
from cli.options import (
    SUFFIXES_OF_FIGURES,
    checkpoint,
    command,
    device,
    divergence,
    other_solving,
    output,
    probes,
    solving,
    usage_errors,
)
from datasets import Points
from lab.evaluation import W2_POINTS, Likelihood
from cli.values import FigurePath, Number, Whole, require_writable
from cli.progress import overall_progress
from lab.run import OptionError, Run

SAMPLES_PART = 50_000  # points in one solve


@command
@checkpoint
@output(
    "--out",
    type=FigurePath(SUFFIXES_OF_FIGURES),
    help="Figure, .png, .pdf or .svg.  [default: media/density_CHECKPOINT.png]",
)
@divergence
@probes
@solving("--samples", type=Whole(2, 100_000), default=W2_POINTS, help="Fresh target samples.")
@device
def density(checkpoint, out, samples, **how):
    """Draw the density a flow has learned, beside the true one.

    \b
    Example:
      python main.py density runs/cfm_8gaussians_moons_seed0_c30748.safetensors
    """
    with usage_errors():
        run, model = runs.load(checkpoint)
        if run.target.dim > 2 and out:
            raise OptionError(
                "out",
                f"'{out}' cannot be drawn: the flow has {run.target.dim} dimensions, and "
                "densities of one and two are.",
            )
        out = out or Path("media", f"density_{checkpoint.stem}.png")
        require_writable(out, "--out")
        _warn_of_other_points(run)
        likelihood = evaluation.likelihood_of_target(run, model, samples, **how)
        drawn = evaluation.densities(run, model) if run.target.dim <= 2 else None
    _report_likelihood(likelihood, run, samples)
    if drawn is None:
        click.echo(f"figure      none: the flow has {run.target.dim} dimensions")
        return
    from figures.plots import plot_density

    plot_density(out, *drawn, title=run.flow)
    click.echo(f"figure      {out}")


def _warn_of_other_points(run: Run):
    if run.target.known and not run.target.unchanged:
        name = run.config["target"]
        click.echo(f"Warning: '{name}' is not what it was when the flow was trained.", err=True)


def _report_likelihood(likelihood: Likelihood, run: Run, count: int):
    click.echo(
        f"NLL         {likelihood.nll:.4f} ± {likelihood.nll_error:.4f} nats, of {count:,} fresh samples "
        f"of {run.target.name}"
    )
    if likelihood.entropy is not None:
        click.echo(
            f"entropy     {likelihood.entropy:.4f} nats, that of {run.target.name} itself: the least "
            f"NLL there is\n"
            f"KL          {likelihood.gap:.4f} ± {likelihood.gap_error:.4f} nats, their difference: the "
            f"Kullback–Leibler divergence"
        )


@command
@checkpoint
@other_solving
@solving("--samples", "-n", type=Whole(1, 10_000_000), default=10_000, help="Points to generate.")
@solving("--seed", type=Whole(0, 2**31 - 1), help="Of their starts.  [default: the run's]")
@output("--log-prob", is_flag=True, help="One column more: the flow's log-density there, in nats.")
@output(
    "--out",
    type=FigurePath((".npy", ".csv")),
    help="File, .npy or .csv.  [default: runs/CHECKPOINT_samples.npy]",
)
@device
def sample(checkpoint, out, log_prob, samples, seed, **changes):
    """Generate points with a trained flow, and write them to a file.

    \b
    Example:
      python main.py sample runs/cfm_8gaussians_moons_seed0_c30748.safetensors -n 1000 --out a.csv
    """
    out = out or Path("runs", f"{checkpoint.stem}_samples.npy")
    require_writable(out, "--out")
    with usage_errors():
        run, model = runs.load(checkpoint, **changes)
        run = replace(
            run, config=run.config | {"seed": run.config["seed"] if seed is None else seed}
        )
        parts = []
        with overall_progress(samples, "sampling") as show:
            for rows in evaluation.sample_in_parts(run, model, samples, SAMPLES_PART, log_prob):
                parts.append(rows)
                show(sum(map(len, parts)), "")
    digits = 17 if isinstance(run.target, Points) else 9
    _write_rows(out, np.concatenate(parts), log_prob, digits)
    click.echo(f"samples     {out}: {samples:,} points with {run.config['solver']}")


def _write_rows(out: Path, rows: np.ndarray, log_prob: bool, digits: int):
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".npy":
        np.save(out, rows)
        return
    names = [f"x{d + 1}" for d in range(rows.shape[1] - log_prob)] + ["log_prob"] * log_prob
    np.savetxt(out, rows, fmt=f"%.{digits}g", delimiter=",", header=",".join(names), comments="")


@command
@checkpoint
@other_solving
@solving("--samples", type=Whole(2, 100_000), help="Points to generate.  [default: the run's]")
@output("--json", "as_json", is_flag=True, help="One JSON object, and nothing else.")
@device
def evaluate(checkpoint, as_json, **changes):
    """Measure a trained flow: distances, paths, likelihood.

    \b
    Example:
      python main.py evaluate runs/cfm_8gaussians_moons_seed0_c30748.safetensors --json
    """
    with usage_errors():
        run, model = runs.load(checkpoint, **changes)
        _warn_of_other_points(run)
        numbers = evaluation.evaluate(run, model)
    names = ("method", "source", "target", "sigma", "seed", "trained_steps")
    numbers = {"checkpoint": str(checkpoint)} | {n: run.config.get(n) for n in names} | numbers
    if as_json:
        click.echo(json.dumps(numbers, indent=2, allow_nan=False))
        return
    width = max(map(len, numbers))
    for name, value in numbers.items():
        shown = "–" if value is None else f"{value:.5g}" if isinstance(value, float) else value
        click.echo(f"{name:{width}}  {shown}")


@command
@checkpoint
@other_solving
@solving("--samples", type=Whole(2, 20_000), default=W2_POINTS, help="Points that flow.")
@output("--seconds", type=Number(0.5, 60), default=5.0, help="How long it takes.")
@output(
    "--out",
    type=FigurePath((".gif", ".mp4", ".html")),
    help="File: .gif, .mp4 (by ffmpeg), or .html, a page with a slider.  "
    "[default: media/CHECKPOINT.gif]",
)
@device
def animate(checkpoint, out, seconds, **changes):
    """Show particles flowing, as a film or as a page.

    \b
    Example:
      python main.py animate runs/cfm_8gaussians_moons_seed0_c30748.safetensors --out media/flow.gif
    """
    out = out or Path("media", f"{checkpoint.stem}.gif")
    require_writable(out, "--out")
    with usage_errors():
        run, model = runs.load(checkpoint, **changes)
        paths = evaluation.paths(run, model)
        target = None
        if run.target.known:
            target = run.target.sample_exactly(evaluation.FIGURE_POINTS, mx.random.key(0))
    about = {
        "title": run.flow,
        "names": (run.source.name, run.target.name),
        "target": target,
    }
    if out.suffix.lower() == ".html":
        from figures.pages import flow_page

        flow_page(out, paths, **about)
    else:
        _film(out, paths, seconds=seconds, **about)
    click.echo(f"animation   {out}, {out.stat().st_size / 1e6:.1f} MB")


def _film(out: Path, paths: np.ndarray, **how):
    from figures.film import AnimationError, animate

    try:
        with overall_progress(1.0, "drawing") as show:
            animate(out, paths, progress=lambda done, total: show(done / total, ""), **how)
    except AnimationError as error:
        raise click.UsageError(f"{error}.") from None


CHECKPOINT_COMMANDS = [sample, density, animate, evaluate]
