"""Particles flowing from source to target, as a .gif or an .mp4.

A scene is drawn once and its moving parts again for every frame, into one buffer. The look is
that of the figures (`style.py`); the paths are computed elsewhere.
"""

import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from PIL import Image

from figures.style import (
    GENERATED,
    ON_WHITE,
    PATHS,
    SOURCE,
    STYLE,
    TARGET_FILL,
    aspect,
    bounding_limits,
    density_line,
    draw_backdrop,
    legend,
    paths_box,
    say_first_two,
    smooth_grid,
)

SHOWN = 400  # particles with trails
TRAIL = 10  # frames that a trail lasts
STILL = 0.15  # of the time, at the end
SIZE = 5.0, 5.6  # inches; with the DPI below even numbers of pixels, as video wants them
DPI = {".gif": 100, ".mp4": 180}
# Few levels, since a .gif keeps what is flat small.
TINT = LinearSegmentedColormap.from_list("tint", [f"{GENERATED}00", f"{GENERATED}99"], N=16)
# Tints that a .gif has whatever else its palette, since few pixels have them.
INKS = np.array([to_rgb(colour) for colour in (SOURCE, GENERATED, TARGET_FILL, "#000000")])
TINTS = [
    round(255 * x) for pale in (0, 0.3, 0.6, 0.8, 0.9) for x in (pale + (1 - pale) * INKS).flat
]


class AnimationError(RuntimeError):
    """An animation that cannot be written here."""


def animate(
    out,
    paths: np.ndarray,
    *,
    title: str,
    names=("source", "target"),
    target: np.ndarray | None = None,
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
        target: (M, D), a sample of the target, drawn faintly behind; or None.
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
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    write = _write_gif if suffix == ".gif" else _write_mp4
    with plt.rc_context({**STYLE, "figure.dpi": DPI[suffix]}):
        figure, draw = _scene(paths, times, title, names, target)
        try:
            write(part, draw, count, fps, progress)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
            plt.close(figure)


def _scene(paths, times, title, names, target):
    """A figure, and a function of the frame that gives its picture, (height, width, 3) bytes."""
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    axes.set_title("\n".join(textwrap.fill(line, 60) for line in title.splitlines()))
    look = {"transform": axes.transAxes, "fontsize": 11, "bbox": ON_WHITE}
    clock = axes.text(0.03, 0.95, "", **look)
    say_first_two(axes, paths.shape[2])
    legend(figure, (names[0], None if target is None else names[1]), "paths", columns=2)
    stage = _on_a_line if paths.shape[2] == 1 else _in_the_plane
    parts, move = stage(axes, paths, times, target)
    parts = [*parts, *axes.spines.values(), clock]
    for part in parts:
        part.set_animated(True)
    figure.canvas.draw()
    still = figure.canvas.copy_from_bbox(figure.bbox)

    def draw(k: int) -> np.ndarray:
        figure.canvas.restore_region(still)
        clock.set_text(f"t = {times[k]:.2f}")
        move(k)
        for part in parts:
            axes.draw_artist(part)
        return np.array(figure.canvas.buffer_rgba())[..., :3]

    return figure, draw


def _in_the_plane(axes, paths, times, target):
    """The moving parts of two dimensions, and what moves them to frame k."""
    paths = paths[..., :2]
    drawn = _at(paths[:, :SHOWN], times)
    behind = paths[-1] if target is None else target
    box = paths_box([paths], behind, SHOWN)
    if target is not None:
        draw_backdrop(axes, target, box, top=4)
    look = {"extent": box, "origin": "lower", "interpolation": "bilinear", "aspect": aspect(box)}
    axes.scatter(*drawn[0].T, s=4, color=SOURCE, linewidths=0, alpha=0.5)
    cloud = axes.imshow(np.zeros((1, 1)), cmap=TINT, vmin=0, vmax=1, **look)
    trails = axes.add_collection(LineCollection([], linewidths=0.6))
    dots = axes.scatter(*drawn[0].T, s=5, color=GENERATED, linewidths=0)
    axes.set(xlim=box[:2], ylim=box[2:], xlabel="$x_1$", ylabel="$x_2$")

    def move(k):
        cloud.set_data(smooth_grid(_at(paths, times[[k]])[0], box))
        dots.set_offsets(drawn[k])
        tail = drawn[max(0, k - TRAIL) : k + 1]
        trails.set_segments(np.stack([tail[:-1], tail[1:]], axis=2).reshape(-1, 2, 2))
        fading = 0.6 * (1 - np.arange(len(tail) - 1)[::-1] / TRAIL)
        trails.set_color([(PATHS, alpha) for alpha in np.repeat(fading, drawn.shape[1])])

    return [cloud, trails, dots], move


def _on_a_line(axes, paths, times, target):
    """The moving parts of one dimension, which move to the right as time passes."""
    drawn = _at(paths[:, :SHOWN, 0], times)
    behind = [] if target is None else [target]
    limits = bounding_limits(paths, *behind)
    x, source = density_line(paths[0].ravel(), limits)
    ends = [density_line(end.ravel(), limits)[1] for end in (paths[-1], *behind)]
    scale = 0.25 / np.max([source, *ends])
    if behind:
        axes.fill_betweenx(x, 1, 1 + scale * ends[1], color=TARGET_FILL, lw=0)
    axes.plot(-scale * source, x, color=SOURCE, lw=1)
    trails = axes.add_collection(LineCollection([], colors=PATHS, linewidths=0.4, alpha=0.3))
    dots = axes.scatter(np.zeros(drawn.shape[1]), drawn[0], s=5, color=GENERATED, linewidths=0)
    (density,) = axes.plot([], [], color=GENERATED, lw=1.4)
    axes.set(xlim=(-0.3, 1.3), ylim=limits, xlabel="$t$", ylabel="$x$", xticks=[0, 0.5, 1])

    def move(k):
        heights = density_line(_at(paths, times[[k]]).ravel(), limits)[1]
        density.set_data(times[k] + scale * heights, x)
        dots.set_offsets(np.column_stack([np.full(drawn.shape[1], times[k]), drawn[k]]))
        trails.set_segments([np.column_stack([times[: k + 1], way]) for way in drawn[: k + 1].T])

    return [trails, density, dots], move


def _at(paths, times) -> np.ndarray:
    """States at some times in [0, 1], between the times of the paths by straight lines."""
    place = np.asarray(times) * (len(paths) - 1)
    before = np.minimum(place.astype(int), len(paths) - 2)
    late = (place - before).reshape(-1, *[1] * (paths.ndim - 1))
    return (1 - late) * paths[before] + late * paths[before + 1]


def _pictures(draw, count, progress) -> Iterator[np.ndarray]:
    for k in range(count):
        yield draw(k)
        if progress:
            progress(k + 1, count)


def _write_gif(path, draw, count, fps, progress):
    """All frames by one palette, chosen for five of them; not dithered, which would flicker."""
    some = Image.fromarray(np.vstack([draw(k * (count - 1) // 4) for k in range(5)]))
    colours = np.reshape(some.quantize(60).getpalette(), (-1, 3))
    colours[colours.min(axis=1) > 247] = 255  # or the page would be off-white
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours.ravel().tolist(), *TINTS])
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
