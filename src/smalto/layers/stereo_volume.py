"""What a stereo network does without weights: correlation volume, soft-argmax, convex upsampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation_volume(left: Tensor, right: Tensor, num_levels: int) -> Tensor:
    """Correlation of the left view's features with the right view's, shifted.

    Math: ``v[d, y, x] = mean_c left[c, y, x] right[c, y, x - d]``, 0 where x < d.

    Source: LightStereo (Guo et al. 2024), equation 1; DispNetC (Mayer et al. 2016).

    Args:
        left: (B, C, h, w).
        right: (B, C, h, w).
        num_levels: shifts 0 .. num_levels - 1, in cells.

    Returns:
        (B, num_levels, h, w) float32.
    """
    channels, width = left.shape[1], left.shape[3]
    with torch.autocast(left.device.type, enabled=False):
        rows = left.float().permute(0, 2, 3, 1)  # (B, h, w, C)
        columns = F.pad(right.float(), (num_levels - 1, 0)).permute(0, 2, 1, 3)  # (B, h, C, w + D - 1)
        products = rows @ columns / channels  # (B, h, w, w + D - 1): [x, x + j] has shift D - 1 - j
        skewed = F.pad(products.flatten(2), (0, width)).unflatten(2, (width, width + num_levels))
        return skewed[..., :num_levels].flip(3).permute(0, 3, 1, 2)  # (B, D, h, w)


def soft_argmax(scores: Tensor) -> Tensor:
    """The expected level under softmax of the scores.

    Math: ``sum_d d exp(s_d) / sum_d exp(s_d)``

    Source: GC-Net (Kendall et al. 2017), equation 1.

    Args:
        scores: (B, D, h, w).

    Returns:
        (B, 1, h, w) float32 in 0 .. D - 1.
    """
    share = torch.softmax(scores.float(), dim=1)  # (B, D, h, w)
    levels = torch.arange(scores.shape[1], dtype=torch.float32, device=scores.device)
    return (share * levels[:, None, None]).sum(dim=1, keepdim=True)


def convex_upsample(coarse: Tensor, scores: Tensor) -> Tensor:
    """Each fine value is a weighted mean of the 3x3 coarse values around its cell; borders are continued.

    Source: RAFT (Teed and Deng 2020), section 3.3.

    Args:
        coarse: (B, 1, h, w).
        scores: (B, 9, s h, s w) for a whole s; softmax over the nine gives the weights, row by row from the top left.

    Returns:
        (B, 1, s h, s w) float32.
    """
    batch, _, height, width = coarse.shape
    around = F.unfold(F.pad(coarse.float(), (1, 1, 1, 1), mode="replicate"), 3)  # (B, 9, h w)
    around = F.interpolate(around.view(batch, 9, height, width), size=scores.shape[2:], mode="nearest")
    return (torch.softmax(scores.float(), dim=1) * around).sum(dim=1, keepdim=True)
