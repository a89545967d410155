"""Float arrays by the name of their dtype, and the bit patterns of the 16-bit ones.

NumPy has no bfloat16: such an array is a uint16 array of bit patterns together with the name ``bfloat16``. Arrays whose
own dtype is called bfloat16 (the package ml_dtypes makes them) are read as their patterns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from smalto.bits.dtypes import DTYPES, check_dtype, storage_dtype
from smalto.errors import UsageError

FLOAT_DTYPES = tuple(DTYPES)
LARGEST_BFLOAT16 = 0x7F7F


def float_array(values: np.ndarray, dtype_name: str | None = None) -> tuple[np.ndarray, str]:
    """An array in the machine's byte order and the name of its dtype.

    Args:
        values: any shape; float16, float32, float64, bfloat16, or uint16 patterns of bfloat16 with the name.
        dtype_name: one of FLOAT_DTYPES; needed for uint16 patterns only.

    Returns:
        The array, bfloat16 as uint16 patterns, not copied when its byte order is the machine's; and the name.

    Raises:
        UsageError: another dtype, or one that is not called ``dtype_name``.

    Example:
        >>> float_array(np.array([0x3F80], np.uint16), "bfloat16")[1]
        'bfloat16'
    """
    if dtype_name is not None:
        check_dtype(dtype_name)
    array = np.asarray(values)
    found = array.dtype.name
    if found == "uint16" and dtype_name == "bfloat16":
        found = dtype_name
    if found not in FLOAT_DTYPES or (dtype_name is not None and found != dtype_name):
        wanted = dtype_name or ", ".join(FLOAT_DTYPES)
        raise UsageError(f"features: an array of {found} where {wanted} is needed; convert it")
    stored = storage_dtype(found)
    if array.dtype.itemsize == 2 and array.dtype.kind not in "fu":
        array = array.view(np.uint16)
    return array.astype(stored, copy=False), found


def float_values(array: np.ndarray, dtype_name: str) -> NDArray[np.float64]:
    """The values of an array as ``float_array`` gives it, exactly, in float64."""
    if dtype_name == "bfloat16":
        array = (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        return array.astype(np.float64)


def rounded(values: NDArray[np.float64], dtype_name: str) -> np.ndarray:
    """Finite values at the nearest number of a dtype, ties to even; beyond its range, at its largest finite number.

    Args:
        values: (n,) finite float64.
        dtype_name: one of FLOAT_DTYPES.

    Returns:
        (n,) in the stored dtype: bfloat16 as uint16 patterns.

    Example:
        >>> rounded(np.array([1.0, 1e9]), "float16").tolist()
        [1.0, 65504.0]
    """
    dtype = storage_dtype(dtype_name)
    if dtype_name == "bfloat16":
        return _bfloat16_patterns(values)
    limit = float(np.finfo(dtype).max)
    with np.errstate(under="ignore"):
        return np.clip(values, -limit, limit).astype(dtype)


def floored(values: NDArray[np.float64], dtype: np.dtype) -> np.ndarray:
    """The largest number of float32 or float64 that is not above each value: the numbers above both are the same.

    Example:
        >>> bool(floored(np.array([0.1]), np.dtype(np.float32))[0] <= 0.1)
        True
    """
    with np.errstate(over="ignore", under="ignore"):
        near = values.astype(dtype)
        below = np.nextafter(near, dtype.type(-np.inf))
    return np.where(near > values, below, near) + dtype.type(0)


def _bfloat16_patterns(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    size = np.minimum(np.abs(values), float(np.finfo(np.float32).max))
    with np.errstate(under="ignore"):
        single = size.astype(np.float32)
    single = np.where(single > size, np.nextafter(single, np.float32(0)), single)  # towards zero
    below = np.minimum(single.view(np.uint32) >> 16, LARGEST_BFLOAT16)
    above = np.minimum(below + 1, LARGEST_BFLOAT16)
    near, far = ((part.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for part in (below, above))
    is_up = (far - size < size - near) | ((far - size == size - near) & (below & 1 == 1))
    patterns = np.where(is_up, above, below).astype(np.uint16)
    return patterns | np.where(np.signbit(values), np.uint16(0x8000), np.uint16(0))
