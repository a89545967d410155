"""One block of an array set's table as it is read: a few bytes for each group, lines made when they are asked for."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from smalto.bits.array_set_names import parse_names
from smalto.bits.array_set_parts import (
    MAX_DIMENSIONS,
    MAX_GROUP_ENTRIES,
    MAX_GROUP_RUNS,
    MAX_PART_BYTES,
    MAX_PART_VALUES,
    MAX_PARTS,
    MAX_VALUES,
    check_shape,
)
from smalto.bits.array_set_table import (
    FORM_SHIFT,
    MAX_BLOCK_GROUPS,
    MAX_BLOCK_RUNS,
    ONE_PART,
    SAME,
    GroupLine,
    Run,
    RunList,
)
from smalto.bits.dtypes import DTYPES
from smalto.bits.packet_parts import CRC_BYTES
from smalto.bits.varint import Cursor
from smalto.errors import UsageError

_DTYPE_OF_CODE = {code: name for name, code in DTYPES.items()}
_DTYPE_MASK = (1 << FORM_SHIFT) - 1
_GROUP_COST_BYTES, _RUN_COST_BYTES = 20, 400


class Chain(NamedTuple):
    """A group and those right behind it that repeat its arrays.

    Args:
        first_group: which group of the block is the first.
        first_entry: number of its first array in the set.
        arrays: the arrays of each.
        num_groups: how many groups.
    """

    first_group: int
    first_entry: int
    arrays: RunList
    num_groups: int


class TableBlock:
    """The lines of one block, which must end where the cursor's bytes do.

    Args:
        cursor: at the first line; its bytes are what was written, which need not be reasonable.
        num_groups: lines in the block.
        first_group: number of the first in the set.
        first_entry: number of its first array in the set.

    Attributes:
        chains: its groups, those that repeat each other together.
        num_groups: groups in it.
        num_entries: arrays in it.
        part_bytes: bytes of the parts of all its groups, checksums included.

    Raises:
        DamagedPacket: a line breaks a rule of the format.
    """

    def __init__(self, cursor: Cursor, num_groups: int, first_group: int, first_entry: int) -> None:
        if num_groups > MAX_BLOCK_GROUPS:
            raise cursor.damaged(f"{num_groups} groups in one block of the table are more than {MAX_BLOCK_GROUPS}")
        self.num_groups = num_groups
        self.chains: list[Chain] = []
        self._first_group = first_group
        self._lengths = array("I")
        self._part_ends = array("I", [0])
        self._offsets = array("Q", [0])
        self._parse(cursor, first_entry)
        if cursor.remaining:
            raise cursor.damaged(f"{cursor.remaining} bytes stand after a block of the table")
        self.part_bytes = self._offsets[-1]
        self.num_entries = sum(chain.arrays.num_entries * chain.num_groups for chain in self.chains)
        num_runs = sum(len(chain.arrays.runs) for chain in self.chains)
        self.kept_bytes = len(cursor.data) + _GROUP_COST_BYTES * num_groups + _RUN_COST_BYTES * num_runs
        self._chain_groups = [chain.first_group for chain in self.chains]
        self._chain_entries = [chain.first_entry for chain in self.chains]

    def __iter__(self) -> Iterator[GroupLine]:
        return (self.line(index) for index in range(self.num_groups))

    def line(self, index: int) -> GroupLine:
        """The line of the block's group number ``index``."""
        chain = self.chains[bisect_right(self._chain_groups, index) - 1]
        repeat = index - chain.first_group
        first_entry = chain.first_entry + repeat * chain.arrays.num_entries
        lengths = self._lengths[self._part_ends[index] : self._part_ends[index + 1]]
        number = self._first_group + index
        return GroupLine(number, chain.arrays, repeat, first_entry, lengths, self._offsets[index])

    def line_of_entry(self, number: int) -> GroupLine:
        """The line of the group with array ``number`` of the set."""
        chain = self.chains[bisect_right(self._chain_entries, number) - 1]
        return self.line(chain.first_group + (number - chain.first_entry) // chain.arrays.num_entries)

    def _parse(self, cursor: Cursor, entry: int) -> None:
        num_runs, first, arrays = 0, 0, RunList(())
        for index in range(self.num_groups):
            bits = cursor.byte()
            if bits & ~(SAME | ONE_PART):
                raise cursor.damaged(f"a group has unknown bits {bits:#x} in the table")
            if not bits & SAME:
                if index:
                    self.chains.append(Chain(first, entry, arrays, index - first))
                    entry += arrays.num_entries * (index - first)
                first, arrays = index, _parse_runs(cursor)
                num_runs += len(arrays.runs)
                if num_runs > MAX_BLOCK_RUNS:
                    raise cursor.damaged(f"more than {MAX_BLOCK_RUNS} runs stand in one block of the table")
            elif index - first >= arrays.most_groups:
                raise cursor.damaged("a group repeats a group before it that cannot be repeated")
            num_parts, num_bytes = 1, 0
            if not bits & ONE_PART and (num_parts := cursor.varint(MAX_PARTS)) == 1:
                raise cursor.damaged("a group's only part is written as several")
            for _ in range(num_parts):
                length = cursor.varint(MAX_PART_BYTES)
                self._lengths.append(length)
                num_bytes += length + CRC_BYTES
            if arrays.num_values > MAX_PART_VALUES * num_parts:
                raise cursor.damaged(f"a group cannot have {arrays.num_values} values in {num_parts} parts")
            self._part_ends.append(len(self._lengths))
            self._offsets.append(self._offsets[-1] + num_bytes)
        if self.num_groups:
            self.chains.append(Chain(first, entry, arrays, self.num_groups - first))


def _parse_runs(cursor: Cursor) -> RunList:
    count = cursor.varint(MAX_GROUP_RUNS)
    if count == 0:
        raise cursor.damaged("a group without arrays stands in the table")
    arrays = RunList(tuple(_parse_run(cursor) for _ in range(count)))
    if arrays.num_entries > MAX_GROUP_ENTRIES:
        raise cursor.damaged(f"a group cannot have {arrays.num_entries} arrays")
    return arrays


def _parse_run(cursor: Cursor) -> Run:
    count, bits = cursor.varint(MAX_GROUP_ENTRIES), cursor.byte()
    dtype = _DTYPE_OF_CODE.get(bits & _DTYPE_MASK)
    if count == 0 or dtype is None:
        raise cursor.damaged(f"{count} arrays of the type {bits & _DTYPE_MASK} cannot stand in the table")
    shape = tuple(cursor.varint(MAX_VALUES) for _ in range(cursor.varint(MAX_DIMENSIONS)))
    try:
        check_shape(shape)
    except UsageError as error:
        raise cursor.damaged(str(error)) from error
    return Run(count, dtype, shape, parse_names(cursor, bits >> FORM_SHIFT, count))
