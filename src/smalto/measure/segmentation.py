"""Scores of semantic segmentation: mean intersection over union, pixel accuracy, mean accuracy.

All are taken from one confusion matrix of a whole set of pictures, as CamVid's and Cityscapes' tables are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalto.errors import UsageError
from smalto.measure.bootstrap import COVERED, NUM_RESAMPLES, SEED, Interval


@dataclass(frozen=True)
class SegmentationScore:
    """How well pixels are classified, each from 0 to 1.

    Args:
        mean_iou: mean over classes of intersection over union.
        pixel_accuracy: share of pixels with the right class.
        mean_accuracy: mean over classes of the share of their pixels that are found.
        ious: of each class; None for classes that neither truth nor answer holds, which enter no mean.
    """

    mean_iou: float
    pixel_accuracy: float
    mean_accuracy: float
    ious: tuple[float | None, ...]


def confusion(answer: np.ndarray, truth: np.ndarray, num_classes: int) -> NDArray[np.int64]:
    """Count pixels by true and answered class.

    Args:
        answer: (H, W) class ids below ``num_classes``.
        truth: (H, W) class ids; pixels of any other id are void and do not count.
        num_classes: K.

    Returns:
        (K, K): rows are true classes, columns answered ones.

    Raises:
        UsageError: shapes differ, or an answer that counts is no class.
    """
    if answer.shape != truth.shape:
        raise UsageError(f"label maps {answer.shape} and {truth.shape} cannot be compared; they must be of one size")
    counts = truth < num_classes
    true, given = truth[counts].astype(np.int64), answer[counts].astype(np.int64)
    if given.size and int(given.max()) >= num_classes:
        raise UsageError(f"the answer holds class {int(given.max())}, there are {num_classes}")
    flat = np.bincount(true * num_classes + given, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def segmentation_score(matrix: NDArray[np.int64]) -> SegmentationScore:
    """Scores of a confusion matrix (K, K); sum those of a set's pictures first.

    Math: with n_ij pixels of class i answered j: IoU_i = n_ii / (sum_j n_ij + sum_j n_ji - n_ii), pixel accuracy
    sum_i n_ii / sum_ij n_ij, accuracy_i = n_ii / sum_j n_ij.

    Raises:
        UsageError: no pixel counts.

    Example:
        >>> score = segmentation_score(np.array([[3, 1], [0, 4]]))
        >>> round(score.mean_iou, 3), score.pixel_accuracy, score.mean_accuracy
        (0.775, 0.875, 0.875)
    """
    if matrix.sum() == 0:
        raise UsageError("segmentation: no pixel of the truth belongs to a class")
    right, true, given = _margins(matrix.astype(np.float64))
    held = true + given > 0
    ious = right / np.maximum(true + given - right, 1)
    present = true > 0
    return SegmentationScore(
        mean_iou=float(ious[held].mean()),
        pixel_accuracy=float(right.sum() / true.sum()),
        mean_accuracy=float((right[present] / true[present]).mean()),
        ious=tuple(float(iou) if there else None for iou, there in zip(ious, held, strict=True)),
    )


def iou_change_interval(before: NDArray[np.int64], after: NDArray[np.int64]) -> Interval:
    """The 95 % interval of the change in mean IoU, pictures drawn together (see ``smalto.measure.bootstrap``).

    Math: pictures are drawn with replacement; each draw's confusion matrices are summed before IoU is taken, and the
    IoU of several trainings (seeds) is averaged.

    Args:
        before: (S, N, K, K) confusion matrices of S trainings on N pictures.
        after: the same of the network that is compared, on the same pictures in the same order.

    Raises:
        UsageError: shapes do not match.
    """
    if before.ndim != 4 or before.shape[1:] != after.shape[1:] or after.ndim != 4 or before.shape[1] == 0:
        raise UsageError(f"confusions {before.shape} and {after.shape} are not (S, N, K, K) of the same pictures")
    num = before.shape[1]
    drawn = np.random.default_rng(SEED).multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES)  # (R, N)
    changes = _mean_ious(after, drawn) - _mean_ious(before, drawn)
    low, high = np.quantile(changes, ((1 - COVERED) / 2, (1 + COVERED) / 2))
    return Interval(float(low), float(high))


def _mean_ious(matrices: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) mean over seeds of the mean IoU of each draw."""
    num_seeds, num, num_classes, _ = matrices.shape
    flat = matrices.reshape(num_seeds, num, -1).astype(np.float64)
    sums = (drawn.astype(np.float64) @ flat).reshape(num_seeds, -1, num_classes, num_classes)  # (S, R, K, K)
    right, true, given = _margins(sums)
    held = true + given > 0
    ious = right / np.maximum(true + given - right, 1)
    return ((ious * held).sum(axis=-1) / np.maximum(held.sum(axis=-1), 1)).mean(axis=0)


def _margins(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(..., K) pixels right, true and given, of each class."""
    return np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1), matrix.sum(axis=-2)
