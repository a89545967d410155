"""Stereo scores and loss against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalto.errors import UsageError
from smalto.measure.stereo import disparity_loss, stereo_score


def test_both_scores_by_hand() -> None:
    truth = np.array([[10.0, 10.0, 100.0, 100.0], [50.0, 0.0, np.inf, -1.0]], np.float32)
    answer = np.array([[13.0, 13.5, 104.0, 106.0], [53.1, 99.0, 5.0, 5.0]], np.float32)
    # errors 3, 3.5, 4, 6, 3.1; shares .3, .35, .04, .06, .062
    score = stereo_score(answer, truth)
    assert score.num_pixels == 5
    assert score.thres_3 == pytest.approx(100 * 4 / 5)
    assert score.d1_all == pytest.approx(100 * 3 / 5)
    assert score.end_point_px == pytest.approx((3 + 3.5 + 4 + 6 + 3.1) / 5, abs=1e-6)


def test_both_limits_are_exclusive() -> None:
    truth = np.array([[20.0, 80.0]])
    at_limits = stereo_score(np.array([[23.0, 84.0]]), truth)  # 3 px; 5 %
    assert (at_limits.d1_all, at_limits.thres_3) == (0.0, 50.0)
    beyond = stereo_score(np.array([[23.01, 84.01]]), truth)
    assert (beyond.d1_all, beyond.thres_3) == (100.0, 100.0)


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_an_answer_that_is_no_number_is_wrong(missing: float) -> None:
    score = stereo_score(np.array([[missing, 5.0]]), np.array([[5.0, 5.0]]))
    assert (score.d1_all, score.thres_3, score.end_point_px) == (50.0, 50.0, np.inf)


def test_nothing_known_and_shapes_that_differ_are_errors() -> None:
    with pytest.raises(UsageError, match="unknown everywhere"):
        stereo_score(np.ones((2, 2)), np.zeros((2, 2)))
    with pytest.raises(UsageError, match="cannot be compared"):
        stereo_score(np.ones((2, 2)), np.ones((2, 3)))


def test_the_loss_by_hand() -> None:
    truth = torch.tensor([[[[10.0, 20.0], [0.0, 200.0]]]])
    fine = torch.tensor([[[[10.5, 17.0], [9.0, 9.0]]]])
    coarse = torch.full((1, 1, 1, 1), 12.0)
    learned = (0.5 * 0.5**2 + (3 - 0.5)) / 2
    bilinear = ((2 - 0.5) + (8 - 0.5)) / 2
    loss = disparity_loss(fine, coarse, truth, 192.0, 0.3)
    assert float(loss) == pytest.approx(learned + 0.3 * bilinear, rel=1e-6)


def test_a_batch_without_truth_has_no_loss_and_no_gradient() -> None:
    fine = torch.rand(1, 1, 4, 4, requires_grad=True)
    loss = disparity_loss(fine, fine[..., :1, :1], torch.full((1, 1, 4, 4), np.inf), 192.0, 0.3)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert fine.grad is not None
    assert float(fine.grad.abs().sum()) == 0.0
