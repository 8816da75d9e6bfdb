"""Write the tables of the manual again, from the registries of the program.

    python docs/tables.py

Each stands in a page of this folder between the lines `<!-- table: NAME -->` and `<!-- end -->`.
"""

import inspect
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import machine  # noqa: F401  before MLX

from cfm import METHODS, REFLOW, rectified
from couplings import COUPLINGS
from datasets import DATASETS
from maps import MAPS
from learning.layers import ACTIVATIONS
from learning.optimizers import OPTIMIZERS
from sde import SDE_SOLVERS
from solver import SOLVERS

PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def methods():
    yield "`--method`", "name", "paths", "σ, unless given", "pairs"
    for name, make in (METHODS | MAPS | {REFLOW: rectified}).items():
        made = make()
        coupling = made.coupling
        pairs = f"`{coupling.name}`" if coupling.name in COUPLINGS else coupling.title
        yield f"`{name}`", made.title, made.about, f"{made.sigma:g}", pairs


def couplings():
    yield "`--coupling`", "x0 and x1 of a batch"
    for name, make in COUPLINGS.items():
        about = (inspect.getdoc(make) or "").partition("\n\nArgs:")[0]
        yield f"`{name}`", " ".join(about.split())


def solvers():
    yield "`--solver`", "order", "evaluations a step", "steps", "from"
    for name, tableau in SOLVERS.items():
        steps = "adaptive, or fixed" if tableau.adaptive else "fixed"
        cost = tableau.stages - tableau.fsal
        yield f"`{name}`", str(tableau.order), str(cost), steps, tableau.reference


def sde_solvers():
    yield (
        "`--solver`",
        *("weak order", "strong order", "of noise that depends on time alone"),
        *("evaluations a step", "from"),
    )
    for name, scheme in SDE_SOLVERS.items():
        orders = scheme.weak, scheme.strong, scheme.strong_additive
        yield f"`{name}`", *(f"{x:g}" for x in (*orders, scheme.evaluations)), scheme.reference


def datasets():
    yield "name", "dimensions", "what it is", "density known", "parts"
    for name, data in DATASETS.items():
        known, parts = "yes" if data.log_prob else "no", ", ".join(data.classes) or "–"
        yield f"`{name}`", str(data.dim), data.description, known, parts


def activations():
    yield "`--activation`", "what it is"
    for name, function in ACTIVATIONS.items():
        about = (inspect.getdoc(function) or "").partition("\n")[0]
        yield f"`{name}`", "as in MLX" if function.__module__.startswith("mlx") else about


def optimizers():
    yield "`--optimizer`", "name", "largest `--lr`, unless given", "`--weight-decay`, unless given"
    for name, kind in OPTIMIZERS.items():
        decay = "has none" if kind.weight_decay is None else f"{kind.weight_decay:g}"
        yield f"`{name}`", kind.title, f"{kind.lr:g}", decay


def as_markdown(rows) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


ALL = (methods, couplings, solvers, sde_solvers, datasets, activations, optimizers)
TABLES = {table.__name__: table for table in ALL}


def renewed(text: str) -> str:
    """A page with the tables as they should be."""
    return PLACE.sub(lambda found: found[1] + as_markdown(TABLES[found[2]]()) + found[3], text)


if __name__ == "__main__":
    for page in sorted((ROOT / "docs").glob("*.md")):
        before = page.read_text(encoding="utf-8")
        if (after := renewed(before)) != before:
            page.write_text(after, encoding="utf-8")
            print(f"renewed {page.relative_to(ROOT)}")
