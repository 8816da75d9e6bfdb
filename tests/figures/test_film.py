import shutil
import subprocess
import time

import matplotlib
import numpy as np
import pytest
from PIL import Image

from figures import film, style
from figures.geometry import between
from figures.film import AnimationError, animate
from figures.stage import Stage, reach

rng = np.random.default_rng(0)
START = rng.normal(size=(300, 2)) * 0.3
SHIFT = np.array([4.0, 2.0])
PATHS = START + np.linspace(0, 1, 11)[:, None, None] * SHIFT
BLUE, VERMILION = (0, 114, 178), (213, 94, 0)
SHORT = {"title": "a title", "seconds": 1.0, "fps": 10}
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def centre(picture, colour=VERMILION) -> np.ndarray:
    """Where this colour is on average, in pixels from the upper left; the legend left out."""
    picture = np.asarray(picture, int)[:-90]
    rows, columns = np.nonzero(np.abs(picture - colour).max(axis=-1) < 40)
    assert len(rows) > 50
    return np.array([columns.mean(), rows.mean()])


def scene(paths, target=None, dpi: int = 100):
    """A figure with its function of the frame, of three frames."""
    with matplotlib.rc_context({**style.STYLE, "figure.dpi": dpi}):
        stage = Stage(reach(paths, film.SHOWN), target)
        return film._scene(stage, paths, np.linspace(0, 1, 3), "a title", ("source", "target"))


def expected(paths, points, target=None, dpi: int = 100) -> np.ndarray:
    """Where the mean of points (N, 2) belongs in a picture of the scene of these paths."""
    figure, _ = scene(paths, target, dpi)
    x, y = figure.axes[0].transData.transform(points.mean(axis=0))
    return np.array([x, figure.bbox.height - y])


def gif(path):
    """Its pictures and how long each stands, in milliseconds."""
    with Image.open(path) as image:
        frames = []
        for k in range(image.n_frames):
            image.seek(k)
            frames.append((np.array(image.convert("RGB")), image.info["duration"]))
    return frames


def test_a_gif_lasts_as_long_as_asked(tmp_path):
    """In hundredths of a second, of which a thirtieth has no whole number."""
    animate(tmp_path / "a.gif", PATHS, title="t", seconds=0.7, fps=30)
    assert sum(duration for _, duration in gif(tmp_path / "a.gif")) == 700


def test_particles_flow_from_source_to_target(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "TRAIL", 0)
    animate(tmp_path / "a.gif", PATHS, target=PATHS[-1], **SHORT)
    frames = gif(tmp_path / "a.gif")
    ends = ((frames[0], PATHS[0], BLUE), (frames[-1], PATHS[-1], VERMILION))
    for (picture, _), points, colour in ends:
        assert centre(picture, colour) == pytest.approx(expected(PATHS, points, PATHS[-1]), abs=4)
    hues = [255 * np.array(style.TIME(t)[:3]) for t in np.linspace(0, 1 / 0.85, 10).clip(0, 1)]
    ways = np.diff([centre(frames[k][0], hues[k]) for k in range(1, 9)], axis=0)
    assert (ways[:, 0] > 10).all()  # to the right
    assert (ways[:, 1] < -5).all()  # and up
    assert (frames[0][0][2, 2] == 255).all()  # white paper


def test_frames_between_the_times_of_the_paths_are_interpolated():
    squares = np.arange(5.0)[:, None, None] ** 2
    found = between(squares, [0, 0.25, 0.375, 1]).ravel()
    assert found.tolist() == [0, 1, 2.5, 16]


def test_one_dimension_moves_along_time(tmp_path):
    paths = PATHS[..., :1]
    animate(tmp_path / "a.gif", paths, target=paths[-1], **SHORT)
    first, *_, last = (picture for picture, _ in gif(tmp_path / "a.gif"))
    ways = centre(last) - centre(first, BLUE)
    assert ways[0] > 150
    assert ways[1] < -100


def test_trails_are_behind_the_particles_in_the_colour_of_their_time():
    figure, draw = scene(PATHS, PATHS[-1])
    draw(2)
    trails = next(each for each in figure.axes[0].collections if len(each.get_paths()) > 100)
    ways = [path.vertices for path in trails.get_paths()]
    assert ways[7] == pytest.approx(PATHS[[0, 5], 7])
    assert ways[300 + 7] == pytest.approx(PATHS[[5, 10], 7])
    assert trails.get_color()[7][:3] == pytest.approx(style.TIME(0.5)[:3])


def test_more_dimensions_show_the_first_two():
    wide = np.concatenate([PATHS, 100 * PATHS], axis=2)
    figure, draw = scene(wide, wide[-1])
    assert figure.get_suptitle().endswith("the first two of 4 dimensions")
    plain = centre(scene(PATHS, PATHS[-1])[1](2))
    assert centre(draw(2)) - plain == pytest.approx([0, 10], abs=11)  # below one more line


def test_progress_counts_every_frame(tmp_path):
    seen = []
    animate(tmp_path / "a.gif", PATHS, progress=lambda *how_far: seen.append(how_far), **SHORT)
    assert seen == [(k, 10) for k in range(1, 11)]


@pytest.mark.parametrize("suffix", [".gif", pytest.param(".mp4", marks=needs_ffmpeg)])
def test_an_interrupted_animation_leaves_what_was_there(tmp_path, suffix):
    out = tmp_path / f"a{suffix}"
    out.write_text("the old one")

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate(out, PATHS, progress=interrupt, **SHORT)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert out.read_text() == "the old one"


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a \.gif or an \.mp4, not 'a\.webm'"):
        animate(tmp_path / "a.webm", PATHS, **SHORT)


@needs_ffmpeg
def test_a_video_shows_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "TRAIL", 0)
    out = tmp_path / "new" / "a.mp4"
    animate(out, PATHS, title="a title", seconds=0.5, fps=10)
    width, height = (round(side * film.DPI[".mp4"]) for side in film.SIZE)
    raw_on_stdout = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = ["ffmpeg", "-loglevel", "error", "-i", out, *raw_on_stdout]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    assert len(pictures) == 5
    ends = ((pictures[0], PATHS[0], BLUE), (pictures[-1], PATHS[-1], VERMILION))
    for picture, points, colour in ends:
        where = expected(PATHS, points, dpi=film.DPI[".mp4"])
        assert centre(picture[:-80], colour) == pytest.approx(where, abs=8)


def test_a_video_needs_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AnimationError) as caught:
        animate(tmp_path / "a.mp4", PATHS, **SHORT)
    assert str(caught.value) == (
        "ffmpeg is not installed, which .mp4 needs; install it, or write a .gif or .html"
    )
    assert isinstance(caught.value, RuntimeError)
    assert not any(tmp_path.iterdir())


def test_what_ffmpeg_says_is_passed_on(tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ffmpeg").write_text("#!/bin/sh\necho no such encoder >&2\nexit 1\n")
    (tools / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    with pytest.raises(AnimationError, match="ffmpeg failed: no such encoder"):
        animate(tmp_path / "a.mp4", PATHS, **SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2_048, 20_000])
def test_a_gif_of_five_seconds_is_small_and_soon_made(tmp_path, count):
    """Of particles that spread over all the plane on curved ways."""
    start, t = rng.normal(size=(count, 2)), np.linspace(0, 1, 101)[:, None, None]
    ring = 3 * start / np.linalg.norm(start, axis=1, keepdims=True) + 0.1 * start
    paths = np.cos(np.pi * t / 2) * start[::-1] + np.sin(np.pi * t / 2) * ring
    began = time.perf_counter()
    animate(tmp_path / "a.gif", paths, title="t", target=ring)
    assert time.perf_counter() - began < 30
    assert (tmp_path / "a.gif").stat().st_size < 3_000_000
