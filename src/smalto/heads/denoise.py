"""Denoising in the shared space: both heads clean the detail plane z_b and pass z_t on as it is.

::

    exact    z_b ─► 6 residual blocks ─► z_b                                  (B, 64, h, w), h = H / 2

    light    z_b ─► block ────────────────────────────────────(+)─► block ─► z_b     64 channels, h
                      └► 2x2 s2 ─► block ───────────(+)─► block ─► up ┘               96 channels, h / 2
                                     └► 2x2 s2 ─► 2 blocks ─► up ┘                   128 channels, h / 4

The exact head costs 110,592 multiplications a pixel of the picture, all in dense 3x3 convolutions of 64 channels.
So are those of DnCNN on pixels, 556,416; no kernel is faster for the one and not for the other, and their ratio, 5.03,
bounds what the exact head can gain. The light head does most of its work at a half and a quarter of the plane's sides,
where a convolution of the same width costs a quarter and a sixteenth and sees twice and four times as far: 71,424.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.shared_planes import CHANNELS, SharedPlanes

NUM_BLOCKS = 6


class _Block(nn.Module):
    """Two biased 3x3 convolutions with a rectifier between them, plus the input; memory is reused in place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)  # a fresh block is close to the identity

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.conv2(F.relu(self.conv1(x), inplace=True)).add_(x)


class Denoiser(nn.Module):
    """Six residual blocks on z_b: 443,136 parameters.

    Source: Shared Neural Space paper, section 3.2.1 and table 2.

    Args:
        channels: of z_b; 64 in the shared space.
        num_blocks: residual blocks.
    """

    align_cells = 1

    def __init__(self, channels: int = CHANNELS, num_blocks: int = NUM_BLOCKS) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[_Block(channels) for _ in range(num_blocks)])

    @property
    def halo_cells(self) -> int:
        """Cells of z_b of context on each side that one of its cells can see."""
        return 2 * len(self.blocks)

    def forward(self, planes: SharedPlanes) -> SharedPlanes:
        """Planes of a noisy picture -> the same with a clean z_b; any sides."""
        return SharedPlanes(self.blocks(planes.z_b), planes.z_t)


class LightDenoiser(nn.Module):
    """A small U-shaped network on z_b, 7.8 times fewer multiplications than DnCNN on pixels; ours.

    Args:
        widths: channels at the plane's sides, their halves and their quarters; the first is z_b's.
    """

    align_cells = 4  # windows that begin at multiples of this many cells of z_b meet as one
    halo_cells = 28  # cells of z_b that one of its cells can see: 2 + 2 blocks at h, 2 of 2 at h/2, 2 of 2 at h/4

    def __init__(self, widths: tuple[int, int, int] = (CHANNELS, 96, 128)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.enter = _Block(fine)
        self.down1 = nn.Conv2d(fine, middle, 2, stride=2)
        self.middle1 = _Block(middle)
        self.down2 = nn.Conv2d(middle, coarse, 2, stride=2)
        self.coarse = nn.Sequential(_Block(coarse), _Block(coarse))
        self.up2 = nn.ConvTranspose2d(coarse, middle, 2, stride=2)
        self.middle2 = _Block(middle)
        self.up1 = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.leave = _Block(fine)
        with torch.no_grad():
            self.up1.weight.mul_(0.1)

    def forward(self, planes: SharedPlanes) -> SharedPlanes:
        """Planes of a noisy picture -> the same with a clean z_b; any sides."""
        x = planes.z_b
        height, width = x.shape[2:]
        if height % 4 or width % 4:
            x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        fine = self.enter(x)  # (B, 64, h, w)
        middle = self.middle1(self.down1(fine))  # (B, 96, h/2, w/2)
        coarse = self.coarse(self.down2(middle))  # (B, 128, h/4, w/4)
        middle = self.middle2(self.up2(coarse).add_(middle))
        fine = self.leave(self.up1(middle).add_(fine))
        return SharedPlanes(fine[:, :, :height, :width], planes.z_t)
