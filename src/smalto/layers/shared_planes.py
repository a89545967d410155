"""The two planes of the shared neural space, as encoders give and heads take them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

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
