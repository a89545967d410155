"""What the command line says while it works: a bar on a terminal, plain lines elsewhere, nothing with ``-q``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Reporter:
    """Notes and progress on stderr, so that stdout carries results only.

    Args:
        quiet: say nothing.
    """

    quiet: bool = False

    def line(self, text: str) -> None:
        """One plain line."""
        if not self.quiet:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def track(self, items: Sequence[Item], label: str) -> Iterator[Item]:
        """Go through ``items``; on a terminal a bar shows how far it is when there are two or more."""
        if self.quiet or len(items) < 2 or not sys.stderr.isatty():
            yield from items
            return
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=label, console=Console(stderr=True), transient=True)
