"""Finding an array of a set by its name, in memory that does not grow with regular names."""

from __future__ import annotations

import re

from smalto.bits.array_set_block import Chain
from smalto.bits.array_set_names import NO_NAMES, CountedNames

MAX_REMEMBERED = 1 << 20
"""Names and stretches of numbered names that are kept; a set with more is searched block by block."""

_DIGITS = re.compile(r"[0-9]+", re.ASCII)


class NameLookup:
    """Names of all chains that were added, the last of equal ones.

    Attributes:
        overflowed: more names came than are remembered; ``find`` knows only some.
    """

    def __init__(self) -> None:
        self.overflowed = False
        self._single: dict[str, int] = {}
        self._counted: dict[tuple[str, str], list[tuple[Chain, int]]] = {}
        self._num_kept = 0

    def add(self, chain: Chain) -> None:
        """Remember the names of one chain; chains come in order."""
        first_entry = chain.first_entry
        for number, run in enumerate(chain.arrays.runs):
            if self.overflowed:
                return
            if isinstance(run.names, CountedNames) and run.count * chain.num_groups > 1:
                self._reserve(1)
                self._counted.setdefault((run.names.prefix, run.names.suffix), []).append((chain, number))
            elif run.names.form != NO_NAMES:
                self._reserve(run.count)
                self._single.update((run.names.name(index), first_entry + index) for index in range(run.count))
            first_entry += run.count

    def find(self, name: str) -> int | None:
        """Number of the last array of this name, or None."""
        found = [self._single[name]] if name in self._single else []
        for match in _DIGITS.finditer(name):
            for chain, run in reversed(self._counted.get((name[: match.start()], name[match.end() :]), ())):
                number = _find_in_run(chain, run, name)
                if number is not None:
                    found.append(number)
                    break
        return max(found, default=None)

    def _reserve(self, count: int) -> None:
        self._num_kept += count
        self.overflowed = self._num_kept > MAX_REMEMBERED


def find_in_chain(chain: Chain, name: str) -> int | None:
    """Number of the chain's last array of this name, or None."""
    found = (_find_in_run(chain, run, name) for run in range(len(chain.arrays.runs)))
    return max((number for number in found if number is not None), default=None)


def _find_in_run(chain: Chain, number: int, name: str) -> int | None:
    """Number of the array of this name among those of one run and its repetitions."""
    arrays = chain.arrays
    run = arrays.runs[number]
    index = run.names.find(name)
    if index is None or index >= run.count * chain.num_groups:
        return None
    group, position = divmod(index, run.count)
    before = sum(other.count for other in arrays.runs[:number])
    return chain.first_entry + group * arrays.num_entries + before + position
