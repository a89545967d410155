"""Outcomes of a fuzz run, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from smalto.bench.results import Table

MAX_LISTED = 20


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant.

    Args:
        number: of the mutant, in the sequence of the run's seed.
        kind: what was done to the file.
        resealed: its checksums were recomputed.
        outcome: ``picture``, or the name of the error that refused it.
        seconds: of processor time, all readers together; of the clock for commands in processes of their own.
        complaint: what is wrong with that, or None.
    """

    number: int
    kind: str
    resealed: bool
    outcome: str
    seconds: float
    complaint: str | None


@dataclass(frozen=True)
class FuzzReport:
    """A fuzz run.

    Args:
        label: who read the mutants.
        seed: of the mutants.
        verdicts: one a mutant.
        seconds: the whole run.
        unverified_bytes: most that reading allocated before all checksums had been compared, on a sample.
        growth_bytes: what the run added to the process's largest resident set.
        complaints: what is wrong with the run as a whole.
    """

    label: str
    seed: int
    verdicts: tuple[Verdict, ...]
    seconds: float
    unverified_bytes: int
    growth_bytes: int
    complaints: tuple[str, ...]

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """Mutants that something is wrong with."""
        return tuple(verdict for verdict in self.verdicts if verdict.complaint is not None)

    @property
    def passed(self) -> bool:
        """Every mutant had an outcome that is allowed, in time and within memory."""
        return not self.failures and not self.complaints

    def table(self) -> Table:
        """Mutants by kind and checksums, against outcomes."""
        outcomes = sorted({verdict.outcome for verdict in self.verdicts})
        kinds = dict.fromkeys((verdict.kind, verdict.resealed) for verdict in self.verdicts)
        counted = Counter((verdict.kind, verdict.resealed, verdict.outcome) for verdict in self.verdicts)
        rows = []
        for kind, resealed in sorted(kinds):
            cells = [counted[kind, resealed, outcome] for outcome in outcomes]
            rows.append((kind, "recomputed" if resealed else "old", sum(cells), *cells))
        totals = (sum(row[k] for row in rows) for k in range(2, 3 + len(outcomes)))  # type: ignore[misc]
        rows.append(("all", "", *totals))
        columns = ("mutation", "checksums", "mutants", *outcomes)
        return Table(self.label, columns, tuple(rows), self._note())

    def _note(self) -> str:
        slowest = max(self.verdicts, key=lambda verdict: verdict.seconds, default=None)
        times = f"slowest {slowest.seconds:.3f} s (number {slowest.number})" if slowest is not None else "no mutants"
        return (
            f"{self.label}: {len(self.verdicts)} mutants of seed {self.seed} in {self.seconds:.0f} s, "
            f"{len(self.failures)} failures; {times}; at most {self.unverified_bytes / 2**20:.2f} MiB allocated before "
            f"checksums held; peak resident set grew by {self.growth_bytes / 2**20:.0f} MiB"
        )

    def to_text(self) -> str:
        """The table in Markdown, with what was found wrong."""
        lines = [self._note() + ".", "", self.table().to_markdown()]
        lines += [f"FAILED: {complaint}" for complaint in self.complaints]
        lines += [
            f"FAILED: mutant {v.number} ({v.kind}, checksums {'recomputed' if v.resealed else 'old'}): {v.complaint}"
            for v in self.failures[:MAX_LISTED]
        ]
        if len(self.failures) > MAX_LISTED:
            lines.append(f"... and {len(self.failures) - MAX_LISTED} more")
        return "\n".join(lines) + "\n"
