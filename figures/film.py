"""Particles flowing from source to target, as a .gif or an .mp4.

A scene is drawn once and its moving parts again for every frame, into one buffer. The look is
that of the figures (`style.py`, `stage.py`): particles turn from the blue of the source to the
vermilion of what is generated.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from PIL import Image

from figures import style
from figures.geometry import between, density_grid, density_line
from figures.stage import TALLEST, UNSEEN, Stage, reach
from files.whole import whole

SHOWN = 400  # particles with trails
TRAIL = 10  # frames that a trail lasts
PIECE = 5  # frames of a trail along t, in one colour
STILL = 0.15  # of the time, at the end
SIZE = 5.0, 5.8  # inches; with the DPI below even numbers of pixels, as video wants them
DPI = {".gif": 100, ".mp4": 180}
ON_WHITE = {"facecolor": "#FFFFFF", "alpha": 0.8, "linewidth": 0, "pad": 1}  # words over dots
LEVELS = np.linspace(0, 0.6, 16)  # of opacity; few, since a .gif keeps what is flat small
# Of these a .gif has tints whatever else its palette, since few pixels have them.
HUES = np.array([*style.TIME(np.linspace(0, 1, 5))[:, :3], to_rgb(style.TARGET), to_rgb(style.INK)])
PALE = 0, 0.3, 0.6, 0.8
MIST = to_rgb("#808080")  # of a density whose particles have colours of their own


class AnimationError(RuntimeError):
    """An animation that cannot be written here."""


def animate(
    out,
    paths: np.ndarray,
    *,
    title: str,
    names=("source", "target"),
    target: np.ndarray | None = None,
    labels=None,
    classes: style.Classes | None = None,
    seconds: float = 5.0,
    fps: int = 20,
    progress: Callable[[int, int], None] | None = None,
):
    """Particles with fading trails over their density, from t = 0 to 1, and then a short pause.

    Args:
        out: file to write, .gif or .mp4. It is there only once it is whole.
        paths: (T, N, D), the states of N points at T times evenly from 0 to 1. D = 1 is drawn
            over time; D > 2 shows the first two, and says so.
        title: above the figure.
        names: of source and target, for the legend.
        target: (M, D), a sample of the target, drawn as in the figures; or None.
        labels: names of the D dimensions; x1, x2, … if None.
        classes: of the N points, which have their colours then.
        seconds: the length, with the pause.
        fps: frames a second, 50 at most in a .gif.
        progress: called with the number of frames drawn and that of all.

    Raises:
        ValueError: for another suffix.
        AnimationError: for an .mp4 where ffmpeg is missing or fails.
    """
    out = Path(out)
    suffix = out.suffix.lower()
    if suffix not in DPI:
        raise ValueError(f"an animation is a .gif or an .mp4, not '{out.name}'")
    if suffix == ".mp4" and not shutil.which("ffmpeg"):
        raise AnimationError(
            "ffmpeg is not installed, which .mp4 needs; install it, or write a .gif or .html"
        )
    count = max(3, round(seconds * fps))
    times = np.minimum(np.linspace(0, 1 / (1 - STILL), count), 1)
    stage = Stage(reach(paths, SHOWN), target, labels)
    write = _write_mp4
    if suffix == ".gif":
        tints = np.concatenate([HUES, classes.colours[:16, :3]]) if classes else HUES
        write = partial(_write_gif, tints)
    with style.in_style(**{"figure.dpi": DPI[suffix]}), whole(out) as part:
        _, draw = _scene(stage, paths, times, title, names, classes)
        write(part, draw, count, fps, progress)


def _scene(stage: Stage, paths, times, title, names, classes=None):
    """A figure, and a function of the frame that gives its picture, (height, width, 3) bytes."""
    figure = Figure(figsize=SIZE, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    style.set_title(figure, title, stage.dim)
    place = {"transform": axes.transAxes, "fontsize": 11, "bbox": ON_WHITE}
    clock = axes.text(0.03, 0.95, "", **place)
    names = names[0], None if stage.target is None else names[1]
    style.legend(figure, names, "paths", stage.crosses, classes)
    hues = None if classes is None else classes.hues[:SHOWN]
    play = _on_a_line if stage.dim == 1 else _in_the_plane
    parts, move = play(stage, axes, paths, times, hues)
    stage.set_up(axes)
    parts = [*parts, *axes.spines.values(), clock]
    for part in parts:
        part.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)

    def draw(k: int) -> np.ndarray:
        canvas.restore_region(still)
        clock.set_text(f"t = {times[k]:.2f}")
        move(k)
        for part in parts:
            axes.draw_artist(part)
        return np.array(canvas.buffer_rgba())[..., :3]

    return figure, draw


def _in_the_plane(stage: Stage, axes, paths, times, hues):
    """The moving parts of two dimensions, and what moves them to frame k.

    `hues` are the colours of the particles, (N, 4), or None for that of the time.
    """
    paths = paths[..., :2]
    drawn = between(paths[:, :SHOWN], times)
    axes.scatter(*drawn[0].T, s=4, color=style.SOURCE, linewidths=0, alpha=0.4)
    look = {"vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    cloud = style.show_grid(axes, np.zeros((1, 1)), stage.box, **look)
    trails = axes.add_collection(LineCollection([], linewidths=0.7))
    dots = axes.scatter(*drawn[0].T, s=5, linewidths=0)
    outline = stage.draw_target(axes)

    def move(k):
        hue = style.TIME(times[k])[:3]
        cloud.set_data(density_grid(between(paths, times[[k]])[0], stage.box, cells=120))
        mist = hue if hues is None else MIST
        cloud.set_cmap(ListedColormap([(*mist, alpha) for alpha in LEVELS]))
        dots.set_offsets(drawn[k])
        dots.set_color(hue if hues is None else hues)
        since = np.arange(max(0, k - TRAIL), k + 1)
        ways = [np.stack(pair, axis=1) for pair in pairwise(drawn[since])]
        left = [0.6 * (1 - (k - i) / (TRAIL + 1)) for i in since[1:]]
        now = style.TIME(times[since[1:]]) if hues is None else hues
        trails.set_segments([way for pair in ways for way in pair])
        trails.set_color(_fading(now, left, drawn.shape[1], hues is None))

    return [cloud, trails, dots, *outline], move


def _fading(hues, left: list[float], count: int, by_time: bool) -> np.ndarray:
    """The colours of the trails of so many particles, piece after piece, the older the fainter.

    `hues` has one for every piece, or one for every particle.
    """
    shown = np.repeat(hues, count, axis=0) if by_time else np.tile(hues, (len(left), 1))
    return np.column_stack([shown[:, :3], np.repeat(left, count)])


def _on_a_line(stage: Stage, axes, paths, times, hues):
    """The moving parts of one dimension, which move to the right as time passes."""
    drawn = between(paths[:, :SHOWN, 0], times)
    clouds = [paths[0], paths[-1], *([] if stage.target is None else [stage.target])]
    x = density_line(paths[0].ravel(), stage.box)[0]
    heights = np.array([density_line(cloud.ravel(), stage.box)[1] for cloud in clouds])
    scale = TALLEST / heights.max()
    axes.fill_betweenx(x, 0, -scale * heights[0], fc=style.SOURCE, alpha=0.6, lw=0)
    for aim in heights[2:]:
        axes.fill_betweenx(x, 1, 1 + scale * aim, fc=style.TARGET, ec=style.INK, lw=0.6)
    trails = axes.add_collection(LineCollection([], linewidths=0.4, alpha=0.4))
    dots = axes.scatter(np.zeros(drawn.shape[1]), drawn[0], s=5, linewidths=0)
    (density,) = axes.plot([], [], lw=1.4)
    places = np.stack([np.broadcast_to(times[:, None], drawn.shape), drawn], axis=2)

    def move(k):
        hue = style.TIME(times[k])
        now = scale * density_line(between(paths, times[[k]]).ravel(), stage.box)[1]
        density.set_data(times[k] + np.where(now > UNSEEN, now, np.nan), x)
        dots.set_offsets(places[k])
        density.set_color(hue)
        dots.set_color(hue if hues is None else hues)
        starts = range(0, k, PIECE)
        ways = [places[i : min(i + PIECE, k) + 1].swapaxes(0, 1) for i in starts]
        trails.set_segments([way for piece in ways for way in piece])
        if hues is None:
            trails.set_color(np.repeat(style.TIME(times[starts]), drawn.shape[1], axis=0))
        else:
            trails.set_color(np.tile(hues, (len(starts), 1)))

    return [trails, density, dots], move


def _pictures(draw, count, progress) -> Iterator[np.ndarray]:
    for k in range(count):
        yield draw(k)
        if progress:
            progress(k + 1, count)


def _write_gif(tints, path, draw, count, fps, progress):
    """All frames by one palette, chosen for five of them; not dithered, which would flicker."""
    some = Image.fromarray(np.vstack([draw(k * (count - 1) // 4) for k in range(5)]))
    colours = np.reshape(some.quantize(60).getpalette(), (-1, 3))[:60]  # old Pillows give 256
    colours[colours.min(axis=1) > 247] = 255  # or the page would be off-white
    palette = Image.new("P", (1, 1))
    pale = np.concatenate([part + (1 - part) * tints for part in PALE])
    every = np.concatenate([colours, np.rint(255 * pale).astype(int)])
    palette.putpalette(every.ravel().tolist())
    pictures = (
        Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in _pictures(draw, count, progress)
    )
    # A .gif counts in hundredths of a second.
    ends = np.round(100 * np.arange(count + 1) / fps)
    durations = [10 * int(step) for step in np.diff(ends)]
    look = {"save_all": True, "optimize": True, "loop": 0}
    next(pictures).save(path, "GIF", append_images=pictures, duration=durations, **look)


def _write_mp4(path, draw, count, fps, progress):
    height, width, _ = draw(0).shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
    coded = ["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    command = ["ffmpeg", "-y", "-loglevel", "error", *raw, "-i", "-", *coded]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as ffmpeg:
        try:
            for picture in _pictures(draw, count, progress):
                ffmpeg.stdin.write(picture.tobytes())
        except BrokenPipeError:
            pass  # ffmpeg has given up, and says why below
        except BaseException:
            ffmpeg.kill()
            raise
        said = ffmpeg.communicate()[1].decode(errors="replace").strip()
    if ffmpeg.returncode:
        raise AnimationError(f"ffmpeg failed: {said}")
