"""Scores and the training loss of disparity maps.

A picture's score is the share of its pixels with known disparity that are wrong; a set's is the mean of its pictures'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from smalto.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

ERROR_PX = 3.0
ERROR_SHARE = 0.05


@dataclass(frozen=True)
class StereoScore:
    """How wrong a disparity map is.

    Args:
        d1_all: percent of pixels whose error is above 3 px and above 5 % of the truth.
        thres_3: percent of pixels whose error is above 3 px.
        end_point_px: mean error in pixels; infinite when the answer is no number somewhere.
        num_pixels: pixels that count.
    """

    d1_all: float
    thres_3: float
    end_point_px: float
    num_pixels: int


def stereo_score(answer: np.ndarray, truth: np.ndarray) -> StereoScore:
    """Score a disparity map where the truth is known.

    Math: ``e = |answer - truth|``; d1_all: e > 3 and e > 0.05 truth; thres_3: e > 3; over pixels with truth > 0.

    Source: KITTI 2015 (Menze and Geiger 2015), D1; Shared Neural Space paper, table 4.

    Args:
        answer: (H, W) float pixels; what is no finite number counts as wrong.
        truth: (H, W) float pixels; zero, negative or not finite where unknown.

    Raises:
        UsageError: shapes differ, or nothing is known.

    Example:
        >>> truth = np.array([[100.0, 10.0, 0.0]])
        >>> score = stereo_score(np.array([[104.0, 14.0, 9.0]]), truth)
        >>> score.d1_all, score.thres_3, score.num_pixels
        (50.0, 100.0, 2)
    """
    if answer.shape != truth.shape or answer.ndim != 2:
        raise UsageError(f"disparity maps {answer.shape} and {truth.shape} cannot be compared; pass (H, W) alike")
    is_known = np.isfinite(truth) & (truth > 0)
    if not is_known.any():
        raise UsageError("the true disparity is unknown everywhere; leave the picture out")
    known = truth[is_known].astype(np.float64)
    error = np.abs(answer[is_known].astype(np.float64) - known)
    error[~np.isfinite(error)] = np.inf
    is_far = error > ERROR_PX
    wrong = is_far & (error > ERROR_SHARE * known)
    return StereoScore(
        100.0 * float(wrong.mean()), 100.0 * float(is_far.mean()), float(error.mean()), int(is_known.sum())
    )


def disparity_loss(
    fine: Tensor, coarse: Tensor, truth: Tensor, max_disparity_px: float, coarse_weight: float
) -> Tensor:
    """Training loss of a stereo network.

    Math: ``SL1(fine, d) + a SL1(U(coarse), d)`` over pixels with 0 < d < max, U bilinear enlargement, SL1 the mean
    smooth L1 (quadratic below one pixel).

    Source: Shared Neural Space paper, equation 8, a = 0.3.

    Args:
        fine: (B, 1, H, W) pixels.
        coarse: (B, 1, h, w) pixels.
        truth: (B, 1, H, W) pixels.
        max_disparity_px: truths from here on are left out.
        coarse_weight: a.

    Returns:
        Scalar; 0 when no pixel counts.
    """
    from torch.nn import functional as F

    is_valid = (truth > 0) & (truth < max_disparity_px)
    enlarged = F.interpolate(coarse.float(), size=truth.shape[2:], mode="bilinear", align_corners=False)
    weight = is_valid.float()
    count = weight.sum().clamp_min(1.0)
    target = truth.masked_fill(~is_valid, 0.0)
    both = [
        (F.smooth_l1_loss(answer, target, reduction="none") * weight).sum() / count
        for answer in (fine.float(), enlarged)
    ]
    return both[0] + coarse_weight * both[1]
