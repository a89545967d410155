"""Arguments and options that several commands share, so that they read and behave alike."""

from __future__ import annotations

from typing import Annotated

import typer

from smalto.errors import UsageError

Packets = Annotated[list[str], typer.Argument(metavar="FILE...", help=".smalto files; - reads one from a pipe.")]
Output = Annotated[str | None, typer.Option("--output", "-o", metavar="OUT", help="Output file; - writes to a pipe.")]
Directory = Annotated[str | None, typer.Option("--directory", "-d", metavar="DIR", help="Folder for the outputs.")]
SystemName = Annotated[str, typer.Option("--system", metavar="NAME", help="Installed system; see `smalto systems`.")]
ReadingSystem = Annotated[
    str | None, typer.Option("--system", metavar="NAME", help="Installed system; by default the one the file names.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where networks run: cpu, cuda, ...")]
Data = Annotated[str | None, typer.Option("--data", metavar="DIR", help="Folder of pictures.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

QUALITY_WORDS = ("low", "medium", "high")
ARCHIVE = "archive"


def parse_quality(text: str, archive: bool = False) -> str | float:
    """``low``, ``medium``, ``high``, or a number 0..100.

    Args:
        text: what the user wrote.
        archive: take ``archive`` too.

    Raises:
        UsageError: anything else.
    """
    if text in QUALITY_WORDS or (archive and text == ARCHIVE):
        return text
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 100.0:
        words = ", ".join((*QUALITY_WORDS, ARCHIVE) if archive else QUALITY_WORDS)
        raise UsageError(f"--quality {text}: not a quality; use {words} or a number 0..100")
    return value
