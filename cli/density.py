"""`python main.py density`: the density that a flow has learned, and its likelihood."""

from pathlib import Path

import click

from cli.endings import after_training
from cli.files import inputs_of, require_writable
from cli.options import (
    checkpoint,
    command,
    config_option,
    device,
    given,
    option,
    out,
    usage_errors,
    warn,
    warn_of_other_points,
    with_noise,
)
from cli.values import FIGURE
from lab import store
from lab.config import FIRST, ConfigError
from lab.densities import Likelihood, likelihood_of_target
from lab.evaluation import W2_POINTS
from lab.run import Run
from lab.values import Whole
from metrics import quoted


@command
@checkpoint
@config_option("guidance", section=FIRST, otherwise="the run's")
@config_option("divergence", section=FIRST)
@config_option("probes", section=FIRST)
@option(
    FIRST,
    "--samples",
    kind=Whole(2, 100_000),
    default=W2_POINTS,
    help="Number of points of the target whose likelihood is measured.",
)
@out(None, FIGURE, "Figure to write, .png, .pdf or .svg.  [default: media/density_CHECKPOINT.png]")
@device
@click.pass_context
def density(context, checkpoint, out, samples, guidance, **how):
    """Draw the density that a flow has learned, beside the true one.

    \b
    Example:
      python main.py density --last
    """
    from figures.kinds.density import densities, plot_density

    with usage_errors():
        learned = store.load(checkpoint, guidance=guidance, diffusion=0.0)  # no noise in a density
        run, drawable = learned.run, learned.run.target.dim <= 2
        if out and not drawable:
            raise ConfigError(
                "out",
                f"'{out}' cannot be drawn: the flow has {run.target.dim} dimensions, and "
                "densities of one and two are.",
            )
        out = out or Path("media", f"density_{checkpoint.stem}{with_noise(run)}.png")
        require_writable(out, inputs=[checkpoint, *inputs_of(run)])
        warn_of_other_points(run)
        if how["divergence"] == "exact" and "probes" in given(context):
            warn("--probes has no effect: the exact divergence needs no probes")
        likelihood = likelihood_of_target(run, learned.field, samples, **how)
        drawn = densities(run, learned.field) if drawable else None
    click.echo(f"checkpoint  {checkpoint}")
    _report(likelihood, run, samples)
    if drawable:
        with after_training(checkpoint):
            plot_density(out, *drawn, title=run.flow, labels=run.target.columns)
    click.echo(f"figure      {out if drawable else f'none: {run.target.dim} dimensions'}")


def _report(likelihood: Likelihood, run: Run, count: int):
    name = run.target.name
    if likelihood.infinite:
        click.echo(f"NLL         {likelihood.infinite}")
        return
    nll = quoted(likelihood.nll, likelihood.nll_error, 5)
    click.echo(f"NLL         {nll} nats, of {count:,} {run.target.fresh}")
    if likelihood.entropy is not None:
        gap = quoted(likelihood.gap, likelihood.gap_error)
        click.echo(
            f"entropy     {likelihood.entropy:.4f} nats, that of {name} itself: the least NLL "
            f"there is\n"
            f"KL          {gap} nats, their difference: the Kullback–Leibler divergence"
        )
