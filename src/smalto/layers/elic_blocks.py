"""Blocks of ELIC's transforms: the residual bottleneck and the attention block built of three of them a branch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualBottleneck(nn.Module):
    """1x1 to half the channels - ReLU - 3x3 - ReLU - 1x1 back, plus the input.

    Source: ELIC (He et al. 2022, arXiv 2203.10886), section 3.3, where stacks of three take the place of divisive
    normalisation.

    Args:
        channels: C of the (B, C, H, W) input.
        rectified: the sum passes through a ReLU, as in the attention block's units.
    """

    def __init__(self, channels: int, rectified: bool = False) -> None:
        super().__init__()
        inner = channels // 2
        self.reduce = nn.Conv2d(channels, inner, 1)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1)
        self.expand = nn.Conv2d(inner, channels, 1)
        self.rectified = rectified

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.expand(torch.relu(self.conv(torch.relu(self.reduce(x)))))
        return torch.relu(x) if self.rectified else x


class AttentionBlock(nn.Module):
    """A trunk of three units, weighted cell by cell by a mask of three more, plus the input.

    Math: ``x + trunk(x) * sigmoid(mask(x))``.

    Source: Cheng et al. 2020 (arXiv 2001.01568), section 3.2, the simplified block without non-local part.

    Args:
        channels: C of the (B, C, H, W) input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(ResidualBottleneck(channels, rectified=True) for _ in range(3)))
        self.mask = nn.Sequential(*(ResidualBottleneck(channels, rectified=True) for _ in range(3)))
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return x + self.trunk(x) * torch.sigmoid(self.project(self.mask(x)))
