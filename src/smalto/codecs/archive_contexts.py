"""The contexts of the archive codec: integers that choose a symbol's table from what was decoded before it.

::

    symbols (cells, K) ─► less what neighbours and the other plane lead one to expect ─► [table of the spread, rANS]

The rule stands in ``archive_kernels``, and in docs/format.md.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalto.bits import rans
from smalto.bits.cdf import CdfTables
from smalto.codecs.archive_kernels import (
    CAP,
    INPUT_LIMIT,
    MAX_SPREAD,
    NUM_NEAR,
    NUM_PHASES,
    CellModel,
    Cells,
    pull_cells,
    trace_cells,
)
from smalto.errors import DecodeMismatch, UsageError
from smalto.weights.store import under

_INTEGERS: Mapping[str, type[np.integer]] = {
    "expect": np.int16,
    "expect_other": np.int16,
    "base": np.uint16,
    "near": np.uint16,
    "near_other": np.uint16,
    "own": np.uint16,
    "threshold": np.uint16,
}


@dataclass(frozen=True, eq=False)
class CellContexts:
    """The contexts of a plane as they ship, and its tables; see ``archive_kernels`` for the rule.

    Args:
        expect: (4, P, P) int16, 1/1024: neighbour, its symbol, symbol.
        expect_other: (E, P) int16.
        base: (K,) uint16, 1/512.
        near: (4, K, K) uint16, 1/512.
        near_other: (E, K) uint16.
        own: (K, K) uint16, zero on and below the diagonal.
        threshold: (classes - 1,) uint16 rising; class k has spreads threshold[k - 1] .. threshold[k] - 1.
        tables: 4 a class.

    Raises:
        UsageError: sizes that do not fit together, thresholds that do not rise, a sum that could leave 31 bits.
    """

    expect: NDArray[np.int16]
    expect_other: NDArray[np.int16]
    base: NDArray[np.uint16]
    near: NDArray[np.uint16]
    near_other: NDArray[np.uint16]
    own: NDArray[np.uint16]
    threshold: NDArray[np.uint16]
    tables: CdfTables

    def __post_init__(self) -> None:
        for name, dtype in _INTEGERS.items():
            array = np.asarray(getattr(self, name))
            if array.dtype != dtype:
                raise UsageError(f"archive contexts: {name} is {array.dtype}; the weights are damaged")
            object.__setattr__(self, name, np.array(array, order="C"))
        symbols, expected, other = len(self.base), self.expect.shape[-1], len(self.near_other)
        shapes = {
            "expect": (NUM_NEAR, expected, expected),
            "expect_other": (other, expected),
            "base": (symbols,),
            "near": (NUM_NEAR, symbols, symbols),
            "near_other": (other, symbols),
            "own": (symbols, symbols),
            "threshold": (self.tables.num_tables // NUM_PHASES - 1,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise UsageError(f"archive contexts: {name} is {getattr(self, name).shape}; the weights are damaged")
        if symbols < 1 or expected > symbols or not 1 <= self.tables.num_tables // NUM_PHASES <= 256:
            raise UsageError(
                "archive contexts: a number of symbols or classes is out of range; the weights are damaged"
            )
        if np.tril(self.own).any() or (np.diff(self.threshold.astype(np.int64)) <= 0).any():
            raise UsageError("archive contexts: an order does not hold; the weights are damaged")
        self._check_sums()

    def _check_sums(self) -> None:
        known = np.concatenate([*self.expect, self.expect_other]).astype(np.int64)
        told = [*self.near, self.near_other, self.own]
        spread = self.base.astype(np.int64) + CAP * np.concatenate(told).sum(0, dtype=np.int64)
        if INPUT_LIMIT * np.abs(known).sum(0).max(initial=0) >= 1 << 30 or spread.max() >= 1 << 31:
            raise UsageError("archive contexts: a sum can leave 31 bits; the weights are damaged")

    @property
    def num_symbols(self) -> int:
        """K, symbols a cell."""
        return len(self.base)

    @functools.cached_property
    def model(self) -> CellModel:
        """What the kernels read, made on first use."""
        lookup = np.searchsorted(self.threshold, np.arange(MAX_SPREAD + 1), side="right").astype(np.uint8)
        names = ("expect", "expect_other", "base", "near", "near_other", "own")
        expect, expect_other, base, near, near_other, own = (getattr(self, name).astype(np.int32) for name in names)
        return CellModel(expect, expect_other, base, near, near_other, own, lookup)

    def trace(self, symbols: NDArray[np.int32], other: Cells, width: int) -> tuple[Cells, NDArray[np.int32], NDArray]:
        """A chunk (cells, K) with its magnitudes, what stands in the stream, and the tables of that."""
        cells = Cells(symbols, np.empty_like(symbols))
        coded, tables = np.empty_like(symbols), np.empty(symbols.shape, np.uint16)
        trace_cells(cells, other, self.model, width, coded, tables)
        return cells, coded, tables

    def encode(self, symbols: NDArray[np.int32], other: Cells, width: int) -> tuple[bytes, Cells]:
        """Code a chunk (cells, K); also gives what another plane's contexts read of it."""
        cells, coded, tables = self.trace(symbols, other, width)
        return rans.encode(coded.reshape(-1), tables.reshape(-1), self.tables), cells

    def decode(self, data: bytes, num_cells: int, other: Cells, width: int) -> Cells:
        """The chunk that ``encode`` coded.

        Raises:
            DamagedPacket: no stream has this length or opening.
            DecodeMismatch: the stream was changed, or these are not the contexts it was written with.
        """
        states, num_lanes, padded = rans.open_stream(data)
        num_words = len(padded) - rans.PADDING_WORDS
        words = np.zeros(num_words + rans.MAX_WORDS_PER_SYMBOL * (self.num_symbols + 1), np.uint16)
        words[:num_words] = padded[:num_words]
        shape = (num_cells, self.num_symbols)
        cells = Cells(np.empty(shape, np.int32), np.empty(shape, np.int32))
        stream = (states, words, num_words, num_lanes)
        read = int(pull_cells(stream, self.tables.for_decoding, self.model, cells, other, width))
        filled = len(data) == rans.LANES_FROM_BYTES and read < num_words and not words[read:].any()
        if (read != num_words and not filled) or (states != rans.LOWER).any():
            raise DecodeMismatch(
                f"archive codec: a chunk of {len(data)} bytes does not hold {num_cells} cells; the file is damaged, or "
                "was written with other weights"
            )
        return cells

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as little-endian arrays."""
        own = {name: getattr(self, name).astype(np.dtype(dtype).newbyteorder("<")) for name, dtype in _INTEGERS.items()}
        return own | {f"tables.{name}": array for name, array in self.tables.to_arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> CellContexts:
        """What ``to_arrays`` stored. Raises UsageError, KeyError when it breaks a rule."""
        tables = CdfTables.from_arrays(under(arrays, "tables"))
        return cls(**{name: arrays[name] for name in _INTEGERS}, tables=tables)


def no_cells(num_cells: int) -> Cells:
    """The cells of a plane without symbols."""
    return Cells(np.empty((num_cells, 0), np.int32), np.empty((num_cells, 0), np.int32))
