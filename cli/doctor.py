"""`python main.py doctor`: what this machine is, and whether its numbers can be trusted."""

import click

from cli import VERSION
from cli.options import command, device
from lab.checks import CHECKS, speeds
from machine.facts import facts

WIDTH = 15


@command
@device
def doctor():
    """Describe this machine, check its numbers and time it, in a few seconds.

    What it prints can be pasted into a report of something that went wrong. The exit code is 1 if
    a check fails.

    \b
    Example:
      python main.py doctor --device cpu
    """
    for name, value in ({"program": VERSION} | facts()).items():
        click.echo(f"{name:{WIDTH}} {value}")
    failed = 0
    for name, check in CHECKS.items():
        apart = check.measure()
        right = apart <= check.allowed  # which NaN is not
        failed += not right
        verdict = "right" if right else f"WRONG: {check.advice}"
        said = f"{check.about}: {apart:.1e} apart, {check.allowed:.0e} allowed"
        click.echo(f"{name:{WIDTH}} {verdict}  ({said})")
    for name, value in speeds().items():
        click.echo(f"{name:{WIDTH}} {value}")
    if failed:
        raise click.ClickException(f"{failed} of {len(CHECKS)} checks failed.")
    click.echo(f"{'all':{WIDTH}} right, in {len(CHECKS)} checks")
