"""The table of an array set: one line a group, in blocks that are read one at a time.

::

    block = line*            line = bits [run*] parts            run = count, dtype, shape, names

A line whose runs repeat those of the line before it, with names that count on, is its bits and its parts' lengths.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from smalto.bits.array_set_names import Names, describe_names, parse_names
from smalto.bits.array_set_parts import (
    DTYPES,
    MAX_DIMENSIONS,
    MAX_GROUP_ENTRIES,
    MAX_GROUP_RUNS,
    MAX_PART_BYTES,
    MAX_PART_VALUES,
    MAX_PARTS,
    MAX_VALUES,
    ArrayEntry,
    ArraySpec,
    check_shape,
)
from smalto.bits.packet_parts import CRC_BYTES
from smalto.bits.varint import Cursor, varint
from smalto.errors import UsageError

MAX_BLOCK_BYTES = 1 << 20
MAX_BLOCK_GROUPS = 1 << 16
MAX_BLOCK_RUNS = 1 << 16
_FULL_BYTES, _FULL_COUNT = 1 << 16, 1 << 14
_SAME, _ONE_PART = 0x01, 0x02
_DTYPE_OF_CODE = {code: name for name, code in DTYPES.items()}
_DTYPE_MASK, _FORM_SHIFT = 0x07, 3


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive arrays of one dtype and shape.

    Args:
        count: how many, at least 1.
        dtype: their values' type.
        shape: their sides.
        names: their names.
    """

    count: int
    dtype: str
    shape: tuple[int, ...]
    names: Names

    @property
    def num_values(self) -> int:
        """Values of all arrays together."""
        return self.count * math.prod(self.shape)

    def following(self) -> Run | None:
        """A run like this one whose names count on, or None."""
        names = self.names.following()
        return None if names is None else Run(self.count, self.dtype, self.shape, names)

    def to_bytes(self) -> bytes:
        """The run as it stands in a line."""
        out = varint(self.count) + bytes([DTYPES[self.dtype] | self.names.form << _FORM_SHIFT])
        return out + varint(len(self.shape)) + b"".join(map(varint, self.shape)) + self.names.to_bytes()


@dataclass(frozen=True, slots=True)
class GroupLine:
    """One group's line of the table.

    Args:
        number: the group's number in the set.
        runs: its arrays.
        first_entry: the number of its first array.
        lengths: bytes of each part, without checksum.
        offset: first byte of its first part, from the first part of its block.
    """

    number: int
    runs: tuple[Run, ...]
    first_entry: int
    lengths: Sequence[int]
    offset: int

    @property
    def num_entries(self) -> int:
        """Arrays in the group."""
        return sum(run.count for run in self.runs)

    @property
    def num_values(self) -> int:
        """Values in the group."""
        return sum(run.num_values for run in self.runs)

    @property
    def num_bytes(self) -> int:
        """Bytes of all its parts with their checksums."""
        return sum(self.lengths) + CRC_BYTES * len(self.lengths)

    def entry(self, position: int) -> ArrayEntry:
        """Its array number ``position``."""
        index, first_value = position, 0
        for run in self.runs:
            if index < run.count:
                first_value += index * math.prod(run.shape)
                number = self.first_entry + position
                return ArrayEntry(
                    run.dtype, run.shape, run.names.name(index), number, self.number, position, first_value
                )
            index -= run.count
            first_value += run.num_values
        raise IndexError(position)

    def entries(self) -> Iterator[ArrayEntry]:
        """All its arrays in order."""
        position = first_value = 0
        for run in self.runs:
            size = math.prod(run.shape)
            for index in range(run.count):
                name, number = run.names.name(index), self.first_entry + position
                yield ArrayEntry(run.dtype, run.shape, name, number, self.number, position, first_value)
                position += 1
                first_value += size


def describe_runs(entries: Sequence[ArraySpec]) -> tuple[Run, ...]:
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
    return tuple(runs)


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
        self._before: tuple[Run, ...] = ()

    @property
    def full(self) -> bool:
        """The block should be written before another line comes."""
        return len(self.lines) >= _FULL_BYTES or self.num_groups >= _FULL_COUNT or self._num_runs >= _FULL_COUNT

    def continued(self, entries: Sequence[ArraySpec]) -> tuple[Run, ...] | None:
        """Runs like those of the line before, when ``entries`` are exactly what follows on them."""
        runs: list[Run] = []
        first = 0
        for before in self._before:
            run, members = before.following(), entries[first : first + before.count]
            first += before.count
            if run is None or len(members) < run.count:
                return None
            for index, entry in enumerate(members):
                if (entry.dtype, entry.shape, entry.name) != (run.dtype, run.shape, run.names.name(index)):
                    return None
            runs.append(run)
        return tuple(runs) if runs and first == len(entries) else None

    def add(self, runs: tuple[Run, ...], same: bool, lengths: Sequence[int]) -> None:
        """One more line.

        Args:
            runs: the group's arrays.
            same: the runs came from ``continued``.
            lengths: bytes of each part.

        Raises:
            UsageError: the line is longer than a block may be.
        """
        line = bytearray([(_SAME if same else 0) | (_ONE_PART if len(lengths) == 1 else 0)])
        if not same:
            line += varint(len(runs)) + b"".join(run.to_bytes() for run in runs)
        if len(lengths) != 1:
            line += varint(len(lengths))
        line += b"".join(map(varint, lengths))
        if len(line) > MAX_BLOCK_BYTES - _FULL_BYTES - CRC_BYTES:
            raise UsageError(f"names and shapes of one group take {len(line)} bytes; make smaller groups")
        self.lines += line
        self.num_groups += 1
        self.num_entries += sum(run.count for run in runs)
        self.part_bytes += sum(lengths) + CRC_BYTES * len(lengths)
        self._num_runs += len(runs)
        self._before = runs


def parse_lines(cursor: Cursor, num_groups: int, first_group: int, first_entry: int) -> tuple[GroupLine, ...]:
    """The lines of one block, which must end where the cursor's bytes do.

    Args:
        cursor: at the first line; its bytes are trusted to be what was written, not to be reasonable.
        num_groups: lines in the block.
        first_group: number of the first.
        first_entry: number of its first array.

    Raises:
        DamagedPacket: a line breaks a rule of the format.
    """
    if num_groups > MAX_BLOCK_GROUPS:
        raise cursor.damaged(f"{num_groups} groups in one block of the table are more than {MAX_BLOCK_GROUPS}")
    lines: list[GroupLine] = []
    offset = num_runs = 0
    runs: tuple[Run, ...] = ()
    for number in range(first_group, first_group + num_groups):
        bits = cursor.byte()
        if bits & ~(_SAME | _ONE_PART):
            raise cursor.damaged(f"group {number} has unknown bits {bits:#x} in the table")
        runs = _following(cursor, runs) if bits & _SAME else _parse_runs(cursor)
        num_runs += len(runs)
        if num_runs > MAX_BLOCK_RUNS:
            raise cursor.damaged(f"more than {MAX_BLOCK_RUNS} runs stand in one block of the table")
        lengths = _parse_lengths(cursor, 1 if bits & _ONE_PART else None)
        line = GroupLine(number, runs, first_entry, lengths, offset)
        if line.num_entries > MAX_GROUP_ENTRIES or line.num_values > MAX_PART_VALUES * len(lengths):
            sizes = f"{line.num_entries} arrays of {line.num_values} values in {len(lengths)} parts"
            raise cursor.damaged(f"group {number} cannot have {sizes}")
        lines.append(line)
        first_entry += line.num_entries
        offset += line.num_bytes
    if cursor.remaining:
        raise cursor.damaged(f"{cursor.remaining} bytes stand after a block of the table")
    return tuple(lines)


def _following(cursor: Cursor, before: tuple[Run, ...]) -> tuple[Run, ...]:
    runs = tuple(run for run in (run.following() for run in before) if run is not None)
    if not before or len(runs) < len(before):
        raise cursor.damaged("a group repeats a group before it that cannot be repeated")
    return runs


def _parse_lengths(cursor: Cursor, count: int | None) -> Sequence[int]:
    if count == 1:
        return (cursor.varint(MAX_PART_BYTES),)
    count = cursor.varint(MAX_PARTS)
    if count == 1:
        raise cursor.damaged("a group's only part is written as several")
    return array("I", (cursor.varint(MAX_PART_BYTES) for _ in range(count)))


def _parse_runs(cursor: Cursor) -> tuple[Run, ...]:
    count = cursor.varint(MAX_GROUP_RUNS)
    if count == 0:
        raise cursor.damaged("a group without arrays stands in the table")
    return tuple(_parse_run(cursor) for _ in range(count))


def _parse_run(cursor: Cursor) -> Run:
    count, bits = cursor.varint(MAX_GROUP_ENTRIES), cursor.byte()
    dtype = _DTYPE_OF_CODE.get(bits & _DTYPE_MASK)
    if count == 0 or dtype is None:
        raise cursor.damaged(f"{count} arrays of the unknown type {bits & _DTYPE_MASK} stand in the table")
    shape = tuple(cursor.varint(MAX_VALUES) for _ in range(cursor.varint(MAX_DIMENSIONS)))
    try:
        check_shape(shape)
    except UsageError as error:
        raise cursor.damaged(str(error)) from error
    return Run(count, dtype, shape, parse_names(cursor, bits >> _FORM_SHIFT, count))
