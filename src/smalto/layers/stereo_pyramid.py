"""What the stereo network reads of a view: a pyramid from the planes of the shared space, or from pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.shared_planes import CHANNELS, SharedPlanes
from smalto.layers.stereo_blocks import ConvNorm, InvertedResidual

UNIT_PX = 32  # the coarsest level's stride: sides are padded to a multiple of it


class Pyramid(NamedTuple):
    """Features of a view.

    Args:
        p2: (B, C2, H / 4, W / 4) fused.
        p3: (B, C3, H / 8, W / 8) fused.
        p4: (B, C4, H / 16, W / 16) fused.
        c5: (B, C5, H / 32, W / 32).
    """

    p2: Tensor
    p3: Tensor
    p4: Tensor
    c5: Tensor


class SharedPyramid(nn.Module):
    """Pyramid from (z_b, z_t) by strided blocks, fused from coarse to fine.

    ::

        z_b ─► /2 ─(cat)─► c2 ─► /2 ─► c3 ─► /2 ─► c4 ─► /2 ─► c5
        z_t ───────┘        │           │           │           │
                           p2 ◄── x2 ─ p3 ◄── x2 ─ p4 ◄── x2 ───┘

    Source: Shared Neural Space paper, section 3.2.3; feature pyramids (Lin et al. 2017). Widths and depths are ours.

    Args:
        widths: channels of the four levels.
        num_blocks: inverted residuals at each level, the one that halves the resolution among them.
        expansion: of the inverted residuals.
    """

    def __init__(self, widths: Sequence[int], num_blocks: Sequence[int], expansion: int = 4) -> None:
        super().__init__()
        self.bottom = ConvNorm(CHANNELS, CHANNELS, 3, stride=2)
        self.join = ConvNorm(2 * CHANNELS, widths[0], 1)
        stages: list[nn.Module] = []
        for k, (width, num) in enumerate(zip(widths, num_blocks, strict=True)):
            first = InvertedResidual(widths[k - 1] if k else width, width, 2 if k else 1, expansion)
            stages.append(nn.Sequential(first, *[InvertedResidual(width, width, 1, expansion) for _ in range(num - 1)]))
        self.stages = nn.ModuleList(stages)
        pairs = list(pairwise(widths))
        self.lower = nn.ModuleList(ConvNorm(coarse, fine, 1) for fine, coarse in pairs)
        self.fuse = nn.ModuleList(ConvNorm(2 * fine, fine, 3) for fine, _ in pairs)

    def forward(self, planes: SharedPlanes) -> Pyramid:
        """Planes whose picture has sides that are multiples of 32 -> pyramid."""
        hidden = self.join(torch.cat([self.bottom(planes.z_b), planes.z_t], dim=1))  # (B, C2, H/4, W/4)
        levels: list[Tensor] = []
        for stage in self.stages:
            hidden = stage(hidden)
            levels.append(hidden)
        for k in reversed(range(len(levels) - 1)):
            above = F.interpolate(self.lower[k](levels[k + 1]), scale_factor=2.0, mode="nearest")
            levels[k] = self.fuse[k](torch.cat([above, levels[k]], dim=1))
        return Pyramid(*levels)


class PixelStem(nn.Module):
    """Planes of the shared space's shape from pixels, trained with what follows: the pixel-space baseline's start."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(ConvNorm(3, CHANNELS, 3, stride=2), ConvNorm(CHANNELS, CHANNELS, 3))
        self.top = nn.Sequential(ConvNorm(CHANNELS, CHANNELS, 3, stride=2), ConvNorm(CHANNELS, CHANNELS, 3))

    def forward(self, x: Tensor) -> SharedPlanes:
        """(B, 3, H, W) in [0, 1], sides multiples of 4 -> planes."""
        z_b = self.bottom(x - 0.5)
        return SharedPlanes(z_b, self.top(z_b))


def padded_planes(planes: SharedPlanes) -> SharedPlanes:
    """Planes continued to the right and below by their last cells, until the picture's sides are multiples of 32."""
    height, width = 2 * planes.z_b.shape[2], 2 * planes.z_b.shape[3]
    down, right = -height % UNIT_PX, -width % UNIT_PX
    if not (down or right):
        return planes
    z_b = F.pad(planes.z_b, (0, right // 2, 0, down // 2), mode="replicate")
    return SharedPlanes(z_b, F.pad(planes.z_t, (0, right // 4, 0, down // 4), mode="replicate"))
