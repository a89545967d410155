"""The table of an array set as it is written: one line a group, in blocks that are read one at a time.

::

    block = line*            line = bits [run*] parts            run = count, dtype, shape, names

A line whose runs repeat those of the line before it, with names that count on, is its bits and its parts' lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from smalto.bits.array_set_names import Names, describe_names
from smalto.bits.array_set_parts import (
    MAX_GROUP_ENTRIES,
    MAX_GROUP_RUNS,
    ArrayEntry,
    ArraySpec,
)
from smalto.bits.dtypes import DTYPES
from smalto.bits.packet_parts import CRC_BYTES
from smalto.bits.varint import varint
from smalto.errors import UsageError

MAX_BLOCK_BYTES = 1 << 20
MAX_BLOCK_GROUPS = 1 << 16
MAX_BLOCK_RUNS = 1 << 16
_FULL_BYTES, _FULL_COUNT = 1 << 16, 1 << 14
SAME, ONE_PART = 0x01, 0x02
FORM_SHIFT = 3


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive arrays of one dtype and shape.

    Args:
        count: how many, at least 1.
        dtype: their values' type.
        shape: their sides.
        names: their names, and those of the runs that repeat this one.
    """

    count: int
    dtype: str
    shape: tuple[int, ...]
    names: Names

    @property
    def num_values(self) -> int:
        """Values of all arrays together."""
        return self.count * math.prod(self.shape)

    def to_bytes(self) -> bytes:
        """The run as it stands in a line."""
        out = varint(self.count) + bytes([DTYPES[self.dtype] | self.names.form << FORM_SHIFT])
        return out + varint(len(self.shape)) + b"".join(map(varint, self.shape)) + self.names.to_bytes()


class RunList:
    """The arrays of a group, and of the groups that repeat it.

    Attributes:
        runs: the arrays.
        num_entries: arrays in a group.
        num_values: values in a group.
        most_groups: how many groups in a row can be like this before a name leaves its range.
    """

    __slots__ = ("most_groups", "num_entries", "num_values", "runs")

    def __init__(self, runs: tuple[Run, ...]) -> None:
        self.runs = runs
        self.num_entries = sum(run.count for run in runs)
        self.num_values = sum(run.num_values for run in runs)
        self.most_groups = min((run.names.num_names // run.count for run in runs), default=0)


class GroupLine(NamedTuple):
    """One group's line of the table.

    Args:
        number: the group's number in the set.
        arrays: its arrays.
        repeat: how many groups just before it have the same arrays; names count on from them.
        first_entry: the number of its first array.
        lengths: bytes of each part, without checksum.
        offset: first byte of its first part, from the first part of its block.
    """

    number: int
    arrays: RunList
    repeat: int
    first_entry: int
    lengths: Sequence[int]
    offset: int

    @property
    def num_bytes(self) -> int:
        """Bytes of all its parts with their checksums."""
        return sum(self.lengths) + CRC_BYTES * len(self.lengths)

    def entry(self, position: int) -> ArrayEntry:
        """Its array number ``position``."""
        index, first_value = position, 0
        for run in self.arrays.runs:
            if index < run.count:
                name = run.names.name(self.repeat * run.count + index)
                first_value += index * math.prod(run.shape)
                number = self.first_entry + position
                return ArrayEntry(run.dtype, run.shape, name, number, self.number, position, first_value)
            index -= run.count
            first_value += run.num_values
        raise IndexError(position)

    def entries(self) -> Iterator[ArrayEntry]:
        """All its arrays in order."""
        position = first_value = 0
        for run in self.arrays.runs:
            size = math.prod(run.shape)
            for index in range(self.repeat * run.count, (self.repeat + 1) * run.count):
                name, number = run.names.name(index), self.first_entry + position
                yield ArrayEntry(run.dtype, run.shape, name, number, self.number, position, first_value)
                position += 1
                first_value += size


def describe_runs(entries: Sequence[ArraySpec]) -> RunList:
    """Arrays as runs of equal dtype and shape.

    Raises:
        UsageError: there are none, or too many for one group.
    """
    if not 1 <= len(entries) <= MAX_GROUP_ENTRIES:
        raise UsageError(f"a group of {len(entries)} arrays cannot be written; use 1..{MAX_GROUP_ENTRIES}")
    runs: list[Run] = []
    for (dtype, shape), members in groupby(entries, lambda entry: (entry.dtype, entry.shape)):
        names = [entry.name for entry in members]
        runs.append(Run(len(names), dtype, shape, describe_names(names)))
    if len(runs) > MAX_GROUP_RUNS:
        raise UsageError(f"a group of {len(runs)} different shapes is over {MAX_GROUP_RUNS}; make smaller groups")
    return RunList(tuple(runs))


class TableEncoder:
    """Collects lines of one block.

    Attributes:
        lines: the block so far.
        num_groups: lines in it.
        num_entries: arrays in it.
        part_bytes: bytes of all parts of its groups, checksums included.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin another block."""
        self.lines = bytearray()
        self.num_groups = self.num_entries = self.part_bytes = 0
        self._num_runs = 0
        self._before = RunList(())
        self._repeat = 0

    @property
    def full(self) -> bool:
        """The block should be written before another line comes."""
        return len(self.lines) >= _FULL_BYTES or self.num_groups >= _FULL_COUNT or self._num_runs >= _FULL_COUNT

    def add(self, arrays: RunList, lengths: Sequence[int]) -> None:
        """One more line.

        Args:
            arrays: what ``describe`` gave for the group.
            lengths: bytes of each part.

        Raises:
            UsageError: the line is longer than a block may be.
        """
        same = arrays is self._before
        line = bytearray([(SAME if same else 0) | (ONE_PART if len(lengths) == 1 else 0)])
        if not same:
            line += varint(len(arrays.runs)) + b"".join(run.to_bytes() for run in arrays.runs)
        if len(lengths) != 1:
            line += varint(len(lengths))
        line += b"".join(map(varint, lengths))
        if len(line) > MAX_BLOCK_BYTES - _FULL_BYTES - CRC_BYTES:
            raise UsageError(f"names and shapes of one group take {len(line)} bytes; make smaller groups")
        self.lines += line
        self.num_groups += 1
        self.num_entries += arrays.num_entries
        self.part_bytes += sum(lengths) + CRC_BYTES * len(lengths)
        self._num_runs += len(arrays.runs)
        self._repeat = self._repeat + 1 if same else 0
        self._before = arrays

    def describe(self, entries: Sequence[ArraySpec]) -> RunList:
        """The arrays of the group that comes next; those of the group before where they are repeated.

        Raises:
            UsageError: there are none, or too many for one group.
        """
        return self._before if self._repeated(entries) else describe_runs(entries)

    def _repeated(self, entries: Sequence[ArraySpec]) -> bool:
        before, repeat = self._before, self._repeat + 1
        if len(entries) != before.num_entries or repeat >= before.most_groups:
            return False
        position = 0
        for run in before.runs:
            for index in range(repeat * run.count, (repeat + 1) * run.count):
                entry = entries[position]
                if (entry.dtype, entry.shape, entry.name) != (run.dtype, run.shape, run.names.name(index)):
                    return False
                position += 1
        return True
