"""Pages: what is in the file, and, where there is a browser, what it does when it is used."""

import base64
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp

from cfm import METHODS
from datasets import DATASETS, gaussian_mixture, standard_normal
from exact import exact_velocity
from figures.pages import SCHEDULES, exact_page, flow_page
from tests.test_cfm import FORMULAS, SIGMA

rng = np.random.default_rng(0)
START = rng.normal(size=(1500, 2))
BEND = np.sin(np.linspace(0, 3, 101))[:, None, None] * rng.normal(size=(1500, 2))
PATHS = START + np.linspace(0, 1, 101)[:, None, None] * np.array([3.0, 1.0]) + BEND
POINTS = np.array(DATASETS["annulus"].sample(40, mx.random.key(0)), np.float64)
NASTY = """a </script><script>alert("1")</script> <!-- & 'σ' {{data}} \\1"""


def data_of(page) -> dict:
    text = page.read_text("utf-8")
    return json.loads(re.search(r'<script id="data" [^>]*>(.*?)</script>', text, re.S)[1])


def numbers(encoded: str, dtype) -> np.ndarray:
    return np.frombuffer(base64.b64decode(encoded), dtype).astype(np.float64)


def a_flow(folder, paths=PATHS, **options):
    page = folder / "new" / "flow.html"
    flow_page(page, paths, title="A flow", **options)
    return page


def an_exact(folder, method="cfm", source="8gaussians", **options):
    page = folder / "exact.html"
    exact_page(page, METHODS[method](**options), DATASETS[source], POINTS, title="An exact flow")
    return page


@pytest.mark.parametrize("make", [a_flow, an_exact])
def test_nothing_is_loaded_from_outside(tmp_path, make):
    text = make(tmp_path).read_text("utf-8")
    assert not re.search(r"https?:|\bsrc\s*=|@import|url\(|\bimport\b|fetch\(|{{|}}", text)
    assert re.findall(r"<link[^>]*>", text) == ['<link rel="icon" href="data:,">']
    for needed in ('lang="en"', 'name="viewport"', "<title>A", 'charset="utf-8"'):
        assert needed in text


@pytest.mark.parametrize("times, count", [(2, 1), (101, 2048), (1001, 3000)])
def test_size(tmp_path, times, count):
    paths = np.random.default_rng(0).normal(size=(times, count, 2))
    page = a_flow(tmp_path, paths, target=rng.normal(size=(4096, 2)))
    assert page.stat().st_size < 1_900_000
    assert an_exact(tmp_path).stat().st_size < 60_000


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
        ("sb", {"coupling": "independent"}, "normal", POINTS, "not of sb"),
        ("cfm", {}, "moons", POINTS, "which moons is not"),
        ("cfm", {}, "gaussian4d", POINTS, "which gaussian4d is not"),
        ("cfm", {}, standard_normal(3), rng.normal(size=(9, 3)), r"\(M, 2\).* not \(9, 3\)"),
        ("cfm", {}, "normal", rng.normal(size=(9, 3)), r"must be \(M, 2\)"),
        ("cfm", {}, "normal", rng.normal(size=(513, 2)), "M up to 512"),
        ("cfm", {}, "normal", POINTS[:0], "points must be"),
        ("cfm", {}, "normal", POINTS * np.nan, "points must be finite"),
    ],
)
def test_exact_page_refuses(tmp_path, method, options, source, points, message):
    source = DATASETS[source] if isinstance(source, str) else source
    with pytest.raises(ValueError, match=message):
        exact_page(tmp_path / "a.html", METHODS[method](**options), source, points, title="a")
    assert not (tmp_path / "a.html").exists()


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
    mixture = gaussian_mixture(NASTY, "", [[0.0, 0.0]], 1.0)
    exact_page(tmp_path / "c.html", METHODS["vp"](), mixture, POINTS, title=NASTY)
    nasty, plain, exact = (Outline(tmp_path / f"{name}.html") for name in "abc")
    assert nasty.tags == plain.tags
    for page in (nasty, exact):
        assert page.text["title"] == page.text["h1"] == NASTY
    assert data_of(tmp_path / "a.html")["names"] == [NASTY, "b"]
    assert data_of(tmp_path / "c.html")["source"] == NASTY


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
    cells, (left, right, low, high) = data["cells"], data["box"]
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
    profiles = numbers(data["densities"], "u1").reshape(11, data["cells"])
    np.testing.assert_allclose(profiles.sum(axis=1), profiles[0].sum(), rtol=0.02)
    middle = profiles[:, data["cells"] // 2 - 5 : data["cells"] // 2 + 5].mean(axis=1)
    np.testing.assert_allclose(middle, middle[0] / np.linspace(1, 2, 11), rtol=0.06)
    np.testing.assert_allclose(numbers(data["target"], "u1"), profiles[-1], atol=1)


@pytest.mark.parametrize("dim", [1, 2])
def test_particles_that_stand_still(tmp_path, dim):
    data = data_of(a_flow(tmp_path, np.full((3, 5, dim), 2.0)))
    low, high = np.array(data["low"]), np.array(data["high"])
    kept = low + numbers(data["paths"], "<u2").reshape(3, 5, dim) / 65535 * (high - low)
    np.testing.assert_allclose(kept, 2.0, atol=1e-3)
    assert numbers(data["densities"], "u1").max() == 255


def test_exact_page_has_what_it_was_given(tmp_path):
    exact_page(
        tmp_path / "a.html",
        METHODS["poly"](0.2, power=3.5),
        DATASETS["8gaussians"],
        POINTS,
        title="",
    )
    data = data_of(tmp_path / "a.html")
    assert (data["method"], data["sigma"], data["power"]) == ("poly", 0.2, 3.5)
    assert np.array_equal(data["points"], POINTS)
    assert np.array_equal(data["means"], np.array(DATASETS["8gaussians"].mixture.means))
    left, right, low, high = data["box"]
    assert right - left == pytest.approx(high - low)
    assert (left, right) == pytest.approx((-6.2, 6.2), abs=0.3)
    assert data_of(an_exact(tmp_path, "vp"))["power"] is None
    given = METHODS["poly"](), DATASETS["normal"], POINTS
    exact_page(tmp_path / "b.html", *given, title="", power=2.0)
    assert data_of(tmp_path / "b.html")["power"] == 2.0


BROWSERS = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
in_a_browser = pytest.mark.skipif(not BROWSER, reason=f"none of {', '.join(BROWSERS)} is here")

WATCH = """<script>
const failures = [];
addEventListener("error", (event) => failures.push(event.message));
addEventListener("unhandledrejection", (event) => failures.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => failures.push(event.blockedURI));
// Pictures come by the browser's virtual time, as timers do, and not by that of the screen.
window.requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 1000 / 60);
</script>"""

OPERATE = """<pre id="result"></pre><script>
const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
const button = document.getElementById("play");
const press = (id) => document.getElementById(id).click();
const text = (id) => document.getElementById(id).textContent;
const space = (element) => element.dispatchEvent(
  new KeyboardEvent("keydown", { key: " ", bubbles: true, cancelable: true }));
async function slide(id, value) {
  const slider = document.getElementById(id);
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  await wait(0.1);
}
const picture = () => document.querySelector("canvas").toDataURL();
/** The middle of what is coloured, in pixels, and how many pixels are: greys are not colours. */
function coloured() {
  const { width, height } = document.querySelector("canvas");
  const pixels = document.querySelector("canvas").getContext("2d")
    .getImageData(0, 0, width, height).data;
  let [count, x, y] = [0, 0, 0];
  for (let i = 0; i < pixels.length; i += 4) {
    const [red, green, blue, alpha] = pixels.subarray(i, i + 4);
    if (alpha === 0 || Math.max(red, green, blue) - Math.min(red, green, blue) < 40) continue;
    count += 1;
    x += (i / 4) % width;
    y += Math.floor(i / 4 / width);
  }
  return { count, x: x / count, y: y / count };
}
(async () => {
  const result = {};
  try {
    await wait(0.1);
    SCRIPT
  } catch (error) {
    failures.push(String(error));
  }
  if (lab.state().playing) button.click();  // nothing is left to be waited for
  result.failures = failures;
  result.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
  document.getElementById("result").textContent = JSON.stringify(result);
})();
</script></body>"""


def operate(page, script, *flags) -> dict:
    """Run a script in a copy of the page; what it puts into `result`, if nothing failed."""
    copy = page.with_suffix(".operated.html")
    text = page.read_text("utf-8").replace("<head>", "<head>" + WATCH)
    copy.write_text(text.replace("</body>", OPERATE.replace("SCRIPT", script)), "utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", *flags]
    command += ["--virtual-time-budget=10000", f"--user-data-dir={page.parent / 'browser'}"]
    done = subprocess.run([*command, copy.as_uri()], capture_output=True, timeout=100, text=True)
    found = re.search(r'<pre id="result">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    result = json.loads(html.unescape(found[1]))
    assert result.pop("failures") == []
    assert result.pop("requests") == []
    return result


@pytest.mark.slow
@in_a_browser
def test_the_clock(tmp_path):
    script = """
    result.self = [lab.state().playing, button.getAttribute("aria-label")];
    press("play");
    result.paused = [lab.state(), button.getAttribute("aria-label")];
    await wait(0.5);
    result.later = lab.state();
    await slide("time", 0.25);
    result.set = [lab.state(), text("now")];
    press("play");
    await wait(1.5);
    result.playing = lab.state();
    await slide("time", 0.25);
    result.slid = lab.state();
    await slide("time", 0.99);
    space(document.body);
    await wait(0.6);
    result.end = [lab.state(), text("now")];
    await wait(2.3);
    result.again = lab.state();
    space(button);
    result.own = lab.state().playing;
    space(document.getElementById("time"));
    result.spaced = lab.state().playing;"""
    result = operate(a_flow(tmp_path), script)
    assert result["self"] == [True, "Pause"]
    assert result["paused"][1] == "Play"
    assert result["later"] == result["paused"][0]
    assert result["set"] == [{"t": 0.25, "playing": False}, "0.25"]
    assert result["playing"]["playing"]
    assert result["playing"]["t"] == pytest.approx(0.25 + 1.5 / 6, abs=0.05)
    assert result["slid"] == {"t": 0.25, "playing": False}
    assert result["end"] == [{"t": 1, "playing": True}, "1.00"]
    assert 0 < result["again"]["t"] < 0.3
    assert result["own"]  # a button hears the space bar by itself
    assert not result["spaced"]


@pytest.mark.slow
@in_a_browser
def test_nothing_moves_for_who_wants_little_motion(tmp_path):
    script = "await wait(0.5); result.state = lab.state(); result.colours = coloured().count;"
    result = operate(a_flow(tmp_path), script, "--force-prefers-reduced-motion")
    assert result["state"] == {"t": 0, "playing": False}
    assert result["colours"] > 1000


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_positions_are_those_of_the_paths(tmp_path, dim):
    """Between their times, too; and something is drawn, otherwise at every time."""
    paths = np.concatenate([PATHS, 100 * PATHS], axis=2)[::4, :200, :dim]
    script = """
    press("play");
    result.positions = [0, 0.1234, 0.5, 1].map((t) => lab.positions(t));
    result.pictures = [];
    for (const t of [0, 0.5, 1]) {
      await slide("time", t);
      result.pictures.push([picture(), coloured().count]);
    }
    result.dimensions = text("dimensions");
    result.counts = text("counts");"""
    result = operate(a_flow(tmp_path, paths, target=paths[-1]), script)
    for t, positions in zip((0, 0.1234, 0.5, 1), result["positions"], strict=True):
        place = t * 25
        before = min(int(place), 24)
        expected = paths[before] + (place - before) * (paths[before + 1] - paths[before])
        np.testing.assert_allclose(positions, expected[:, :2], atol=1e-3)
    pictures, counts = zip(*result["pictures"], strict=True)
    assert len(set(pictures)) == 3
    assert min(counts) > 200
    assert result["dimensions"] == ("The picture shows the first two of 4 dimensions." * (dim == 4))
    assert result["counts"] == "All 200 particles are drawn."


@pytest.mark.slow
@in_a_browser
def test_particles_and_densities_are_drawn_in_their_places(tmp_path):
    """To the right and up is to the right and up, by the same measure."""
    paths = np.array([[[0.0, 0.0]], [[4.0, 2.0]]]) + 0.001 * rng.normal(size=(300, 2))
    script = """
    for (const id of ["play", "trails", "density"]) press(id);
    result.particles = [];
    for (const t of [0, 0.5, 1]) {
      await slide("time", t);
      result.particles.push(coloured());
    }
    for (const id of ["particles", "density"]) press(id);
    await slide("time", 1);
    result.density = coloured();
    press("density");
    await slide("time", 0);
    result.nothing = coloured().count;
    result.width = area.width * devicePixelRatio;"""
    page = a_flow(tmp_path, paths)
    result = operate(page, script, "--force-device-scale-factor=2")
    left, right = data_of(page)["box"][:2]
    places = np.array([[cloud["x"], -cloud["y"]] for cloud in result["particles"]])
    moved = (places[1:] - places[0]) * (right - left) / result["width"]
    np.testing.assert_allclose(moved, [[2, 1], [4, 2]], atol=0.03)
    density = np.array([result["density"]["x"], -result["density"]["y"]])
    np.testing.assert_allclose(density, places[2], atol=6)  # less than half a cell
    assert result["nothing"] == 0


CASES = [(name, {}) for name in SCHEDULES] + [("poly", {"power": 3.0})]


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("name, options", CASES)
def test_velocity_is_that_of_exact(tmp_path, cpu, name, options):
    source = DATASETS["normal" if name == "fm" else "8gaussians"]
    page = tmp_path / "a.html"
    exact_page(page, METHODS[name](**options), source, POINTS, title="a")
    x = np.concatenate([rng.normal(size=(5, 2)) * 3, POINTS[:2] + 0.01, [[300.0, -200.0]]])
    asked = [
        (t, n, sigma)
        for t in (0.0, 0.2, 0.5, 0.8, 0.95, 0.99)
        for n in (1, 5, len(POINTS))
        for sigma in (0.0, 0.001, 0.1, 0.7)
    ]
    script = f"""result.velocities = {json.dumps(asked)}.map(([t, n, sigma]) =>
      {json.dumps(x.tolist())}.map(([x, y]) => lab.velocity(t, x, y, n, sigma)));"""
    velocities = operate(page, script)["velocities"]
    for (t, n, sigma), got in zip(asked, velocities, strict=True):
        field = exact_velocity(METHODS[name](sigma=sigma, **options), source, POINTS[:n])
        expected = np.array(field(mx.array(t, mx.float64), mx.array(x, mx.float64)))
        # places are as far as 300 out, of which the sines of `exact.py` know seven digits
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=f"{t, n, sigma}")


def mixture_in_numpy(name, n, sigma, t):
    """Density and velocity as functions of x (N, 2), from the papers' formulas in float64."""
    mixture = DATASETS["8gaussians"].mixture
    m = np.array(mixture.means, np.float64)[None]
    y = POINTS[:n, None]
    at = min(t, 1 - 1e-4) if sigma == 0 else t
    alpha, alpha_slope = (float(value) for value in FORMULAS[name](at, 0.0, 1.0, 0.0))
    beta, beta_slope = (float(value) for value in FORMULAS[name](at, 1.0, 0.0, 0.0))
    variance = (beta * mixture.std) ** 2 + (0.0 if name == "fm" else sigma**2)
    centres = (alpha * y + beta * m).reshape(-1, 2)
    drifts = (alpha_slope * y + beta_slope * m).reshape(-1, 2)

    def evaluate(x):
        rest = x[:, None] - centres
        logs = -(rest**2).sum(axis=-1) / (2 * variance)
        total = logsumexp(logs, axis=1, keepdims=True)
        stretch = beta * beta_slope * mixture.std**2 / variance
        velocities = np.exp(logs - total)[..., None] * (drifts + stretch * rest)
        normaliser = np.log(2 * np.pi * variance * len(centres))
        return np.exp(total[:, 0] - normaliser), velocities.sum(axis=1)

    chosen = centres[rng.integers(0, len(centres), 6)]
    return evaluate, chosen + variance**0.5 * rng.normal(size=(6, 2))


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("name", SCHEDULES)
def test_density_and_velocity_are_those_of_the_mixture(tmp_path, name):
    """Up to t = 1; and so is the grid that is drawn, where its cells are fine enough."""
    sigmas = (SIGMA,) if name == "fm" else (SIGMA, 0.0)  # SIGMA is that of FORMULAS
    counts, times = (1, 7, len(POINTS)), (0.0, 0.3, 0.6, 0.9, 0.999, 1.0)
    asked = [(t, n, sigma) for t in times for n in counts for sigma in sigmas]
    places, expected = [], []
    for t, n, sigma in asked:
        evaluate, near = mixture_in_numpy(name, n, sigma, t)
        x = np.concatenate([near, [[2.0, 1.0], [-4.0, 3.0]]])
        places.append(x.tolist())
        expected.append(evaluate(x))
    script = f"""
    const [asked, places] = [{json.dumps(asked)}, {json.dumps(places)}];
    const at = (field) =>
      asked.map(([t, n, sigma], i) => places[i].map(([x, y]) => field(t, x, y, n, sigma)));
    result.densities = at(lab.density);
    result.velocities = at(lab.velocity);
    const [left, right, bottom] = data.box;
    result.grids = asked.map(([t, n, sigma]) => {{
      const {{ cells, values, peak, widened }} = lab.grid(t, n, sigma);
      const cell = (right - left) / cells;
      let worst = 0;
      for (let i = 0; i < values.length; i += 37) {{
        const x = left + (i % cells + 0.5) * cell;
        const y = bottom + (Math.floor(i / cells) + 0.5) * cell;
        worst = Math.max(worst, Math.abs(values[i] - lab.density(t, x, y, n, sigma)) / peak);
      }}
      return [widened, worst, values.reduce((a, b) => a + b) * cell * cell];
    }});"""
    result = operate(an_exact(tmp_path, name), script)
    densities, velocities = zip(*expected, strict=True)
    np.testing.assert_allclose(result["densities"], densities, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(result["velocities"], velocities, rtol=1e-6, atol=1e-9)
    assert any(not widened for widened, _, _ in result["grids"])
    for (t, _, sigma), (widened, worst, mass) in zip(asked, result["grids"], strict=True):
        assert widened or worst < 2e-6
        if t > 0.5 or sigma == 0:  # else some of the mass is outside
            assert mass == pytest.approx(1, abs=0.03)


@pytest.mark.slow
@in_a_browser
@pytest.mark.parametrize("name", SCHEDULES)
def test_sliders_of_the_exact_page(tmp_path, name):
    script = """
    press("play");
    await slide("time", 0.4);
    result.first = [lab.state(), picture()];
    await slide("points", 0);
    result.one = [lab.state(), picture(), text("points-shown")];
    await slide("points", 10000);
    result.all = [lab.state(), picture(), text("points-shown")];
    await slide("sigma", 10000);
    result.wide = [lab.state(), picture(), text("sigma-now")];
    await slide("sigma", 0);
    for (const t of [0, 1]) await slide("time", t);
    result.end = [lab.state(), picture(), text("peak") + text("speed")];
    press("play");
    await wait(1);
    result.playing = lab.state();"""
    result = operate(an_exact(tmp_path, name), script)
    sigma = METHODS[name]().sigma
    paused = {"playing": False, "t": 0.4}
    assert result["first"][0] == paused | {"n": 8, "sigma": sigma}
    assert result["one"][0] == paused | {"n": 1, "sigma": sigma}
    assert result["one"][2] == "1 point"
    assert result["all"][0] == paused | {"n": 40, "sigma": sigma}
    assert result["all"][2] == "40 points"
    assert result["wide"][0] == paused | {"n": 40, "sigma": 1}
    assert result["wide"][2] == "1"
    assert result["end"][0] == {"playing": False, "t": 1, "n": 40, "sigma": 0}
    assert not re.search("NaN|∞|undefined", result["end"][2])
    assert result["playing"]["t"] == pytest.approx(1 / 8, abs=0.04)
    assert len({result[key][1] for key in ("first", "one", "all", "wide", "end")}) == 5
