"""Segmentation scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.errors import UsageError
from smalto.measure.segmentation import confusion, iou_change_interval, segmentation_score

TRUTH = np.array([[0, 0, 0, 0, 1, 1, 2, 255]], np.uint8)
ANSWER = np.array([[0, 0, 0, 1, 1, 1, 0, 2]], np.uint8)


def test_pixels_are_counted_and_void_is_not() -> None:
    assert confusion(ANSWER, TRUTH, 4).tolist() == [[3, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_scores_by_hand() -> None:
    score = segmentation_score(confusion(ANSWER, TRUTH, 4))
    # class 0: 3 of 4 + 4 - 3 = 5; class 1: 2 of 2 + 3 - 2 = 3; class 2: 0 of 1; class 3 is nowhere
    assert score.ious == (3 / 5, 2 / 3, 0.0, None)
    assert score.mean_iou == pytest.approx((3 / 5 + 2 / 3) / 3)
    assert score.pixel_accuracy == pytest.approx(5 / 7)
    assert score.mean_accuracy == pytest.approx((3 / 4 + 1 + 0) / 3)


def test_a_class_that_is_answered_and_not_there_costs_iou_alone() -> None:
    score = segmentation_score(np.array([[9, 1], [0, 0]]))
    assert score.mean_iou == pytest.approx(0.45)
    assert score.mean_accuracy == pytest.approx(0.9)


def test_the_interval_covers_the_change_and_is_empty_without_one() -> None:
    generator = np.random.default_rng(0)
    right = np.zeros((2, 40, 3, 3), np.int64)
    right[:, :, range(3), range(3)] = generator.integers(20, 60, (2, 40, 3))
    worse = right + generator.integers(0, 9, right.shape)
    assert iou_change_interval(right, right) == (0.0, 0.0)
    interval = iou_change_interval(right, worse)
    change = np.mean([segmentation_score(m.sum(axis=0)).mean_iou for m in worse]) - 1.0
    assert interval.low < change < interval.high < 0


def test_wrong_use_is_named() -> None:
    with pytest.raises(UsageError, match="of one size"):
        confusion(ANSWER, TRUTH[:, :3], 3)
    with pytest.raises(UsageError, match="holds class 2"):
        confusion(ANSWER, np.zeros_like(TRUTH), 1)
    with pytest.raises(UsageError, match="no pixel"):
        segmentation_score(np.zeros((3, 3), np.int64))
    with pytest.raises(UsageError, match="same pictures"):
        iou_change_interval(np.zeros((1, 4, 2, 2), np.int64), np.zeros((1, 5, 2, 2), np.int64))
