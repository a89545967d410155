"""Weights in about a byte each: integers on a power-of-two step for each row, entropy coded.

Math: row r of an array with root mean square s_r gets the exponent e_r = round(log2(s_r / K)), so that its step 2^e_r
is 1/K of its deviation, within half an octave; its values are stored as the integers q = round(v 2^-e_r). A row whose
values are multiples of 2^(e_r - 1) already keeps the largest step that holds them exactly, hence coding what was
restored changes nothing. q is cut into its low four bits, which are all but uniform and stored plainly, and the rest,
which goes through rANS with a Gaussian table chosen for each row. docs/weights.md describes every byte.

A power-of-two step makes q 2^e_r a float16 without rounding, so that values are restored by integer operations alone,
to the same bits on every machine. int16 arrays take the same way with step 1, and lose nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smalto.bits.cdf import CdfTables, cross_entropy_bits, gaussian_scales, gaussian_tables
from smalto.bits.compiled import compiled
from smalto.bits.rans import decode, encode
from smalto.errors import PacketError, UsageError, WeightsError

FORM = "coded-1"
STEPS_PER_DEVIATION = 96.0
MIN_VALUES = 2048
MAX_VALUES = 1 << 28
EXACT_NAMES = ("gain", "inverse_gain")
FINE_NAMES = ("linear",)
FINE_FACTOR = 8.0
LOW_BITS = 4
_LOW_BITS_FROM_DEVIATION = 48.0
_PREFIX = "coded."
_ARRAYS, _STREAM, _LOW, _EXPONENTS, _TABLES = (
    _PREFIX + name for name in ("arrays", "stream", "low", "exponents", "tables")
)
_CDF = _PREFIX + "cdf."
_MIN_EXPONENT, _MAX_EXPONENT = -24, 15  # of float16: its least subnormal and its largest power of two
_MAX_FLOAT16 = 65504.0
_HIGH_LIMIT = 1 << 26
_SMALL = 1 << 11
_DTYPES = ("float16", "int16")

Integer = Any  # inside a kernel every integer is an int64, whatever Python would make of it


@dataclass(frozen=True)
class _CodedArray:
    """One array as symbols.

    Args:
        shape: of the array.
        dtype: ``float16`` or ``int16``.
        low_bits: 0 or 4 bits of each integer that stand outside the stream.
        high: (N,) int32, what is entropy coded.
        low: low bits, two values a byte.
        exponents: (R,) int8, of each row's step.
        tables: (R,) uint8, Gaussian table of each row.
    """

    shape: tuple[int, ...]
    dtype: str
    low_bits: int
    high: NDArray[np.int32]
    low: NDArray[np.uint8]
    exponents: NDArray[np.int8]
    tables: NDArray[np.uint8]

    @property
    def num_bits(self) -> float:
        """What the array costs when stored so."""
        indexes = np.repeat(self.tables, len(self.high) // len(self.tables))
        return cross_entropy_bits(self.high, indexes, gaussian_tables()) + 8 * len(self.low) + 16 * len(self.tables)


def code(
    arrays: Mapping[str, np.ndarray], steps_per_deviation: float = STEPS_PER_DEVIATION
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The stored form of a set of arrays.

    float16 and int16 arrays of two or more axes and at least 2048 values are coded, unless they would not shrink or
    are gains (``EXACT_NAMES``); all others are stored as they are.

    Args:
        arrays: name -> array; no name begins with ``coded.``.
        steps_per_deviation: K, at least 1; steps to a row's root mean square. Arrays with ``linear`` in their dotted
            name, block transforms that carry a picture's means, get eight times as many.

    Returns:
        Arrays and metadata for ``restore``. int16 values come back as they are, float16 values within half a step (or a
        step, where rounding up would leave float16), -0.0 as 0.0.

    Raises:
        UsageError: a name or K is out of range.
        WeightsError: a float16 array to code holds NaN or infinity.
    """
    if not steps_per_deviation >= 1:
        raise UsageError(f"coded weights: {steps_per_deviation} steps to a deviation; give at least 1")
    taken = sorted(name for name in arrays if name.startswith(_PREFIX))
    if taken:
        raise UsageError(f"coded weights: {taken[0]}: this prefix is kept for the stored form; rename the array")
    stored, coded = {}, {}
    for name in sorted(arrays):
        array = arrays[name]
        factor = FINE_FACTOR if set(FINE_NAMES) & set(name.split(".")) else 1.0
        entry = _coded(name, array, factor * steps_per_deviation) if _fit_to_code(name, array) else None
        if entry is None or entry.num_bits >= 8 * array.nbytes:
            stored[name] = array
        else:
            coded[name] = entry
    listed = json.dumps([[name, entry.dtype, entry.shape, entry.low_bits] for name, entry in coded.items()])
    stored[_ARRAYS] = np.frombuffer(listed.encode(), np.uint8)
    return {**stored, **_streams(list(coded.values()))}, {"form": FORM}


def restore(stored: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays of a stored form.

    Args:
        stored: arrays that ``code`` gave.
        metadata: what ``code`` gave with them.

    Raises:
        WeightsError: they do not hold together.
    """
    if metadata.get("form") != FORM:
        raise WeightsError(f"coded weights: of form {metadata.get('form', '?')}, this version reads {FORM}; upgrade")
    listed = _listed(stored)
    arrays = {name: array for name, array in stored.items() if not name.startswith(_PREFIX)}
    if not listed:
        return arrays
    try:
        exponents, low = _vector(stored, _EXPONENTS, np.int8), _vector(stored, _LOW, np.uint8)
        lengths = np.concatenate([np.full(shape[0], math.prod(shape[1:])) for _, _, shape, _ in listed])
        indexes = np.repeat(_vector(stored, _TABLES, np.uint8), lengths)
        tables = CdfTables.from_arrays({name: stored[_CDF + name] for name in ("low", "size", "frequency")})
        high = decode(_vector(stored, _STREAM, np.uint8).tobytes(), indexes, tables)
    except (KeyError, ValueError, UsageError, PacketError) as error:
        raise _damage(str(error).splitlines()[0]) from error
    if int(high.max()) >= _HIGH_LIMIT or int(high.min()) < -_HIGH_LIMIT:
        raise _damage("an integer is out of bounds")
    value, row, byte = 0, 0, 0
    for name, dtype, shape, low_bits in listed:
        size, num_low = math.prod(shape), -(-math.prod(shape) // 2) if low_bits else 0
        integers = high[value : value + size]
        if low_bits:
            if byte + num_low > len(low):
                raise _damage(f"{name} lacks low bits")
            _join(integers, low[byte : byte + num_low])
        arrays[name] = _values(name, dtype, integers, exponents[row : row + shape[0]]).reshape(shape)
        value, row, byte = value + size, row + shape[0], byte + num_low
    if row != len(exponents) or byte != len(low):
        raise _damage(f"{len(exponents)} exponents and {len(low)} bytes of low bits for {row} rows and {byte} bytes")
    return arrays


def _fit_to_code(name: str, array: np.ndarray) -> bool:
    exact = name.rpartition(".")[2] in EXACT_NAMES
    return array.dtype.name in _DTYPES and array.ndim >= 2 and array.size >= MIN_VALUES and not exact


# -- to integers ----------------------------------------------------------------------------------------------------


def _coded(name: str, array: np.ndarray, steps: float) -> _CodedArray:
    rows = array.reshape(len(array), -1)
    exponents = np.zeros(len(rows), np.int64)
    if array.dtype.name == "float16":
        if not np.isfinite(rows).all():
            raise WeightsError(f"coded weights: {name} holds values that are not finite; train it again")
        exponents = row_exponents(rows, steps)
    top = np.floor(np.ldexp(_MAX_FLOAT16, -exponents))[:, None]
    scaled = np.ldexp(rows.astype(np.float64), -exponents[:, None])
    integers = np.clip(np.rint(scaled), -top, top).astype(np.int32)
    cut = _deviation(integers.reshape(1, -1))[0] >= _LOW_BITS_FROM_DEVIATION
    low = np.zeros(0, np.uint8)
    if cut:
        integers = integers + (1 << LOW_BITS >> 1)
        nibbles = np.append(integers.astype(np.uint8) & ((1 << LOW_BITS) - 1), np.zeros(integers.size % 2, np.uint8))
        low = (nibbles[::2] | nibbles[1::2] << LOW_BITS).astype(np.uint8)
        integers = integers >> LOW_BITS
    return _CodedArray(
        array.shape,
        array.dtype.name,
        LOW_BITS * int(cut),
        integers.reshape(-1),
        low,
        exponents.astype(np.int8),
        _nearest_tables(_deviation(integers)),
    )


def row_exponents(rows: NDArray[np.float16], steps: float) -> NDArray[np.int64]:
    """(R,) exponent of each row's step, in -24..15.

    Args:
        rows: (R, n) finite values.
        steps: K.
    """
    wide = rows.astype(np.float64)
    deviation = np.sqrt(np.mean(wide**2, axis=1))
    bits = np.bitwise_or.reduce(np.abs(np.ldexp(wide, -_MIN_EXPONENT)).astype(np.int64), axis=1)
    used = bits != 0
    exact = np.zeros(len(rows), np.int64)  # the largest power of two that divides the row
    exact[used] = np.frexp((bits[used] & -bits[used]).astype(np.float64))[1] - 1 + _MIN_EXPONENT
    wanted = exact.copy()
    wanted[used] = np.minimum(np.rint(np.log2(deviation[used] / steps)).astype(np.int64), _MAX_EXPONENT)
    return np.where(exact >= wanted - 1, exact, wanted)


def _deviation(integers: NDArray[np.int32]) -> NDArray[np.float64]:
    """(R,) root mean square of each row."""
    return np.sqrt(np.mean(integers.astype(np.float64) ** 2, axis=1))


def _nearest_tables(deviations: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(R,) number of the Gaussian table whose scale is nearest, in octaves."""
    scales = np.log(gaussian_scales())
    borders = (scales[1:] + scales[:-1]) / 2
    return np.searchsorted(borders, np.log(np.maximum(deviations, 1e-9))).astype(np.uint8)


def _streams(coded: list[_CodedArray]) -> dict[str, np.ndarray]:
    """All arrays in one stream, with the tables that it uses and no others."""
    if not coded:
        return {}
    used, tables = np.unique(np.concatenate([entry.tables for entry in coded]), return_inverse=True)
    lengths = np.concatenate([np.full(len(entry.tables), len(entry.high) // len(entry.tables)) for entry in coded])
    cdf = _some_tables(gaussian_tables(), used)
    stream = encode(np.concatenate([entry.high for entry in coded]), np.repeat(tables, lengths), cdf)
    return {
        _STREAM: np.frombuffer(stream, np.uint8),
        _LOW: np.concatenate([entry.low for entry in coded]),
        _EXPONENTS: np.concatenate([entry.exponents for entry in coded]),
        _TABLES: tables.astype(np.uint8),
        **{_CDF + name: array for name, array in cdf.to_arrays().items()},
    }


def _some_tables(tables: CdfTables, chosen: NDArray[np.uint8]) -> CdfTables:
    ends = np.cumsum(tables.size.astype(np.int64) + 1)
    frequency = [tables.frequency[ends[k] - tables.size[k] - 1 : ends[k]] for k in chosen]
    return CdfTables(tables.low[chosen], tables.size[chosen], np.concatenate(frequency))


# -- and back -------------------------------------------------------------------------------------------------------


def _damage(what: str) -> WeightsError:
    return WeightsError(f"coded weights: {what}; the file is damaged, fetch it again")


def _listed(stored: Mapping[str, np.ndarray]) -> list[tuple[str, str, tuple[int, ...], int]]:
    """Name, dtype, shape and low bits of each coded array, checked."""
    try:
        rows = json.loads(_vector(stored, _ARRAYS, np.uint8).tobytes())
        listed = [(str(name), str(dtype), tuple(map(int, shape)), int(low)) for name, dtype, shape, low in rows]
    except (KeyError, ValueError, TypeError) as error:
        raise _damage("the list of arrays cannot be read") from error
    for name, dtype, shape, low_bits in listed:
        if dtype not in _DTYPES or len(shape) < 1 or min(shape) < 1 or low_bits not in (0, LOW_BITS):
            raise _damage(f"{name} is said to be {dtype} {shape} with {low_bits} low bits")
    if sum(math.prod(shape) for _, _, shape, _ in listed) > MAX_VALUES:
        raise _damage(f"more than {MAX_VALUES} values")
    return listed


def _vector(stored: Mapping[str, np.ndarray], name: str, dtype: type[np.integer]) -> np.ndarray:
    array = stored[name]
    if array.ndim != 1 or array.dtype != dtype:
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    return array


def _values(name: str, dtype: str, integers: NDArray[np.int32], exponents: NDArray[np.int8]) -> np.ndarray:
    """(N,) values of the array's dtype. Raises WeightsError when an integer has no place in it."""
    if dtype == "int16":
        if exponents.any() or int(integers.min()) < -(1 << 15) or int(integers.max()) >= 1 << 15:
            raise _damage(f"{name} leaves int16")
        return integers.astype(np.int16)
    if int(exponents.min()) < _MIN_EXPONENT or int(exponents.max()) > _MAX_EXPONENT:
        raise _damage(f"{name} has steps beyond float16")
    patterns = np.empty(len(integers), np.uint16)
    small = np.arange(-_SMALL, _SMALL).astype(np.float16).view(np.uint16)
    if _float16_patterns(integers, exponents, small, patterns):
        raise _damage(f"{name} leaves float16")
    return patterns.view(np.float16)


@compiled
def _join(high: NDArray[np.int32], low: NDArray[np.uint8]) -> None:
    """Put low bits behind high ones, in place."""
    for place in range(len(high)):
        nibble = (np.int64(low[place >> 1]) >> ((place & 1) << 2)) & 15
        high[place] = (np.int64(high[place]) << LOW_BITS) + nibble - (1 << LOW_BITS >> 1)


@compiled
def _float16_patterns(
    integers: NDArray[np.int32], exponents: NDArray[np.int8], small: NDArray[np.uint16], patterns: NDArray[np.uint16]
) -> Integer:
    """Write q 2^e as float16 bit patterns; gives how many have none. ``small`` holds those of -2048..2047."""
    columns = len(integers) // len(exponents)
    num_bad = 0
    for row in range(len(exponents)):
        exponent = np.int64(exponents[row])
        for place in range(row * columns, (row + 1) * columns):
            value = np.int64(integers[place])
            pattern = np.int64(small[np.uint64((value + _SMALL) & (2 * _SMALL - 1))])
            field = (pattern >> 10 & 31) + exponent
            if value == 0:
                pattern = 0
            elif -_SMALL <= value < _SMALL and 1 <= field <= 30:
                pattern += exponent << 10
            else:
                pattern = _float16_pattern(abs(value), exponent)
                num_bad += pattern < 0
                pattern = (pattern & 0x7FFF) | (0x8000 if value < 0 else 0)
            patterns[place] = pattern
    return num_bad


@compiled
def _float16_pattern(size: Integer, exponent: Integer) -> Integer:
    """The bits of size 2^exponent, size >= 1, or -1 when float16 cannot hold it exactly."""
    while size & 1 == 0:
        size >>= 1
        exponent += 1
    length = 0
    while size >> length:
        length += 1
    top = length - 1 + exponent
    if length > 11 or top > _MAX_EXPONENT or exponent < _MIN_EXPONENT:
        return -1
    if top < -14:
        return size << (exponent - _MIN_EXPONENT)
    return ((top + 14) << 10) + (size << (11 - length))
