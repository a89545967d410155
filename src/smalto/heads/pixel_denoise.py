"""DnCNN on pixels: what denoising in the shared space is compared with.

::

    x ─► 3x3, ReLU ─► 15 x (3x3, BatchNorm, ReLU) ─► 3x3 ─► noise;  x - noise
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

NUM_LAYERS, WIDTH = 17, 64


class PixelDenoiser(nn.Module):
    """Seventeen convolutions without bias, of width 64, BatchNorm on the fifteen inner ones: 558,336 parameters.

    Source: Zhang et al., "Beyond a Gaussian denoiser", IEEE TIP 2017, section III; the count is the Shared Neural Space
    paper's (table 2).

    Args:
        num_layers: convolutions.
        width: channels between them.
    """

    def __init__(self, num_layers: int = NUM_LAYERS, width: int = WIDTH) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.ReLU(inplace=True)]
        for _ in range(num_layers - 2):
            inner = nn.Conv2d(width, width, 3, padding=1, bias=False)
            layers += [inner, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers.append(nn.Conv2d(width, 3, 3, padding=1, bias=False))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) noisy sRGB in [0, 1] -> (B, 3, H, W), not clamped."""
        return x - self.layers(x)

    def folded(self) -> PixelDenoiser:
        """A copy for inference whose normalisations are folded into the convolutions: the same answers, sooner."""
        network = copy.deepcopy(self).eval()
        layers: list[nn.Module] = []
        for layer in network.layers:
            if isinstance(layer, nn.BatchNorm2d):
                layers[-1] = fuse_conv_bn_eval(layers[-1], layer)  # type: ignore[type-var, arg-type]
            else:
                layers.append(layer)
        network.layers = nn.Sequential(*layers)
        return network.requires_grad_(False)
