import shutil
import subprocess
import time

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from figures import film as animation
from figures.film import AnimationError, animate
from figures.style import STYLE

rng = np.random.default_rng(0)
START = rng.normal(size=(300, 2)) * 0.3
SHIFT = np.array([4.0, 2.0])
PATHS = START + np.linspace(0, 1, 11)[:, None, None] * SHIFT
VERMILION = (213, 94, 0)
SHORT = {"title": "a title", "seconds": 1.0, "fps": 10}
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def centre(picture) -> np.ndarray:
    """Where the particles are on average, in pixels from the upper left; the legend left out."""
    picture = np.asarray(picture, int)[:-90]
    rows, columns = np.nonzero(np.abs(picture - VERMILION).max(axis=-1) < 40)
    assert len(rows) > 50
    return np.array([columns.mean(), rows.mean()])


def expected(paths, points, dpi: int) -> np.ndarray:
    """Where the mean of points (N, 2) belongs in a picture of the scene of these paths."""
    with plt.rc_context({**STYLE, "figure.dpi": dpi}):
        figure, _ = animation._scene(paths, np.linspace(0, 1, 3), "a title", ("a", "b"), None)
    x, y = figure.axes[0].transData.transform(points.mean(axis=0))
    plt.close(figure)
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


def test_particles_flow_from_source_to_target(tmp_path):
    animate(tmp_path / "a.gif", PATHS, target=PATHS[-1], **SHORT)
    frames = gif(tmp_path / "a.gif")
    for (picture, _), points in ((frames[0], PATHS[0]), (frames[-1], PATHS[-1])):
        assert centre(picture) == pytest.approx(expected(PATHS, points, 100), abs=4)
    ways = np.diff([centre(picture) for picture, _ in frames], axis=0)
    assert (ways[:-2, 0] > 10).all()  # to the right
    assert (ways[:-2, 1] < -5).all()  # and up
    assert (frames[0][0][2, 2] == 255).all()  # white paper


def test_frames_between_the_times_of_the_paths_are_interpolated():
    squares = np.arange(5.0)[:, None, None] ** 2
    found = animation._at(squares, [0, 0.25, 0.375, 1]).ravel()
    assert found.tolist() == [0, 1, 2.5, 16]


def test_one_dimension_moves_along_time(tmp_path):
    paths = PATHS[..., :1]
    animate(tmp_path / "a.gif", paths, target=paths[-1], **SHORT)
    first, *_, last = (picture for picture, _ in gif(tmp_path / "a.gif"))
    ways = centre(last) - centre(first)
    assert ways[0] > 150
    assert ways[1] < -100


def test_more_dimensions_show_the_first_two():
    wide = np.concatenate([PATHS, 100 * PATHS], axis=2)
    figure, draw = animation._scene(wide, np.linspace(0, 1, 3), "t", ("a", "b"), wide[-1])
    assert any("first two of 4" in text.get_text() for text in figure.axes[0].texts)
    plain, draw_plain = animation._scene(PATHS, np.linspace(0, 1, 3), "t", ("a", "b"), PATHS[-1])
    assert centre(draw(2)) == pytest.approx(centre(draw_plain(2)), abs=1)
    plt.close(figure)
    plt.close(plain)


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
def test_a_video_shows_the_same(tmp_path):
    out = tmp_path / "new" / "a.mp4"
    animate(out, PATHS, title="a title", seconds=0.5, fps=10)
    width, height = (round(side * animation.DPI[".mp4"]) for side in animation.SIZE)
    command = [
        "ffmpeg",
        "-loglevel",
        "error",
        "-i",
        out,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    pictures = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    assert len(pictures) == 5
    for picture, points in ((pictures[0], PATHS[0]), (pictures[-1], PATHS[-1])):
        where = expected(PATHS, points, animation.DPI[".mp4"])
        assert centre(picture[:-80]) == pytest.approx(where, abs=8)


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
