"""Semantic segmentation: PIDNet on the detail plane z_b, and the same network on pixels.

::

    pixels  x ─► 3x3 s2 ─────────┐                  1/8          1/16         1/32         1/64
    planes  z_b ─► (1x1, size s) ┴► 3x3 s2 ─► I ─► I ┬─────────► I ─────────► I ─────────► I ─► pyramid ┐
                                                     │           │ PagFM      │ PagFM                   │
                                                     ├─► P ──────┴─► P ───────┴─► P ────────────────────┤
                                                     └─► D ─────(+)► D ──────(+)► D ────────────────────┴ Bag ─► classes
                                                                                 └► boundaries (training only)

P keeps detail, I gathers context, D finds boundaries; the boundary decides which of the two a position believes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.errors import UsageError
from smalto.layers.segmentation_blocks import (
    BoundaryFusion,
    ClassHead,
    LightBoundaryFusion,
    PixelAttentionFusion,
    PyramidPooling,
    basic_stage,
    basic_unit,
    bottleneck_stage,
    conv_norm,
    resized,
)
from smalto.layers.shared_planes import CHANNELS, SharedPlanes

Size = Literal["s", "m", "l"]


@dataclass(frozen=True)
class SegmenterConfig:
    """Layers of PIDNet.

    Args:
        width: channels at a quarter of the picture's sides ("planes" in the paper's code).
        shallow_units: residual units of the early stages (m).
        deep_units: of the later ones (n).
        pyramid_width: channels of each scale of the pyramid.
        head_width: channels of the last 3x3 convolution.
        is_large: size L: deeper D branch, DAPPM and Bag; S and M: PAPPM and Light-Bag.
    """

    width: int
    shallow_units: int
    deep_units: int
    pyramid_width: int
    head_width: int
    is_large: bool = False


SIZES: dict[Size, SegmenterConfig] = {
    "s": SegmenterConfig(32, 2, 3, 96, 128),
    "m": SegmenterConfig(64, 2, 3, 96, 128),
    "l": SegmenterConfig(64, 3, 4, 112, 256, is_large=True),
}


class SegmentScores(NamedTuple):
    """What training sees.

    Args:
        classes: (B, K, h, w) logits at an eighth of the picture's sides.
        detail: (B, K, h, w) logits of the P branch alone.
        boundary: (B, 1, h, w) logits of the D branch: a boundary between classes runs here.
    """

    classes: Tensor
    detail: Tensor
    boundary: Tensor


class PidNet(nn.Module):
    """The three branches, from a plane of ``config.width`` channels at half the picture's sides.

    Source: PIDNet, figure 3; sizes of its table 2.

    Args:
        config: layers.
        num_classes: K.
        augmented: with the two heads that only training uses.
    """

    def __init__(self, config: SegmenterConfig, num_classes: int, augmented: bool) -> None:
        super().__init__()
        width, few, many = config.width, config.shallow_units, config.deep_units
        wide = 2 * width
        self.stem = nn.Sequential(nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.context1 = basic_stage(width, width, few)
        self.context2 = basic_stage(width, wide, few, stride=2)
        self.context3 = basic_stage(wide, 4 * width, many, stride=2)
        self.context4 = basic_stage(4 * width, 8 * width, many, stride=2)
        self.context5 = bottleneck_stage(8 * width, 8 * width, 2, stride=2)
        self.detail3, self.detail4 = basic_stage(wide, wide, few), basic_stage(wide, wide, few)
        self.detail5 = bottleneck_stage(wide, wide, 1)
        self.compress3, self.compress4 = conv_norm(4 * width, wide, 1), conv_norm(8 * width, wide, 1)
        self.agree3, self.agree4 = PixelAttentionFusion(wide, width), PixelAttentionFusion(wide, width)
        narrow = wide if config.is_large else width
        self.boundary3 = basic_unit(wide, narrow, rectified=False)
        large = config.is_large
        self.boundary4 = basic_unit(wide, wide, rectified=False) if large else bottleneck_stage(width, width, 1)
        self.boundary5 = bottleneck_stage(wide, wide, 1)
        self.differ3, self.differ4 = conv_norm(4 * width, narrow, 3), conv_norm(8 * width, wide, 3)
        self.pyramid = PyramidPooling(16 * width, config.pyramid_width, 4 * width, is_parallel=not large)
        self.fuse = BoundaryFusion(4 * width) if large else LightBoundaryFusion(4 * width)
        self.out = ClassHead(4 * width, config.head_width, num_classes)
        self.detail_out = ClassHead(wide, config.head_width, num_classes) if augmented else None
        self.boundary_out = ClassHead(wide, width, 1) if augmented else None
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H/2, W/2) -> class logits (B, K, H/8, W/8), sides rounded up."""
        return self._run(x)[0]

    def scores(self, x: Tensor) -> SegmentScores:
        """As ``forward``, with what the training heads say.

        Raises:
            UsageError: the network was built without them.
        """
        classes, detail, boundary = self._run(x)
        if self.detail_out is None or self.boundary_out is None:
            raise UsageError("segmentation: the network was built without its training heads; build it augmented")
        return SegmentScores(classes, self.detail_out(detail), self.boundary_out(boundary))

    def _run(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits, and the planes that the training heads read."""
        x = torch.relu(self.context1(self.stem(x)))  # (B, C, H/4, W/4)
        x = torch.relu(self.context2(x))  # (B, 2C, H/8, W/8)
        detail, boundary = self.detail3(x), self.boundary3(x)
        x = torch.relu(self.context3(x))  # (B, 4C, H/16, W/16)
        detail = self.agree3(detail, self.compress3(x))
        boundary = boundary + resized(self.differ3(x), boundary)
        early = detail
        x = torch.relu(self.context4(x))  # (B, 8C, H/32, W/32)
        detail, boundary = self.detail4(torch.relu(detail)), self.boundary4(torch.relu(boundary))
        detail = self.agree4(detail, self.compress4(x))
        boundary = boundary + resized(self.differ4(x), boundary)
        late = boundary
        detail, boundary = self.detail5(torch.relu(detail)), self.boundary5(torch.relu(boundary))  # (B, 4C, H/8, W/8)
        context = resized(self.pyramid(self.context5(x)), detail)
        return self.out(self.fuse(detail, context, boundary)), early, late


class Segmenter(nn.Module):
    """PIDNet whose first convolution is replaced by z_b; z_t is unused.

    Source: Shared Neural Space paper, section 3.2.2. In size S, whose planes are 32 wide, a 1x1 convolution with norm
    and rectifier adapts z_b; in M and L z_b enters as it is.

    Args:
        size: ``s``, ``m`` or ``l``.
        num_classes: K.
        augmented: with the two heads that only training uses.
    """

    def __init__(self, size: Size = "s", num_classes: int = 19, augmented: bool = False) -> None:
        super().__init__()
        config = SIZES[size]
        is_narrow = config.width != CHANNELS
        adapter = nn.Sequential(conv_norm(CHANNELS, config.width, 1), nn.ReLU(inplace=True))
        self.enter = adapter if is_narrow else nn.Identity()
        self.network = PidNet(config, num_classes, augmented)

    def forward(self, planes: SharedPlanes) -> Tensor:
        """Planes of (B, 3, H, W) -> class logits (B, K, H/8, W/8), sides rounded up."""
        return self.network(self.enter(planes.z_b))

    def scores(self, planes: SharedPlanes) -> SegmentScores:
        """What training sees; see ``PidNet.scores``."""
        return self.network.scores(self.enter(planes.z_b))


class PixelSegmenter(nn.Module):
    """PIDNet on pixels: what segmentation in the shared space is compared with.

    Args:
        size: ``s``, ``m`` or ``l``.
        num_classes: K.
        augmented: with the two heads that only training uses.
    """

    def __init__(self, size: Size = "s", num_classes: int = 19, augmented: bool = False) -> None:
        super().__init__()
        width = SIZES[size].width
        self.enter = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.network = PidNet(SIZES[size], num_classes, augmented)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) sRGB in [0, 1] -> class logits (B, K, H/8, W/8), sides rounded up."""
        return self.network(self.enter(x))

    def scores(self, x: Tensor) -> SegmentScores:
        """What training sees; see ``PidNet.scores``."""
        return self.network.scores(self.enter(x))


def enlarged(logits: Tensor, height: int, width: int) -> Tensor:
    """Logits (B, K, h, w) at an eighth, bilinearly to the picture's (B, K, height, width)."""
    grid = F.interpolate(logits, size=(-(-height // 8) * 8, -(-width // 8) * 8), mode="bilinear", align_corners=False)
    return grid[:, :, :height, :width]


def class_ids(logits: Tensor, height: int, width: int) -> Tensor:
    """The likeliest class of each pixel: (B, height, width) uint8."""
    return enlarged(logits, height, width).argmax(dim=1).to(torch.uint8)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
