"""The residual stage of the shared neural space's encoder and decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 128
INNER = 32
NUM_BLOCKS = 2


class NarrowBlock(nn.Module):
    """ReLU, 3x3 to 32 channels, ReLU, 1x1 back, plus the input.

    Source: VQ-VAE-2 (Razavi et al. 2019). The skip takes the input itself, not the rectified one.
    """

    def __init__(self, channels: int = WIDTH, inner: int = INNER) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, inner, 3, padding=1)
        self.widen = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return x + self.widen(torch.relu(self.narrow(torch.relu(x))))


class NarrowStage(nn.Module):
    """3x3 to 128 channels, two residual blocks, ReLU.

    Source: Shared Neural Space paper, section 3.1 (the architecture of VQ-VAE-2 without its quantiser).

    Args:
        channels_in: C of the input.
    """

    reach_cells = 1 + NUM_BLOCKS  # of the input, on each side of an output cell

    def __init__(self, channels_in: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*[NarrowBlock() for _ in range(NUM_BLOCKS)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 128, h, w), not negative."""
        return torch.relu(self.blocks(self.conv(x)))


def halved(channels_in: int, channels_out: int) -> nn.Conv2d:
    """4x4 convolution of stride 2: an output cell covers two input cells along each side and sees one more around."""
    return nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1)


def doubled(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    """4x4 transposed convolution of stride 2, the adjoint of ``halved``."""
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
