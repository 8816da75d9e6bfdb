"""Pages in a browser: what they do when they are used, and what they draw."""

import json
import re
from itertools import product

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import logsumexp

from datasets import DATASETS
from exact import NEAREST, exact_velocity
from tests.figures.browser import in_a_browser, operate
from tests.figures.sample_pages import (
    MAKERS,
    PATHS,
    POINTS,
    a_flow,
    an_exact,
    data_of,
    source_of,
    squared,
)

pytestmark = [pytest.mark.slow, in_a_browser]
rng = np.random.default_rng(0)
FLOW = """
    const flowOf = (n, sigma) => lab.makeFlow({
      schedule: data.methods[0].schedule, sigma, sources: data.sources.at(-1).means,
      std: data.sources.at(-1).std, points: data.targets[0].points.slice(0, n),
    });
    const at = (field) => (t, x, y, n, sigma) => {
      const flow = flowOf(n, sigma);
      return field(flow, lab.pathAt(flow, t), x, y);
    };"""


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


def test_nothing_moves_for_who_wants_little_motion(tmp_path):
    script = "await wait(0.5); result.state = lab.state(); result.colours = coloured().count;"
    result = operate(a_flow(tmp_path), script, "--force-prefers-reduced-motion")
    assert result["state"] == {"t": 0, "playing": False}
    assert result["colours"] > 1000


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


def test_at_the_ends_particles_have_the_colours_of_source_and_generated(tmp_path):
    script = """
    for (const id of ["play", "trails", "density"]) press(id);
    result.colours = [];
    for (const t of [0, 1]) {
      await slide("time", t);
      const [x, y] = pixelsOf(statesAt(t), 0, t).map((place) => place * devicePixelRatio);
      result.colours.push(Array.from(pen.getImageData(x, y, 1, 1).data.slice(0, 3)));
    }"""
    paths = np.array([[[0.0, 0.0]], [[4.0, 2.0]]]) + 0.001 * rng.normal(size=(300, 2))
    colours = operate(a_flow(tmp_path, paths), script)["colours"]
    pure = np.array([[0, 114, 178], [213, 94, 0]])
    np.testing.assert_allclose(colours, 0.85 * pure + 0.15 * 255, atol=3)  # not quite opaque


@pytest.mark.parametrize("name", MAKERS)
def test_velocity_is_that_of_exact(tmp_path, cpu, name):
    """Wherever, and for every number of points and σ, where `exact.py` is precise."""
    make = MAKERS[name]
    x = np.concatenate([rng.normal(size=(5, 2)) * 3, POINTS[:2] + 0.01, [[300.0, -200.0]]])
    times, counts = (0.0, 0.2, 0.5, 0.8, 0.95, 0.99), (1, 5, len(POINTS))
    asked = list(product(times, counts, (0.0, 0.001, 0.1, 0.7)))
    script = f"""{FLOW}
    result.velocities = {json.dumps(asked)}.map(([t, n, sigma]) =>
      {json.dumps(x.tolist())}.map(([x, y]) => at(lab.velocityAt)(t, x, y, n, sigma)));"""
    velocities = operate(an_exact(tmp_path, make), script)["velocities"]
    for (t, n, sigma), got in zip(asked, velocities, strict=True):
        field = exact_velocity(make(sigma), source_of(make), POINTS[:n])
        expected = np.array(field(mx.array(t, mx.float64), mx.array(x, mx.float64)))
        # places are as far as 300 out, of which the sines of `exact.py` know seven digits
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, err_msg=f"{t, n, sigma}")


def path_of(method, source, t) -> dict:
    """What the page's path should be, from the method's own schedule in float64."""
    schedule = method.schedule
    last = 1 - schedule.margin
    (_, beta, width), _ = schedule(mx.array([[last]], mx.float64))
    if beta.item() < 1e-6 and width.item() == 0:
        last = min(last, 1 - NEAREST)
    at = mx.array([[min(max(t, schedule.margin), last)]], mx.float64)
    values, slopes = ([curve.item() for curve in kind] for kind in schedule(at))
    (alpha, beta, width), (alpha_slope, beta_slope, width_slope) = values, slopes
    variance = source.mixture.std**2
    return {
        "alpha": alpha,
        "alphaSlope": alpha_slope,
        "beta": beta,
        "betaSlope": beta_slope,
        "width": width,
        "v": beta**2 * variance + width**2,
        "vSlope": 2 * (beta * beta_slope * variance + width * width_slope),
    }


def centres_of(path, source, n):
    """Middles of the Gaussians that x at time t is from, and their velocities, each (K, 2)."""
    m = np.array(source.mixture.means, np.float64)[None]
    y = POINTS[:n, None]
    centres = path["alpha"] * y + path["beta"] * m
    return centres.reshape(-1, 2), (path["alphaSlope"] * y + path["betaSlope"] * m).reshape(-1, 2)


def mixture_in_numpy(path, source, n, x):
    """The density (N,) and the velocity (N, 2) at places x, by the papers' formulas in float64."""
    centres, drifts = centres_of(path, source, n)
    rest = x[:, None] - centres
    logs = -(rest**2).sum(axis=-1) / (2 * path["v"])
    total = logsumexp(logs, axis=1, keepdims=True)
    drifts = drifts + path["vSlope"] / (2 * path["v"]) * rest
    density = np.exp(total[:, 0]) / (2 * np.pi * path["v"] * len(centres))
    return density, (np.exp(logs - total)[..., None] * drifts).sum(axis=1)


TIMES, COUNTS, SIGMAS = (0.0, 0.3, 0.6, 0.9, 0.999, 1.0), (1, 7, len(POINTS)), (0.3, 0.0)
ASKED = list(product(TIMES, COUNTS, SIGMAS))


@pytest.mark.parametrize("name", MAKERS)
def test_path_density_and_velocity(tmp_path, cpu, name):
    """The path is the method's, up to t = 1; density and velocity are those of its mixture."""
    make = MAKERS[name]
    source = source_of(make)
    paths = [path_of(make(sigma), source, t) for t, _, sigma in ASKED]
    places = []
    for (_, n, _), path in zip(ASKED, paths, strict=True):
        near = rng.permutation(centres_of(path, source, n)[0])[:6]
        near += path["v"] ** 0.5 * rng.normal(size=near.shape)
        places.append(np.concatenate([near, [[2.0, 1.0], [-4.0, 3.0]]]))
    script = f"""{FLOW}
    const [asked, places] = {json.dumps([ASKED, [x.tolist() for x in places]])};
    const all = (field) =>
      asked.map(([t, n, sigma], i) => places[i].map(([x, y]) => at(field)(t, x, y, n, sigma)));
    result.paths = asked.map(([t, n, sigma]) => lab.pathAt(flowOf(n, sigma), t));
    result.densities = all(lab.densityAt);
    result.velocities = all(lab.velocityAt);"""
    result = operate(an_exact(tmp_path, make), script)
    for i, (t, n, sigma) in enumerate(ASKED):
        path = result["paths"][i]
        assert path == pytest.approx(paths[i], rel=3e-5, abs=3e-5), (t, sigma)
        assert path["v"] == pytest.approx(paths[i]["v"], rel=1e-5), (t, sigma)
        density, velocity = mixture_in_numpy(path, source, n, places[i])
        np.testing.assert_allclose(result["densities"][i], density, rtol=1e-6, atol=1e-300)
        np.testing.assert_allclose(result["velocities"][i], velocity, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", MAKERS)
def test_grid_is_that_of_the_density(tmp_path, name):
    """Where its cells are fine enough; and its mass is 1, wherever all of it is in the box."""
    script = f"""{FLOW}
    const [left, right, bottom] = lab.box();
    result.grids = {json.dumps(ASKED)}.map(([t, n, sigma]) => {{
      const {{ cells, values, peak, widened }} = lab.densityGrid(
        flowOf(n, sigma), lab.pathAt(flowOf(n, sigma), t), lab.box());
      const cell = (right - left) / cells;
      let worst = 0;
      for (let i = 0; i < values.length; i += 37) {{
        const x = left + (i % cells + 0.5) * cell;
        const y = bottom + (Math.floor(i / cells) + 0.5) * cell;
        worst = Math.max(worst, Math.abs(values[i] - at(lab.densityAt)(t, x, y, n, sigma)) / peak);
      }}
      return [widened, worst, values.reduce((a, b) => a + b) * cell * cell];
    }});"""
    source = None if MAKERS[name]().normal_source else DATASETS["8gaussians"]
    page = an_exact(tmp_path, MAKERS[name], source, n=len(POINTS))
    grids = operate(page, script)["grids"]
    assert any(not widened for widened, _, _ in grids)
    for (t, _, sigma), (widened, worst, mass) in zip(ASKED, grids, strict=True):
        assert widened or worst < 2e-6
        if t > 0.5 or sigma == 0:  # else some of the mass is outside
            assert mass == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", ["cfm", "sb with independent pairs"])
def test_sliders_of_the_exact_page(tmp_path, name):
    script = """
    const now = () => [lab.state().t, lab.state().sigma, lab.state().points.length];
    press("play");
    await slide("time", 0.4);
    result.first = [now(), picture()];
    await slide("points", 0);
    result.one = [now(), picture(), text("end-name")];
    await slide("points", 10000);
    result.all = [now(), picture(), text("end-name")];
    const curves = () => ["alpha", "beta", "width"].map((id) => named(id).getAttribute("d")).join();
    const narrow = curves();
    await slide("sigma", 10000);
    result.wide = [now(), picture(), text("sigma-now")];
    result.curves = narrow !== curves();
    await slide("sigma", 0);
    for (const t of [0, 1]) await slide("time", t);
    result.end = [now(), picture(), text("peak") + text("speed") + curves()];"""
    make = MAKERS[name]
    result = operate(an_exact(tmp_path, make), script)
    sigma = make().sigma
    assert result["first"][0] == [0.4, sigma, 8]
    assert result["one"][0] == [0.4, sigma, 1]
    assert result["one"][2] == "1 point"
    assert result["all"][0] == [0.4, sigma, 40]
    assert result["all"][2] == "40 points"
    assert result["wide"][0] == [0.4, 1, 40]
    assert result["wide"][2] == "1"
    assert result["curves"]
    assert result["end"][0] == [1, 0, 40]
    assert not re.search("NaN|∞|undefined", result["end"][2])
    assert len({result[key][1] for key in ("first", "one", "all", "wide", "end")}) == 5


def test_a_sigma_that_cannot_be_changed(tmp_path, cpu):
    """The slider is off, the page says why, and the field is that of the σ given."""
    script = f"""{FLOW}
    result.slider = [named("sigma").disabled, text("why-fixed"), text("sigma-now")];
    result.velocity = at(lab.velocityAt)(0.4, 1, -2, 5, lab.state().sigma);"""
    result = operate(an_exact(tmp_path, squared, sigma=0.7), script)
    off, why, sigma = result["slider"]
    assert off and "not linear in σ" in why and sigma == "0.7"
    field = exact_velocity(squared(0.7), source_of(squared), POINTS[:5])
    expected = field(mx.array(0.4, mx.float64), mx.array([[1.0, -2.0]], mx.float64))
    np.testing.assert_allclose(result["velocity"], np.array(expected)[0], rtol=1e-6)
