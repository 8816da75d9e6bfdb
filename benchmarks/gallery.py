"""Make every picture, film and page of the README again, by the command that is printed there.

    python benchmarks/gallery.py [NAME …]

With names, only those whose file names contain one of them.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNDER_A_PICTURE = re.compile(r"!\[[^\]]*\]\((media/[^)]+)\)\n`python ([^`]+)`")
IN_A_LIST = re.compile(r"^- `python ([^`]+ --out (media/\S+))`$", re.MULTILINE)


def made() -> list[tuple[str, str]]:
    """(file, command without "python") of all there is in the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    others = [(file, command) for command, file in IN_A_LIST.findall(readme)]
    return UNDER_A_PICTURE.findall(readme) + others


def main(names: list[str]):
    if names and not any(name in file for name in names for file, _ in made()):
        sys.exit(f"no picture is called {' or '.join(names)}; there are\n{__doc__}")
    for file, command in made():
        if names and not any(name in file for name in names):
            continue
        print(f"python {command}", flush=True)
        arguments = [_newest(word) if "*" in word else word for word in shlex.split(command)]
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
        print(f"{file}: {(ROOT / file).stat().st_size / 1000:.0f} kB", flush=True)


def _newest(pattern: str) -> str:
    return str(max(ROOT.glob(pattern), key=lambda path: path.stat().st_mtime))


if __name__ == "__main__":
    main(sys.argv[1:])
