"""Integer probability tables: their contract, how they are made, what they cost.

The contract, enforced whenever a ``CdfTables`` is built:

- table k covers the symbols ``low[k] .. low[k] + size[k] - 1`` in order, then has one more entry, the escape, which
  stands for every other int32 symbol;
- every entry has a frequency of at least 1 and the frequencies of a table sum to exactly 65536 (16 bits);
- there are 1 to 65536 tables, and every covered symbol is an int32.

Tables are made once, when a codec is frozen, and shipped as integers; a decoder never computes them.
docs/format-coder.md describes them byte by byte.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smalto.errors import UsageError

PROBABILITY_BITS = 16
TOTAL = 1 << PROBABILITY_BITS
MAX_TABLES = 1 << 16
INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
ESCAPE_HEAD_BITS = 6
COARSE_BITS = 8

NUM_GAUSSIAN_SCALES = 64
GAUSSIAN_SCALE_MIN = 0.11
GAUSSIAN_SCALE_MAX = 256.0


class EncodeTables(NamedTuple):
    """What the encoder's kernel reads; entry e of table k is row ``base[k] + e``."""

    geometry: NDArray[np.int32]  # (K * 4,) low, size, base and zero of each table
    packed: NDArray[np.uint64]  # (E + K,) first slot << 32 | frequency


class DecodeTables(NamedTuple):
    """What the decoder's kernel reads; entry e of table k is row ``base[k] + e``, behind its escape a row of 65536."""

    low: NDArray[np.int32]  # (K,)
    bias: NDArray[np.int64]  # (K,) base - low: row minus symbol
    first: NDArray[np.uint32]  # (E + K,) first slot of each entry
    coarse: NDArray[np.uint16 | np.int32]  # (K * 256,) row of the entry that holds slot 256 * j


@dataclass(frozen=True, eq=False)
class CdfTables:
    """K ragged probability tables of 16 bits.

    Args:
        low: (K,) int32, first symbol of each table.
        size: (K,) int32 in 1..65535, number of symbols each table covers, the escape not counted.
        frequency: (sum(size + 1),) uint16, the tables one after another, each with its escape last.

    Raises:
        UsageError: the arrays break the contract at the top of this file.

    Example:
        >>> CdfTables([-1], [3], [1000, 63000, 1000, 536]).num_tables
        1
    """

    low: NDArray[np.int32]
    size: NDArray[np.int32]
    frequency: NDArray[np.uint16]

    def __post_init__(self) -> None:
        for name, dtype in (("low", np.int32), ("size", np.int32), ("frequency", np.uint16)):
            object.__setattr__(self, name, _integers(name, getattr(self, name), dtype))
        self.validate()

    @property
    def num_tables(self) -> int:
        """K, the number of tables."""
        return len(self.low)

    def validate(self) -> None:
        """Check the contract. Raises UsageError naming the first table that breaks it."""
        num_tables = len(self.low)
        if not 1 <= num_tables <= MAX_TABLES or len(self.size) != num_tables:
            raise UsageError(
                f"probability tables: {num_tables} lows and {len(self.size)} sizes; need 1..{MAX_TABLES} of each"
            )
        size = self.size.astype(np.int64)
        _refuse("a size outside 1..65535", (size < 1) | (size >= TOTAL))
        _refuse("symbols beyond int32", self.low + size - 1 > INT32_MAX)
        if len(self.frequency) != int(np.sum(size + 1)):
            raise UsageError(
                f"probability tables: {len(self.frequency)} frequencies, sizes ask for {int(np.sum(size + 1))}"
            )
        first_row = np.cumsum(size + 1) - (size + 1)
        _refuse("a frequency of zero", np.minimum.reduceat(self.frequency, first_row) == 0)
        _refuse("a sum other than 65536", np.add.reduceat(self.frequency, first_row, dtype=np.int64) != TOTAL)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The tables as little-endian arrays, for storage: ``low`` int32, ``size`` int32, ``frequency`` uint16."""
        return {
            "low": self.low.astype("<i4"),
            "size": self.size.astype("<i4"),
            "frequency": self.frequency.astype("<u2"),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> CdfTables:
        """The tables that ``to_arrays`` stored. Raises UsageError when they break the contract."""
        missing = [name for name in ("low", "size", "frequency") if name not in arrays]
        if missing:
            raise UsageError(f"probability tables: no array called {missing[0]!r}; store what to_arrays gives")
        return cls(arrays["low"], arrays["size"], arrays["frequency"])

    @functools.cached_property
    def base(self) -> NDArray[np.int32]:
        """(K,) row of each table's first entry when every table ends with one sentinel row."""
        rows = self.size.astype(np.int64) + 2
        return (np.cumsum(rows) - rows).astype(np.int32)

    @functools.cached_property
    def for_encoding(self) -> EncodeTables:
        """The encoder's view, made on first use."""
        rows = self._rows()
        frequency = np.ones(len(rows) + self.num_tables, np.uint64)
        frequency[rows] = self.frequency
        packed = (self._first_slots().astype(np.uint64) << np.uint64(32)) | frequency
        geometry = np.stack([self.low, self.size, self.base, np.zeros_like(self.base)], axis=1).ravel()
        return EncodeTables(geometry, packed)

    @functools.cached_property
    def for_decoding(self) -> DecodeTables:
        """The decoder's view, made on first use."""
        first = self._first_slots()
        start = np.arange(self.num_tables, dtype=np.int64) * TOTAL
        ascending = first[self._rows()] + np.repeat(start, self.size + 1)  # (E,) one rising line over all tables
        slots = start[:, None] + np.arange(0, TOTAL, 1 << COARSE_BITS)  # (K, 256)
        entry = np.searchsorted(ascending, slots.ravel(), side="right") - 1
        coarse = entry + np.repeat(np.arange(self.num_tables), slots.shape[1])  # a sentinel row behind every table
        narrow = np.uint16 if len(first) <= 1 << 16 else np.int32  # half the bytes stay in the first cache
        return DecodeTables(self.low, self.base.astype(np.int64) - self.low, first, coarse.astype(narrow))

    def _rows(self) -> NDArray[np.int64]:
        """(E,) row of every entry, sentinels left out."""
        return np.arange(len(self.frequency)) + np.repeat(np.arange(self.num_tables), self.size + 1)

    def _first_slots(self) -> NDArray[np.uint32]:
        """(E + K,) first slot of every entry, 65536 in the sentinel rows."""
        first = np.full(len(self.frequency) + self.num_tables, TOTAL, np.uint32)
        rising = np.cumsum(self.frequency, dtype=np.int64) - self.frequency
        first[self._rows()] = rising % TOTAL
        return first


def _integers(name: str, values: ArrayLike, dtype: type[np.integer]) -> np.ndarray:
    """A read-only copy of ``values`` as a vector of ``dtype``. Raises UsageError when they do not fit."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise UsageError(f"probability tables: {name} must be a vector of integers, got {array.dtype} {array.shape}")
    bounds = np.iinfo(dtype)
    if array.size and (int(array.min()) < bounds.min or int(array.max()) > bounds.max):
        raise UsageError(f"probability tables: {name} has values outside {bounds.min}..{bounds.max}")
    copy = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy


def _refuse(what: str, broken: NDArray[np.bool_]) -> None:
    if broken.any():
        raise UsageError(f"probability tables: table {int(np.argmax(broken))} has {what}")


def quantised_frequencies(masses: ArrayLike) -> list[int]:
    """Integer frequencies, each at least 1 and 65536 in all, that cost the fewest bits for the given masses.

    Math: with n entries, f_i starts at max(1, floor((65536 - n) p_i)), which no optimum undercuts; the rest is given
    one by one to the entry where p_i / (f_i + 1/2), the midpoint form of the marginal saving of -p log2 f, is largest;
    ties go to the earlier entry. Only IEEE sums, products and quotients are used: the result is the same everywhere.

    Args:
        masses: (n,) non-negative float64 masses, any positive sum, n <= 65536.

    Raises:
        UsageError: masses that are negative, not finite, all zero, or too many.
    """
    mass = np.asarray(masses, dtype=np.float64)
    if mass.ndim != 1 or not 1 <= len(mass) <= TOTAL or not np.isfinite(mass).all() or (mass < 0).any():
        raise UsageError("probability tables: masses must be 1..65536 finite non-negative numbers in a vector")
    sum_of_masses = math.fsum(mass.tolist())
    if sum_of_masses <= 0:
        raise UsageError("probability tables: all masses are zero")
    probability = [value / sum_of_masses for value in mass.tolist()]
    frequency = [max(1, math.floor(value * (TOTAL - len(mass)))) for value in probability]
    heap = [(-p / (f + 0.5), i) for i, (p, f) in enumerate(zip(probability, frequency, strict=True))]
    heapq.heapify(heap)
    for _ in range(TOTAL - sum(frequency)):
        i = heap[0][1]
        frequency[i] += 1
        heapq.heapreplace(heap, (-probability[i] / (frequency[i] + 0.5), i))
    return frequency


def tables_from_pmfs(pmfs: Iterable[tuple[int, ArrayLike, float]]) -> CdfTables:
    """Tables for factorised priors.

    Args:
        pmfs: for each table its first symbol, the masses of its symbols (n,) float64, and the mass of all others.

    Raises:
        UsageError: masses that are negative, not finite or all zero, or an empty list.

    Example:
        >>> tables = tables_from_pmfs([(-1, [0.25, 0.5, 0.25], 0.0)])
        >>> tables.frequency.tolist()
        [16384, 32767, 16384, 1]
    """
    low, size, frequency = [], [], []
    for first, pmf, tail in pmfs:
        masses = np.append(np.asarray(pmf, dtype=np.float64), tail)
        low.append(first)
        size.append(len(masses) - 1)
        frequency.extend(quantised_frequencies(masses))
    if not low:
        raise UsageError("probability tables: no masses given; give at least one table")
    return CdfTables(np.array(low), np.array(size), np.array(frequency))


def gaussian_scales() -> NDArray[np.float64]:
    """(64,) standard deviations of the Gaussian tables, log-spaced from 0.11 to 256, in steps of one symbol."""
    span = math.log(GAUSSIAN_SCALE_MAX / GAUSSIAN_SCALE_MIN) / (NUM_GAUSSIAN_SCALES - 1)
    return np.array([GAUSSIAN_SCALE_MIN * math.exp(span * k) for k in range(NUM_GAUSSIAN_SCALES)])


@functools.cache
def gaussian_tables() -> CdfTables:
    """Tables of a rounded zero-mean Gaussian at each of ``gaussian_scales()``, to be frozen with a codec.

    Math: P(v) = Phi((v + 1/2) / scale) - Phi((v - 1/2) / scale) for |v| <= R, the rest in the escape. Each R is the
    widest of a ladder of multiples of the scale whose expected bits, escapes counted, stay within 0.05 % (or 2e-5 bits)
    of the ladder's best: real latents have heavier tails than their Gaussian.
    """
    low, size, frequency = [], [], []
    for scale in gaussian_scales():
        radius, table = _gaussian_table(float(scale))
        low.append(-radius)
        size.append(2 * radius + 1)
        frequency.extend(table)
    return CdfTables(np.array(low), np.array(size), np.array(frequency))


def _gaussian_table(scale: float) -> tuple[int, list[int]]:
    """Radius and frequencies of the widest cheap alphabet for one scale."""
    above = [0.5 * math.erfc((v - 0.5) / scale / math.sqrt(2)) for v in range(1, math.ceil(12 * scale) + 4)]
    side = [a - b for a, b in itertools.pairwise(above)]  # P(1), P(2), ...
    ladder = sorted({max(1, math.ceil(scale * z / 8)) for z in range(20, 49)})
    tables = [quantised_frequencies([*side[r - 1 :: -1], 1 - 2 * above[0], *side[:r], 2 * above[r]]) for r in ladder]
    bits = []
    for radius, table in zip(ladder, tables, strict=True):
        right = zip(side[:radius], table[radius + 1 : -1], strict=True)
        inside = sum(2 * p * (PROBABILITY_BITS - math.log2(f)) for p, f in right)
        centre = (1 - 2 * above[0]) * (PROBABILITY_BITS - math.log2(table[radius]))
        extra = [ESCAPE_HEAD_BITS + v.bit_length() - 1 for v in range(1, len(side) - radius + 1)]
        escape = PROBABILITY_BITS - math.log2(table[-1])
        bits.append(inside + centre + sum(2 * p * (escape + e) for p, e in zip(side[radius:], extra, strict=True)))
    limit = max(min(bits) * 1.0005, min(bits) + 2e-5)
    widest = max(i for i, value in enumerate(bits) if value <= limit)
    return ladder[widest], tables[widest]


def cross_entropy_bits(symbols: ArrayLike, indexes: ArrayLike, tables: CdfTables) -> float:
    """Bits that ``tables`` ask for the symbols, escapes counted: the stream's length without coder overhead.

    Math: sum over symbols of -log2(f / 65536), plus 6 + floor(log2 d) for a symbol d >= 1 steps outside its table.

    Args:
        symbols: (N,) integers.
        indexes: (N,) integers in 0..K-1, the table of each symbol.
    """
    symbol = np.asarray(symbols).astype(np.int64)
    table = np.asarray(indexes).astype(np.int64)
    low, size = tables.low[table].astype(np.int64), tables.size[table].astype(np.int64)
    entry = symbol - low
    distance = np.where(entry < 0, -entry, entry - size + 1)
    outside = (entry < 0) | (entry >= size)
    row = (tables.base[table] - table) + np.where(outside, size, entry)
    bits = PROBABILITY_BITS * len(symbol) - float(np.log2(tables.frequency[row].astype(np.float64)).sum())
    lengths = np.frexp(distance[outside].astype(np.float64))[1] - 1
    return bits + float(ESCAPE_HEAD_BITS * len(lengths) + int(lengths.sum()))
