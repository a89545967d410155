"""Arrays to the groups and parts of an array set, and back: slices, order, threads, random access.

::

    array over 2^20 values ─► one group, a part a slice          slice: rows of the leading axes, whole samples inside
    small arrays in a row, one shape and dtype ─► one group, one part
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from smalto.bits.array_set_parts import ArrayEntry, ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.data.feature_array import FeatureArray, storage_dtype
from smalto.errors import DamagedPacket, LimitExceeded, UsageError
from smalto.systems.feature_tiers import Tier

SLICE_VALUES = 1 << 20
MAX_SLICE_VALUES = 1 << 22
_MAX_PARTS = 1 << 16

Told = Callable[[int], None]


@dataclass(frozen=True)
class Slice:
    """A piece of an array that is coded by itself.

    Args:
        start: first position on the leading axes.
        stop: behind the last.
        top: first row of a cut position, on the array's last axis but one.
        bottom: behind the last.
    """

    start: int
    stop: int
    top: int
    bottom: int


@dataclass(frozen=True)
class SlicePlan:
    """How arrays of one shape are cut: into runs of whole samples, or a sample that is too long into rows.

    Args:
        shape: of the array.
        num_axes: leading axes, which are walked over; the others are those of a sample.
        step: positions on the leading axes in one slice.
        rows: of a sample (last axis but one) in one slice; all of them unless a sample is cut.
    """

    shape: tuple[int, ...]
    num_axes: int
    step: int
    rows: int

    @classmethod
    def of(cls, shape: tuple[int, ...], slice_values: int, sample_axes: int) -> SlicePlan:
        """Slices of at most ``slice_values`` values; more where an array would have over 65,536 of them.

        Raises:
            LimitExceeded: slices of 2^22 values would be too many, or one row of a sample is longer than that.
        """
        axes = max(len(shape) - sample_axes, 0)
        inner, side = math.prod(shape[axes:]), _side(shape[axes:])
        limit = min(max(slice_values, -(-math.prod(shape) * 4 // _MAX_PARTS)), MAX_SLICE_VALUES)
        step = max(limit // max(inner, 1), 1)
        rows = side if inner <= limit else max(limit // (inner // side), 1)
        plan = cls(shape, axes, step, rows)
        if inner // side * rows > MAX_SLICE_VALUES or plan.num_slices > _MAX_PARTS:
            raise LimitExceeded(f"features: an array of shape {shape} is too long to be cut; reshape it")
        return plan

    @property
    def num_positions(self) -> int:
        """Positions on the leading axes."""
        return math.prod(self.shape[: self.num_axes])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one position."""
        return self.shape[self.num_axes :]

    @property
    def num_pieces(self) -> int:
        """Slices of one position, when positions are cut; 1 otherwise."""
        return max(-(-_side(self.sample_shape) // self.rows), 1)

    @property
    def num_slices(self) -> int:
        """How many slices there are."""
        return -(-self.num_positions // self.step) * self.num_pieces

    @property
    def is_table(self) -> bool:
        """The array is one sample of two axes, so that its slices are runs of its rows."""
        return self.num_axes == 0 and len(self.shape) == 2

    def piece(self, number: int) -> Slice:
        """Where a slice lies."""
        run, piece = divmod(number, self.num_pieces)
        top = piece * self.rows
        bottom = min(top + self.rows, _side(self.sample_shape))
        return Slice(run * self.step, min((run + 1) * self.step, self.num_positions), top, bottom)

    def piece_shape(self, piece: Slice) -> tuple[int, ...]:
        """Shape of one sample in a slice."""
        sample = self.sample_shape
        return (*sample[:-2], piece.bottom - piece.top, sample[-1]) if len(sample) >= 2 else sample


def _side(sample: tuple[int, ...]) -> int:
    """Rows of a sample: its last axis but one."""
    return max(sample[-2], 1) if len(sample) >= 2 else 1


def _cut(samples: np.ndarray, piece: Slice) -> np.ndarray:
    """The rows of a piece in (positions, *sample)."""
    return samples[..., piece.top : piece.bottom, :] if samples.ndim >= 3 else samples


class SetCoder:
    """Writes arrays to sets and reads them back through one tier.

    Args:
        tier: codes slices.
        slice_values: aimed-at size of a slice; recorded in the set, 1..2^22.
        num_threads: slices coded at once.
    """

    def __init__(self, tier: Tier, slice_values: int = SLICE_VALUES, num_threads: int = 1) -> None:
        if not 1 <= slice_values <= MAX_SLICE_VALUES:
            raise DamagedPacket(f"features: slices of {slice_values} values cannot be; the file is damaged")
        self.tier = tier
        self.slice_values = slice_values
        self.num_threads = max(num_threads, 1)
        self._held: tuple[tuple[ArraySetReader, int], list[np.ndarray]] | None = None

    # -- writing ----------------------------------------------------------------------------------------------------

    def write(self, writer: ArraySetWriter, arrays: Iterable[FeatureArray], tell: Told | None = None) -> None:
        """Add every array to a set; at most a few slices are in memory at a time.

        Args:
            writer: inside its ``with`` block.
            arrays: in the order they shall have.
            tell: called with the number of values that were coded since the last call.
        """
        with ThreadPoolExecutor(self.num_threads) as pool:
            waiting: list[FeatureArray] = []
            for array in arrays:
                if waiting and not self._shares(waiting, array):
                    self._write_group(writer, waiting, tell)
                    waiting = []
                if math.prod(array.shape) > self.slice_values:
                    self._write_large(writer, array, pool, tell)
                else:
                    waiting.append(array)
            if waiting:
                self._write_group(writer, waiting, tell)

    def _shares(self, waiting: list[FeatureArray], array: FeatureArray) -> bool:
        first = waiting[0]
        total = math.prod(array.shape) * (len(waiting) + 1)
        is_even = (array.shape, array.dtype_name) == (first.shape, first.dtype_name)
        return is_even and self.tier.named(array.name) is self.tier.named(first.name) and total <= self.slice_values

    def _write_group(self, writer: ArraySetWriter, arrays: list[FeatureArray], tell: Told | None) -> None:
        specs = [_spec(array) for array in arrays]
        part = self.tier.named(arrays[0].name).encode([array.whole() for array in arrays], arrays[0].dtype_name)
        writer.add_group(specs, [part])
        if tell is not None:
            tell(sum(spec.num_values for spec in specs))

    def _write_large(
        self, writer: ArraySetWriter, array: FeatureArray, pool: ThreadPoolExecutor, tell: Told | None
    ) -> None:
        tier = self.tier.named(array.name)
        plan = SlicePlan.of(array.shape, self.slice_values, tier.sample_axes(array.shape))

        def code(values: np.ndarray) -> bytes:
            return tier.encode(list(values), array.dtype_name)

        def parts() -> Iterator[bytes]:
            pending: deque[tuple[int, Future[bytes]]] = deque()
            for values in _slices(array, plan):
                pending.append((values.size, pool.submit(code, values)))
                while len(pending) > self.num_threads:
                    yield _told(pending.popleft(), tell)
            while pending:
                yield _told(pending.popleft(), tell)

        writer.add_group([_spec(array)], parts())

    # -- reading ----------------------------------------------------------------------------------------------------

    def array(self, reader: ArraySetReader, entry: ArrayEntry) -> np.ndarray:
        """One array of a set; only its group is read.

        Raises:
            PacketError: the group is damaged, or was coded with another profile.
        """
        if entry.num_values <= self.slice_values:
            return self._small(reader, entry)
        return self.positions(reader, entry, 0, self.plan(entry).num_positions).reshape(entry.shape)

    def arrays(self, reader: ArraySetReader, tell: Told | None = None) -> Iterator[tuple[ArrayEntry, np.ndarray]]:
        """Every array of a set in order, each group decoded once."""
        number = 0
        while number < reader.num_entries:
            entry = reader.entries[number]
            for member in self._members(reader, entry):
                array = self.array(reader, member)
                if tell is not None:
                    tell(array.size)
                yield member, array
                number += 1

    def positions(self, reader: ArraySetReader, entry: ArrayEntry, start: int, stop: int) -> np.ndarray:
        """Samples start .. stop - 1 of an array; only the slices that hold them are read.

        Args:
            reader: the set.
            entry: one of its arrays; its samples are counted over all its leading axes.
            start: first sample.
            stop: behind the last sample.

        Returns:
            (stop - start, *axes of a sample).

        Raises:
            UsageError: samples outside the array.
        """
        plan, tier = self.plan(entry), self.tier.named(entry.name)
        if not 0 <= start < stop <= plan.num_positions:
            raise UsageError(f"{reader.name}: samples {start}..{stop} of {plan.num_positions}; choose others")
        if entry.num_values <= self.slice_values:
            return self._small(reader, entry).reshape(-1, *plan.sample_shape)[start:stop]
        self._members(reader, entry)
        out = np.empty((stop - start, *plan.sample_shape), storage_dtype(entry.dtype))
        first = start // plan.step * plan.num_pieces
        last = -(-stop // plan.step) * plan.num_pieces
        with ThreadPoolExecutor(self.num_threads) as pool:
            pending: deque[tuple[Slice, Future[list[np.ndarray]]]] = deque()
            for number in range(first, min(last, plan.num_slices)):
                part, piece = reader.part(entry.group, number), plan.piece(number)
                num, shape = piece.stop - piece.start, plan.piece_shape(piece)
                pending.append((piece, pool.submit(tier.decode, part, num, shape, entry.dtype)))
                if len(pending) > self.num_threads:
                    _place(out, start, pending.popleft())
            while pending:
                _place(out, start, pending.popleft())
        return out

    def feature(self, reader: ArraySetReader, entry: ArrayEntry) -> FeatureArray:
        """An array of a set as one that is read in slices along its first axis; each read decodes what it needs."""

        def read(start: int, stop: int) -> np.ndarray:
            plan = self.plan(entry)
            if plan.is_table and entry.num_values > self.slice_values:
                return self._table_rows(reader, entry, start, stop)
            if entry.num_values <= self.slice_values or plan.num_axes == 0:
                return self._small_or_held(reader, entry).reshape(entry.shape or (1,))[start:stop]
            if start == stop:
                return np.empty((0, *entry.shape[1:]), storage_dtype(entry.dtype))
            per_first = plan.num_positions // entry.shape[0]
            found = self.positions(reader, entry, start * per_first, stop * per_first)
            return found.reshape(-1, *entry.shape[1:])

        return FeatureArray(entry.name or str(entry.number), entry.dtype, entry.shape, read, reader.name)

    def _table_rows(self, reader: ArraySetReader, entry: ArrayEntry, start: int, stop: int) -> np.ndarray:
        """Rows of an array (N, D) that is one sample; only the slices that hold them are read."""
        plan, tier = self.plan(entry), self.tier.named(entry.name)
        self._members(reader, entry)
        out = np.empty((stop - start, *entry.shape[1:]), storage_dtype(entry.dtype))
        for number in range(start // plan.rows, -(-stop // plan.rows) if stop > start else 0):
            piece = plan.piece(number)
            (rows,) = tier.decode(reader.part(entry.group, number), 1, plan.piece_shape(piece), entry.dtype)
            low, high = max(piece.top, start), min(piece.bottom, stop)
            out[low - start : high - start] = rows[low - piece.top : high - piece.top]
        return out

    def _small_or_held(self, reader: ArraySetReader, entry: ArrayEntry) -> np.ndarray:
        """A small array, or one large sample, which is kept until the next such call."""
        if entry.num_values <= self.slice_values:
            return self._small(reader, entry)
        key = (reader, entry.group)
        if self._held is None or self._held[0] != key:
            self._held = (key, [self.array(reader, entry)])
        return self._held[1][0]

    def _small(self, reader: ArraySetReader, entry: ArrayEntry) -> np.ndarray:
        """An array that lies in one part; the arrays that were decoded with it are kept until the next such call."""
        key = (reader, entry.group)
        if self._held is None or self._held[0] != key:
            members = self._members(reader, entry)
            part = reader.part(entry.group, 0)
            tier = self.tier.named(entry.name)
            self._held = (key, tier.decode(part, len(members), entry.shape, entry.dtype))
        return self._held[1][entry.position]

    def _members(self, reader: ArraySetReader, entry: ArrayEntry) -> Sequence[ArrayEntry]:
        """The arrays that share a group with ``entry``, checked against the rule that writers follow."""
        members = reader.group_entries(entry.group)
        is_large = entry.num_values > self.slice_values
        expected = self.plan(entry).num_slices if is_large else 1
        if reader.num_parts(entry.group) != expected:
            raise DamagedPacket(f"{reader.name}: group {entry.group} is not of {expected} parts; the file is damaged")
        if len(members) > 1:
            tier = self.tier.named(entry.name)
            is_even = all((member.shape, member.dtype) == (entry.shape, entry.dtype) for member in members)
            is_even = is_even and all(self.tier.named(member.name) is tier for member in members)
            if not is_even or entry.num_values * len(members) > self.slice_values:
                raise DamagedPacket(f"{reader.name}: group {entry.group} mixes arrays; the file is damaged")
        return members

    def plan(self, entry: ArrayEntry) -> SlicePlan:
        """How an array of a set is cut."""
        return SlicePlan.of(entry.shape, self.slice_values, self.tier.named(entry.name).sample_axes(entry.shape))


def _spec(array: FeatureArray) -> ArraySpec:
    return ArraySpec(array.dtype_name, array.shape, array.name)


def _told(item: tuple[int, Future[bytes]], tell: Told | None) -> bytes:
    size, future = item
    part = future.result()
    if tell is not None:
        tell(size)
    return part


def _slices(array: FeatureArray, plan: SlicePlan) -> Iterator[np.ndarray]:
    """The slices of an array, a run of samples in memory at a time."""
    held: tuple[int, np.ndarray] | None = None
    for number in range(plan.num_slices):
        piece = plan.piece(number)
        if plan.is_table:
            yield array.rows(piece.top, piece.bottom)[None]
            continue
        if held is None or held[0] != piece.start:
            held = (piece.start, _read(array, plan, piece.start, piece.stop))
        yield _cut(held[1], piece)


def _read(array: FeatureArray, plan: SlicePlan, start: int, stop: int) -> np.ndarray:
    """Positions start .. stop - 1 of an array, (positions, *sample)."""
    if plan.num_axes == 0:
        return array.whole()[None]
    per_first = plan.num_positions // array.shape[0]  # positions in one row of the first axis
    first, last = start // per_first, -(-stop // per_first)
    samples = array.rows(first, last).reshape(-1, *plan.sample_shape)
    return samples[start - first * per_first : stop - first * per_first]


def _place(out: np.ndarray, start: int, item: tuple[Slice, Future[list[np.ndarray]]]) -> None:
    """Copy what is wanted of a decoded slice; position ``start`` is the first of ``out``."""
    piece, future = item
    samples = future.result()
    for position in range(max(piece.start, start), min(piece.stop, start + len(out))):
        _cut(out[position - start][None], piece)[0] = samples[position - piece.start]
