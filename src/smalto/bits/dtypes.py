"""Types of the values that features come in, by name.

NumPy has no bfloat16: such an array is a uint16 array of bit patterns together with the name ``bfloat16``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smalto.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

BFLOAT16 = "bfloat16"
DTYPES: dict[str, int] = {"float16": 1, BFLOAT16: 2, "float32": 3, "float64": 4}
"""Name of a value's type -> its number in the file."""
DTYPE_BYTES: dict[str, int] = {"float16": 2, BFLOAT16: 2, "float32": 4, "float64": 8}
"""Name of a value's type -> bytes of a value in memory."""


def check_dtype(dtype_name: str) -> None:
    """Raise UsageError for what is no floating-point dtype that features come in."""
    if dtype_name not in DTYPES:
        raise UsageError(f"dtype {dtype_name!r}: features are {', '.join(DTYPES)}; convert the array first")


def storage_dtype(dtype_name: str) -> np.dtype[Any]:
    """What NumPy holds values of this dtype in: the dtype itself, uint16 bit patterns for ``bfloat16``.

    Raises:
        UsageError: not the name of a floating-point dtype that features come in.

    Example:
        >>> storage_dtype("bfloat16").name
        'uint16'
    """
    import numpy as np  # tables of array sets are read without it

    check_dtype(dtype_name)
    return np.dtype(np.uint16 if dtype_name == BFLOAT16 else dtype_name)


def pattern_dtype(dtype_name: str) -> np.dtype[Any]:
    """The unsigned integers of a value's size: what bit patterns are held in.

    Raises:
        UsageError: not the name of a floating-point dtype that features come in.
    """
    import numpy as np

    check_dtype(dtype_name)
    return np.dtype(f"u{DTYPE_BYTES[dtype_name]}")
