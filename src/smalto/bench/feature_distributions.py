"""Distributions of feature values, exactly and in little memory: how often each of the float16 numbers occurs.

Features are coded as float16, which has 65,536 bit patterns; what is said about their distribution, their transform and
its error follows from the counts of patterns, however many values there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalto.codecs.lloyd_max import LloydMax
from smalto.errors import UsageError

NUM_BINS = 256
FLOOR = 1e-10
_PATTERNS = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


@dataclass(frozen=True, eq=False)
class Distribution:
    """Distinct values with their numbers.

    Args:
        values: (K,) finite, rising.
        counts: (K,) at least 1.
    """

    values: NDArray[np.float64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, arrays: Iterable[np.ndarray]) -> Distribution:
        """The distribution of all finite values, rounded to float16.

        Raises:
            UsageError: there are none.
        """
        counts = np.zeros(1 << 16, np.int64)
        for array in arrays:
            with np.errstate(over="ignore"):
                patterns = np.ascontiguousarray(array, np.float16).reshape(-1).view(np.uint16)
            counts += np.bincount(patterns, minlength=1 << 16)
        present = np.flatnonzero((counts > 0) & np.isfinite(_PATTERNS))
        if not len(present):
            raise UsageError("feature distribution: no finite value; pass other features")
        values, places = np.unique(_PATTERNS[present].astype(np.float64), return_inverse=True)  # -0 and 0 are one
        together = np.bincount(places, counts[present], len(values)).astype(np.int64)
        return cls(values, together)

    @property
    def num_values(self) -> int:
        """How many values there are, repetitions counted."""
        return int(self.counts.sum())

    @property
    def variance(self) -> float:
        """Of all values, repetitions counted."""
        mean = (self.values * self.counts).sum() / self.num_values
        return float((np.square(self.values - mean) * self.counts).sum() / self.num_values)

    @property
    def largest_share(self) -> float:
        """Share of the most frequent value."""
        return float(self.counts.max() / self.num_values)

    def histogram(self, low: float, high: float, num_bins: int = NUM_BINS) -> NDArray[np.float64]:
        """(num_bins,) shares of equal bins between two ends, both of which belong to them."""
        found, _ = np.histogram(self.values, num_bins, (low, high), weights=self.counts)
        return found / self.num_values

    def indexes(self, transform: LloydMax) -> NDArray[np.float64]:
        """(256,) shares of the indexes that a transform gives."""
        places = transform.forward(self.values.astype(np.float16))
        return np.bincount(places, self.counts, NUM_BINS) / self.num_values

    def assigned(self, levels: NDArray[np.float64], indexes: np.ndarray) -> tuple[float, float]:
        """Mean squared error and entropy in bits of giving each distinct value an index.

        Args:
            levels: (L,) values of the indexes.
            indexes: (K,) one for each of ``values``.
        """
        shares = np.bincount(indexes, self.counts) / self.num_values
        error = float((np.square(self.values - levels[indexes]) * self.counts).sum() / self.num_values)
        return error, float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def divergence(first: NDArray[np.float64], second: NDArray[np.float64], floor: float = FLOOR) -> float:
    """Kullback-Leibler divergence of two histograms in nats.

    Math: sum p log(p / q), with shares below the floor raised to it and both scaled to sum to 1.

    Source: DT-UFC, equation 1; it names no floor, without which empty bins would make every divergence infinite.

    Args:
        first: (K,) shares p.
        second: (K,) shares q.
        floor: least share.

    Example:
        >>> round(divergence(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 4)
        0.1438
    """
    p, q = (np.maximum(shares, floor) for shares in (first, second))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def divergence_of_ranges(
    first: Distribution,
    second: Distribution,
    num_bins: int = NUM_BINS,
    floor: float = FLOOR,
    ends: tuple[float, float] | None = None,
) -> float:
    """Divergence of two distributions in equal bins over the union of their ranges, or between given ends."""
    low, high = ends or (
        float(min(first.values[0], second.values[0])),
        float(max(first.values[-1], second.values[-1])),
    )
    if low == high:
        return 0.0
    return divergence(first.histogram(low, high, num_bins), second.histogram(low, high, num_bins), floor)
