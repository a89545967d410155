"""SqueezeNet 1.0, a frozen reference network: real CNN features with a measurable accuracy.

::

    x (B, 3, 227, 227) ─► conv1 96x111 ─► pool1 55 ─► fire2 128 ─► fire3 128 ─► fire4 256 ─► pool4 27
      ─► fire5 256 ─► fire6 384 ─► fire7 384 ─► fire8 512 ─► pool8 13 ─► fire9 512 ─► conv10 1000 ─► mean = logits
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.errors import WeightsError
from smalto.layers.picture_input import centre_crop
from smalto.layers.stages import StagedNetwork, load_exactly

SIDE_PX = 227
SHORT_SIDE_PX = 256
MEAN_BGR = (104.0, 117.0, 123.0)

_FIRES = {  # name: input, squeezed, half the output
    "fire2": (96, 16, 64),
    "fire3": (128, 16, 64),
    "fire4": (128, 32, 128),
    "fire5": (256, 32, 128),
    "fire6": (256, 48, 192),
    "fire7": (384, 48, 192),
    "fire8": (384, 64, 256),
    "fire9": (512, 64, 256),
}
_POOL_BEHIND = {"conv1": "pool1", "fire4": "pool4", "fire8": "pool8"}
_STORED = {"squeeze": "conv1x1_1", "expand1": "conv1x1_2", "expand3": "conv3x3_2"}


class Fire(nn.Module):
    """Squeeze by 1x1, then expand by 1x1 and 3x3 side by side; ReLU after each."""

    def __init__(self, channels: int, squeezed: int, half: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, half, 1)
        self.expand3 = nn.Conv2d(squeezed, half, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2 half, H, W), not negative."""
        x = torch.relu(self.squeeze(x))
        return torch.relu(torch.cat([self.expand1(x), self.expand3(x)], dim=1))


class SqueezeNet(StagedNetwork):
    """1.25 M parameters; 1000 ImageNet classes.

    Source: Iandola et al. 2016 (arXiv 1602.07360), table 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 7, stride=2)
        self.fires = nn.ModuleDict({name: Fire(*widths) for name, widths in _FIRES.items()})
        self.conv10 = nn.Conv2d(512, 1000, 1)

    def stages(self) -> tuple[tuple[str, Callable[[Tensor], Tensor]], ...]:
        """conv1, pool1, fire2 ... fire9 with pool4 and pool8 between, conv10 (after its ReLU), logits."""
        rows: list[tuple[str, Callable[[Tensor], Tensor]]] = []
        named: list[tuple[str, Callable[[Tensor], Tensor]]] = [("conv1", self._stem), *self.fires.items()]
        for name, stage in named:
            rows.append((name, stage))
            if name in _POOL_BEHIND:
                rows.append((_POOL_BEHIND[name], _pool))
        return (*rows, ("conv10", self._classify), ("logits", _mean))

    def _stem(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv1(x))

    def _classify(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv10(x))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], source: str = "weights") -> SqueezeNet:
        """The frozen network with weights by the names of the stored file, such as ``fire2__conv1x1_1__w``.

        Raises:
            WeightsError: not the weights of this network.
        """
        state: dict[str, Tensor] = {}
        names = {"conv1": "conv1", "conv_final": "conv10"}
        for fire in _FIRES:
            names |= {f"{fire}__{stored}": f"fires.{fire}.{own}" for own, stored in _STORED.items()}
        for name, array in arrays.items():
            stored, _, kind = name.rpartition("__")
            if stored not in names or kind not in ("w", "b"):
                raise WeightsError(f"{source}: unknown array {name}; these are not SqueezeNet's weights")
            state[f"{names[stored]}.{'weight' if kind == 'w' else 'bias'}"] = torch.from_numpy(np.array(array))
        network = cls()
        load_exactly(network, state, source)
        return network


def squeezenet_input(pixels: np.ndarray) -> Tensor:
    """A picture as SqueezeNet takes it: shorter side 256 (bilinear), centre 227 x 227, BGR minus the mean.

    Args:
        pixels: (H, W, 3) uint8 sRGB.

    Returns:
        (1, 3, 227, 227) float32, -123..151.
    """
    bgr = centre_crop(pixels, SHORT_SIDE_PX, SIDE_PX)[:, :, ::-1].astype(np.float32)
    planes = (bgr - np.asarray(MEAN_BGR, np.float32)).transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


def _pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=(2, 3))
