"""MLX's kernels: built for this processor, in a folder of their own, with the same results."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("g++"), reason="elsewhere nothing is changed"
)

NUMBERS = """
from machine import kernels
import mlx.core as mx
import models
x = mx.array([-mx.inf, -88.0, 90.0, mx.inf, mx.nan, *mx.linspace(-5, 5, 99).tolist()])
with mx.stream(mx.cpu):
    for name in ('elu', 'tanh'):  # a maximum, and a function of our own
        function = models.ACTIVATIONS[name]
        print(name, mx.compile(lambda x: function(2 * x) + 1)(x).tolist())
    rows = mx.compile(lambda x, row: mx.square(x * row) + row)  # of other shapes, and in place
    print(rows(2 * x.reshape(8, 13), mx.arange(13.0)).tolist())
    print(rows(2 * x.reshape(13, 8).T, mx.arange(13.0)).tolist())  # not side by side in memory
    for kind in (mx.float16, mx.bfloat16, mx.complex64):
        function = mx.compile(lambda x: mx.log1p(mx.exp(-x * x)) / (1 + mx.abs(x)))
        print(kind, function(mx.linspace(-5, 5, 99).astype(kind)).tolist())
print(kernels.FOLDER)
"""

ONE_KERNEL = """
from machine import kernels
import mlx.core as mx
with mx.stream(mx.cpu):
    x = mx.linspace(-5, 5, 99).astype(mx.complex64)
    print(mx.compile(lambda x: mx.log1p(x * x))(x).tolist())
print(kernels.FOLDER)
"""


def python(program: str, tmp_path, **variables) -> list[str]:
    """The lines that a program prints, run with a cache and a temporary folder of its own."""
    for name in ("cache", "temporary"):
        (tmp_path / name).mkdir(exist_ok=True)
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment |= {"TMPDIR": str(tmp_path / "temporary"), **variables}
    how = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", program], **how)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def built(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("lib*.so")}


def test_the_same_numbers_in_a_folder_of_their_own(tmp_path):
    *native, folder = python(NUMBERS, tmp_path)
    kernels = built(tmp_path / "cache")
    assert kernels == built(Path(folder)) and not built(tmp_path / "temporary")
    assert not [*Path(folder).rglob("*part*")]
    # g++ would not dare to compute several numbers at once of results that may lie where inputs do
    sources = [path.read_text() for path in Path(folder).rglob("*.cpp")]
    loops = [re.findall(r"(.*)\n *for \((.*) = 0;", source) for source in sources]
    assert {kind for loop in loops for _, kind in loop} == {"size_t i", "int i0", "int i1"}
    assert {before for loop in loops for before, _ in loop} == {"#pragma GCC ivdep"}
    assert any("_strides[1] == 1" in source for source in sources)  # a loop of its own
    libraries = [path.read_bytes() for path in Path(folder).rglob("lib*.so")]
    assert not any(b"libstdc++" in library for library in libraries)
    *plain, none = python(NUMBERS, tmp_path, FLOW_MATCHING_NATIVE="0")
    assert none == "None" and built(tmp_path / "temporary") == kernels
    assert native == plain


def test_without_a_compiler_or_a_cache_everything_works(tmp_path):
    assert python(ONE_KERNEL, tmp_path, PATH=str(tmp_path))[-1] == "None"
    (tmp_path / "g++").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "g++").chmod(0o755)
    assert python(
        "from machine import kernels; print(kernels.FOLDER)", tmp_path, PATH=str(tmp_path)
    ) == ["None"]
    (tmp_path / "file").write_text("")
    assert python(ONE_KERNEL, tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))[-1] == "None"


@pytest.mark.parametrize("word", ["_GLIBCXX_SSTREAM", "-nodefaultlibs"])
def test_a_compiler_without_our_shortcuts(tmp_path, word):
    real = shutil.which("g++")
    refusing = f"""#!/bin/sh
for last; do [ ! -e "$last" ] || ! grep -q {word} "$last" || exit 1; done
case "$*" in *{word}*) exit 1 ;; esac
exec {real} "$@"
"""
    (tmp_path / "g++").write_text(refusing)
    (tmp_path / "g++").chmod(0o755)
    *native, folder = python(ONE_KERNEL, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert [*Path(folder).rglob("*.gch")] and not [*Path(folder).rglob("*part*")]
    *plain, _ = python(ONE_KERNEL, tmp_path, FLOW_MATCHING_NATIVE="0")
    assert native == plain


def test_a_child_and_others_find_the_real_compiler(tmp_path):
    """A process started by one of ours does the same again, and compiles for others as ever."""
    program = (
        "import subprocess, sys\n"
        "from machine import kernels\n"
        "script = (kernels.FOLDER / 'bin' / 'g++').read_text()\n"
        "child = [sys.executable, '-c', 'from machine import kernels; print(kernels.FOLDER)']\n"
        "print(kernels.FOLDER, subprocess.check_output(child, text=True).strip(), sep='\\n')\n"
        "assert (kernels.FOLDER / 'bin' / 'g++').read_text() == script\n"
        "print(subprocess.check_output(['g++', '-dM', '-E', '-x', 'c++', '/dev/null'], text=True))"
    )
    ours, childs, *flags = python(program, tmp_path)
    real = subprocess.check_output(
        ["g++", "-dM", "-E", "-x", "c++", "/dev/null"], text=True
    ).splitlines()
    assert ours == childs and [line for line in flags if line] == [line for line in real if line]


@pytest.mark.parametrize("door", ["odeint", "likelihood", "training", "models", "lab.store"])
def test_every_door_is_fast(tmp_path, door):
    program = (
        f"import {door}, sys\n"
        "machine = sys.modules['machine']\n"
        "print(machine.kernels.FOLDER is not None, machine.blas.LIBRARY is not None)"
    )
    assert python(program, tmp_path) == ["True True"]


def test_mlx_before_us_is_told(tmp_path):
    program = (
        "import warnings, mlx.core\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    import odeint\n"
        "print(*[warning.message for warning in told])"
    )
    (line,) = python(program, tmp_path)
    assert line.startswith("MLX was imported before")


def test_names_as_long_as_a_file_can_have(tmp_path):
    """MLX shortens its own names to nearly that."""
    program = (
        "import subprocess\n"
        "from machine import kernels\n"
        "source, out = kernels.FOLDER / 'a.cpp', kernels.FOLDER / ('a' * 252 + '.so')\n"
        "source.write_text('int a() { return 1; }')\n"
        "subprocess.run(f'g++ -shared -fPIC {source} -o {out}', shell=True, check=True)\n"
        "print(out.exists())"
    )
    assert python(program, tmp_path) == ["True"]
