"""MobileFaceNet, a frozen reference network: an aligned face to a vector of 128 numbers.

::

    x (B, 3, 112, 112) ─► conv1 64x56 ─► dw_conv 64x56 ─► features.0-4 64x28 ─► features.5-11 128x14
      ─► features.12-14 128x7 ─► conv2 512x7 ─► gdconv 512x1 ─► conv3 128x1 ─► bn = embedding (B, 128)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.picture_input import imagenet_normalised
from smalto.layers.stages import StagedNetwork, load_exactly

SIDE_PX = 112
EMBEDDING_WIDTH = 128
_BLOCKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))
"""(expansion, channels, repeats, stride of the first) of the inverted residuals."""


def _conv_norm(channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU6())


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3 and pointwise convolution, each with norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = torch.relu(self.bn1(self.depthwise(x)))
        return torch.relu(self.bn2(self.pointwise(x)))


class GlobalDepthwise(nn.Module):
    """One 7x7 depthwise convolution over the whole map, and norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 7, 7) -> (B, C, 1, 1)."""
        return self.bn(self.depthwise(x))


class InvertedResidual(nn.Module):
    """Expand by 1x1, depthwise 3x3, project by 1x1; plus the input where shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        self.is_residual = stride == 1 and channels_in == channels_out
        self.conv = nn.Sequential(
            _conv_norm(channels_in, wide, 1),
            _conv_norm(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        return x + self.conv(x) if self.is_residual else self.conv(x)


class MobileFaceNet(StagedNetwork):
    """1.0 M parameters.

    Source: Chen et al. 2018 (arXiv 1804.07573), table 1; widths and norms as in the public weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_norm(3, 64, 3, 2)
        self.dw_conv = DepthwiseSeparable(64)
        blocks, width = [], 64
        for expansion, channels, repeats, stride in _BLOCKS:
            for k in range(repeats):
                blocks.append(InvertedResidual(width, channels, stride if k == 0 else 1, expansion))
                width = channels
        self.features_ = nn.Sequential(*blocks)
        self.conv2 = _conv_norm(width, 512, 1)
        self.gdconv = GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, EMBEDDING_WIDTH, 1)
        self.bn = nn.BatchNorm1d(EMBEDDING_WIDTH)

    def stages(self) -> tuple[tuple[str, Callable[[Tensor], Tensor]], ...]:
        """conv1, dw_conv, features.0 ... features.14, conv2, gdconv, conv3, bn."""
        blocks = [(f"features.{k}", block) for k, block in enumerate(self.features_)]
        return (
            ("conv1", self.conv1),
            ("dw_conv", self.dw_conv),
            *blocks,
            ("conv2", self.conv2),
            ("gdconv", self.gdconv),
            ("conv3", self.conv3),
            ("bn", self._normalise),
        )

    def _normalise(self, x: Tensor) -> Tensor:
        return self.bn(x.flatten(1))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], source: str = "weights") -> MobileFaceNet:
        """The frozen network with weights by the names of the public file, such as ``features.0.conv.0.0.weight``.

        Raises:
            WeightsError: not the weights of this network.
        """
        renamed = {("features_" + name[8:] if name.startswith("features.") else name): name for name in arrays}
        state = {own: torch.from_numpy(np.array(arrays[name])) for own, name in renamed.items()}
        network = cls()
        load_exactly(network, state, source)
        return network


def mobilefacenet_input(pixels: np.ndarray) -> Tensor:
    """An aligned face as MobileFaceNet takes it.

    Args:
        pixels: (112, 112, 3) uint8 sRGB; ``smalto.data.faces.face_crop`` cuts it.

    Returns:
        (1, 3, 112, 112) float32, normalised as ImageNet's.
    """
    return imagenet_normalised(pixels)


def cosine_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Of two rows of embeddings (N, D): (N,), -1..1."""
    return F.cosine_similarity(first, second, dim=1)
