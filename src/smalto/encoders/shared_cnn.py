"""The encoder of the shared neural space: a picture, or a RAW mosaic, to two planes that every task reads.

::

    x (B, 3 | 1, H, W) ─► enc_b ─► (B, 128, H/2, W/2) ─────────────────────────────────┐
                                       └─► enc_t ─► (B, 128, H/4, W/4) ─► to_t ─► z_t   ├─ cat ─► to_b ─► z_b
                                                                                  └─► dec_t ─► (B, 64, H/2, W/2)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalto.layers.shared_blocks import WIDTH, NarrowStage, doubled, halved
from smalto.layers.shared_planes import CHANNELS, TOP_STRIDE, SharedPlanes

MIDDLE = 0.5


class SharedEncoder(nn.Module):
    """Pictures or mosaics to (z_b, z_t).

    Source: Shared Neural Space paper, equation 1; VQ-VAE-2's two-level encoder with a bottom stride of 2, no quantiser.
    Where we differ: 0.5 is taken from the input, so that the convolutions' zero padding means middle grey.

    Args:
        channels_in: 3 for sRGB (754,304 parameters), 1 for a mosaic (752,256).

    Example:
        >>> import torch
        >>> planes = SharedEncoder()(torch.rand(1, 3, 16, 24))
        >>> tuple(planes.z_b.shape), tuple(planes.z_t.shape)
        ((1, 64, 8, 12), (1, 64, 4, 6))
    """

    stride = TOP_STRIDE

    def __init__(self, channels_in: int = 3) -> None:
        super().__init__()
        self.channels_in = channels_in
        half = WIDTH // 2
        self.enc_b = nn.Sequential(halved(channels_in, half), nn.ReLU(), NarrowStage(half))
        self.enc_t = nn.Sequential(halved(WIDTH, half), nn.ReLU(), NarrowStage(half))
        self.to_t = nn.Conv2d(WIDTH, CHANNELS, 1)
        self.dec_t = nn.Sequential(NarrowStage(CHANNELS), doubled(WIDTH, CHANNELS))
        self.to_b = nn.Conv2d(CHANNELS + WIDTH, CHANNELS, 1)

    @property
    def halo_px(self) -> int:
        """Pixels of context on each side that the values of one 4x4 cell can see, rounded up to whole cells."""
        reach = NarrowStage.reach_cells
        to_t = TOP_STRIDE * reach + 2 + 2 * reach + 1  # enc_t at 1/4, its 4x4, enc_b at 1/2, its 4x4
        to_b = TOP_STRIDE * (1 + reach) + to_t  # through dec_t, whose 4x4 sees a neighbour
        return -(-to_b // TOP_STRIDE) * TOP_STRIDE

    def forward(self, x: Tensor) -> SharedPlanes:
        """Encode pictures whose sides are multiples of 4.

        Args:
            x: (B, 3, H, W) sRGB or (B, 1, H, W) RGGB mosaic of sRGB-coded values, in [0, 1].

        Returns:
            The planes, float32.
        """
        bottom = self.enc_b(x - MIDDLE)  # (B, 128, H/2, W/2)
        top = self.enc_t(bottom)  # (B, 128, H/4, W/4)
        z_t = self.to_t(top)  # (B, 64, H/4, W/4)
        structure = self.dec_t(z_t)  # (B, 64, H/2, W/2)
        z_b = self.to_b(torch.cat([structure, bottom], dim=1))  # (B, 192, ...) -> (B, 64, H/2, W/2)
        return SharedPlanes(z_b.float(), z_t.float())
