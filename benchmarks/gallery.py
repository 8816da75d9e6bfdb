"""Make every picture, film and page of the manual again, by the command that is printed there.

    python benchmarks/gallery.py [NAME …]

With names, only those whose file names contain one of them. They are made in the order in which
they stand, so that `--last` means what a reader would take it for.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNDER_A_PICTURE = re.compile(r"!\[[^\]]*\]\((?:\.\./)?(media/[^)]+)\)\n`python ([^`]+)`")
IN_A_LIST = re.compile(r"^- `python ([^`]+ --out (media/\S+))`$", re.MULTILINE)


def made() -> dict[str, str]:
    """File → command, without "python", of all there is in the manual."""
    found = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text(encoding="utf-8")
        pairs = UNDER_A_PICTURE.findall(text)
        pairs += [(file, command) for command, file in IN_A_LIST.findall(text)]
        for file, command in pairs:
            if found.setdefault(file, command) != command:
                raise ValueError(f"{file} is made by two different commands")
    return found


def main(names: list[str]):
    chosen = {f: c for f, c in made().items() if not names or any(name in f for name in names)}
    if not chosen:
        sys.exit(f"no picture is called {' or '.join(names)}; there are {', '.join(made())}")
    for file, command in chosen.items():
        print(f"python {command}", flush=True)
        subprocess.run([sys.executable, *shlex.split(command)], cwd=ROOT, check=True)
        print(f"{file}: {(ROOT / file).stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
