"""Stereo depth: disparity of the left view from the planes of both views, and the same network on pixels.

::

    left planes  ─► pyramid ─► p2 ─► match ─┐
    right planes ─► pyramid ─► p2 ─► match ─┴► correlation (B, 48, H/4, W/4) ─► aggregation ─► soft-argmax x4 ─► coarse
                      └─ left p2, p3, p4 ──────────────────────────────────────────┘                               │
    left z_b, p2 ─► guide ─► nine weights a pixel ─────────────────────────────────► convex upsampling ◄───────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from smalto.layers.shared_planes import CHANNELS, TOP_STRIDE, SharedPlanes
from smalto.layers.stereo_blocks import Aggregation, ConvNorm, UpNorm
from smalto.layers.stereo_pyramid import UNIT_PX, PixelStem, SharedPyramid, padded_planes
from smalto.layers.stereo_volume import convex_upsample, correlation_volume, soft_argmax

Size = Literal["S", "M", "L"]


@dataclass(frozen=True)
class StereoConfig:
    """Layers of the stereo network.

    Args:
        num_blocks: inverted residuals of the aggregation at 1/4, 1/8 and 1/16.
        expansion: of those.
        aggregation_widths: channels at the three resolutions; the first is the number of disparity levels.
        pyramid_widths: channels of p2, p3, p4 and c5.
        pyramid_blocks: inverted residuals at each level of the pyramid.
        match_channels: features that are correlated.
        guide_channels: of the network that weighs the upsampling.
    """

    num_blocks: tuple[int, int, int]
    expansion: int
    aggregation_widths: tuple[int, int, int] = (48, 96, 192)
    pyramid_widths: tuple[int, int, int, int] = (64, 64, 96, 160)
    pyramid_blocks: tuple[int, int, int, int] = (2, 2, 3, 3)
    match_channels: int = 64
    guide_channels: int = 32

    @property
    def max_disparity_px(self) -> int:
        """Disparities below this can be told."""
        return TOP_STRIDE * self.aggregation_widths[0]


SIZES: dict[Size, StereoConfig] = {
    "S": StereoConfig((1, 2, 4), 4),
    "M": StereoConfig((4, 8, 16), 4),
    "L": StereoConfig((8, 16, 32), 8),
}


class Disparity(NamedTuple):
    """A network's answer, in pixels of the picture: column in the left view minus column in the right one.

    Args:
        fine: (B, 1, H, W) float32, by learned upsampling.
        coarse: (B, 1, H / 4, W / 4) float32; its bilinear enlargement is trained too.
    """

    fine: Tensor
    coarse: Tensor


class StereoHead(nn.Module):
    """Disparity from the planes of two views.

    Source: Shared Neural Space paper, section 3.2.3; LightStereo (Guo et al. 2024), whose shape it has.

    Args:
        config: one of ``SIZES``.
    """

    num_views = 2

    def __init__(self, config: StereoConfig) -> None:
        super().__init__()
        self.config = config
        fine = config.pyramid_widths[0]
        self.pyramid = SharedPyramid(config.pyramid_widths, config.pyramid_blocks)
        self.match = nn.Sequential(
            ConvNorm(fine, config.match_channels, 3), nn.Conv2d(config.match_channels, config.match_channels, 1)
        )
        self.aggregation = Aggregation(
            config.aggregation_widths, config.num_blocks, config.expansion, config.pyramid_widths[:3]
        )
        self.guide_detail = ConvNorm(CHANNELS, config.guide_channels, 3)
        self.guide_top = UpNorm(fine, config.guide_channels)
        self.guide = nn.Sequential(
            ConvNorm(2 * config.guide_channels, config.guide_channels, 3),
            nn.ConvTranspose2d(config.guide_channels, 9, 4, stride=2, padding=1),
        )

    def forward(self, left: SharedPlanes, right: SharedPlanes) -> Disparity:
        """Match two views.

        Args:
            left: planes of the left view, of a picture of any size that is a multiple of 4; padded here to 32.
            right: planes of the right view, of the same size.

        Returns:
            Disparity of the left view, (B, 1, H, W) and (B, 1, H / 4, W / 4) with the planes' own H and W.
        """
        batch, _, rows, columns = left.z_b.shape
        both = SharedPlanes(torch.cat([left.z_b, right.z_b]), torch.cat([left.z_t, right.z_t]))  # (2B, ...)
        both = padded_planes(both)
        pyramid = self.pyramid(both)
        features = self.match(pyramid.p2)  # (2B, C, h, w)
        volume = correlation_volume(features[:batch], features[batch:], self.config.aggregation_widths[0])
        seen = [level[:batch] for level in (pyramid.p2, pyramid.p3, pyramid.p4)]
        coarse = TOP_STRIDE * soft_argmax(self.aggregation(volume, seen))  # (B, 1, H/4, W/4)
        guide = torch.cat([self.guide_detail(both.z_b[:batch]), self.guide_top(seen[0])], dim=1)  # (B, 64, H/2, W/2)
        fine = convex_upsample(coarse, self.guide(guide))  # (B, 1, H, W)
        height, width = 2 * rows, 2 * columns
        return Disparity(fine[..., :height, :width], coarse[..., : -(-height // 4), : -(-width // 4)])


class PixelStereo(nn.Module):
    """The same network on pixels: a stem, trained along, takes the place of the space's encoder.

    Args:
        config: one of ``SIZES``.
    """

    num_views = 2

    def __init__(self, config: StereoConfig) -> None:
        super().__init__()
        self.stem = PixelStem()
        self.network = StereoHead(config)

    @property
    def config(self) -> StereoConfig:
        """Layers of the network behind the stem."""
        return self.network.config

    def forward(self, left: Tensor, right: Tensor) -> Disparity:
        """Match two views.

        Args:
            left: (B, 3, H, W) in [0, 1], of any size; padded here to multiples of 32 by its last rows and columns.
            right: (B, 3, H, W) in [0, 1].

        Returns:
            Disparity of the left view, (B, 1, H, W) and (B, 1, ceil(H / 4), ceil(W / 4)).
        """
        batch, _, height, width = left.shape
        both = torch.cat([left, right])
        both = nn.functional.pad(both, (0, -width % UNIT_PX, 0, -height % UNIT_PX), mode="replicate")
        planes = self.stem(both)
        views = [SharedPlanes(planes.z_b[part], planes.z_t[part]) for part in (slice(0, batch), slice(batch, None))]
        fine, coarse = self.network(*views)
        return Disparity(fine[..., :height, :width], coarse[..., : -(-height // 4), : -(-width // 4)])
