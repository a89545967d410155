"""Random access to a packed set of features: one sample, one named array, a run of rows.

::

    set (.smalto) ─► header, table ─► sample i ─► the block that holds it ─► tier ─► values, kept for its neighbours
    block: a slice of a large array, or a group of small ones; about 2^20 values

A sample costs a block when its neighbours are not asked for; ``smalto.systems.packed_dataset`` shuffles so that they
are.
"""

from __future__ import annotations

import operator
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from smalto.bits.array_set_parts import ArrayEntry
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.byte_source import Openable
from smalto.data.feature_array import shown_array
from smalto.errors import UsageError
from smalto.systems.feature_codec import FeatureCodec
from smalto.systems.feature_profile import FeatureProfile
from smalto.systems.feature_sets import SetCoder
from smalto.systems.packed_blocks import Block, GroupBlocks, RowBlocks, blocks_of

if TYPE_CHECKING:
    from types import TracebackType


class NoSuchSample(UsageError, IndexError):
    """A number beyond the samples of a set."""


@dataclass
class _Opened:
    """A set as one process has it open."""

    process: int
    reader: ArraySetReader
    coder: SetCoder
    blocks: RowBlocks | GroupBlocks
    close: Callable[[], object]
    kept: OrderedDict[int, Block] = field(default_factory=OrderedDict)


class PackedFeatures(Sequence[np.ndarray]):
    """The samples of a packed set.

    Samples are the rows of one array along its first axis where the set holds one array, or one is named; else every
    array of the set is a sample. May be pickled, and used after a fork: each process opens the file for itself.

    Args:
        source: a path, an http(s) URL, or the bytes of a set.
        array: name or number of the array whose rows are the samples.
        profile: when it does not travel inside and is not in the usual places, see ``FeatureCodec.of_set``.
        num_cached: decoded blocks that are kept, each of about 2^20 values; at least 1.

    Raises:
        PacketError: not a healthy set; also raised when a damaged part is read.
        MissingSpace: the profile is nowhere.
        UsageError: no such array.

    Example:
        >>> samples = [np.random.default_rng(k).normal(size=(16, 64)).astype(np.float32) for k in range(4)]
        >>> packed = PackedFeatures(FeatureCodec.fit(samples, max_error=0.01).encode(np.stack(samples), embed=True))
        >>> len(packed), packed[-1].shape, packed.rows(1, 3).shape
        (4, (16, 64), (2, 16, 64))
    """

    def __init__(
        self,
        source: Openable,
        *,
        array: str | int | None = None,
        profile: FeatureProfile | None = None,
        num_cached: int = 4,
    ) -> None:
        if num_cached < 1:
            raise UsageError(f"packed features: {num_cached} blocks cannot be kept; keep at least 1")
        self._source = bytes(source) if isinstance(source, bytearray | memoryview) else source
        self._array = array
        self._profile = profile
        self._num_cached = num_cached
        self._held: _Opened | None = None
        self._opened()

    # -- what is in the set -----------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all arrays of the set, their numbers where they have none."""
        return tuple(entry.name or str(entry.number) for entry in self._opened().reader.entries)

    @property
    def blocks(self) -> tuple[range, ...]:
        """Samples that are decoded together, in order."""
        return self._opened().blocks.ranges()

    def __len__(self) -> int:
        return self._opened().blocks.num_samples

    # -- values -----------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """A sample by its number (from the end when negative), samples by a slice, or a whole array by its name.

        Returns:
            An array of its own; bfloat16 as ml_dtypes' type when that is installed, else as uint16 patterns.

        Raises:
            NoSuchSample: beyond the last sample.
            UsageError: no array of that name.
            PacketError: the part that holds it is damaged.
        """
        if isinstance(key, str):
            return self.array(key)
        if isinstance(key, slice):
            return self.samples(range(*key.indices(len(self))))
        return self.samples([operator.index(key)])[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            yield from self.samples(block)

    def array(self, name: str | int) -> np.ndarray:
        """A whole array by its name or number. Raises UsageError and PacketError."""
        opened = self._opened()
        entry = _entry(opened.reader, name)
        return shown_array(np.array(opened.coder.array(opened.reader, entry)), entry.dtype)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Samples start .. stop - 1 as one array.

        Returns:
            (stop - start, *sample).

        Raises:
            UsageError: outside the set, or the samples are of different shapes or dtypes.
        """
        opened = self._opened()
        if not 0 <= start <= stop <= len(self):
            raise UsageError(f"{opened.reader.name}: rows {start}..{stop} of {len(self)}; choose others")
        blocks = opened.blocks
        if isinstance(blocks, RowBlocks):
            return shown_array(blocks.rows(start, stop, partial(self._block, opened)), blocks.entry.dtype)
        entries = opened.reader.entries[start:stop]
        if len({(entry.shape, entry.dtype) for entry in entries}) != 1:
            raise UsageError(f"{opened.reader.name}: samples {start}..{stop} are of no one shape; take them one by one")
        return np.stack(self.samples(range(start, stop)))

    def samples(self, numbers: Iterable[int]) -> list[np.ndarray]:
        """Samples in the order they are asked for, each block decoded once. Raises as ``[]`` does."""
        opened, num = self._opened(), len(self)
        wanted = [number + num if number < 0 else number for number in numbers]
        for number in wanted:
            if not 0 <= number < num:
                raise NoSuchSample(f"{opened.reader.name}: no sample {number}; there are {num}")
        block = partial(self._block, opened)
        found = {number: opened.blocks.sample(number, block) for number in sorted(set(wanted))}
        first = {number: place for place, number in reversed(list(enumerate(wanted)))}
        own = [found[number] if first[number] == place else found[number].copy() for place, number in enumerate(wanted)]
        return [
            shown_array(sample, self._dtype_name(opened, number)) for sample, number in zip(own, wanted, strict=True)
        ]

    def _dtype_name(self, opened: _Opened, number: int) -> str:
        blocks = opened.blocks
        return blocks.entry.dtype if isinstance(blocks, RowBlocks) else opened.reader.entries[number].dtype

    def _block(self, opened: _Opened, number: int) -> Block:
        """A decoded block, kept until ``num_cached`` others were asked for."""
        kept = opened.kept
        if number in kept:
            kept.move_to_end(number)
            return kept[number]
        while len(kept) >= self._num_cached:
            kept.popitem(last=False)
        kept[number] = block = opened.blocks.decode(number)
        return block

    # -- the open file ----------------------------------------------------------------------------------------------

    def _opened(self) -> _Opened:
        """The set as this process has it open."""
        if self._held is not None and self._held.process != os.getpid():
            self.close()  # the parent's: file offsets are shared, so it cannot be used here
        if self._held is None:
            reader = ArraySetReader.open(self._source)
            close = weakref.finalize(self, reader.close)
            coder = FeatureCodec.of_set(reader, self._profile).coder(reader)
            blocks = blocks_of(reader, coder, _chosen(reader, self._array))
            self._held = _Opened(os.getpid(), reader, coder, blocks, close)
        return self._held

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        if not isinstance(self._source, str | Path | bytes):
            raise UsageError("packed features: an open file cannot go to another process; open the set by its path")
        return {**self.__dict__, "_held": None}


def _chosen(reader: ArraySetReader, array: str | int | None) -> ArrayEntry | None:
    """The array whose rows are the samples, None when every array is one."""
    if array is not None:
        entry = _entry(reader, array)
        if not entry.shape:
            raise UsageError(f"{reader.name}: {array!r} is one number and has no rows; name another array")
        return entry
    if reader.num_entries == 1 and reader.entries[0].shape:
        return reader.entries[0]
    return None


def _entry(reader: ArraySetReader, name: str | int) -> ArrayEntry:
    """An array by its name, or by its number."""
    found = reader.find(name) if isinstance(name, str) else None
    number = int(name) if isinstance(name, int) or name.isdecimal() else -1
    if found is None and 0 <= number < reader.num_entries:
        found = reader.entries[number]
    if found is None:
        raise UsageError(f"{reader.name}: has no array {name!r}; see its names")
    return found
