"""Spearman's rank correlation."""

from __future__ import annotations

import numpy as np

from smalto.errors import UsageError


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of ranks, ties sharing their mean rank.

    Args:
        first: (N,) numbers.
        second: (N,) numbers.

    Returns:
        -1..1.

    Raises:
        UsageError: shapes differ, or one side is constant or holds what is no number.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise UsageError("spearman: pass two rows of as many finite numbers")
    left, right = _ranks(first), _ranks(second)
    left, right = left - left.mean(), right - right.mean()
    norm = float(np.sqrt((left**2).sum() * (right**2).sum()))
    if norm == 0.0:
        raise UsageError("spearman: all numbers on one side are equal; there is no order to compare")
    return float((left * right).sum() / norm)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, from 1."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2.0)[inverse]
