"""A named array of features that is read in slices, wherever it lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smalto.bits.dtypes import BFLOAT16, DTYPE_BYTES, storage_dtype
from smalto.errors import FeatureFileError, UsageError

if TYPE_CHECKING:
    import torch

GROUP_BYTES = 16 << 20
MAX_AXES = 32


@dataclass(frozen=True)
class FeatureArray:
    """An array that may be larger than memory.

    Args:
        name: its name in the file; ``features`` where the format keeps none.
        dtype_name: ``float16``, ``bfloat16``, ``float32`` or ``float64``.
        shape: any number of axes; () is one number.
        read: (start, stop) -> rows along the first axis; callers use ``rows``.
        source: the file, for messages.
    """

    name: str
    dtype_name: str
    shape: tuple[int, ...]
    read: Callable[[int, int], np.ndarray] = field(repr=False, compare=False)
    source: str = field(default="array", compare=False)

    @property
    def num_rows(self) -> int:
        """Length of the first axis; 1 for an array without axes."""
        return self.shape[0] if self.shape else 1

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[1:]

    @property
    def num_bytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype_name]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start .. stop - 1 along the first axis, in memory, C order, native byte order.

        Args:
            start: 0 .. num_rows.
            stop: start .. num_rows.

        Returns:
            (stop - start, *row_shape) of ``storage_dtype(dtype_name)``: uint16 bit patterns for bfloat16.

        Raises:
            UsageError: rows outside the array.
            FeatureFileError: the file changed or is damaged.
        """
        if not 0 <= start <= stop <= self.num_rows:
            raise UsageError(f"{self.source}: {self.name} has {self.num_rows} rows, not {start}..{stop}")
        found = self.read(start, stop)
        expected = (stop - start, *self.row_shape)
        if found.shape != expected or found.dtype != storage_dtype(self.dtype_name):
            raise FeatureFileError(f"{self.source}: {self.name} gave {found.dtype} {found.shape}, not {expected}")
        return found

    def groups(self, max_bytes: int = GROUP_BYTES) -> Iterator[np.ndarray]:
        """All rows in order, in groups of at most ``max_bytes`` (at least one row each)."""
        row_bytes = max(1, math.prod(self.row_shape) * DTYPE_BYTES[self.dtype_name])
        step = max(1, max_bytes // row_bytes)
        for start in range(0, self.num_rows, step):
            yield self.rows(start, min(start + step, self.num_rows))

    def whole(self) -> np.ndarray:
        """The whole array in memory, in its own shape."""
        return self.rows(0, self.num_rows).reshape(self.shape)

    @classmethod
    def of(cls, name: str, array: Any, dtype_name: str | None = None) -> FeatureArray:
        """An array in memory: NumPy (also of ml_dtypes' bfloat16) or a torch tensor on any device.

        Args:
            name: its name.
            array: floating-point values, or uint16 bit patterns with ``dtype_name="bfloat16"``.
            dtype_name: only needed for bit patterns.

        Raises:
            UsageError: not an array of floating-point values.
        """
        if hasattr(array, "detach") and hasattr(array, "layout"):
            array, dtype_name = tensor_array(array)
        if not isinstance(array, np.ndarray):
            raise UsageError(f"{name}: {type(array).__name__} is no array; pass NumPy arrays or torch tensors")
        dtype_name = str(array.dtype.name) if dtype_name is None else dtype_name
        held = storage_dtype(dtype_name)
        if array.dtype.name == BFLOAT16:
            array = array.view(np.uint16)
        if array.dtype != held:
            raise UsageError(f"{name}: {array.dtype} does not hold {dtype_name} values; pass {held}")
        values = np.ascontiguousarray(array.astype(held, copy=False)).reshape(array.shape or (1,))
        return cls(name, dtype_name, array.shape, lambda start, stop: values[start:stop])


def raw_bytes(values: np.ndarray) -> memoryview:
    """The values as files hold them: little endian, C order."""
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return little.reshape(-1).view(np.uint8).data


def tensor_array(tensor: Any) -> tuple[np.ndarray, str]:
    """A torch tensor as a NumPy array (uint16 bit patterns for bfloat16) and the name of its dtype.

    Raises:
        UsageError: not a dense tensor of a floating-point dtype.
    """
    import torch

    dtype_name = str(tensor.dtype).removeprefix("torch.")
    if dtype_name not in DTYPE_BYTES or tensor.layout != torch.strided:
        raise UsageError(f"tensor of {dtype_name}: features are dense {', '.join(DTYPE_BYTES)}; convert it first")
    values = tensor.detach().cpu().resolve_neg()
    if dtype_name == BFLOAT16:
        return values.view(torch.int16).numpy().view(np.uint16), dtype_name
    return values.numpy(), dtype_name


def array_tensor(array: np.ndarray, dtype_name: str) -> torch.Tensor:
    """The CPU tensor of an array as ``storage_dtype`` holds it; it shares memory."""
    import torch

    if dtype_name == BFLOAT16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def shown_array(array: np.ndarray, dtype_name: str) -> np.ndarray:
    """An array as people get it: bfloat16 as ml_dtypes' type when that is installed, else as its patterns."""
    if dtype_name != BFLOAT16:
        return array
    try:
        import ml_dtypes
    except ImportError:
        return array
    return array.view(ml_dtypes.bfloat16)
