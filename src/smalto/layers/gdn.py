"""Generalised divisive normalisation and the four-layer transforms built with it (Balle et al. 2016, 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PEDESTAL = 2.0**-36
_BETA_MIN = 1e-6


class GDN(nn.Module):
    """Each channel divided by a pooled root of all channels' squares, position by position; or multiplied by it.

    Math: ``y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2)``; the inverse form multiplies instead.

    Source: Balle et al. 2016 (arXiv 1511.06281), equation 4; the weights are stored as roots,
    ``beta = max(b, sqrt(1e-6 + 2^-36))^2 - 2^-36`` and ``gamma = max(g, 2^-18)^2 - 2^-36``, as public weights are.

    Args:
        channels: C.
        inverse: multiply (for decoders).
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.sqrt(torch.ones(channels) + _PEDESTAL))
        self.gamma = nn.Parameter(torch.sqrt(0.1 * torch.eye(channels) + _PEDESTAL))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        beta = self.beta.clamp_min((_BETA_MIN + _PEDESTAL) ** 0.5) ** 2 - _PEDESTAL
        gamma = self.gamma.clamp_min(_PEDESTAL**0.5) ** 2 - _PEDESTAL
        pooled = F.conv2d(x**2, gamma[:, :, None, None], beta)
        return x * (torch.sqrt(pooled) if self.inverse else torch.rsqrt(pooled))


def gdn_analysis(filters: int, latent_channels: int, channels_in: int = 3) -> nn.Sequential:
    """Picture (B, channels_in, H, W) in [0, 1] -> y (B, M, H / 16, W / 16): four 5x5 layers, stride 2, GDN between."""
    widths = (channels_in, filters, filters, filters, latent_channels)
    layers: list[nn.Module] = []
    for k in range(4):
        layers.append(nn.Conv2d(widths[k], widths[k + 1], 5, stride=2, padding=2))
        if k < 3:
            layers.append(GDN(filters))
    return nn.Sequential(*layers)


def gdn_synthesis(filters: int, latent_channels: int, channels_out: int = 3) -> nn.Sequential:
    """y (B, M, h, w) -> picture (B, channels_out, 16 h, 16 w): four transposed 5x5 layers, inverse GDN between."""
    widths = (latent_channels, filters, filters, filters, channels_out)
    layers: list[nn.Module] = []
    for k in range(4):
        layers.append(nn.ConvTranspose2d(widths[k], widths[k + 1], 5, stride=2, padding=2, output_padding=1))
        if k < 3:
            layers.append(GDN(filters, inverse=True))
    return nn.Sequential(*layers)
