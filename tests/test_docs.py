"""The manual says what is true, and what it prints runs."""

import doctest
import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import mlx.core as mx
import numpy as np
import pytest

import odeint
from benchmarks.gallery import made
from main import VERSION, main

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]


def test_the_readme_is_short():
    assert len(README.split()) <= 1500


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for text in PAGES.values():
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            exec(block, names)
    decay, grown = np.exp(-1), names["end"]
    np.testing.assert_allclose(np.array(names["backwards"].x[-1]), [1, 2], atol=1e-4)
    np.testing.assert_allclose(np.array(names["by_twenty_steps"].x[-1]), [decay], rtol=1e-6)
    np.testing.assert_allclose(np.array(names["solution"].x["q"])[-1], np.cos(6), atol=1e-4)
    assert mx.grad(grown)(mx.array(0.5)).item() == pytest.approx(np.exp(0.5), rel=1e-5)
    np.testing.assert_allclose(np.array(names["again"]), np.array(names["density"]), atol=1e-3)
    assert names["error"].shape == (100,) and names["points"].dim == 2


def test_the_example_of_odeint():
    assert doctest.testmod(odeint) == (0, 2)


def test_tables_are_those_of_the_registries():
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    printed = [name for text in PAGES.values() for _, name, _ in tables.PLACE.findall(text)]
    assert sorted(printed) == sorted(tables.TABLES)
    for page, text in PAGES.items():
        assert tables.renewed(text) == text, f"run python docs/tables.py: {page} is not up to date"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        path, _, place = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if place:
            heads = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert place in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}


def test_every_picture_is_light_and_has_its_command():
    linked = {
        f"media/{name}"
        for text in PAGES.values()
        for name in re.findall(r"\]\((?:\.\./)?media/([^)#]+)\)", text)
    }
    assert linked == set(made())
    for file in linked:
        size = (ROOT / file).stat().st_size
        assert size < (300_000 if file.endswith(".png") else 3_000_000), file


def commands() -> list[str]:
    """Every command line of the program that the manual prints."""
    pages = [text for page, text in PAGES.items() if page != "docs/extending.md"]  # its own test
    found = [c for text in pages for c in re.findall(r"python (main\.py[^`|\n]*)", text)]
    return sorted({command.strip() for command in found} - {"main.py"})


@pytest.mark.parametrize("command", commands())
def test_commands_are_accepted(command, monkeypatch):
    """Parsed, but not run: that takes minutes."""
    monkeypatch.setattr("lab.store.newest", lambda: Path("runs/newest.safetensors"))
    _, *arguments = shlex.split(command)
    try:
        if arguments[0] in main.commands:
            main.commands[arguments[0]].make_context(arguments[0], arguments[1:])
        else:
            main.make_context("main.py", arguments)
    except click.exceptions.Exit as done:  # --help, --version
        assert done.exit_code == 0


def test_every_command_has_an_example_in_help_and_here():
    for name, command in main.commands.items():
        assert f"python main.py {name} " in command.help
        assert f"`python main.py {name}" in README
    assert "python main.py --method vp --solver dopri5" in main.help


def test_whoever_is_cited_is_in_the_references():
    known = PAGES["docs/references.md"]
    sources = [*ROOT.glob("*.py"), *ROOT.glob("*/*.py"), *(ROOT / "docs").glob("*.md")]
    cited = re.compile(r"([A-Z][a-zé]+)(?:,? et al\.|,? & [A-Z][a-zé]+|, [A-Z]\w+)*,? \(?(\d{4})\b")
    for path in sources:
        if path.parent.name == "tests" or path.name == "measured.md":
            continue
        for name, year in cited.findall(path.read_text(encoding="utf-8")):
            lines = [line for line in known.splitlines() if re.search(rf"\b{name}\b", line)]
            assert any(year in line for line in lines), f"{path.name}: {name} {year}"


def test_the_version_is_the_same_everywhere():
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {VERSION}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_order(tmp_path):
    """From an empty folder, as a newcomer would type them; with fewer steps."""
    start = re.search(r"<!-- start -->\n```sh\n(.*?)```", README, re.DOTALL)[1]
    start = start.replace("REPOSITORY", shlex.quote(str(ROOT)))
    listed = re.findall(r"\| `(python main\.py [^`]*)` \|", README)
    pictures = [f"python {c}" for c in made().values() if not c.startswith("benchmarks")]
    quick = {"compare": " --steps 200 --samples 128", "": " --steps 200 --samples 128"}
    lines = [line + quick[""] if "main.py --" in line else line for line in start.splitlines()]
    for line in (*listed, *pictures):
        name = shlex.split(line)[2]
        lines.append(line + quick.get("" if name.startswith("--") else name, ""))
    script = "set -e\n" + "\n".join(lines)
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for file in made():
        if file.endswith(".png"):
            assert (tmp_path / "flow-matching" / file).exists()
    shutil.rmtree(tmp_path / "flow-matching")
