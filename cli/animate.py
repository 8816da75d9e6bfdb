"""`python main.py animate`: particles flowing, as a film or as a page."""

from pathlib import Path

import click
import numpy as np

from cli.endings import after_training
from cli.files import inputs_of, require_writable
from cli.options import (
    OUTPUT,
    checkpoint,
    command,
    config_option,
    device,
    given,
    option,
    other_solving,
    out,
    usage_errors,
    warn,
    with_noise,
)
from cli.progress import overall_progress
from cli.values import WritablePath
from figures.style import Classes
from figures.subject import target_sample
from lab import following, store
from lab.config import SOLVING
from lab.values import Number, Whole


@command
@checkpoint
@option(OUTPUT, "--seconds", kind=Number(0.5, 60), default=5.0, help="Length of the film.")
@other_solving("samples")
@config_option(
    "samples",
    section=SOLVING,
    kind=Whole(2, 20_000),
    help="Number of points that flow.",
)
@out(
    None,
    WritablePath(".gif", ".mp4", ".html"),
    "File to write, .gif, .mp4 (which needs ffmpeg), or .html, a page with a slider.  "
    "[default: media/CHECKPOINT.gif]",
)
@device
@click.pass_context
def animate(context, checkpoint, out, seconds, **changes):
    """Show particles flowing, as a film or as a page.

    \b
    Example:
      python main.py animate --last --out media/flow.gif
    """
    with usage_errors():
        learned = store.load(checkpoint, **changes)
        out = out or Path("media", f"{checkpoint.stem}{with_noise(learned.run)}.gif")
        require_writable(out, inputs=[checkpoint, *inputs_of(learned.run)])
    if out.suffix.lower() == ".html" and "seconds" in given(context):
        warn("--seconds has no effect: whoever looks at a page sets its pace")
    with usage_errors():
        run, paths = learned.run, following.paths(learned.run, learned.field)
        target = target_sample(run) if run.target.known else None
        told = following.labels_of_paths(run, paths.shape[1])
    about = {"title": run.flow, "names": (run.source.name, run.target.name), "target": target}
    about["labels"] = run.target.columns
    about["classes"] = None if told is None else Classes(run.classes, np.array(told))
    with after_training(checkpoint):
        if out.suffix.lower() == ".html":
            from figures.flow_page import flow_page

            flow_page(out, paths, **about)
        else:
            _film(out, paths, seconds=seconds, **about)
    click.echo(f"checkpoint  {checkpoint}\nanimation   {out}, {out.stat().st_size / 1e6:.1f} MB")


def _film(out: Path, paths, **how):
    from figures.film import AnimationError, animate

    try:
        with overall_progress(1.0, "drawing") as show:
            animate(out, paths, progress=lambda done, total: show(done / total, ""), **how)
    except AnimationError as error:
        raise click.UsageError(f"{error}.") from None
