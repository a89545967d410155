"""The context model of the fast feature tier: which table codes a symbol, fitted on samples by the bits they cost.

::

    symbols (S, H, W, C) ─► magnitudes ─► activity = bias_c + weighted sum of six neighbours ─► class ─► table ─► rANS

Math: the expected magnitude s of a symbol is modelled as s = b_c + sum_k w_k m_k, with b, w >= 0 chosen to minimise
sum log s + |q| / s, the code length under a Laplace model, by multiplicative updates. The activity is s in integer
units. It is cut into at most 32 classes by merging, pair by pair, the neighbouring cells that cost the fewest bits to
merge, and every class gets a table from its own counts and, as far as these are few, from a geometric model with the
class's own mean.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalto.bits import rans
from smalto.bits.cdf import CdfTables, cross_entropy_bits, tables_from_pmfs
from smalto.codecs.feature_kernels import (
    MAX_ACTIVITY,
    NUM_NEIGHBOURS,
    PULL_WORDS,
    ContextArrays,
    count_symbols,
    fill_indexes,
    fill_magnitudes,
    fill_neighbours,
    pull_field,
)
from smalto.errors import DamagedPacket, DecodeMismatch, UsageError

Field = NDArray[np.int32]

MAX_CLASSES = 32
NUM_CELLS = 128
CELLS_PER_OCTAVE = 8
CAPS = (31, 255)
RADIUS = 1023
FIT_VALUES = 1 << 19
TABLE_BITS = 600.0
"""Bits that one more class must save on the samples."""
PRIOR_POSITIONS = 3.0
"""Positions that the average channel counts for in the bias of each."""
TRIMMED = 2e-4
"""Probability on either side of a table that is left to the escape."""


@dataclass(frozen=True, eq=False)
class FeatureContexts:
    """Tables of symbols and the integer rule that picks one from what was coded before.

    Args:
        bias: (C,) uint16, the part of a channel's activity that stands without neighbours.
        weight: (6,) uint16, activity per unit of magnitude of the neighbours N, W, NW, NE, WW, NN.
        threshold: (K - 1,) uint16 rising; class k has activities threshold[k - 1] .. threshold[k] - 1.
        cap: magnitudes are min(|symbol|, cap), 1..255.
        tables: K tables.

    Raises:
        UsageError: sizes that do not fit together, thresholds that do not rise, an activity that can pass 65535.
    """

    bias: NDArray[np.uint16]
    weight: NDArray[np.uint16]
    threshold: NDArray[np.uint16]
    cap: int
    tables: CdfTables

    def __post_init__(self) -> None:
        for name, size in (("bias", None), ("weight", NUM_NEIGHBOURS), ("threshold", self.tables.num_tables - 1)):
            array = np.asarray(getattr(self, name))
            if array.dtype != np.uint16 or array.ndim != 1 or (size is not None and len(array) != size):
                raise UsageError(f"feature contexts: {name} is {array.dtype} {array.shape}; the profile is damaged")
            object.__setattr__(self, name, np.array(array, order="C"))
        if not 1 <= self.cap <= 255 or not 1 <= self.tables.num_tables <= 256 or len(self.bias) == 0:
            raise UsageError("feature contexts: a cap, class or channel count is out of range; the profile is damaged")
        if int(self.bias.max()) + self.cap * int(self.weight.sum(dtype=np.int64)) > MAX_ACTIVITY:
            raise UsageError("feature contexts: an activity can pass 65535; the profile is damaged")
        if (np.diff(self.threshold.astype(np.int64)) <= 0).any():
            raise UsageError("feature contexts: the thresholds do not rise; the profile is damaged")

    @property
    def num_channels(self) -> int:
        """C."""
        return len(self.bias)

    @functools.cached_property
    def arrays(self) -> ContextArrays:
        """What the kernels read, made on first use."""
        lookup = np.searchsorted(self.threshold, np.arange(MAX_ACTIVITY + 1), side="right").astype(np.uint8)
        return ContextArrays(self.bias, self.weight, lookup)

    def magnitudes(self, field: Field) -> NDArray[np.uint8]:
        """The magnitudes of a chunk behind C zeros, a vector."""
        out = np.zeros(field.size + self.num_channels, np.uint8)
        fill_magnitudes(field.reshape(-1), self.cap, out)
        return out

    def classes(self, field: Field) -> NDArray[np.uint16]:
        """(S H W C,) class of every symbol of a chunk (S, H, W, C)."""
        out = np.empty(field.size, np.uint16)
        fill_indexes(self.magnitudes(field), self.arrays, field.shape, out)
        return out

    def bits(self, field: Field) -> float:
        """Bits that a chunk costs, without the coder's own few bytes."""
        return cross_entropy_bits(field.reshape(-1), self.classes(field), self.tables)

    def encode(self, field: Field) -> bytes:
        """Code a chunk of symbols (S, H, W, C), C-ordered."""
        self._check(field.shape)
        return rans.encode(field.reshape(-1), self.classes(field), self.tables)

    def decode(self, data: bytes | bytearray | memoryview, shape: tuple[int, int, int, int]) -> Field:
        """The chunk of ``shape`` (S, H, W, C) that ``encode`` coded.

        Memory is six bytes a symbol and the stream, whatever the stream says.

        Raises:
            DamagedPacket: no stream has this length or opening.
            DecodeMismatch: the stream was changed, or this is not the profile it was written with.
        """
        self._check(shape)
        count = math.prod(shape)
        size = memoryview(data).nbytes
        if count == 0:
            if size:
                raise DamagedPacket(f"features: {size} bytes where no values are stored; the file is damaged")
            return np.empty(shape, np.int32)
        states, num_lanes, padded = rans.open_stream(bytes(data))
        num_words = len(padded) - rans.PADDING_WORDS
        words = np.zeros(num_words + PULL_WORDS * (self.num_channels + 8), np.uint16)
        words[:num_words] = padded[:num_words]
        field = np.empty(count, np.int32)
        magnitudes = np.zeros(count + self.num_channels, np.uint8)
        geometry = (*shape, num_lanes, self.cap)
        read = int(pull_field(states, words, self.tables.for_decoding, self.arrays, geometry, (magnitudes, field)))
        filled = size == rans.LANES_FROM_BYTES and read < num_words and not words[read:].any()
        # The lanes rotate with the symbols; all of them end in the same state, so their order does not matter.
        if (read != num_words and not filled) or (states != rans.LOWER).any():
            raise DecodeMismatch(
                f"features: {size} bytes do not hold these {count} values; the file is damaged, or was written with "
                "another profile"
            )
        return field.reshape(shape)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as little-endian arrays."""
        arrays = {f"tables.{name}": array for name, array in self.tables.to_arrays().items()}
        small = np.array([self.cap], "<i4")
        vectors = {name: getattr(self, name).astype("<u2") for name in ("bias", "weight", "threshold")}
        return {**arrays, **vectors, "cap": small}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FeatureContexts:
        """What ``to_arrays`` stored. Raises UsageError when it breaks a rule."""
        missing = [name for name in ("bias", "weight", "threshold", "cap") if name not in arrays]
        if missing:
            raise UsageError(f"feature contexts: the profile has no array {missing[0]!r}; fit it again")
        if arrays["cap"].shape != (1,) or arrays["cap"].dtype.kind not in "iu":
            raise UsageError("feature contexts: cap is not one integer; the profile is damaged")
        tables = {name.removeprefix("tables."): a for name, a in arrays.items() if name.startswith("tables.")}
        return cls(
            arrays["bias"], arrays["weight"], arrays["threshold"], int(arrays["cap"][0]), CdfTables.from_arrays(tables)
        )

    def _check(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 4 or shape[3] != self.num_channels or min(shape) < 0:
            raise UsageError(f"features: a chunk of {shape} does not fit a profile of {self.num_channels} channels")


def fit_contexts(fields: Sequence[Field]) -> FeatureContexts:
    """The context model that codes these chunks in few bits.

    Args:
        fields: chunks (S, H, W, C) of one C, C-ordered; at least one symbol in all.

    Raises:
        UsageError: no symbols.
    """
    fields = [field for field in fields if field.size]
    if not fields:
        raise UsageError("feature contexts: there is not one value to fit on; give samples that have values")
    cap = _cap(fields)
    bias, weight = _activity(fields, cap)
    unit = min(4096.0, math.floor(MAX_ACTIVITY / (cap * weight.sum() + bias.max() + 1)))
    bias16 = np.floor(unit * bias + 0.5).astype(np.uint16)
    weight16 = np.floor(unit * weight).astype(np.uint16)
    cells = np.unique(np.round(2.0 ** (np.arange(1, 16 * CELLS_PER_OCTAVE) / CELLS_PER_OCTAVE)).astype(np.int64))
    cells = cells[cells <= MAX_ACTIVITY].astype(np.uint16)
    fine = ContextArrays(
        bias16, weight16, np.searchsorted(cells, np.arange(MAX_ACTIVITY + 1), side="right").astype(np.uint8)
    )
    counts = np.zeros((len(cells) + 1, 2 * RADIUS + 1), np.int64)
    for field in fields:
        indexes = np.empty(field.size, np.uint16)
        magnitudes = np.zeros(field.size + len(bias16), np.uint8)
        fill_magnitudes(field.reshape(-1), cap, magnitudes)
        fill_indexes(magnitudes, fine, field.shape, indexes)
        count_symbols(field.reshape(-1), indexes, RADIUS, counts)
    last = merge_cells(counts)
    starts = np.append(0, last[:-1] + 1)
    merged = np.add.reduceat(counts, starts, axis=0)
    tables = tables_from_pmfs([smoothed_pmf(count) for count in merged])
    return FeatureContexts(bias16, weight16, cells[last[:-1]], cap, tables)


def _cap(fields: Sequence[Field]) -> int:
    """The smaller cap unless more than one symbol in 500 passes it."""
    beyond = sum(int(np.count_nonzero(np.abs(field) > CAPS[0])) for field in fields)
    return CAPS[0] if 500 * beyond <= sum(field.size for field in fields) else CAPS[1]


def _activity(fields: Sequence[Field], cap: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """b (C,) and w (6,) that minimise sum log s + |q| / s over random positions of the chunks."""
    channels = fields[0].shape[3]
    rng = np.random.default_rng(0)
    total = sum(field.size // channels for field in fields)
    near, own = [], []
    for field in fields:
        count = field.size // channels
        take = count if total * channels <= FIT_VALUES else max(1, count * FIT_VALUES // (total * channels))
        positions = np.sort(rng.choice(count, take, replace=False))
        magnitudes = np.zeros(field.size + channels, np.uint8)
        fill_magnitudes(field.reshape(-1), cap, magnitudes)
        out = np.empty((take, NUM_NEIGHBOURS, channels), np.uint8)
        fill_neighbours(magnitudes, positions, field.shape, out)
        near.append(out)
        own.append(magnitudes[channels:].reshape(count, channels)[positions])
    m = np.concatenate(near).astype(np.float32)  # (P, 6, C)
    y = np.concatenate(own).astype(np.float32)  # (P, C)
    mean = y.mean(0) + 1e-4
    bias = 0.4 * mean
    weight = np.full(NUM_NEIGHBOURS, 0.1, np.float32)
    for _ in range(40):
        s = bias + np.einsum("k,pkc->pc", weight, m) + 1e-4
        up, down = y / (s * s), 1 / s
        bias = np.clip(bias * np.sqrt(up.sum(0) / down.sum(0)), 1e-4, 1e4)
        ratio = np.einsum("pkc,pc->k", m, up) / np.maximum(np.einsum("pkc,pc->k", m, down), 1e-9)
        weight = np.clip(weight * np.sqrt(ratio), 1e-6, 2.0).astype(np.float32)
    trust = len(y) / (len(y) + PRIOR_POSITIONS)
    bias = np.exp(trust * np.log(bias) + (1 - trust) * np.log(bias).mean())  # few positions: towards what is usual
    return bias.astype(np.float64), np.where(weight < 2e-3, 0, weight).astype(np.float64)


def merge_cells(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Last cell of every class when neighbouring cells are merged, always the pair that costs the fewest bits.

    Args:
        counts: (cells, symbols).

    Returns:
        (K,) rising, its last the last cell; K at most 32.
    """

    def entropy(count: NDArray[np.float64]) -> float:
        some = count[count > 0]
        return float(some.sum() * np.log2(some.sum()) - (some * np.log2(some)).sum()) if len(some) else 0.0

    groups = [counts[i].astype(np.float64) for i in range(len(counts))]
    last = list(range(len(counts)))
    bits = [entropy(group) for group in groups]
    joint = [entropy(groups[i] + groups[i + 1]) for i in range(len(groups) - 1)]
    while len(groups) > 1:
        losses = [joint[i] - bits[i] - bits[i + 1] for i in range(len(joint))]
        i = int(np.argmin(losses))
        if losses[i] > TABLE_BITS and len(groups) <= MAX_CLASSES:
            break
        groups[i : i + 2] = [groups[i] + groups[i + 1]]
        bits[i : i + 2] = [joint[i]]
        del last[i], joint[i]
        for j in (i - 1, i):
            if 0 <= j < len(joint):
                joint[j] = entropy(groups[j] + groups[j + 1])
    return np.array(last)


def smoothed_pmf(count: NDArray[np.int64]) -> tuple[int, NDArray[np.float64], float]:
    """First symbol, masses and tail mass of one class's table.

    Args:
        count: (2 R + 1,) counts of the symbols -R..R, the ends standing for all beyond.
    """
    radius = len(count) // 2
    symbols = np.arange(-radius, radius + 1)
    total = float(count.sum())
    mean = float((count * np.abs(symbols)).sum() + 0.1) / (total + 1)
    above, below = float(count[radius + 1 :].sum()) + 0.25, float(count[:radius].sum()) + 0.25
    ratio = mean / (1 + mean)  # geometric with this mean
    model = ratio ** np.abs(symbols) * np.where(symbols > 0, above, below) / (above + below)
    model[radius] = 0.5
    model /= model.sum()
    mass = count + 0.5 * math.sqrt(total + 1) * model
    mass /= mass.sum()
    low = int(np.searchsorted(np.cumsum(mass), TRIMMED))
    high = 2 * radius - int(np.searchsorted(np.cumsum(mass[::-1]), TRIMMED))
    if low == 0 or high == 2 * radius:  # the ends hold every symbol beyond as well: these go to the escape
        low, high = min(max(low, 1), radius), max(min(high, 2 * radius - 1), radius)
    return low - radius, mass[low : high + 1], float(max(1 - mass[low : high + 1].sum(), 2.0**-16))
