import pytest

from figures import style
from tests.figures.hands import SOFTWARE_GRAPHICS, Hands, chromium


@pytest.fixture
def drawn(monkeypatch):
    """Draw by a function, and give the figure instead of writing it to a file."""
    kept = []
    monkeypatch.setattr(style, "save", lambda figure, out: kept.append(figure))
    return lambda plot, *arguments, **options: plot("a.png", *arguments, **options) or kept.pop()


@pytest.fixture(scope="module")
def start():
    with chromium() as start:
        yield start


@pytest.fixture(scope="module")
def browser(start):
    browser = start(*SOFTWARE_GRAPHICS)
    yield browser
    browser.close()


@pytest.fixture
def visit(browser, file):
    """A function that opens the page `file` at a fragment; nothing may fail until the test ends."""
    visits = []

    def open_it(fragment="t=0.4", **context):
        visits.append(Hands(browser, file, fragment, **context))
        return visits[-1]

    yield open_it
    for each in visits:
        each.close()
