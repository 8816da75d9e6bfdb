"""The page of the exact field in a browser, by mouse, finger and keyboard, held to `exact.py`."""

import json

import mlx.core as mx
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from cfm import METHODS
from datasets import DATASETS, gaussian_mixture
from exact import exact_velocity
from figures.exact_page import with_independent_pairs
from tests.figures.browser import in_a_browser
from tests.figures.hands import Hands
from tests.figures.sample_pages import POINTS, an_exact

pytestmark = [pytest.mark.slow, in_a_browser]
NORMAL = DATASETS["normal"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page of all methods, from N(0, I) and eight Gaussians to the points."""
    return an_exact(
        tmp_path_factory.mktemp("page"),
        source=DATASETS["8gaussians"],
        makers=with_independent_pairs(),
        method="cfm",
    ).replace(tmp_path_factory.mktemp("all") / "page.html")


SOME = "source=normal&t=0.4&points=1,0.5_-1.5,1_0,-2&shows=density"
PLACES = [[0.0, 0.0], [1.2, -0.7], [-2.0, 1.0]]


def velocities(hands, places=PLACES, t=0.4):
    return hands.evaluate(
        """([t, places]) => {
          const flow = lab.chosenFlow();
          return places.map(([x, y]) => lab.velocityAt(flow, lab.pathAt(flow, t), x, y));
        }""",
        [t, places],
    )


def exact(points, places=PLACES, t=0.4, source=NORMAL, method="cfm"):
    field = exact_velocity(METHODS[method](), source, np.array(points))
    return np.array(field(mx.array(t), mx.array(places)))


def test_dragging_a_point(visit):
    """It goes with the mouse, and the field with it; the target is then no dataset any more."""
    hands = visit("source=normal&target=some&n=5&t=0.4")
    assert hands.page.locator("#target").input_value() == "some"
    hands.drag(POINTS[1], (0.3, 0.2), (-0.4, 1.1))
    points = POINTS[:5].copy()
    points[1] = [-0.4, 1.1]
    moved = np.array(hands.state("points"))
    np.testing.assert_allclose(moved, points, atol=0.02)  # a pixel is 0.01
    np.testing.assert_allclose(velocities(hands), exact(moved), rtol=1e-4, atol=1e-4)
    assert hands.state("target") == hands.page.locator("#target").input_value() == ""
    assert hands.page.locator("#points").is_disabled()
    hands.drag(moved[1], (99.0, 0.0))  # as far as the picture goes
    right = hands.evaluate("lab.box()[1]")
    assert hands.state("points")[1] == pytest.approx([right, 0], abs=0.02)


def test_dragging_a_component_of_the_source(visit):
    hands = visit("source=8gaussians&target=some&n=3&t=0.4")
    means = np.array(DATASETS["8gaussians"].mixture.means)
    hands.drag(means[2], (1.0, 1.0))
    means[2] = [1.0, 1.0]
    np.testing.assert_allclose(hands.state("means"), means, atol=0.04)
    source = gaussian_mixture("moved", "", hands.state("means"), 0.1**0.5)
    expected = exact(POINTS[:3], source=source)
    np.testing.assert_allclose(velocities(hands), expected, rtol=1e-4, atol=1e-4)
    assert hands.state("source") == "" and hands.state("target") == "some"


def test_drawing_adding_and_erasing(visit):
    hands = visit(SOME)
    hands.choose("tool", "draw")
    hands.drag((-1.5, -1.5), *[(x, -1.5) for x in np.arange(-1.5, 0.6, 0.1)])
    points = np.array(hands.state("points"))
    drawn = points[3:]
    assert len(drawn) > 5
    np.testing.assert_allclose(drawn[:, 1], -1.5, atol=0.02)
    assert (np.diff(drawn[:, 0]) > 0.1).all()
    np.testing.assert_allclose(velocities(hands), exact(points), rtol=1e-4, atol=1e-4)
    hands.choose("tool", "add source")
    hands.tap((1.5, 1.5))
    assert len(hands.state("means")) == 2
    hands.choose("tool", "erase")
    hands.drag((-1.7, -1.5), *[(x, -1.5) for x in np.arange(-1.5, 0.8, 0.1)])
    assert len(hands.state("points")) == 3
    for place in [(1.5, 1.5), (0, 0), (1, 0.5), (-1.5, 1), (0, -2)]:
        hands.tap(place)
    assert (len(hands.state("means")), len(hands.state("points"))) == (1, 1)  # the last ones stay
    assert "stays" in hands.page.locator("#said").inner_text()


def test_by_finger_on_a_phone(visit):
    hands = visit(SOME, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert hands.evaluate("document.documentElement.scrollWidth") == 360
    assert hands.evaluate("[...document.querySelectorAll('button, .choices label')].every((each) =>"
                          " each.getBoundingClientRect().right <= 360)")  # fmt: skip
    finger = hands.context.new_cdp_session(hands.page)

    def touch(kind, *places):
        points = [dict(zip("xy", hands.at(place), strict=True)) for place in places]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (-1.45, 1.1))  # a finger is not so precise
    for x in np.linspace(-1.45, 0.6, 8):
        touch("touchMove", (x, 1.1))
    touch("touchEnd")
    hands.rest()
    assert hands.state("points")[1] == pytest.approx([0.55, 1.0], abs=0.04)  # it does not jump
    assert hands.evaluate("scrollY") == 0
    touch("touchStart", (1.0, 0.5))
    touch("touchEnd")
    hands.rest()
    assert hands.state("chosen") == 0


def test_by_keyboard(visit):
    """Everything that a mouse does; and each step is told."""
    hands = visit(SOME)
    said = hands.page.locator("#said")
    left, right, *_ = hands.evaluate("lab.box()")
    step = (right - left) / 50
    hands.page.locator("#flat").focus()
    hands.press("PageDown")
    assert said.inner_text() == "point 1 of 3, at 1.00, 0.50"
    hands.press("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowLeft")
    place = [1 + 2 * step - step / 8, 0.5 + step]
    assert hands.state("points")[0] == pytest.approx(place)
    assert said.inner_text() == f"point 1 of 3, at {place[0]:.2f}, {place[1]:.2f}"
    hands.press("PageUp")
    assert said.inner_text().startswith("component 1 of 1")
    hands.press("ArrowDown")
    assert hands.state("means") == [[0, pytest.approx(-step)]]
    hands.press("PageUp", "Enter")
    assert hands.state("chosen") == 2
    hands.press("Escape")
    assert hands.state("chosen") is None
    hands.press("+")
    assert len(hands.state("points")) == 4
    hands.press("ArrowLeft", "Delete")
    assert len(hands.state("points")) == 3
    hands.press("Space")
    assert hands.state("playing")


def test_names_that_screen_readers_say(visit):
    hands = visit("source=normal&target=some&n=5&t=0.4&steps=6&shows=euler&chosen=2")
    find = hands.page.get_by_role
    sliders = ("Time t", "points", "width", "noise", "Steps of Euler", "others")
    for role, names in {
        "slider": sliders,
        "combobox": ("target", "source", "method"),
        "radio": ("move", "draw", "add source", "erase", "flat", "surface"),
        "button": ("Play", "Backwards", "Again and again", "Mix them in"),
    }.items():
        for name in names:
            assert find(role, name=name, exact=True).count() == 1, (role, name)
    steps = find("slider", name="Steps of Euler")
    assert steps.get_attribute("aria-valuetext") == "6 steps"
    assert find("application").get_attribute("aria-labelledby") == "picture"


def test_one_point_and_all(visit):
    """Clicked, it has the flow to itself; mixed in, the others make it the mean."""
    hands = visit(SOME)
    points = np.array([[1, 0.5], [-1.5, 1], [0, -2]])
    hands.tap(points[1])
    assert hands.state("chosen") == 1 and hands.state("others") == 0
    np.testing.assert_allclose(velocities(hands), exact(points[1:2]), rtol=1e-4, atol=1e-4)
    conditionals = """([t, places]) => {
      const flow = lab.chosenFlow();
      return places.map(([x, y]) => lab.conditionalsAt(flow, lab.pathAt(flow, t), x, y));
    }"""
    hands.page.locator("#mix").click()
    hands.page.wait_for_function("() => lab.state().others === 1", timeout=60_000)
    hands.rest()
    np.testing.assert_allclose(velocities(hands), exact(points), rtol=1e-4, atol=1e-4)
    for found, place, mean in zip(
        hands.evaluate(conditionals, [0.4, PLACES]), PLACES, velocities(hands), strict=True
    ):
        own = np.array([each["u"] for each in found])
        expected = [exact(point[None], [place])[0] for point in points]
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.array([each["part"] for each in found]) @ own, mean)
    hands.page.locator("#all").click()
    assert hands.state("chosen") is None


def test_half_mixed_in(visit):
    """The others count half as much: as if the chosen one were there twice."""
    hands = visit(f"{SOME}&chosen=1&others=0.5")
    points = np.array([[1, 0.5], [1, 0.5], [-1.5, 1], [0, -2]])
    np.testing.assert_allclose(velocities(hands), exact(points), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dark", [False, True])
def test_colours_on_the_canvas_are_the_density(visit, dark):
    """Read back from its pixels: how dark a place is, is its density by the densest one's."""
    hands = visit("source=normal&t=0.5&target=some&n=6&shows=density", device_scale_factor=2)
    hands.page.emulate_media(color_scheme="dark" if dark else "light")
    hands.rest()
    rng = np.random.default_rng(0)
    places = rng.uniform(-2, 2, (200, 2))
    marks = np.concatenate([POINTS[:6], [[0, 0]]])
    apart = np.linalg.norm(places[:, None] - marks, axis=2).min(axis=1)
    on_circle = np.abs(np.linalg.norm(places, axis=1) - 2)
    places = places[(apart > 0.15) & (on_circle > 0.05)]
    v = 0.5**2 + 0.1**2
    squares = ((places[:, None] - 0.5 * POINTS[:6]) ** 2).sum(axis=2)
    density = np.exp(-squares / (2 * v)).sum(axis=1) / (6 * 2 * np.pi * v)
    peak = hands.evaluate("() => lab.densityGrid(lab.chosenFlow(), "
                          "lab.pathAt(lab.chosenFlow(), 0.5), lab.box()).peak")  # fmt: skip
    colour, paper = hands.evaluate("[colourAt(0.5), colours.paper]")
    assert (np.mean(paper) < 60) == dark
    alpha = 0.85 * density[:, None] / peak
    expected = (1 - alpha) * np.array(paper) + alpha * np.array(colour)
    np.testing.assert_allclose(hands.colour_at(places), expected, atol=6)


@pytest.mark.parametrize("method", ["cfm", "vp", "sb", "poly"])
def test_particles_follow_the_exact_field(visit, method):
    """The fine solution is that of a solver of scipy's; Euler's are Euler's."""
    chosen = "source=normal&sigma=0.2&target=some&n=5&steps=7&t=1&shows=euler"
    hands = visit(f"{chosen}&method={method}")
    starts, ends, by_euler = np.array(hands.evaluate("""() => {
      const { fine, euler } = lab.trails;
      const places = (trails, before, part) =>
        data.noise.map((_, i) => lab.placeOn(trails, i, before, part));
      return [places(fine, 0, 0), places(fine, fine.times.length - 2, 1), places(euler, 6, 1)];
    }"""))  # fmt: skip
    make = with_independent_pairs()[method]
    field = exact_velocity(make(0.2), NORMAL, POINTS[:5])

    def slope(t, x):
        at = mx.array(x.reshape(-1, 2).astype(np.float32))
        return np.array(field(mx.array(t), at), np.float64).ravel()

    few = slice(0, 40)
    margin = make(0.2).schedule.margin
    solved = solve_ivp(slope, (margin, 1 - margin), starts[few].ravel(), rtol=1e-5, atol=1e-5)
    errors = np.linalg.norm(solved.y[:, -1].reshape(-1, 2) - ends[few], axis=1)
    assert np.median(errors) < 0.004 and errors.mean() < 0.02
    x = starts.copy()
    for step in range(7):
        x += slope(max(step / 7, margin), x.ravel()).reshape(-1, 2) / 7
    np.testing.assert_allclose(by_euler, x, atol=2e-3)
    apart = np.linalg.norm(x - ends, axis=1).mean()
    assert float(hands.page.locator("#apart").inner_text()) == pytest.approx(apart, rel=0.06)


def test_more_steps_of_euler_come_nearer(visit):
    """To the fine solution, which the page measures: an error of first order."""
    hands = visit("source=normal&target=some&n=3&t=0.4&sigma=0.5&shows=euler")

    def apart(steps):
        hands.page.locator("#steps").fill(str(steps))
        hands.rest()
        return hands.evaluate("apart(lab.trails.fine, lab.trails.euler)")

    assert apart(40) / apart(80) == pytest.approx(2, abs=0.25)


def test_a_picture_with_noise_is_always_the_same(visit):
    """However one comes to it: by a link, by the slider and time; without noise, the old one."""
    chosen = "source=normal&target=some&n=5&steps=7&shows=fine_euler_trails"
    hands = visit(f"{chosen}&t=0.6")
    seen = """[document.getElementById("flat").toDataURL(),
      [...lab.trails.fine.places, ...lab.trails.euler.places]]"""
    without = hands.evaluate(seen)
    slider = hands.page.get_by_role("slider", name="noise", exact=True)
    words = hands.page.locator("#diffusion-row")
    assert words.is_hidden() and slider.get_attribute("aria-valuetext") == "none"
    slider.focus()
    hands.press(*["ArrowRight"] * 10)
    assert hands.state("diffusion") == 0.5
    assert words.is_visible() and slider.get_attribute("aria-valuetext") == "0.5"
    noisy = hands.evaluate(seen)
    assert noisy[0] != without[0]
    hands.page.locator("#time").fill("0.1")
    hands.page.locator("#time").fill("0.6")
    hands.rest()
    assert hands.evaluate(seen) == noisy
    again = visit(hands.evaluate("lab.writeLink()").removeprefix("#"))
    assert again.evaluate(seen) == noisy
    slider.focus()
    hands.press("Home")
    assert hands.evaluate(seen) == without
    assert "diffusion" not in hands.evaluate("lab.writeLink()")


def test_a_link_carries_the_state(visit):
    hands = visit(
        f"{SOME}_trails&method=sb&sigma=0.3&steps=5&turned=0.5,0.7&backwards=1&once=1"
        "&diffusion=0.75"
    )
    hands.tap((-1.5, 1))
    hands.page.locator("#others").fill("0.25")
    hands.choose("tool", "draw")
    hands.tap((0.5, 0.25))
    hands.choose("view", "surface")
    fragment = hands.evaluate("lab.writeLink()")
    again = visit(fragment.removeprefix("#"))
    names = ("method", "sigma", "source", "points", "chosen", "others", "steps", "view", "turned")
    for name in (*names, "diffusion", "t", "backwards", "means"):
        expected, got = hands.state(name), again.state(name)
        if name == "points":
            np.testing.assert_allclose(got, expected, atol=6e-4)
        else:
            assert got == expected, name
    assert again.evaluate("[...state.shows]") == ["density", "trails"]
    hands.page.wait_for_function("(link) => location.hash === link", arg=fragment)


WRONG = {
    "method": ["cfx", "__proto__", "<b>"],
    "sigma": ["-1", "NaN", "Infinity", "1e9", "0x1", ""],
    "t": ["2", "a"],
    "points": ["1,2,3", "1", "1,NaN", "9999,0", "_".join(["0,0"] * 1025), "1,1_"],
    "n": ["0", "2.5", "1e6"],
    "diffusion": ["-0.5", "2.5", "NaN", "x"],
    "shows": ["density_x", "constructor"],
    "view": ["constructor"],
    "constructor": ["1"],
    "<img src=x onerror=alert(1)>": ["1"],
}


def test_a_wrong_link_changes_nothing(visit):
    """Every part that cannot be is left out, and named; no text of it becomes markup."""
    hands = visit("t=0.4")
    good = json.dumps(hands.evaluate("({ ...state, shows: [...state.shows] })"))
    for name, values in WRONG.items():
        for value in values:
            found = hands.evaluate(
                """([name, value]) => {
                  const link = new URLSearchParams([[name, value]]);
                  const { said, wrong } = lab.readLink(`#${link}`);
                  return [Object.keys(said), wrong];
                }""",
                [name, value],
            )
            assert found == [[], [name]], (name, value)
    nasty = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"
    again = visit(f"t=0.4&{nasty}=1&method={nasty}&chosen=99")
    assert json.dumps(again.evaluate("({ ...state, shows: [...state.shows] })")) == good
    assert "<img src=x onerror=alert(1)>, method" in again.page.locator("#said").inner_text()
    assert again.page.locator("img").count() == 0


def test_text_of_a_file_stays_text(browser, tmp_path):
    nasty = """</script><img src=x onerror="alert(1)">'"""
    targets = {nasty: (POINTS, (nasty, nasty))}
    hands = Hands(browser, an_exact(tmp_path, targets=targets, target=nasty, title=nasty))
    assert hands.page.locator("#target option").first.text_content() == nasty
    assert hands.page.locator("h1").text_content() == nasty
    assert hands.page.locator("img").count() == 0
    hands.close()


def test_play_reverse_loop(browser, file):
    """By a clock of the test's own: eight seconds from end to end."""
    context = browser.new_context(viewport={"width": 300, "height": 300})
    page = context.new_page()
    page.clock.install(time=0)
    page.goto(f"{file.as_uri()}#t=0.4&n=1&shows=")
    page.clock.pause_at(60_000)

    def t_after(seconds):
        page.clock.run_for(1000 * seconds)
        return page.evaluate("lab.state().t")

    page.locator("#play").click()
    assert t_after(1.6) == pytest.approx(0.6, abs=0.02)
    page.locator("#backwards").click()
    assert t_after(2.4) == pytest.approx(0.3, abs=0.03)
    assert t_after(3) == 0  # it rests at the end,
    assert 0.5 < t_after(5) < 1  # and goes on from the other
    page.locator("#loop").click()
    assert t_after(9) == 0
    assert not page.evaluate("lab.state().playing")
    page.locator("#play").click()
    assert t_after(0.8) == pytest.approx(0.9, abs=0.02)
    context.close()


def silhouette(hands, x, y):
    """Where the surface's highest pixel is, and where it should be if the peak is at (x, y)."""
    picture = hands.evaluate(
        """() => {
          lab.draw(lab.state().t); // a WebGL canvas keeps its pixels until the next picture
          const sheet = document.createElement("canvas");
          [sheet.width, sheet.height] = [surfaceSheet().width, surfaceSheet().height];
          const pen = sheet.getContext("2d");
          pen.drawImage(surfaceSheet(), 0, 0);
          const { data } = pen.getImageData(0, 0, sheet.width, sheet.height);
          const first = data.findIndex((value, i) => i % 4 === 3 && value > 200) >> 2;
          return [sheet.width, sheet.height, first % sheet.width, Math.floor(first / sheet.width)];
        }""".replace("surfaceSheet()", "document.getElementById('surface')")
    )
    left, right, low, high = hands.evaluate("lab.box()")
    across = 2 * (x - left) / (right - left) - 1
    away = 2 * (y - low) / (high - low) - 1  # towards the horizon, seen from the side
    width, height, found_x, found_y = picture
    scale = 2.55 / (4.2 + away)
    expected = width * (1 + scale * across) / 2, height * (1 - scale * 0.65) / 2
    return (found_x, found_y), expected


def test_the_surface_stands_where_the_density_is(visit):
    """Seen from the side, its top is over the only point, as high as it should be."""
    hands = visit("source=normal&t=0.9&points=1.5,-0.5&view=surface&turned=0,1.5708")
    found, expected = silhouette(hands, 0.9 * 1.5, -0.9 * 0.5)
    np.testing.assert_allclose(found, expected, atol=8)
    hands = visit("source=normal&t=0.9&points=-1.5,0.5&view=surface&turned=0,1.5708")
    found, expected = silhouette(hands, -0.9 * 1.5, 0.9 * 0.5)
    np.testing.assert_allclose(found, expected, atol=8)


def test_the_surface_is_turned_by_hand(visit):
    hands = visit("source=normal&t=0.9&target=some&n=3&view=surface&turned=0,0.5")
    box = hands.page.locator("#surface").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    hands.page.mouse.move(x, y)
    hands.page.mouse.down()
    hands.page.mouse.move(x + 75, y - 30, steps=4)
    hands.page.mouse.up()
    assert hands.state("turned") == pytest.approx([0.5, 0.7], abs=0.02)
    hands.page.locator("#surface").focus()
    hands.press("ArrowLeft", "ArrowUp")
    assert hands.state("turned") == pytest.approx([0.4, 0.8], abs=0.02)


def test_without_webgl_there_is_the_flat_picture(start, file):
    browser = start("--disable-3d-apis")
    hands = Hands(browser, file, "t=0.4&view=surface")
    assert hands.state("view") == "flat"
    assert hands.page.locator("#view input").last.is_disabled()
    assert hands.page.locator("#flat").is_visible()
    hands.close()
    browser.close()


def test_a_method_of_one_source_keeps_it(visit):
    hands = visit("source=8gaussians&target=some&n=3&t=0.4")
    hands.page.locator("#method").select_option("fm")
    hands.rest()
    assert hands.state("source") == "normal" and hands.page.locator("#source").is_disabled()
    np.testing.assert_allclose(velocities(hands), exact(POINTS[:3], method="fm"), rtol=1e-3)
    hands.drag((0, 0), (1, 1))
    assert hands.state("means") == [[0, 0]]
    assert "one source alone" in hands.page.locator("#said").inner_text()


def test_a_picture_of_a_hundred_points_takes_less_than_a_sixtieth(visit):
    """Computing it while a point is dragged: field, density, and all particles solved again."""
    rng = np.random.default_rng(0)
    points = "_".join(f"{x:.2f},{y:.2f}" for x, y in rng.uniform(-2, 2, (100, 2)))
    hands = visit(f"source=normal&t=0.5&points={points}&shows=density_arrows_fine_trails")
    times = hands.evaluate("""() => Array.from({ length: 60 }, (_, i) => {
      const start = performance.now();
      state.points[0] = [i / 60, 0.3];
      changed("point");
      lab.draw(0.5);
      return performance.now() - start;
    })""")
    print(f"milliseconds of a picture: least {min(times):.1f}, median {np.median(times):.1f}")
    assert min(times) < 1000 / 60  # the least: others work on this machine, too


def test_every_control_is_in_reach(visit):
    """By Tab alone, from the first tool to the last summary."""
    hands = visit("source=normal&target=some&n=3&t=0.4")
    reached = set()
    for _ in range(40):
        hands.page.keyboard.press("Tab")
        reached.add(hands.evaluate("document.activeElement.id || document.activeElement.type "
                                   "|| document.activeElement.tagName"))  # fmt: skip
    for needed in ("flat", "play", "time", "target", "method", "sigma", "copy", "SUMMARY", "radio"):
        assert needed in reached
