"""What the command line says while it works: a bar on a terminal, plain lines elsewhere, nothing with ``-q``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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

    @contextmanager
    def counter(self, label: str) -> Iterator[Callable[[int, int, str], None]]:
        """A function to call with (done, total, what): a bar on a terminal, a line every tenth elsewhere."""
        if self.quiet:
            yield lambda done, total, what: None
        elif sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            with Progress(console=Console(stderr=True), transient=True) as progress:
                task = progress.add_task(label)
                yield lambda done, total, what: progress.update(
                    task, completed=done, total=total, description=f"{label}: {what}"
                )
        else:
            tenths = -1

            def count(done: int, total: int, what: str) -> None:
                nonlocal tenths
                if 10 * done // max(total, 1) > tenths:
                    tenths = 10 * done // max(total, 1)
                    self.line(f"{label}: {done} of {total}, {what}")

            yield count
