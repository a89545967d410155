"""SSIM and MS-SSIM, differentiable, as scores and as losses (1 - score).

Both are taken channel by channel and averaged over channels. Windows lie wholly inside the picture (no padding).
Everything is computed in float32 or float64 with autocast off: variances are differences of nearly equal numbers.

Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity",
IEEE TIP 2004, eq. 13 (11 x 11 Gaussian of sigma 1.5, K1 = .01, K2 = .03); Wang, Simoncelli, Bovik, "Multi-scale
structural similarity for image quality assessment", Asilomar 2003, eq. 7 and its five weights.
Where we differ: odd sides are halved with the last row or column repeated; negative contrast-structure values are
cut at 1e-6 before the powers; sides too small for window or scales are given a meaning, see ``ms_ssim``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from smalto.errors import UsageError

WINDOW_PX = 11
SIGMA_PX = 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1 = 0.01**2
_C2 = 0.03**2
_FLOOR = 1e-6


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity of each picture of a batch.

    Math: mean over windows of (2 m1 m2 + C1)(2 s12 + C2) / ((m1^2 + m2^2 + C1)(s1^2 + s2^2 + C2)), with Gaussian
    means m, variances s^2 and covariance s12. A side under 11 px gets the longest odd window that fits.

    Args:
        first: float (B, C, H, W) in [0, 1].
        second: same shape.

    Returns:
        (B,), at most 1, which only equal pictures reach.

    Raises:
        UsageError: shapes differ or are not (B, C, H, W).

    Example:
        >>> import torch
        >>> ssim(torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)).tolist()
        [1.0, 1.0]
    """
    first, second = _checked(first, second)
    with torch.autocast(first.device.type, enabled=False):
        luminance, structure = _maps(first, second)
        return (luminance * structure).mean(dim=(1, 2, 3))


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """Multi-scale structural similarity of each picture of a batch.

    Math: per channel, l_M^{w_M} prod_j cs_j^{w_j} over M = 5 scales, each half the one before (2 x 2 means), where
    cs is the mean contrast-structure term and l the mean SSIM's luminance, taken at the last scale with its cs.

    Pictures with a side under 161 px have no fifth scale of 11 px. They use as many scales as leave 11 px
    (81 px: 4, 41: 3, 21: 2, below: 1) with those weights divided by their sum; such values are comparable among
    pictures of like size only. One scale is SSIM itself. ``num_scales`` tells how many apply.

    Args:
        first: float (B, C, H, W) in [0, 1].
        second: same shape.

    Returns:
        (B,) in [0, 1], or in [-1, 1] where a single scale applies.

    Raises:
        UsageError: shapes differ or are not (B, C, H, W).
    """
    first, second = _checked(first, second)
    scales = num_scales(first.shape[2], first.shape[3])
    if scales == 1:
        return ssim(first, second)
    total = sum(SCALE_WEIGHTS[:scales])
    with torch.autocast(first.device.type, enabled=False):
        score = first.new_ones(first.shape[:2])  # (B, C)
        for scale, weight in enumerate(SCALE_WEIGHTS[:scales]):
            luminance, structure = _maps(first, second)
            if scale == scales - 1:
                structure = luminance * structure
            else:
                first, second = _halved(first), _halved(second)
            score = score * structure.mean(dim=(2, 3)).clamp_min(_FLOOR) ** (weight / total)
        return score.mean(dim=1)


def ssim_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - SSIM, averaged over the batch: a scalar loss."""
    return 1.0 - ssim(first, second).mean()


def ms_ssim_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - MS-SSIM, averaged over the batch: a scalar loss."""
    return 1.0 - ms_ssim(first, second).mean()


def ms_ssim_db(score: Tensor) -> Tensor:
    """MS-SSIM on the decibel scale of rate-distortion plots: -10 log10(1 - score)."""
    return -10.0 * (1.0 - score).clamp_min(1e-10).log10()


def num_scales(height: int, width: int) -> int:
    """How many of the five scales ``ms_ssim`` uses for a picture of that size."""
    side = min(height, width)
    scales = 1
    while scales < len(SCALE_WEIGHTS) and -(-side // 2) >= WINDOW_PX:
        side = -(-side // 2)
        scales += 1
    return scales


def _checked(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    if first.shape != second.shape or first.ndim != 4 or first.numel() == 0:
        raise UsageError(f"tensors {tuple(first.shape)} and {tuple(second.shape)} are not (B, C, H, W) alike")
    if first.dtype == second.dtype == torch.float64:
        return first, second
    return first.float(), second.float()


def _maps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The luminance map and the contrast-structure map, (B, C, H - 10, W - 10) each."""
    stacked = torch.cat([first, second, first * first + second * second, first * second])  # (4 B, C, H, W)
    mean_1, mean_2, energy, product = _blurred(stacked).chunk(4)
    squares = mean_1 * mean_1 + mean_2 * mean_2
    both = mean_1 * mean_2
    luminance = (2.0 * both + _C1) / (squares + _C1)
    structure = (2.0 * (product - both) + _C2) / (energy - squares + _C2)
    return luminance, structure


def _blurred(planes: Tensor) -> Tensor:
    """Gaussian means over all windows inside, one side after the other."""
    height, width = planes.shape[2:]
    groups = planes.shape[0] * planes.shape[1]  # as channels of one picture: five times faster on a CPU than as batch
    flat = planes.reshape(1, groups, height, width)
    flat = F.conv2d(flat, _window(height, planes).view(1, 1, -1, 1).repeat(groups, 1, 1, 1), groups=groups)
    flat = F.conv2d(flat, _window(width, planes).view(1, 1, 1, -1).repeat(groups, 1, 1, 1), groups=groups)
    return flat.reshape(*planes.shape[:2], *flat.shape[2:])


def _window(side: int, like: Tensor) -> Tensor:
    radius = min(WINDOW_PX, side - 1 + side % 2) // 2
    offsets = torch.arange(-radius, radius + 1, dtype=like.dtype, device=like.device)
    weights = torch.exp(-0.5 * (offsets / SIGMA_PX) ** 2)
    return weights / weights.sum()


def _halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; an odd last row or column is repeated."""
    height, width = planes.shape[2:]
    if height % 2 or width % 2:
        planes = F.pad(planes, (0, width % 2, 0, height % 2), mode="replicate")
    return F.avg_pool2d(planes, 2)
