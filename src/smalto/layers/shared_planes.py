"""The two planes of the shared neural space, as encoders give and heads take them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHANNELS = 64
BOTTOM_STRIDE = 2
TOP_STRIDE = 4


class SharedPlanes(NamedTuple):
    """What a picture (B, 3, H, W), or a mosaic (B, 1, H, W), becomes; H and W multiples of 4.

    Source: Shared Neural Space paper, section 3.

    Args:
        z_b: (B, 64, H / 2, W / 2) detail.
        z_t: (B, 64, H / 4, W / 4) structure.
    """

    z_b: Tensor
    z_t: Tensor


FOLD = TOP_STRIDE // BOTTOM_STRIDE
FOLDED_CHANNELS = CHANNELS + CHANNELS * FOLD**2


def folded(planes: SharedPlanes) -> Tensor:
    """Both planes in one tensor at z_t's resolution: (B, 64 + 256, H/4, W/4)."""
    return torch.cat([planes.z_t, F.pixel_unshuffle(planes.z_b, FOLD)], dim=1)


def unfolded(carrier: Tensor) -> SharedPlanes:
    """The planes that ``folded`` joined."""
    return SharedPlanes(F.pixel_shuffle(carrier[:, CHANNELS:], FOLD), carrier[:, :CHANNELS])
