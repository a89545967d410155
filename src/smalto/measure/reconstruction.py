"""The reconstruction loss of the shared neural space: mean absolute difference and SSIM, over all pixels or some."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smalto.measure.ssim import ssim_loss

_LEAST_SHARE = 1e-3


@dataclass(frozen=True)
class ReconstructionWeights:
    """Weights of the two terms.

    Args:
        l1: of the mean absolute difference.
        ssim: of 1 - SSIM.
    """

    l1: float = 1.0
    ssim: float = 0.1


RECONSTRUCTION = ReconstructionWeights()


def reconstruction_loss(
    answer: Tensor, target: Tensor, weights: ReconstructionWeights = RECONSTRUCTION, mask: Tensor | None = None
) -> Tensor:
    """How far pictures are from their targets.

    Math: ``L_rl = l1 mean |x - t| + ssim (1 - SSIM(x, t))``. With a mask both are means over the pixels that count:
    elsewhere the answer is replaced by the target, and the sums are divided by the share of pixels that count.

    Source: Shared Neural Space paper, equation 2 (weighted sum of L1 and SSIM; its weights are not published).

    Args:
        answer: (B, C, H, W) around [0, 1].
        target: same shape, in [0, 1].
        weights: of the terms.
        mask: (B, 1, H, W), 1 where pixels count and 0 elsewhere; None counts all.

    Returns:
        A scalar.
    """
    with torch.autocast(answer.device.type, enabled=False):
        answer, target = answer.float(), target.float()
        share = answer.new_ones(())
        if mask is not None:
            share = mask.mean().clamp_min(_LEAST_SHARE)
            answer = torch.where(mask > 0, answer, target)
        return (weights.l1 * (answer - target).abs().mean() + weights.ssim * ssim_loss(answer, target)) / share


def masked_psnr_db(answer: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """PSNR over the pixels that count, of each picture of a batch.

    Args:
        answer: (B, C, H, W); what lies outside [0, 1] is clamped.
        target: same shape, in [0, 1].
        mask: (B, 1, H, W), 1 where pixels count.

    Returns:
        (B,) dB, at most 100; not a number for a picture of which nothing counts.
    """
    squared = (answer.clamp(0, 1) - target).square() * mask
    count = mask.sum(dim=(1, 2, 3)) * answer.shape[1]
    return -10.0 * (squared.sum(dim=(1, 2, 3)) / count).clamp_min(1e-10).log10()
