"""Values of features in working precision and back, and the few values that no symbol stands for, kept exactly.

NumPy has no bfloat16: such an array is a uint16 array of its bit patterns and the name "bfloat16".
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from smalto.bits.compiled import compiled
from smalto.bits.dtypes import DTYPES, pattern_dtype
from smalto.errors import DamagedPacket, UsageError

_LARGEST = {"float16": 65504.0, "bfloat16": float.fromhex("0x1.fep127"), "float32": float(np.finfo(np.float32).max)}


def dtype_name_of(array: np.ndarray, dtype_name: str | None = None) -> str:
    """The name of an array's dtype; ``dtype_name`` says that a uint16 array holds bfloat16 patterns.

    Raises:
        UsageError: the dtype is none of float16, bfloat16, float32 and float64, or is not the one that is named.
    """
    own = array.dtype.name
    if dtype_name == "bfloat16" and own == "uint16":
        return "bfloat16"
    if own not in DTYPES or dtype_name not in (None, own):
        wanted = dtype_name or ", ".join(DTYPES)
        raise UsageError(f"features: values of dtype {own}; give {wanted}")
    return own


def bits_of(array: np.ndarray, name: str) -> np.ndarray:
    """The bit patterns of an array: unsigned integers of its shape, C-ordered, without a copy where possible."""
    native = np.asarray(array, array.dtype.newbyteorder("="))
    return np.ascontiguousarray(native).view(pattern_dtype(name)).reshape(array.shape)


def widened(array: np.ndarray, name: str) -> np.ndarray:
    """The values as float32 (float64 stays), C-ordered; NaN and infinities as they are."""
    if name == "bfloat16":
        patterns = bits_of(array, name).astype(np.uint32)
        patterns <<= np.uint32(16)
        return patterns.view(np.float32)
    if name == "float16":
        values = np.empty(array.shape, np.float32)
        widen_halves(bits_of(array, name).reshape(-1), values.reshape(-1).view(np.uint32), values.reshape(-1))
        return values
    return np.asarray(array, np.float64 if name == "float64" else np.float32, order="C")


def narrowed(values: np.ndarray, name: str) -> np.ndarray:
    """Values rounded to the dtype, to nearest even; beyond its largest finite value they become that value.

    ``values`` (float32 or float64, no NaN) may be changed.
    """
    if name == "float64":
        return values.astype(np.float64, copy=False)
    if name == "float32" and values.dtype == np.float32:
        return values
    if name == "float16" and values.dtype == np.float32:
        halves = np.empty(values.shape, np.uint16)
        flat = np.ascontiguousarray(values).reshape(-1)
        narrow_halves(flat, flat.view(np.uint32), halves.reshape(-1))
        return halves.view(np.float16)
    largest = _LARGEST[name]
    if values.size and (values.max() > largest or values.min() < -largest):
        np.clip(values, -largest, largest, out=values)
    if name != "bfloat16":
        return values.astype(name)
    patterns = values.astype(np.float32, copy=False).view(np.uint32)
    patterns = patterns + (np.uint32(0x7FFF) + ((patterns >> np.uint32(16)) & np.uint32(1)))
    return (patterns >> np.uint32(16)).astype(np.uint16)


@compiled
def widen_halves(patterns: np.ndarray, words: np.ndarray, values: np.ndarray) -> None:
    """float16 patterns to float32 values; ``words`` is the memory of ``values`` as uint32. NaN becomes infinity.

    Math: exponent and fraction, moved to their places in a float32, stand for the value times 2^-112.
    """
    scale = np.float32(2.0**112)
    for start in range(0, len(patterns), 1024):
        stop = min(start + 1024, len(patterns))
        for i in range(np.uint64(start), np.uint64(stop)):
            words[i] = ((patterns[i] & 0x7FFF) << 13) | ((patterns[i] & 0x8000) << 16)
        for i in range(np.uint64(start), np.uint64(stop)):
            value = values[i] * scale
            values[i] = value if abs(value) < np.float32(65536) else value * np.float32(np.inf)


@compiled
def narrow_halves(values: np.ndarray, words: np.ndarray, patterns: np.ndarray) -> None:
    """float32 values, no NaN, to float16 patterns, to nearest even, at most the largest finite value.

    ``words`` is the memory of ``values`` as uint32. Below 2^-14 the patterns count steps of 2^-24.
    """
    for i in range(np.uint64(len(values))):
        word = np.uint32(words[i] & np.uint32(0x7FFFFFFF))
        sign = np.uint32((words[i] >> np.uint32(16)) & np.uint32(0x8000))
        normal = np.uint32((word + 0xFFF + ((word >> np.uint32(13)) & 1)) >> np.uint32(13)) - (112 << 10)
        steps = abs(values[i]) * np.float32(2.0**24)
        steps = steps if steps < np.float32(2048) else np.float32(2048)
        small = np.uint32((steps + np.float32(2.0**23)) - np.float32(2.0**23))
        pattern = normal if word >= 0x38800000 else small
        pattern = pattern if pattern < 0x7BFF else 0x7BFF
        patterns[i] = pattern | sign


def pack_exceptions(positions: NDArray[np.int64], patterns: np.ndarray) -> bytes:
    """Store some values exactly: their number, then deflated gaps between their rising positions and their bits.

    Args:
        positions: (n,) rising, below 2^32.
        patterns: (n,) unsigned integers, as ``bits_of`` gives them.
    """
    if len(positions) == 0:
        return b""
    gaps = np.diff(positions, prepend=0).astype("<u4")
    planes = [gaps.view(np.uint8).reshape(-1, 4).T, _byte_planes(patterns)]
    body = zlib.compress(b"".join(plane.tobytes() for plane in planes), 9)
    return len(positions).to_bytes(4, "little") + body


def unpack_exceptions(data: bytes | bytearray | memoryview, count: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and bit patterns that ``pack_exceptions`` stored for an array of ``count`` values.

    Raises:
        DamagedPacket: the bytes do not hold rising positions below ``count`` and as many values.
    """
    data = bytes(data)
    dtype = pattern_dtype(name)
    if not data:
        return np.empty(0, np.int64), np.empty(0, dtype)
    num = int.from_bytes(data[:4], "little")
    if len(data) < 4 or not 0 < num <= count:
        raise DamagedPacket(f"features: {num} exact values among {count}; the file is damaged")
    size = num * (4 + dtype.itemsize)
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data[4:], size + 1)
    except zlib.error as error:
        raise DamagedPacket(f"features: exact values: {error}; the file is damaged") from error
    if len(body) != size or not inflater.eof or inflater.unused_data:
        raise DamagedPacket("features: the exact values have the wrong length; the file is damaged")
    flat = np.frombuffer(body, np.uint8)
    gaps = np.ascontiguousarray(flat[: 4 * num].reshape(4, num).T).view("<u4").ravel().astype(np.int64)
    positions = np.cumsum(gaps)
    if (gaps[1:] == 0).any() or int(positions[-1]) >= count:
        raise DamagedPacket("features: an exact value has no place in the array; the file is damaged")
    patterns = np.ascontiguousarray(flat[4 * num :].reshape(dtype.itemsize, num).T)
    return positions, patterns.view(dtype.newbyteorder("<")).ravel().astype(dtype)


def _byte_planes(patterns: np.ndarray) -> np.ndarray:
    """(bytes a value, n) bytes of the values, little end first."""
    little = np.ascontiguousarray(patterns.astype(patterns.dtype.newbyteorder("<"), copy=False))
    return little.view(np.uint8).reshape(-1, patterns.dtype.itemsize).T
