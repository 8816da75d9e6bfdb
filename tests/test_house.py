"""Imports point one way: down the list of places in docs/reading.md."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
ROWS = [re.findall(r"`([\w/.]+)`", row) for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)]
FLOOR = {place: -row for row, places in enumerate(ROWS) for place in places}


def place_of(path: Path) -> str:
    """The folder with a slash, or the file at the root, as the page has it."""
    first, *rest = path.relative_to(ROOT).parts
    return f"{first}/" if rest else first


def modules():
    for path in sorted(ROOT.glob("**/*.py")):
        place = place_of(path)
        if place.startswith(".") or place in ("tests/", "benchmarks/", "docs/"):
            continue
        yield path, place


def imports(path: Path):
    """The names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_every_module_has_its_place_on_the_page():
    assert {place for _, place in modules()} == set(FLOOR)


def test_imports_point_down():
    for path, place in modules():
        for name in imports(path):
            first = name.partition(".")[0]
            other = f"{first}/" if f"{first}/" in FLOOR else f"{first}.py"
            if other in FLOOR:
                assert FLOOR[other] <= FLOOR[place], f"{place} imports {name}"
