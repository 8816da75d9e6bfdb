import pytest

from figures import style


@pytest.fixture
def drawn(monkeypatch):
    """Draw by a function, and give the figure instead of writing it to a file."""
    kept = []
    monkeypatch.setattr(style, "save", lambda figure, out: kept.append(figure))
    return lambda plot, *arguments, **options: plot("a.png", *arguments, **options) or kept.pop()
