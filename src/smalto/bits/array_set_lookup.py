"""Finding an array of a set by its name, in memory that does not grow with regular names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from smalto.bits.array_set_names import CountedNames, ListedNames
from smalto.bits.array_set_table import GroupLine

MAX_REMEMBERED = 1 << 20
"""Names and stretches of numbered names that are kept; a set with more is searched block by block."""

_DIGITS = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Stretch:
    first_entry: int
    names: CountedNames

    def joined(self, other: _Stretch) -> _Stretch | None:
        """Both as one, when the other follows directly."""
        mine = self.names
        whole = replace(mine, count=mine.count + other.names.count)
        goes_on = replace(mine, start=mine.start + mine.step * mine.count, count=other.names.count)
        if other.first_entry != self.first_entry + mine.count or other.names != goes_on:
            return None
        return _Stretch(self.first_entry, whole)


class NameLookup:
    """Names of all groups that were added, the last of equal ones.

    Attributes:
        overflowed: more names came than are remembered; ``find`` knows only some.
    """

    def __init__(self) -> None:
        self.overflowed = False
        self._single: dict[str, int] = {}
        self._counted: dict[tuple[str, str], list[_Stretch]] = {}
        self._num_kept = 0

    def add(self, line: GroupLine) -> None:
        """Remember the names of one group; groups come in order."""
        first = line.first_entry
        for run in line.runs:
            if isinstance(run.names, ListedNames):
                self._reserve(run.count)
                if not self.overflowed:
                    self._single.update((run.names.name(index), first + index) for index in range(run.count))
            elif isinstance(run.names, CountedNames):
                self._add_counted(_Stretch(first, run.names))
            first += run.count

    def find(self, name: str) -> int | None:
        """Number of the last array of this name, or None."""
        found = [self._single[name]] if name in self._single else []
        for match in _DIGITS.finditer(name):
            for stretch in reversed(self._counted.get((name[: match.start()], name[match.end() :]), ())):
                index = stretch.names.find(name)
                if index is not None:
                    found.append(stretch.first_entry + index)
                    break
        return max(found, default=None)

    def _add_counted(self, stretch: _Stretch) -> None:
        names = stretch.names
        stretches = self._counted.get((names.prefix, names.suffix))
        joined = stretches[-1].joined(stretch) if stretches else None
        if stretches and joined is not None:
            stretches[-1] = joined
            return
        self._reserve(1)
        if self.overflowed:
            return
        if stretches and names.count == 1:
            self._single[names.name(0)] = stretch.first_entry
        else:
            self._counted.setdefault((names.prefix, names.suffix), []).append(stretch)

    def _reserve(self, count: int) -> None:
        self._num_kept += count
        self.overflowed = self.overflowed or self._num_kept > MAX_REMEMBERED
