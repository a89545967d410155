"""How well scores of pairs tell same from different."""

from __future__ import annotations

import numpy as np

from smalto.errors import UsageError


def roc_area(scores: np.ndarray, same: np.ndarray) -> float:
    """Area under the receiver operating characteristic.

    Math: the share of (same, different) couples of pairs in which the same one scores higher, ties counting half.

    Args:
        scores: (N,), higher for pairs that belong together.
        same: (N,) bool.

    Returns:
        0..1; 0.5 for scores that say nothing.

    Raises:
        UsageError: pairs of one kind only.
    """
    scores, same = _checked(scores, same)
    ordered = np.sort(scores[~same])
    below = np.searchsorted(ordered, scores[same], side="left")
    not_above = np.searchsorted(ordered, scores[same], side="right")
    return float((below + not_above).sum() / (2.0 * len(ordered) * int(same.sum())))


def verification_accuracy(scores: np.ndarray, same: np.ndarray, folds: np.ndarray | None = None) -> float:
    """Share of pairs that a threshold judges right.

    Without folds the best threshold on all pairs; with folds, each fold is judged by the best threshold of the
    others (LFW's protocol, view 2) and the folds are averaged.

    Args:
        scores: (N,), higher for pairs that belong together.
        same: (N,) bool.
        folds: (N,) number of each pair's fold.

    Raises:
        UsageError: pairs of one kind only, or a single fold.
    """
    right = verified(scores, same, folds)
    if folds is None:
        return float(right.mean())
    return float(np.mean([right[np.asarray(folds) == number].mean() for number in np.unique(folds)]))


def verified(scores: np.ndarray, same: np.ndarray, folds: np.ndarray | None = None) -> np.ndarray:
    """Which pairs a threshold judges right, thresholds chosen as ``verification_accuracy`` says.

    Args:
        scores: (N,), higher for pairs that belong together.
        same: (N,) bool.
        folds: (N,) number of each pair's fold.

    Returns:
        (N,) bool.

    Raises:
        UsageError: pairs of one kind only, or a single fold.
    """
    scores, same = _checked(scores, same)
    if folds is None:
        return (scores >= _threshold(scores, same)) == same
    numbers = np.unique(folds)
    if len(numbers) < 2:
        raise UsageError("verification: one fold only; pass pairs of two or more, or no folds")
    right = np.zeros(len(scores), bool)
    for number in numbers:
        inside = np.asarray(folds) == number
        threshold = _threshold(*_checked(scores[~inside], same[~inside]))
        right[inside] = (scores[inside] >= threshold) == same[inside]
    return right


def _threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The score at which `at least this` is right most often; between neighbours, in the middle."""
    order = np.argsort(-scores, kind="stable")
    ordered, gains = scores[order], np.where(same[order], 1, -1)
    right = np.concatenate([[0], np.cumsum(gains)])
    ends = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])  # equal scores stand together
    best = int(np.flatnonzero(ends)[np.argmax(right[ends])])
    if best == 0:
        return float(np.inf)
    if best == len(ordered):
        return float(ordered[-1])
    return float((ordered[best - 1] + ordered[best]) / 2)


def _checked(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    if scores.shape != same.shape or scores.ndim != 1 or same.all() or not same.any():
        raise UsageError("verification: pass as many scores as answers, with pairs of both kinds")
    return scores, same
