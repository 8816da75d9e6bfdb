"""Linux: have MLX compile its fused kernels for this processor, and soon. Elsewhere: nothing.

MLX calls `g++` for x86-64 processors as they were in 2003, and reads long headers again for every
kernel. Both are mended by a `g++` of our own that MLX finds first: it calls the real one with
`FLAGS`, and with the headers compiled beforehand, which takes a fifth of the time. Only MLX's own
calls are changed, those whose output lies in our folder.

In a kernel, number i of what is written depends on the numbers i of what is read alone, but may lie
in the same memory, and so g++ dares not compute several at once unless the loop is marked: Adam's
kernel is eight times as fast for it. Nor does it know whether the numbers of a row lie side by side
where some rows are repeated, as a bias is for every point; with a loop for that case an activation
adds the bias at no cost, which makes a solve take nine tenths of the time.

MLX keeps its kernels in the temporary folder under their names alone. Ours must not be taken for
others, nor others' for ours, so they have a folder of their own, named after processor, compiler,
flags and MLX. `FOLDER` is that folder, or None where nothing was done: without a compiler that
understands us, where no folder can be made, or where the environment variable
FLOW_MATCHING_NATIVE is 0.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

# Not -ffast-math, which would break infinities for nearly no gain. Without contraction, which gains
# little, every number stays what it is without these flags, to its last bit.
FLAGS = "-march=native -fno-math-errno -fno-trapping-math -ffp-contract=off"
HEADER = "mlx/backend/cpu/compiled_preamble.h"  # of every kernel

# Headers that this one includes and no kernel needs: special functions, numbers as text, algorithms
# in parallel. g++ goes through their templates again for every kernel, half of the time it takes.
LEAVE_OUT = """
#define _GLIBCXX_BITS_SPECFUN_H
#define _GLIBCXX_SSTREAM
#define _PSTL_GLUE_ALGORITHM_DEFS_H
#include <iosfwd>
namespace std { struct ios_base { enum { failbit }; }; }
#include <algorithm>
#include <limits>
"""
# Nor does a kernel need the libraries of C++: to look for them is an eighth of what remains.
LIBRARIES = "-nodefaultlibs -lm -lgcc -lc -Wl,-z,defs"

CACHE = "flow-matching-laboratory"  # a folder of the user's cache

# awk, over a kernel's source: loops are marked, and have a copy for numbers that lie side by side
MARKING = r"""
/^#pragma/ { next }
$2 == "int64_t*" { strides[++count] = $3 }
/^ *for \([a-z_]* i[0-9]* = 0;/ { loops++; $0 = "#pragma GCC ivdep\n" $0 }
loops {
    body = body $0 "\n"
    depth += gsub(/[{]/, "{") - gsub(/}/, "}")
    if (depth) next
    inmost = loops - 1
    test = "1"
    for (n = 1; n <= count; n++) test = test " && " strides[n] "[" inmost "] == 1"
    copy = body
    if (gsub("[A-Z]+_strides\\[" inmost "\\]", "1", copy))
        body = "if (" test ") {\n" copy "} else {\n" body "}\n"
    printf "%s", body
    loops = 0; body = ""
    next
}
{ print }
"""

SCRIPT = r"""#!/bin/sh
# Written by {author}, which tells what for.
case "$*" in *{folder}*) ;; *) exec {compiler} "$@" ;; esac
header={folder}/{header}.gch
part={folder}/part$$  # MLX's own names are nearly as long as names can be
compile() {{ {compiler} {flags} -w "$@" -o "$part"; }}
if [ ! -e "$header" ]; then
    for first in {leave_out} ''; do
        printf '%s\n#include "{header}"\n' "$first" > "$part.h"
        compile -std=c++17 -O3 -fPIC -I {include} -x c++-header "$part.h" 2> /dev/null &&
            mv "$part" "$header" && break
    done
    rm -f "$part.h"
fi
for out; do  # the last word is the file to write, which appears when it is whole
    case "$out" in
    *.cpp) awk '{marking}' "$out" > "$part" && mv "$part" "$out" ;;
    esac
done
{{ compile -I {folder} "$@" {libraries} 2> /dev/null || compile "$@"; }} && mv "$part" "$out"
"""


def prepare() -> Path | None:
    """Put our `g++` where MLX finds it; the folder of its kernels, or None."""
    paths = os.environ.get("PATH", os.defpath).split(os.pathsep)
    paths = os.pathsep.join(path for path in paths if CACHE not in path)  # nor that of a parent
    compiler, mlx = shutil.which("g++", path=paths), importlib.util.find_spec("mlx")
    if not compiler or not mlx or os.environ.get("FLOW_MATCHING_NATIVE") == "0":
        return None
    include = Path(mlx.submodule_search_locations[0], "include")
    try:
        folder = _folder(compiler)
        _remove_empty(folder)
        _write_script(folder / "bin" / "g++", folder, compiler, include)
    except (OSError, RuntimeError, ImportError):  # no folder, no home, no record of MLX
        return None
    os.environ["PATH"] = f"{folder / 'bin'}{os.pathsep}{paths}"
    os.putenv("TMPDIR", str(folder))  # for MLX alone: Python's own temporary folder stays
    return folder


def _folder(compiler: str) -> Path:
    """The folder of kernels for this processor by this compiler; it is made."""
    version = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True).stdout
    processor = [
        line
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "flags", "CPU part", "Features"))
    ]
    ours = [FLAGS, LEAVE_OUT, LIBRARIES, SCRIPT, MARKING]
    parts = [*ours, version, importlib.metadata.version("mlx"), *sorted(set(processor))]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache, CACHE, f"kernels-{digest}")
    (folder / HEADER).parent.mkdir(parents=True, exist_ok=True)
    return folder


def _remove_empty(folder: Path):
    """Remove kernels that a full disk or a crash left without content: MLX would fail on them."""
    for path in folder.rglob("*.so"):
        if not path.stat().st_size:
            path.unlink(missing_ok=True)


def _write_script(path: Path, folder: Path, compiler: str, include: Path):
    """Write the script, whole or not at all, unless it is there already."""
    words = {"folder": folder, "compiler": compiler, "include": include}
    words |= {"author": __file__, "leave_out": LEAVE_OUT}
    words = {name: shlex.quote(str(word)) for name, word in words.items()}
    as_they_are = {"header": HEADER, "flags": FLAGS, "libraries": LIBRARIES, "marking": MARKING}
    script = SCRIPT.format(**words, **as_they_are)
    if path.exists() and path.read_text() == script:
        return
    command = [compiler, *FLAGS.split(), "-x", "c++", "-fsyntax-only", os.devnull]
    if subprocess.run(command, capture_output=True).returncode:
        raise OSError(f"{compiler} does not know {FLAGS}")
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"g++.{os.getpid()}")
    part.write_text(script)
    part.chmod(0o755)
    part.replace(path)


def _have_a_temporary_folder():
    """Let MLX keep its kernels in a temporary folder that is there: TMPDIR may name none."""
    with suppress(OSError):
        os.putenv("TMPDIR", tempfile.gettempdir())


FOLDER = None
if sys.platform == "linux" and "mlx.core" not in sys.modules:
    FOLDER = prepare()
    if FOLDER is None:
        _have_a_temporary_folder()
