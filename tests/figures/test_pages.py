"""Pages: what is in the file."""

import base64
import re
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest

from cfm import METHODS
from datasets import DATASETS, gaussian_mixture, standard_normal
from figures import flow_page as flow, pages, style
from figures.exact_page import with_independent_pairs
from figures.flow_page import flow_page
from figures.schedule_table import schedule_table
from tests.figures.sample_pages import MAKERS, PATHS, POINTS, START, a_flow, an_exact, data_of

rng = np.random.default_rng(0)
NASTY = """a </script><script>alert("1")</script> <!-- & 'σ' {{data}} \\1"""


def numbers(encoded: str, dtype) -> np.ndarray:
    return np.frombuffer(base64.b64decode(encoded), dtype).astype(np.float64)


@pytest.mark.parametrize("make", [a_flow, an_exact])
def test_nothing_is_loaded_from_outside(tmp_path, make):
    text = make(tmp_path).read_text("utf-8")
    assert not re.search(r"https?:|\bsrc\s*=|@import|url\(|\bimport\b|fetch\(|{{\w+}}", text)
    assert re.findall(r"<link[^>]*>", text) == ['<link rel="icon" href="data:,">']
    for needed in ('lang="en"', 'name="viewport"', "<title>A", 'charset="utf-8"'):
        assert needed in text


@pytest.mark.parametrize("times, count", [(2, 1), (101, 2048), (1001, 3000)])
def test_size(tmp_path, times, count):
    paths = np.random.default_rng(0).normal(size=(times, count, 2))
    page = a_flow(tmp_path, paths, target=rng.normal(size=(4096, 2)))
    assert page.stat().st_size < 1_900_000
    for make in MAKERS.values():
        assert an_exact(tmp_path, make).stat().st_size < 150_000


@pytest.mark.parametrize(
    "paths, target, message",
    [
        (np.where(PATHS > 5, np.nan, PATHS), None, "paths must be finite"),
        (np.where(PATHS > 5, np.inf, PATHS), None, "paths must be finite"),
        (PATHS[0], None, r"paths must be \(T, N, D\)"),
        (PATHS[:1], None, "T at least 2"),
        (PATHS[:, :0], None, r"paths must be \(T, N, D\)"),
        (PATHS, START[:, :1], r"the target must be \(M, 2\)"),
        (PATHS, np.full((3, 2), np.nan), "the target .* finite"),
    ],
)
def test_flow_page_refuses(tmp_path, paths, target, message):
    with pytest.raises(ValueError, match=message):
        a_flow(tmp_path, paths, target=target)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "method, options, source, points, message",
    [
        ("ot", {}, "normal", POINTS, "independent pairs only, and ot"),
        ("sb", {}, "normal", POINTS, "independent pairs only, and sb"),
        ("vp", {"coupling": "ot"}, "normal", POINTS, "independent pairs only, and vp"),
        ("cfm", {}, "moons", POINTS, "which moons is not"),
        ("cfm", {}, "gaussian4d", POINTS, "which gaussian4d is not"),
        ("cfm", {}, standard_normal(3), POINTS, r"must be \(M, 3\)"),
        ("cfm", {}, "normal", rng.normal(size=(9, 3)), r"some must be \(M, 2\).* not \(9, 3\)"),
        ("cfm", {}, "normal", rng.normal(size=(1025, 2)), "M up to 1024"),
        ("cfm", {}, "normal", POINTS[:0], r"must be \(M, 2\)"),
        ("cfm", {}, "normal", POINTS * np.nan, "points must be finite"),
    ],
)
def test_exact_page_refuses(tmp_path, method, options, source, points, message):
    source = DATASETS[source] if isinstance(source, str) else source
    with pytest.raises(ValueError, match=message):
        an_exact(tmp_path, partial(METHODS[method], **options), source, points)
    assert not (tmp_path / "exact.html").exists()


class Outline(HTMLParser):
    """The elements of a page, and the text within each kind of them."""

    def __init__(self, page):
        super().__init__()
        self.stack, self.tags, self.text = [], [], {}
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.stack.append(tag)

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, text):
        if self.stack:
            self.text[self.stack[-1]] = self.text.get(self.stack[-1], "") + text


def test_text_stays_text(tmp_path):
    flow_page(tmp_path / "a.html", PATHS, title=NASTY, names=(NASTY, "b"))
    flow_page(tmp_path / "b.html", PATHS, title="b", names=("a", "b"))
    nasty, plain = (Outline(tmp_path / f"{name}.html") for name in "ab")
    assert nasty.tags == plain.tags
    plain = Outline(an_exact(tmp_path))
    mixture = gaussian_mixture(NASTY, "", [[0.0, 0.0]], 1.0)
    targets = {NASTY: (POINTS, (NASTY, NASTY))}
    page = an_exact(tmp_path, source=mixture, targets=targets, target=NASTY, title=NASTY)
    exact = Outline(page)
    assert exact.tags == plain.tags
    for each in (nasty, exact):
        assert each.text["title"] == each.text["h1"] == NASTY
    assert data_of(tmp_path / "a.html")["names"] == [NASTY, "b"]
    data = data_of(page)
    assert data["sources"][-1]["name"] == data["targets"][0]["name"] == NASTY
    assert data["targets"][0]["labels"] == [NASTY, NASTY]


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_paths_are_kept_to_the_quantum(tmp_path, dim):
    paths = np.concatenate([PATHS, 100 * PATHS], axis=2)[..., :dim]
    data = data_of(a_flow(tmp_path, paths))
    low, high = np.array(data["low"]), np.array(data["high"])
    kept = low + numbers(data["paths"], "<u2").reshape(data["shape"]) / 65535 * (high - low)
    assert np.abs(kept - paths[:, :1000, :2]).max() <= 0.501 * np.max(high - low) / 65535
    assert np.max(high - low) < 100  # the quantum is a thousandth or so
    assert (data["dim"], data["count"]) == (dim, 1500)


def test_what_flies_away_is_held_out_of_sight(tmp_path):
    paths = PATHS.copy()
    paths[50:, 0] = [1e6, -1e6]
    data = data_of(a_flow(tmp_path, paths))
    last = numbers(data["paths"], "<u2").reshape(data["shape"])[-1]
    assert last[0].tolist() == [65535, 0]
    assert data["low"][0] < data["box"][0] < data["box"][1] < data["high"][0] < 100


def test_long_paths_are_interpolated_at_even_times(tmp_path):
    times = np.linspace(0, 1, 1001)[:, None, None]
    data = data_of(a_flow(tmp_path, START * (1 - times) + (START + np.array([3, 1])) * times))
    kept = numbers(data["paths"], "<u2").reshape(data["shape"])
    assert data["shape"] == [201, 1000, 2]
    np.testing.assert_allclose(kept, np.linspace(kept[0], kept[-1], 201), atol=1.01)


def test_densities_follow_the_particles(tmp_path):
    """Of a cloud that moves: its middle is the particles' mean, its rows are along y."""
    start = rng.normal(scale=0.3, size=(2000, 2))
    paths = start + np.linspace(0, 1, 41)[:, None, None] * np.array([6.0, 2.0])
    data = data_of(a_flow(tmp_path, paths, target=start + np.array([0.0, 4.0])))
    cells, (left, right, low, high) = flow.GRIDS[2][0], data["box"]
    x = left + (np.arange(cells) + 0.5) / cells * (right - left)
    y = low + (np.arange(cells) + 0.5) / cells * (high - low)
    grids = numbers(data["densities"], "u1").reshape(data["densityFrames"], cells, cells)
    target = numbers(data["target"], "u1").reshape(1, cells, cells)
    for grid, cloud in zip(grids, paths, strict=True):
        middle = [grid.sum(axis=0) @ x, grid.sum(axis=1) @ y] / grid.sum()
        np.testing.assert_allclose(middle, cloud.mean(axis=0), atol=0.03)
    assert target[0].sum(axis=1) @ y / target.sum() == pytest.approx(4.0, abs=0.05)
    assert grids.max(axis=(1, 2)).tolist() == [255] * 41


def test_densities_in_one_dimension_have_one_scale(tmp_path):
    """Twice as wide is half as high; between the edges lies all of the mass."""
    start = rng.normal(size=(20_000, 1))
    paths = start * np.linspace(1, 2, 11)[:, None, None]
    data = data_of(a_flow(tmp_path, paths, target=2 * start))
    cells = flow.GRIDS[1][0]
    profiles = numbers(data["densities"], "u1").reshape(11, cells)
    np.testing.assert_allclose(profiles.sum(axis=1), profiles[0].sum(), rtol=0.02)
    middle = profiles[:, cells // 2 - 5 : cells // 2 + 5].mean(axis=1)
    np.testing.assert_allclose(middle, middle[0] / np.linspace(1, 2, 11), rtol=0.06)
    np.testing.assert_allclose(numbers(data["target"], "u1"), profiles[-1], atol=1)


@pytest.mark.parametrize(
    ("dim", "labels", "shown"),
    [
        (1, None, ["x"]),
        (2, ("x1", "x2"), ["x₁", "x₂"]),
        (1, ("<b>mass",), ["<b>mass"]),
        (4, ("mass", "charge", "spin", "x4"), ["mass", "charge"]),
    ],
)
def test_labels_of_the_axes(tmp_path, dim, labels, shown):
    paths = np.concatenate([PATHS, PATHS], axis=2)[..., :dim]
    assert data_of(a_flow(tmp_path, paths, labels=labels))["labels"] == shown


@pytest.mark.parametrize("dim", [1, 2])
def test_particles_that_stand_still(tmp_path, dim):
    data = data_of(a_flow(tmp_path, np.full((3, 5, dim), 2.0)))
    low, high = np.array(data["low"]), np.array(data["high"])
    kept = low + numbers(data["paths"], "<u2").reshape(3, 5, dim) / 65535 * (high - low)
    np.testing.assert_allclose(kept, 2.0, atol=1e-3)
    assert numbers(data["densities"], "u1").max() == 255


def test_exact_page_has_what_it_was_given(tmp_path):
    make = MAKERS["poly of power 3.5"]
    data = data_of(an_exact(tmp_path, make, sigma=0.2))
    assert data["start"]["sigma"] == 0.2
    (method,) = data["methods"]
    assert (method["title"], method["about"]) == (make().title, make().about)
    assert np.array_equal(data["targets"][0]["points"], POINTS)
    source = DATASETS["8gaussians"].mixture
    np.testing.assert_allclose(data["sources"][-1]["means"], np.array(source.means), atol=1e-8)
    assert data["sources"][-1]["std"] == source.std
    assert data_of(an_exact(tmp_path, make))["start"]["sigma"] == make().sigma


def test_exact_page_has_the_tables_of_all_methods(tmp_path):
    """To ten digits, each path once, of whatever has a name: a new method too."""
    makers = with_independent_pairs() | {"new": MAKERS["poly of power 3.5"]}
    methods = data_of(an_exact(tmp_path, makers=makers, method="ot"))["methods"]
    names = [method["name"] for method in methods]
    assert names == [*(name for name in METHODS if name != "sf2m"), "new"]  # its path is that of sb
    for method in methods:
        table = schedule_table(makers[method["name"]])
        kept = method["schedule"]
        assert kept["times"] == table.times.tolist()
        for name in ("values", "slopes"):
            np.testing.assert_allclose(kept[name], getattr(table, name), atol=1e-10)
        assert kept["whyFixed"] == ""
    assert [method["onlySource"] for method in methods if method["onlySource"]] == ["normal"]
    own = data_of(an_exact(tmp_path, makers=makers))["methods"]
    assert "ot" not in [method["name"] for method in own]  # its path is that of cfm
    assert "with independent pairs" in {method["name"]: method["title"] for method in own}["sb"]


def test_noise_is_normal(tmp_path):
    """The particles start at a sample of N(0, I) that is as good as its number allows."""
    noise = np.array(data_of(an_exact(tmp_path))["noise"])
    assert abs(noise.mean(axis=0)).max() < 0.2
    np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.25)


SCRIPTS = "".join(path.read_text("utf-8") for path in sorted(pages.WEB.glob("*.js")))


def test_scripts_find_what_they_name(tmp_path):
    """Every element that a script asks for by its name is in the page, once."""
    for page, without in ((a_flow(tmp_path), "exact"), (an_exact(tmp_path), "flow")):
        text = page.read_text("utf-8")
        ids = re.findall(r'\bid="([\w-]+)"', text)
        assert len(ids) == len(set(ids))
        own = text.partition('"use strict"')[2]
        assert set(re.findall(r'named\("([\w-]+)"\)', own)) <= set(ids), without
        for needed in re.findall(r'(?:for|aria-labelledby|aria-describedby)="([\w-]+)"', text):
            assert needed in ids


class Controls(HTMLParser):
    """The controls of a page that a screen reader could not name."""

    def __init__(self, text):
        super().__init__()
        self.labelled = set(re.findall(r'<label for="([\w-]+)"', text))
        self.within, self.nameless = 0, []
        self.feed(text.partition("<script")[0])

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.within += tag in ("label", "button")
        named = "aria-label" in attributes or attributes.get("id") in self.labelled
        named |= "aria-labelledby" in attributes or self.within > 0
        if tag in ("input", "select", "button", "canvas") and not named:
            self.nameless.append(attributes)

    def handle_endtag(self, tag):
        self.within -= tag in ("label", "button")


@pytest.mark.parametrize("make", [a_flow, an_exact])
def test_every_control_has_a_name(tmp_path, make):
    assert Controls(make(tmp_path).read_text("utf-8")).nameless == []


def luminance(colour: str) -> float:
    """Of #rrggbb, as WCAG 2.2 has it."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [
        0.2126, 0.7152, 0.0722
    ]  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_marks_stand_out(dark):
    """By the ratios that WCAG asks for: 4.5 for words, 3 for what is drawn."""
    css = pages.WEB.joinpath("page.css").read_text("utf-8")
    light, after = re.findall(r":root {(.*?)\n *}", css, re.S)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", after if dark else light))

    def contrast(name, ground):
        low, high = sorted(luminance(colours[each]) + 0.05 for each in (name, ground))
        return high / low

    for name in ("ink", "quiet", "source", "generated-words"):
        assert contrast(name, "page") > 4.5, name
    for name in ("source", "generated", "chosen", "euler", "frame", "knob"):
        assert contrast(name, "paper") > 3, name


def test_no_script_knows_a_method():
    for script in pages.WEB.glob("*.js"):
        for name in METHODS:
            assert not re.search(rf"\b{name}\b", script.read_text("utf-8")), (script, name)


def test_colours_are_those_of_the_figures():
    css = pages.WEB.joinpath("page.css").read_text("utf-8")
    for name, colour in (("source", style.SOURCE), ("generated", style.GENERATED)):
        assert f"--{name}: {colour.lower()};" in css


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where writing fails, what was there before is there still, and nothing else."""
    page = an_exact(tmp_path)
    before = page.read_bytes()

    def write_half(path, text, encoding):
        path.write_bytes(text.encode(encoding)[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", write_half)
    with pytest.raises(OSError, match="no space"):
        an_exact(tmp_path, METHODS["vp"])
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]
