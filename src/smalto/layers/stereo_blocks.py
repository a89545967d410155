"""Blocks of the stereo network: inverted residuals, attention in strips, 2-D aggregation of a correlation volume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

STRIPS_PX = (7, 11, 21)


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, ReLU6.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        kernel: side of the kernel; the output keeps the input's size but for the stride.
        stride: of the convolution.
        groups: of the convolution.
        is_linear: leave the ReLU6 out.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 3,
        stride: int = 1,
        groups: int = 1,
        is_linear: bool = False,
    ) -> None:
        conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(channels_out)]
        super().__init__(*layers, *([] if is_linear else [nn.ReLU6(inplace=True)]))


class UpNorm(nn.Sequential):
    """Transposed 4x4 convolution that doubles the resolution, batch norm, ReLU6 unless ``is_linear``."""

    def __init__(self, channels_in: int, channels_out: int, is_linear: bool = False) -> None:
        conv = nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(channels_out)]
        super().__init__(*layers, *([] if is_linear else [nn.ReLU6(inplace=True)]))


class InvertedResidual(nn.Module):
    """Pointwise expansion, depthwise 3x3, linear pointwise projection; plus the input where shapes agree.

    Source: MobileNetV2 (Sandler et al. 2018), section 3.3.

    Args:
        channels_in: of the input.
        channels_out: of the output.
        stride: of the depthwise convolution.
        expansion: hidden channels as a multiple of ``channels_in``.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1, expansion: int = 4) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.layers = nn.Sequential(
            ConvNorm(channels_in, hidden, 1),
            ConvNorm(hidden, hidden, 3, stride, groups=hidden),
            ConvNorm(hidden, channels_out, 1, is_linear=True),
        )
        self.has_skip = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        return x + self.layers(x) if self.has_skip else self.layers(x)


class StripAttention(nn.Module):
    """Weights for a cost volume from the left picture's features, seen through long strips.

    Math: ``a = D5(P(left)); volume * Q(a + sum_k D_kx1(D_1xk(a)))``, k = 7, 11, 21; D depthwise, P and Q pointwise.
    Q's bias starts at one, so that fresh attention is close to the identity.

    Source: SegNeXt (Guo et al. 2022), section 3.1, whose strips these are; LightStereo (Guo et al. 2024), section 3.3.

    Args:
        left_channels: of the left picture's features.
        channels: of the volume.
    """

    def __init__(self, left_channels: int, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(left_channels, channels, 1)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.strips = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, (1, side), padding=(0, side // 2), groups=channels),
                nn.Conv2d(channels, channels, (side, 1), padding=(side // 2, 0), groups=channels),
            )
            for side in STRIPS_PX
        )
        self.leave = nn.Conv2d(channels, channels, 1)
        nn.init.ones_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, volume: Tensor, left: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C_left, h, w) -> (B, C, h, w)."""
        near = self.near(self.enter(left))
        seen = near
        for strip in self.strips:
            seen = seen + strip(near)
        return volume * self.leave(seen)


class Aggregation(nn.Module):
    """A U-Net over a correlation volume whose channels are disparity levels.

    ::

        volume (48) ─► blocks ─ ⊙ left 1/4 ──────────────────── (+) ─► block ─► 3x3 ─► (B, 48, h, w)
                                   └► /2, blocks ─ ⊙ left 1/8 ─ (+) ─► block ─┘ x2        (96)
                                            └► /2, blocks ─ ⊙ left 1/16 ──────┘ x2        (192)

    Source: LightStereo (Guo et al. 2024), section 3.2 and 3.3, as the description has it; ours where it is silent.

    Args:
        widths: channels at the three resolutions; the first is the number of disparity levels.
        num_blocks: inverted residuals at each, after the one that halves the resolution.
        expansion: of the inverted residuals.
        left_channels: of the left features at each resolution.
    """

    def __init__(
        self, widths: Sequence[int], num_blocks: Sequence[int], expansion: int, left_channels: Sequence[int]
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(InvertedResidual(before, after, 2, expansion) for before, after in pairwise(widths))
        self.blocks = nn.ModuleList(
            nn.Sequential(*[InvertedResidual(width, width, 1, expansion) for _ in range(num)])
            for width, num in zip(widths, num_blocks, strict=True)
        )
        self.attention = nn.ModuleList(
            StripAttention(left, width) for left, width in zip(left_channels, widths, strict=True)
        )
        self.up = nn.ModuleList(UpNorm(after, before, is_linear=True) for before, after in pairwise(widths))
        self.across = nn.ModuleList(ConvNorm(width, width, 1, is_linear=True) for width in widths[:-1])
        self.merge = nn.ModuleList(InvertedResidual(width, width, 1, expansion) for width in widths[:-1])
        self.out = nn.Conv2d(widths[0], widths[0], 3, padding=1)

    def forward(self, volume: Tensor, left: Sequence[Tensor]) -> Tensor:
        """Aggregate.

        Args:
            volume: (B, 48, h, w), h and w multiples of 4.
            left: features (B, C_k, h / 2^k, w / 2^k) of the left picture, one for each resolution.

        Returns:
            (B, 48, h, w) scores of the levels.
        """
        levels: list[Tensor] = []
        hidden = volume
        for k, (blocks, attention) in enumerate(zip(self.blocks, self.attention, strict=True)):
            hidden = self.down[k - 1](hidden) if k else hidden
            hidden = attention(blocks(hidden), left[k])
            levels.append(hidden)
        for k in reversed(range(len(levels) - 1)):
            hidden = torch.relu(self.up[k](hidden) + self.across[k](levels[k]))
            hidden = self.merge[k](hidden)
        return self.out(hidden)
