"""The peaky-to-balanced transform: features to indexes of the nearest of at most 256 fitted levels, and back.

::

    samples ── fit ──► levels (rising, float64) ──► thresholds (midpoints)
    x (any shape) ── forward: number of thresholds below x ──► uint8 indexes ── inverse: levels[index] ──► x_hat

Math: forward f(x) = argmin_k (x - l_k)^2 (equations 2 and 5), inverse g(k) = l_k (equations 3 and 6), with levels that
minimise E (x - g(f(x)))^2 (equation 4).

Source: DT-UFC (arXiv 2025), section 4.2. Public code that goes with the paper takes the level below; we take the
nearest, as the paper's equation 5 says.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.bits.dtypes import storage_dtype
from smalto.codecs.float_patterns import float_array, float_values, floored, rounded
from smalto.codecs.lloyd_max_fit import MAX_LEVELS, Convergence, fit_levels, nearest_thresholds
from smalto.codecs.lloyd_max_kernels import CHUNK_VALUES, ORDER_MASK, look_up_levels, look_up_patterns, nearest_levels
from smalto.errors import ProfileError, UsageError

LOG_CELLS = 16
PART_VALUES = 1 << 20


class _Cells(NamedTuple):
    """What ``nearest_levels`` reads for one dtype."""

    starts: NDArray[np.uint8]
    thresholds: np.ndarray
    geometry: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LloydMax:
    """A fitted transform between feature values and the indexes of levels.

    Values outside the levels' range take the first or last level, so do infinities; NaN takes the level nearest to
    zero. A value halfway between two levels takes the lower one.

    Args:
        levels: (L,) finite, rising, distinct; L in 1..256.
        convergence: how the fit ended; None for levels that were not fitted here.

    Raises:
        UsageError: levels that are not so.

    Example:
        >>> transform = LloydMax(np.array([-1.0, 0.0, 2.0]))
        >>> indexes = transform.forward(np.array([[-9.0, 0.4, 1.0, 1.1]]))
        >>> indexes.tolist(), transform.inverse(indexes, "float32").tolist()
        ([[0, 1, 1, 2]], [[-1.0, 0.0, 0.0, 2.0]])
    """

    levels: NDArray[np.float64]
    convergence: Convergence | None = None

    def __post_init__(self) -> None:
        levels = np.array(self.levels, np.float64) + 0.0
        if levels.ndim != 1 or not 1 <= len(levels) <= MAX_LEVELS:
            raise UsageError(f"lloyd-max: levels of shape {levels.shape}; need a vector of 1..{MAX_LEVELS}")
        if not np.isfinite(levels).all() or (levels[1:] <= levels[:-1]).any():
            raise UsageError("lloyd-max: levels must be finite and rise from one to the next")
        levels.flags.writeable = False
        object.__setattr__(self, "levels", levels)

    @classmethod
    def fit(
        cls, samples: Sequence[np.ndarray] | np.ndarray, num_levels: int = MAX_LEVELS, dtype_name: str | None = None
    ) -> LloydMax:
        """Levels with the least squared error on samples, by Lloyd's rounds to convergence.

        Args:
            samples: one array or several of one dtype (ten samples are enough in the paper), any shapes. NaN and
                infinities are left out; if nothing is left, the one level is 0.
            num_levels: 1..256; fewer come out if the samples have fewer distinct values, which are then kept exactly.
            dtype_name: needed for bfloat16 patterns in uint16 arrays only.

        Returns:
            The transform. Its levels are numbers of the samples' dtype; ``convergence`` tells rounds and error.

        Raises:
            UsageError: ``num_levels`` outside 1..256, samples of no or several float dtypes.
        """
        return cls(*fit_levels(samples, num_levels, dtype_name))

    @property
    def num_levels(self) -> int:
        """L."""
        return len(self.levels)

    @functools.cached_property
    def thresholds(self) -> NDArray[np.float64]:
        """(L - 1,) midpoints of neighbouring levels; the thresholds below a value number its level."""
        return nearest_thresholds(self.levels)

    @functools.cached_property
    def index_of_zero(self) -> int:
        """The index of the level nearest to zero, which NaN takes."""
        return int(np.searchsorted(self.thresholds, 0.0))

    def forward(self, values: np.ndarray, dtype_name: str | None = None) -> NDArray[np.uint8]:
        """The index of the nearest level, for every value.

        Args:
            values: any shape, strides and byte order; float16, bfloat16, float32 or float64.
            dtype_name: needed for bfloat16 patterns in uint16 arrays only.

        Returns:
            Indexes 0..L-1 in the shape of ``values``.

        Raises:
            UsageError: another dtype.
        """
        array, name = float_array(values, dtype_name)
        flat = _aligned(array)
        indexes = np.empty(flat.shape, np.uint8)
        if name in ("float16", "bfloat16"):
            patterns, table = flat.view(np.uint16), self._pattern_table(name)
            whole = len(patterns) & ~7
            look_up_patterns(table, patterns[:whole].view(np.uint64), indexes[:whole].view(np.uint64))
            indexes[whole:] = table[patterns[whole:]]
        else:
            cells, room = self._cells(name), np.empty(CHUNK_VALUES, np.uint16)
            for at in range(0, len(flat), PART_VALUES):
                part = flat[at : at + PART_VALUES]
                patterns = _float32_patterns(part)
                out = indexes[at : at + PART_VALUES]
                nearest_levels(part, patterns, room, cells.starts, cells.thresholds, cells.geometry, out)
        return indexes.reshape(array.shape)

    def inverse(self, indexes: np.ndarray, dtype_name: str) -> np.ndarray:
        """The level of every index.

        Args:
            indexes: uint8 in 0..L-1, any shape.
            dtype_name: of the answer: float16, bfloat16, float32 or float64.

        Returns:
            Levels at the nearest number of that dtype (its largest beyond its range), in the shape of ``indexes``;
            bfloat16 as uint16 patterns. ``forward`` gives the indexes back wherever the levels are numbers of the
            dtype: after a fit, in the samples' dtype and wider ones.

        Raises:
            UsageError: indexes of another dtype or without a level, an unknown dtype name.
        """
        array = np.asarray(indexes)
        if array.dtype != np.uint8:
            raise UsageError(f"lloyd-max: indexes of {array.dtype}; they must be uint8")
        flat = _aligned(array)
        if self.num_levels < MAX_LEVELS and flat.size and int(flat.max()) >= self.num_levels:
            raise UsageError(f"lloyd-max: index {int(flat.max())} where the transform has {self.num_levels} levels")
        table = self._level_table(dtype_name)
        values = np.empty(flat.shape, table.dtype)
        whole = len(flat) & ~7
        look_up_levels(table, flat[:whole].view(np.uint64), values[:whole])
        values[whole:] = table[flat[whole:]]
        return values.view(storage_dtype(dtype_name)).reshape(array.shape)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The transform for storage: ``levels``, little-endian float64."""
        return {"levels": self.levels.astype("<f8")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LloydMax:
        """The transform that ``to_arrays`` stored.

        Raises:
            ProfileError: no such array, or its numbers are not levels.
        """
        levels = arrays.get("levels")
        if levels is None or levels.dtype != np.float64:
            raise ProfileError("lloyd-max: the profile has no float64 array called levels; fit it again")
        try:
            return cls(levels)
        except UsageError as error:
            raise ProfileError(f"{error}; the profile is damaged, fit it again") from error

    @functools.cached_property
    def _held(self) -> dict[str, Any]:
        """Tables by what they are for and the dtype's name, made when they are first needed."""
        return {}

    def _pattern_table(self, name: str) -> NDArray[np.uint8]:
        """The index of each of the 65,536 patterns of a 16-bit dtype."""
        key = f"forward {name}"
        if key not in self._held:
            patterns = np.arange(1 << 16, dtype=np.uint16)
            values = float_values(patterns if name == "bfloat16" else patterns.view(np.float16), name)
            table = np.searchsorted(self.thresholds, values)
            self._held[key] = np.where(np.isnan(values), self.index_of_zero, table).astype(np.uint8)
        return self._held[key]

    def _cells(self, name: str) -> _Cells:
        """Cells of the bit patterns of float32 or float64."""
        key = f"forward {name}"
        if key not in self._held:
            self._held[key] = _make_cells(self.thresholds, np.dtype(name), self.index_of_zero)
        return self._held[key]

    def _level_table(self, name: str) -> np.ndarray:
        """256 rounded levels of one dtype, as unsigned patterns; the last ones repeat."""
        key = f"inverse {name}"
        if key not in self._held:
            levels = rounded(self.levels, name)
            padded = np.concatenate((levels, np.repeat(levels[-1:], MAX_LEVELS - len(levels))))
            self._held[key] = padded.view(np.dtype(f"u{padded.dtype.itemsize}"))
        return self._held[key]


def _aligned(array: np.ndarray) -> np.ndarray:
    """The values as a vector that starts at a multiple of eight bytes, copied only when they do not lie so."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return flat if flat.ctypes.data % 8 == 0 else flat.copy()


def _float32_patterns(values: np.ndarray) -> NDArray[np.int32]:
    """Bit patterns of the values in float32, which is monotone and so keeps cells in order; no copy for float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return values.astype(np.float32, copy=False).view(np.int32)


def _make_cells(thresholds: NDArray[np.float64], dtype: np.dtype, index_of_zero: int) -> _Cells:
    """At most 65,536 cells of equally many float32 patterns between the outermost thresholds.

    A threshold is replaced by the largest number of the dtype that is not above it, which the same values exceed.
    """
    floor = floored(thresholds, dtype)
    padding = np.full(2 * MAX_LEVELS - len(floor), np.inf, dtype)
    if len(floor) == 0:
        return _Cells(np.zeros(1, np.uint8), padding, np.array([0, 0, 0, 1, 0], np.int64))
    patterns = _float32_patterns(floor).astype(np.int64)
    keys = patterns ^ ((patterns >> 63) & ORDER_MASK)
    first, last = int(keys[0]), int(keys[-1]) + 1
    shift = max(0, (last - first).bit_length() - LOG_CELLS)
    while (last >> shift) - (first >> shift) >= 1 << LOG_CELLS:
        shift += 1
    inside = np.bincount((keys >> shift) - (first >> shift), minlength=(last >> shift) - (first >> shift) + 1)
    starts = (np.cumsum(inside) - inside).astype(np.uint8)
    num_steps = max(1, int(inside.max()).bit_length())
    geometry = np.array([first, last, shift, num_steps, index_of_zero], np.int64)
    return _Cells(starts, np.concatenate((floor, padding)), geometry)
