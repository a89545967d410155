"""Samples as Lloyd's rounds read them: finite, rising, with their multiplicities and running sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.codecs.float_patterns import float_array, float_values
from smalto.codecs.lloyd_max_kernels import block_sums, count_patterns
from smalto.errors import UsageError

LOG_BLOCK = 6
MAX_COUNTED = 1 << 16
SAFE_EXPONENTS = (-300, 300)  # of two: squares and sums of values in between stay inside float64


class SortedSamples(NamedTuple):
    """Finite values, rising, and how often each occurs: the distinct ones when those are at most 65,536."""

    values: np.ndarray  # (n,) float64; float32 where such values were not counted
    weights: NDArray[np.int64]  # (n,), one 1 of stride 0 where values were not counted

    @property
    def is_counted(self) -> bool:
        """Whether the values are distinct and carry their counts."""
        return self.weights.strides != (0,)


class RunningSums(NamedTuple):
    """What the rounds read: see ``lloyd_rounds``."""

    values: np.ndarray
    weights: NDArray[np.int64]
    sums: NDArray[np.float64]
    masses: NDArray[np.int64]
    log_block: int
    centre: float


def sorted_samples(
    samples: Sequence[np.ndarray] | np.ndarray, dtype_name: str | None = None
) -> tuple[SortedSamples, str]:
    """The finite values of one array or several of one dtype, and the dtype's name.

    16-bit values are counted in a histogram of all their patterns, wider ones sorted.

    Raises:
        UsageError: samples of no or several float dtypes.
    """
    given = [samples] if isinstance(samples, np.ndarray) else list(samples)
    held = [float_array(array, dtype_name) for array in given]
    names = sorted({name for _, name in held})
    if len(names) > 1:
        raise UsageError(f"lloyd-max: samples of {' and '.join(names)}; convert them to one dtype")
    name, arrays = names[0] if names else dtype_name or "float32", [array for array, _ in held]
    if name in ("float16", "bfloat16"):
        return _pattern_counts(arrays, name), name
    values = np.concatenate([array.reshape(-1) for array in arrays]) if arrays else np.empty(0, np.float32)
    values.sort()  # NaN last
    limit = np.finfo(values.dtype).max
    values = values[np.searchsorted(values, -limit) : np.searchsorted(values, limit, side="right")]
    return _counted_if_few(values), name


def scaled_samples(held: SortedSamples) -> tuple[SortedSamples, int]:
    """float64 samples whose squares overflow or vanish, divided by a power of two; and that power (0 for others)."""
    exponent = int(np.frexp(max(abs(float(held.values[0])), abs(float(held.values[-1]))))[1])
    if SAFE_EXPONENTS[0] <= exponent <= SAFE_EXPONENTS[1]:
        return held, 0
    with np.errstate(under="ignore"):
        return SortedSamples(np.ldexp(held.values, -exponent), held.weights), exponent


def running_sums(held: SortedSamples) -> RunningSums:
    """Sums in front of each block of 64 values (of each value where they are counted), from the middle outwards."""
    n = len(held.values)
    log_block = 0 if held.is_counted else LOG_BLOCK
    middle_block = (n // 2) >> log_block
    centre = float(held.values[n // 2])
    num_blocks = -(-n // (1 << log_block))
    sums, masses = np.empty(num_blocks), np.empty(num_blocks, np.int64)
    block_sums(held.values, held.weights, centre, 1 << log_block, sums, masses)
    before = np.concatenate(([0], np.cumsum(masses)))
    return RunningSums(held.values, held.weights, outward_sums(sums, middle_block), before, log_block, centre)


def outward_sums(parts: NDArray[np.float64], middle: int) -> NDArray[np.float64]:
    """(..., n + 1) sums in front of each of (..., n) parts, zero at the middle: the far never drown the near."""
    left = -np.cumsum(parts[..., :middle][..., ::-1], axis=-1)[..., ::-1]
    right = np.cumsum(parts[..., middle:], axis=-1)
    return np.concatenate((left, np.zeros((*parts.shape[:-1], 1)), right), axis=-1)


def _pattern_counts(arrays: Sequence[np.ndarray], name: str) -> SortedSamples:
    counts = np.zeros(1 << 16, np.int64)
    for array in arrays:
        count_patterns(np.ascontiguousarray(array).reshape(-1).view(np.uint16), counts)
    counts[0], counts[0x8000] = counts[0] + counts[0x8000], 0  # one zero
    patterns = np.flatnonzero(counts).astype(np.uint16)
    values = float_values(patterns if name == "bfloat16" else patterns.view(np.float16), name)
    is_finite = np.isfinite(values)
    places = np.argsort(values[is_finite])
    return SortedSamples(values[is_finite][places], counts[patterns[is_finite][places]])


def _counted_if_few(values: np.ndarray) -> SortedSamples:
    """Sorted values with their counts when at most 65,536 are distinct, else each as often as it occurs."""
    is_first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    if np.count_nonzero(is_first) > MAX_COUNTED:
        return SortedSamples(values, np.broadcast_to(np.int64(1), values.shape))
    places = np.flatnonzero(is_first)
    return SortedSamples(values[places].astype(np.float64) + 0.0, np.diff(places, append=len(values)))
