"""Whether the tests notice when a formula is wrong: change the source, one place at a time.

    python benchmarks/mutants.py cfm.py couplings.py [--sample 100]

Every number, sign, comparison and condition of a module is changed, each by itself, in a copy of
the project, and the tests of that module are run there until one fails. A change that no test
notices is a survivor: it is listed with its line, for someone to say whether it is a defect of the
tests or means the same. One test run after the other, and nicely: it may go on beside other work.
A run begins as a fork of a process that has imported what takes long, and with the tests that
noticed something before.
"""

import ast
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
MODULES = (
    *("solver.py", "ode/step.py", "ode/walk.py", "ode/gradients.py", "odeint.py", "cfm.py"),
    *("couplings.py", "likelihood.py", "exact.py", "data/distributions.py"),
    *("noise.py", "sde.py", "maps.py", "learning/optimizers.py", "guidance.py"),
)
# the tests of a module are at its place in tests/, as test_MODULE.py, and these
TESTS = {
    "exact.py": ["tests/test_noise.py::test_the_score_of_other_sources"],
    "cfm.py": ["tests/test_noise.py::test_the_loss_of_two_heads"],
    "ode/step.py": ["tests/test_odeint.py"],
    "ode/walk.py": ["tests/ode/test_rounding.py", "tests/test_odeint.py"],
    "ode/gradients.py": ["tests/test_odeint.py"],
    "data/distributions.py": ["tests/test_datasets.py"],
}
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pytest",
        "scipy.stats",
        "scipy.optimize",
        "scipy.integrate",
        "hypothesis",
        "matplotlib.pyplot",
    ]
)
SLOW_TO_LEARN = "not training and not teach"  # tests that train networks take long
LEFT_OUT = (".git", "runs", "media", "__pycache__", ".pytest_cache", ".venv", "shared")
OTHERS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {"sin": "cos", "cos": "sin", "maximum": "minimum", "minimum": "maximum"}
NAMES |= {"max": "min", "min": "max", "sum": "mean", "mean": "sum", "ceil": "floor"}


def changes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, object]]:
    """(node, name of its attribute, another value of that) for every place that can be changed."""
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in OTHERS:
                yield node, "op", OTHERS[type(op)]()
            case ast.Compare(ops=[op]) if type(op) in OTHERS:
                yield node, "ops", [OTHERS[type(op)]()]
            case ast.Constant(value=bool(value)):
                yield node, "value", not value
            case ast.Constant(value=int(value)):
                yield node, "value", value + 1
            case ast.Constant(value=float(value)):
                yield node, "value", value * 1.5 if value else 1.0
            case ast.UnaryOp(op=ast.USub()):
                yield node, "op", ast.UAdd()
            case ast.If(test=test) | ast.IfExp(test=test):
                yield node, "test", ast.UnaryOp(ast.Not(), test)
            case ast.Attribute(attr=name) if name in NAMES:
                yield node, "attr", NAMES[name]
            case ast.Name(id=name) if name in NAMES:
                yield node, "id", NAMES[name]


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """(what was changed, the whole source with it) for every change."""
    tree = ast.parse(source)
    for node, name, other in changes(tree):
        before, own = ast.unparse(node), getattr(node, name)
        setattr(node, name, other)
        after = ast.unparse(ast.fix_missing_locations(node))
        short = f"{before.splitlines()[0]}  →  {after.splitlines()[0]}"
        yield f"line {node.lineno}: {short}", ast.unparse(tree)
        setattr(node, name, own)


def run_tests(folder: Path, tests: list[str]):
    """Run tests in a folder until one fails; the exit code of this process says whether."""
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(pytest.main(["-x", "-q", "--ff", "-k", SLOW_TO_LEARN, *tests]))


def notice(folder: Path, tests: list[str], limit: float | None = None) -> bool:
    """Whether the tests fail, or take longer than `limit` seconds."""
    run = FORKS.Process(target=run_tests, args=(folder, tests))
    run.start()
    run.join(limit)
    run.kill()
    run.join()
    return run.exitcode != 0


def write(path: Path, source: str):
    """Change a module, and forget what Python compiled of it less than a second ago."""
    path.write_text(source, "utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()


@click.command(help=__doc__)
@click.argument("modules", nargs=-1, type=click.Choice(MODULES))
@click.option("--sample", type=int, help="Changes of each module, chosen by chance; else all.")
@click.option("--seed", default=0, help="Decides which.")
def main(modules, sample, seed):
    os.nice(10)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "project")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for module in modules or MODULES:
            source = (copy / module).read_text("utf-8")
            own = Path("tests", module).with_stem(f"test_{Path(module).stem}")
            tests = [str(own), *TESTS.get(module, [])]
            tests = [name for name in tests if (copy / name.partition("::")[0]).exists()]
            began = time.perf_counter()
            if notice(copy, tests):
                raise click.ClickException(f"the tests of {module} fail as it is")
            limit = 5 * (time.perf_counter() - began) + 60
            found = list(mutants(source))
            if sample and sample < len(found):
                found = random.Random(seed).sample(found, sample)
            noticed = 0
            for tried, (about, changed) in enumerate(found):
                click.echo(f"{module}: {noticed} of {tried} noticed", err=True)
                write(copy / module, changed)
                if notice(copy, tests, limit):
                    noticed += 1
                else:
                    click.echo(f"{module}, {about}")
            write(copy / module, source)
            click.echo(f"{module}: {noticed} of {len(found)} noticed, {noticed / len(found):.0%}")


if __name__ == "__main__":
    main()
