"""`python main.py datasets`: a picture of every dataset."""

import click
import mlx.core as mx
import numpy as np

from cli.files import require_writable
from cli.options import command, out
from cli.values import FIGURE
from datasets import DATASETS

GALLERY_POINTS = 5_000


@command
@out("media/datasets.png", FIGURE, "Figure to write, .png, .pdf or .svg.")
def datasets(out):
    """Draw every dataset, each of its parts in a colour of its own, and say what it is.

    \b
    Example:
      python main.py datasets --out media/datasets.png
    """
    from figures.gallery import plot_gallery

    require_writable(out)
    key = mx.random.key(0)
    samples = {name: data.sample_exactly(GALLERY_POINTS, key) for name, data in DATASETS.items()}
    parted = {name: data for name, data in DATASETS.items() if data.parts}
    classes = {name: np.array(data.which(GALLERY_POINTS, key)) for name, data in parted.items()}
    plot_gallery(out, samples, classes=classes)
    for name, data in DATASETS.items():
        density = "" if data.log_prob is None else " (density known)"
        parts = f"; parts {', '.join(data.classes)}" if data.parts else ""
        click.echo(f"{name:13}{data.description}{density}{parts}")
    click.echo(f"figure       {out}")
