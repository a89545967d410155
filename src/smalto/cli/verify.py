"""``smalto verify``: every checksum of every file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from smalto.cli.options import Packets
from smalto.cli.outputs import check_inputs, display_name, naming
from smalto.cli.packets import open_any
from smalto.errors import SmaltoError

if TYPE_CHECKING:
    from smalto.cli.progress import Reporter


def verify(context: typer.Context, files: Packets) -> None:
    """Check every checksum of files.

    All files are looked at; the exit code is 3 when one is damaged.
    """
    check_inputs(files)
    reporter: Reporter = context.obj
    worst = 0
    for name in reporter.track(files, "verify"):
        errors, code = _verify_one(name)
        worst = max(worst, code)
        if not errors and not reporter.quiet:
            typer.echo(f"{display_name(name)}: healthy")
        for error in errors:
            typer.echo(f"smalto: {error}", err=True)
    raise typer.Exit(worst)


def _verify_one(name: str) -> tuple[tuple[str, ...], int]:
    """What is wrong with a file, one line each, and the exit code that goes with it."""
    try:
        with naming(display_name(name)), open_any(name) as reader:
            report = reader.verify()
    except SmaltoError as error:
        return (str(error),), error.exit_code
    return report.errors, 0 if report.healthy else 3
