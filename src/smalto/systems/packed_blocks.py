"""What of a packed set is decoded together: runs of rows of one array, or groups of small arrays.

::

    array of samples       ─► runs of whole samples          one slice each, about 2^20 values
    array that is a sample ─► runs of its rows (two axes)    one slice each
    small array            ─► itself
    many small arrays      ─► the groups they were coded in
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from smalto.bits.array_set_parts import ArrayEntry
from smalto.bits.array_set_reader import ArraySetReader
from smalto.data.feature_array import storage_dtype
from smalto.errors import DamagedPacket
from smalto.systems.feature_sets import SetCoder, SlicePlan

Block = list[np.ndarray]


class GroupBlocks:
    """Every array of a set is a sample; a block is a group.

    Args:
        reader: the set.
        coder: decodes it.
    """

    def __init__(self, reader: ArraySetReader, coder: SetCoder) -> None:
        self._reader = reader
        self._coder = coder
        self.num_samples = reader.num_entries

    def ranges(self) -> tuple[range, ...]:
        """Samples of each block."""
        counts = [len(self._reader.group_entries(group)) for group in range(self._reader.num_groups)]
        ends = np.cumsum(counts).tolist()
        return tuple(range(end - count, end) for count, end in zip(counts, ends, strict=True))

    def decode(self, number: int) -> Block:
        """The arrays of a group. Raises PacketError."""
        return [self._coder.array(self._reader, member) for member in self._reader.group_entries(number)]

    def sample(self, number: int, block: Callable[[int], Block]) -> np.ndarray:
        """A sample, an array of its own; ``block`` gives decoded blocks."""
        entry = self._reader.entries[number]
        return np.array(block(entry.group)[entry.position])


class RowBlocks:
    """The rows of one array are the samples; a block is a slice of the array.

    Args:
        reader: the set.
        coder: decodes it.
        entry: an array of at least one axis.
    """

    def __init__(self, reader: ArraySetReader, coder: SetCoder, entry: ArrayEntry) -> None:
        self._reader = reader
        self._coder = coder
        self.entry = entry
        self.num_samples = entry.shape[0]
        self._plan: SlicePlan | None = None
        if entry.num_values > coder.slice_values:
            self._plan = coder.plan(entry)
        plan = self._plan
        if plan is not None and plan.num_axes == 0 and len(entry.shape) != 2:
            plan = self._plan = None  # its rows are spread over all slices
        self._num_positions, self._shape = self.num_samples, entry.shape[1:]
        if plan is None:
            self._step = max(self.num_samples, 1)
        elif plan.num_axes == 0:
            self._step = plan.rows
        else:
            self._step, self._num_positions, self._shape = plan.step, plan.num_positions, plan.sample_shape
        self._per_row = self._num_positions // max(self.num_samples, 1)  # positions in a row

    def ranges(self) -> tuple[range, ...]:
        """Samples of each block; a sample in several blocks is with the first."""
        num = self.num_samples
        if num == 0:
            return (range(0),)
        starts = sorted({-(-first // self._per_row) for first in range(0, self._num_positions, self._step)} - {num})
        return tuple(range(start, stop) for start, stop in zip(starts, [*starts[1:], num], strict=True))

    def decode(self, number: int) -> Block:
        """The positions of a slice as one array, (positions, ...). Raises PacketError."""
        plan, start = self._plan, number * self._step
        if plan is None:
            return [self._coder.array(self._reader, self.entry)]
        if plan.num_axes == 0:
            return [self._piece(plan, number)]
        return [self._coder.positions(self._reader, self.entry, start, min(start + self._step, self._num_positions))]

    def sample(self, number: int, block: Callable[[int], Block]) -> np.ndarray:
        """A row, an array of its own; ``block`` gives decoded blocks."""
        return self.rows(number, number + 1, block)[0]

    def rows(self, start: int, stop: int, block: Callable[[int], Block]) -> np.ndarray:
        """Rows start .. stop - 1 as an array of its own; ``block`` gives decoded blocks."""
        first, last, step = start * self._per_row, stop * self._per_row, self._step
        out = np.empty((last - first, *self._shape), storage_dtype(self.entry.dtype))
        for number in range(first // step, -(-last // step) if last > first else 0):
            (values,) = block(number)
            begin = number * step
            low, high = max(first, begin), min(last, begin + step)
            out[low - first : high - first] = values[low - begin : high - begin]
        return out.reshape(stop - start, *self.entry.shape[1:])

    def _piece(self, plan: SlicePlan, number: int) -> np.ndarray:
        """One slice of an array that is a single sample of two axes."""
        reader, entry = self._reader, self.entry
        if reader.num_parts(entry.group) != plan.num_slices or len(reader.group_entries(entry.group)) != 1:
            raise DamagedPacket(f"{reader.name}: group {entry.group} is not of one array; the file is damaged")
        shape = plan.piece_shape(plan.piece(number))
        tier = self._coder.tier.named(entry.name)
        (values,) = tier.decode(reader.part(entry.group, number), 1, shape, entry.dtype)
        return values


def blocks_of(reader: ArraySetReader, coder: SetCoder, entry: ArrayEntry | None) -> RowBlocks | GroupBlocks:
    """The blocks of an array's rows, or of all arrays."""
    if entry is None:
        return GroupBlocks(reader, coder)
    return RowBlocks(reader, coder, entry)
