"""Command lines made up from what click knows of the commands, and what must hold of any.

No option is named here but a few that would take long: a new option, command or kind of value is
made up for as soon as it is there.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
from click.testing import CliRunner
from hypothesis import strategies as st
from PIL import Image
from shared import PROGRAM

from cli.values import Value, WritablePath
from lab.values import Name, Names, Number, OneOf, Whole
from main import main
from training import load_training

COMMANDS = {(): main} | {(name,): command for name, command in main.commands.items()}
# every number of something is small, unless a line says otherwise
SMALL = {
    "steps": "2",
    "batch_size": "4",
    "width": "4",
    "depth": "1",
    "ode_steps": "2",
    "train_ode_steps": "1",
    "samples": "4",
    "seconds": "0.5",
    "processes": "1",
    "methods": "cfm",
    "solvers": "euler",
}
COSTLY = {"seconds": ["0.5"], "processes": ["1"], "train_solver": ["euler", "rk4"]}
NONSENSE = ["", " ", "-1", "0", "nan", "-inf", "1e999", "1e-400", "0x10", "1_0", "٣", "²→", "$x$"]
NONSENSE += ["a" * 300, "%s{}\\", "..", "/", "a\nb", ",", "--seed", "cfm"]


def make_files(checkpoints: dict[str, Path]):
    """What a user might have in a folder: points, checkpoints, notes, and things in the way."""
    points = np.random.default_rng(0).normal(size=(20, 2))
    np.savetxt("points.csv", points, delimiter=",", header="a,b", comments="")
    np.savetxt("a$b ‰.csv", points[:, :1], delimiter=";")
    np.save("points.npy", points)
    Path("link.npy").symlink_to("points.npy")
    Path("empty.csv").touch()
    Path("words.csv").write_text("a,b\nc,d\n")
    Path("kinds.csv").write_text("a,b,kind\n1,2,p\n3,5,q\n4,4,q\n")
    Path("notes.md").write_text("mine")
    Path("notes.png").write_text("mine")
    Path("damaged.npz").write_bytes(b"PK\x03\x04 and so on")
    Path("folder.png").mkdir()
    Path("folder.csv").mkdir()
    for name, content in checkpoints.items():
        Path(name).write_bytes(content)
    Path("cut.safetensors").write_bytes(next(iter(checkpoints.values()))[:-50])
    for suffix in ("png", "npy", "html"):
        Path(f"loop.{suffix}").symlink_to(f"loop.{suffix}")
        os.mkfifo(f"pipe.{suffix}")


def contents() -> dict[str, bytes]:
    """Every file in the folder and what is in it."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def _values(parameter: click.Parameter, names: list[str]):
    """Words for a parameter, right ones and wrong ones; `names` are those of files."""
    kind = parameter.type.kind if isinstance(parameter.type, Value) else parameter.type
    files = st.sampled_from(names)
    if parameter.name in COSTLY:
        right = st.sampled_from(COSTLY[parameter.name])
    elif isinstance(kind, OneOf):
        right = st.sampled_from([*kind.names]) | (files if kind.suffixes else st.nothing())
    elif isinstance(kind, Whole):
        right = st.integers(kind.low, min(kind.high, kind.low + 5)).map(str)
    elif isinstance(kind, Number):
        parts = st.sampled_from([1e-9, 1e-3, 0.02, 0.5, 1])
        right = parts.map(lambda x: repr(kind.low + x * (kind.high - kind.low)))
    elif isinstance(kind, Name):
        right = st.sampled_from(["1", "a", "b", "kind", "upper", "lower"])
    elif isinstance(kind, Names):
        right = st.sampled_from(["1", "a,b", "2,1", "b", "x"])
    elif isinstance(kind, WritablePath):
        stems = st.sampled_from(["new/made", "points", "notes", "loop", "pipe", "folder", "link"])
        right = st.builds(str.__add__, stems, st.sampled_from(kind.suffixes))
    else:
        right = files
    return st.one_of(right, right, right, st.sampled_from(NONSENSE), st.text(max_size=8))


@st.composite
def command_lines(draw, names: list[str]) -> list[str]:
    """A command, small, with up to four more options of any values."""
    words = draw(st.sampled_from([(), (), *COMMANDS]))
    command = COMMANDS[words]
    by_name = {parameter.name: parameter for parameter in command.params}
    line = [*words]
    for name, value in SMALL.items():
        if name in by_name:
            line += [by_name[name].opts[0], value]
    for parameter in draw(st.lists(st.sampled_from(command.params), max_size=4)):
        if not isinstance(parameter, click.Option):
            continue
        line.append(draw(st.sampled_from(parameter.opts)))
        if not parameter.is_flag:
            line.append(draw(_values(parameter, names)))
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            right = st.sampled_from(["--last", "flow.safetensors", "points.safetensors"])
            wrong = st.sampled_from([*names, *NONSENSE])
            line.append(draw(st.one_of(right, right, wrong)))
    return [word.replace("\0", "") for word in line]


def in_this_process(line: list[str]) -> tuple[int, str]:
    """Exit code and errors of the program."""
    result = CliRunner().invoke(main, line)
    assert isinstance(result.exception, SystemExit | None), repr(result.exception)
    return result.exit_code, result.stderr


def as_a_process(line: list[str]) -> tuple[int, str]:
    """The same of a real one."""
    done = subprocess.run([sys.executable, str(PROGRAM), *line], capture_output=True)
    return done.returncode, done.stderr.decode()


def check(line: list[str], before: dict[str, bytes], program=in_this_process):
    """Run it, and hold it to what is promised of every command line."""
    code, errors = program(line)
    made = contents()
    try:
        assert code in (0, 1, 2) and not re.search("(?i)traceback", errors), errors
        if code:
            sentences = [part for part in errors.splitlines() if part.startswith("Error: ")]
            assert len(sentences) == 1, errors
        names = made.keys() | before.keys()
        changed = {name for name in names if made.get(name) != before.get(name)}
        assert not changed or code != 2
        for name in changed:
            _check_file(Path(name), line)
    finally:
        _restore(made, before)


def _check_file(path: Path, line: list[str]):
    """That a file is whole, and one that may be written here."""
    assert not path.name.startswith("."), "left over"
    named = any(word == str(path) for word in line)
    assert named or path.parts[0] in ("runs", "media", "new"), f"'{path}' was not to be written"
    assert path.name not in ("points.csv", "points.npy", "notes.md"), "it is the user's"
    assert path.stat().st_size
    if path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".npy":
        assert np.load(path).size
    elif path.suffix == ".safetensors":
        load_training(path)


def _restore(made: dict[str, bytes], before: dict[str, bytes]):
    for name in made:
        if name not in before:
            Path(name).unlink()
    for name, content in before.items():
        if made.get(name) != content:
            Path(name).write_bytes(content)
