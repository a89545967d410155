"""ResNet-50, a frozen reference network, under the names of the public weights.

::

    x (B, 3, 224, 224) ─► conv1, bn1 64x112 ─► maxpool 56 ─► layer1 256x56 ─► layer2 512x28 ─► layer3 1024x14
      ─► layer4 2048x7 ─► avgpool 2048 ─► fc = logits (B, 1000)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.picture_input import centre_crop, imagenet_normalised
from smalto.layers.stages import StagedNetwork, load_exactly

SIDE_PX = 224
SHORT_SIDE_PX = 256
_DEPTHS = (3, 4, 6, 3)
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride), 1x1 to four times the width; plus the input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = _EXPANSION * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 width, H / stride, W / stride), not negative."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        skipped = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.bn3(self.conv3(inner)) + skipped)


class ResNet50(StagedNetwork):
    """25,557,032 parameters; 1000 ImageNet classes.

    Source: He et al. 2016 (arXiv 1512.03385), table 1; the stride in the 3x3 convolution, as in public weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for number, depth in enumerate(_DEPTHS, start=1):
            width, blocks = 32 * 2**number, []
            for k in range(depth):
                blocks.append(Bottleneck(channels, width, 2 if k == 0 and number > 1 else 1))
                channels = _EXPANSION * width
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 1000)

    def stages(self) -> tuple[tuple[str, Callable[[Tensor], Tensor]], ...]:
        """conv1 (after norm and ReLU), maxpool, layer1.0 ... layer4.2 block by block, avgpool, fc."""
        rows: list[tuple[str, Callable[[Tensor], Tensor]]] = [("conv1", self._stem), ("maxpool", _pool)]
        for number in range(1, len(_DEPTHS) + 1):
            rows += [(f"layer{number}.{k}", block) for k, block in enumerate(getattr(self, f"layer{number}"))]
        return (*rows, ("avgpool", _mean), ("fc", self.fc))

    def _stem(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn1(self.conv1(x)))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], source: str = "weights") -> ResNet50:
        """The frozen network with weights by their public names, such as ``layer1.0.downsample.0.weight``.

        Raises:
            WeightsError: not the weights of this network.
        """
        network = cls()
        load_exactly(network, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, source)
        return network


def resnet50_input(pixels: np.ndarray) -> Tensor:
    """A picture as ResNet-50 takes it: shorter side 256, centre 224 x 224, normalised as ImageNet's.

    Args:
        pixels: (H, W, 3) uint8 sRGB.

    Returns:
        (1, 3, 224, 224) float32.
    """
    return imagenet_normalised(centre_crop(pixels, SHORT_SIDE_PX, SIDE_PX))


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))
