"""A browser for tests that use their hands: Chromium, by Playwright, where both are installed."""

from contextlib import contextmanager

import pytest

from tests.figures.browser import BROWSER

# Three dimensions by the processor, where there is no graphics card.
SOFTWARE_GRAPHICS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@contextmanager
def chromium():
    """A function that starts a browser with some flags; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with sync_api.sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", *flags]
        )


class Hands:
    """A page that is open in a browser, paused, and what one does with it."""

    def __init__(self, browser, file, fragment="t=0.4", **context):
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | context)
        self.failures, self.requests = [], []
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))
        self.page.on("dialog", lambda dialog: self.failures.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"{file.as_uri()}#{fragment}")
        self.rest()

    def close(self):
        """Leave the page; it must not have failed, nor have asked for anything but itself."""
        self.context.close()
        assert self.failures == []
        assert len({url.partition("#")[0] for url in self.requests}) == 1

    def rest(self):
        """Wait until all particles are solved, and drawn."""
        self.page.wait_for_function("() => lab.settled()")
        self.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")

    def evaluate(self, script, argument=None):
        return self.page.evaluate(script, argument)

    def state(self, name):
        return self.evaluate("(name) => lab.state()[name]", name)

    def at(self, place):
        """Where on the screen a place of the plane is drawn."""
        box = self.page.locator("#flat").bounding_box()
        x, y = self.evaluate("([x, y]) => [across(x), down(y)]", [float(side) for side in place])
        return box["x"] + x, box["y"] + y

    def drag(self, start, *ends):
        mouse = self.page.mouse
        mouse.move(*self.at(start))
        mouse.down()
        for end in ends:
            mouse.move(*self.at(end), steps=3)
        mouse.up()
        self.rest()

    def tap(self, place):
        self.page.mouse.click(*self.at(place))
        self.rest()

    def choose(self, group, name):
        self.page.locator(f"#{group} label", has_text=name).first.click()

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.rest()

    def colour_at(self, places):
        """What the flat picture has at places of the plane: (N, 3), from 0 to 255."""
        return self.evaluate(
            """(places) => places.map(([x, y]) => {
              const at = [across(x), down(y)].map((side) => Math.round(side * devicePixelRatio));
              return Array.from(pen.getImageData(...at, 1, 1).data.slice(0, 3));
            })""",
            [list(place) for place in places],
        )
