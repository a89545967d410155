"""Convolutional blocks of the image encoders and decoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Normalisation over channels at each position.

    Math: ``gamma * (x - mean_c) / sqrt(var_c + eps) + beta`` with the unbiased variance over channels.

    Source: HiFiC (Mentzer et al. 2020), section 3.2; eps 1e-3 as in the public code.

    Args:
        channels: C of the (B, C, H, W) input.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=1)
        return self.gamma * (x - mean) * torch.rsqrt(variance + self.eps) + self.beta


class ResidualBlock(nn.Module):
    """3x3 - norm - ReLU - 3x3 - norm, plus the input (HiFiC's generator block)."""

    def __init__(self, channels: int, norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect" if norm else "zeros")
        self.norm1 = ChannelNorm(channels) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect" if norm else "zeros")
        self.norm2 = ChannelNorm(channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        inner = torch.relu(self.norm1(self.conv1(x)))
        return x + self.norm2(self.conv2(inner))


class SeparableBlock(nn.Module):
    """Two residual steps: pointwise - ReLU - depthwise 3x3 - pointwise, then a pointwise expansion by two.

    About 6 C^2 multiplications a position against 18 C^2 of a residual block of two full 3x3 convolutions.
    The last layer of each step starts small, so that a fresh block is close to the identity.

    Args:
        channels: C of the (B, C, H, W) input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels, 1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.project = nn.Conv2d(channels, channels, 1)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.contract = nn.Conv2d(2 * channels, channels, 1)
        with torch.no_grad():
            self.project.weight.mul_(0.2)
            self.contract.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.project(self.depthwise(torch.relu(self.reduce(x))))
        return x + self.contract(torch.relu(self.expand(x)))
