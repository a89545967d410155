"""Arrays of a group or of a whole set as sequences; an entry is made when it is asked for, not before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from smalto.bits.array_set_file import SetFile
from smalto.bits.array_set_parts import ArrayEntry
from smalto.bits.array_set_table import GroupLine


class GroupEntries(Sequence[ArrayEntry]):
    """The arrays of one group; each is made when it is asked for."""

    def __init__(self, line: GroupLine) -> None:
        self._line = line
        self._count = line.arrays.num_entries

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> ArrayEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ArrayEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> ArrayEntry | tuple[ArrayEntry, ...]:
        if isinstance(index, slice):
            return tuple(self._line.entry(position) for position in range(*index.indices(self._count)))
        return self._line.entry(range(self._count)[index])

    def __iter__(self) -> Iterator[ArrayEntry]:
        return self._line.entries()


class SetEntries(Sequence[ArrayEntry]):
    """All arrays of a set; blocks of the table are read as they are needed."""

    def __init__(self, file: SetFile) -> None:
        self._file = file

    def __len__(self) -> int:
        return self._file.num_entries

    @overload
    def __getitem__(self, index: int) -> ArrayEntry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ArrayEntry, ...]: ...
    def __getitem__(self, index: int | slice) -> ArrayEntry | tuple[ArrayEntry, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        line = self._file.entry_line(number)
        return line.entry(number - line.first_entry)

    def __iter__(self) -> Iterator[ArrayEntry]:
        for block in range(self._file.num_blocks):
            for line in self._file.block(block):
                yield from line.entries()
