"""HiFiC's hyperprior, layer by layer as published, and its way into integers.

::

    y ─► 3x3 ─► 5x5 down ─► 5x5 down ─► z ─► round ─┬─► 5x5 up ─► 5x5 up ─► 3x3 ─► mu
                                                    └─► 5x5 up ─► 5x5 up ─► 3x3 ─► scale (a table index, or sigma)

One rate only: the quality level changes nothing. ``freeze_hific`` gives the coding form: its scale synthesis becomes an
integer scale path, since no float may choose a table.

Legend: y latent, z hyper-latent, mu mean, sigma scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.bits.cdf import gaussian_tables
from smalto.codecs.factorized import FactorizedPrior
from smalto.codecs.freeze import prior_tables, shipped_state
from smalto.codecs.hyperprior import LOG_STEP, MIN_SCALE, NUM_SCALES, Estimate, gaussian_bits
from smalto.codecs.hyperprior_frozen import CodingNetworks, FrozenHyperprior
from smalto.codecs.scale_path import SHIFT_BITS, IntegerScalePath, ScaleLayer
from smalto.codecs.transposed import NUM_THRESHOLDS, integer_scale_path
from smalto.layers import straight_through

_LEAST_REFLECTED_CELLS = 8  # reflection by two cells at a quarter of the resolution needs as many


@dataclass(frozen=True)
class HificHyperpriorConfig:
    """Layers of HiFiC's hyperprior.

    Args:
        latent_channels: M, channels of y.
        hyper_channels: channels of z and between all layers.
        reflects: the two strided convolutions of the hyper-analysis pad by reflection instead of zeros.
        scale_output: the scale synthesis gives a table ``index``, or ``sigma`` itself.
        last_factor: the factorised prior has a factor in its last layer too.
    """

    latent_channels: int = 220
    hyper_channels: int = 320
    reflects: bool = False
    scale_output: Literal["index", "sigma"] = "index"
    last_factor: bool = False


HIFIC = HificHyperpriorConfig()


class HificAnalysis(nn.Module):
    """h_a: y (B, M, h, w) -> z (B, Cz, h / 4, w / 4), before rounding."""

    def __init__(self, config: HificHyperpriorConfig) -> None:
        super().__init__()
        width, mode = config.hyper_channels, "reflect" if config.reflects else "zeros"
        self.conv1 = nn.Conv2d(config.latent_channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 5, stride=2, padding=2, padding_mode=mode)
        self.conv3 = nn.Conv2d(width, width, 5, stride=2, padding=2, padding_mode=mode)
        self.reflects = config.reflects

    def forward(self, y: Tensor) -> Tensor:
        """Sides of y are multiples of 4; planes too small to reflect are continued by their last row and column."""
        rows, columns = y.shape[2] // 4, y.shape[3] // 4
        if self.reflects:
            down, right = (max(_LEAST_REFLECTED_CELLS - side, 0) for side in y.shape[2:])
            y = F.pad(y, (0, right, 0, down), mode="replicate")
        z = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(y)))))
        return z[:, :, :rows, :columns].float()


class HificSynthesis(nn.Module):
    """h_s: z_hat (B, Cz, hz, wz) -> (B, M, 4 hz, 4 wz).

    Args:
        widths: channels of z, after the first doubling, after the second, and of the result.
        slope: of the rectifiers below zero.
    """

    def __init__(self, widths: tuple[int, int, int, int], slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.up1 = nn.ConvTranspose2d(widths[0], widths[1], 5, stride=2, padding=2, output_padding=1)
        self.up2 = nn.ConvTranspose2d(widths[1], widths[2], 5, stride=2, padding=2, output_padding=1)
        self.out = nn.Conv2d(widths[2], widths[3], 3, padding=1)

    def forward(self, z_hat: Tensor) -> Tensor:
        """Zeros around the plane."""
        x = F.leaky_relu(self.up1(z_hat), self.slope)
        return self.out(F.leaky_relu(self.up2(x), self.slope)).float()


def _synthesis(config: HificHyperpriorConfig) -> HificSynthesis:
    width = config.hyper_channels
    return HificSynthesis((width, width, width, config.latent_channels))


class HificHyperprior(nn.Module):
    """The trainable form.

    Source: HiFiC (Mentzer et al. 2020), appendix A: Minnen et al. 2018 with separate syntheses of mean and scale, 64
    scales log-spaced 0.11..256. Rounding of z is straight-through here, so that means and scales are those of decoding.

    Args:
        config: layers; HIFIC has 5.75 M parameters in the analysis, 11.51 M in the syntheses, 13.8 k in the prior.
    """

    def __init__(self, config: HificHyperpriorConfig = HIFIC) -> None:
        super().__init__()
        self.config = config
        self.analysis = HificAnalysis(config)
        self.prior = FactorizedPrior(config.hyper_channels, last_factor=config.last_factor)
        self.mean_path = _synthesis(config)
        self.scale_synthesis = _synthesis(config)
        if config.scale_output == "index":
            nn.init.constant_(self.scale_synthesis.out.bias, 20.0)  # type: ignore[arg-type]

    def sigma(self, z_hat: Tensor) -> Tensor:
        """Standard deviation of every symbol, (B, M, 4 hz, 4 wz), at least 0.11."""
        scale = self.scale_synthesis(z_hat)
        if self.config.scale_output == "sigma":
            return straight_through.clamp(scale, MIN_SCALE, float("inf"))
        return MIN_SCALE * torch.exp(LOG_STEP * straight_through.clamp(scale, 0, NUM_SCALES - 1))

    def estimate(self, y: Tensor, q: Tensor | None = None) -> Estimate:
        """Differentiable rate and the latent after coding.

        Math: ``y_hat = mu + round(y - mu)``, straight through. Rate ``-log2 P`` of y and z with uniform noise while
        training, of the rounded symbols in evaluation.

        Args:
            y: (B, M, h, w), sides multiples of 4.
            q: not used: one rate.
        """
        z = self.analysis(y)
        z_hat = straight_through.round_half_up(z)
        with torch.autocast(y.device.type, enabled=False):
            mean, sigma = self.mean_path(z_hat), self.sigma(z_hat)
            residual = y.float() - mean
            symbols = straight_through.round_half_up(residual)
            coded, coded_z = symbols, z_hat
            if self.training:
                coded = residual + torch.rand_like(residual) - 0.5
                coded_z = z + torch.rand_like(z) - 0.5
            y_bits = gaussian_bits(coded, sigma).sum(dim=(1, 2, 3))
            z_bits = self.prior.bits(coded_z)
        return Estimate(mean + symbols, y_bits, z_bits)


def coding_networks(config: HificHyperpriorConfig, shifts: tuple[int, ...]) -> CodingNetworks:
    """The coding form's networks before weights are loaded; ``shifts`` are those of the scale path's three layers."""
    width = config.hyper_channels
    sizes = ((width, width, 2), (width, width, 2), (width, config.latent_channels, 1))
    layers = tuple(ScaleLayer(3, a, b, up, shift) for (a, b, up), shift in zip(sizes, shifts, strict=True))
    num_thresholds = NUM_THRESHOLDS if config.scale_output == "sigma" else 0
    return CodingNetworks(HificAnalysis(config), _synthesis(config), IntegerScalePath(layers, num_thresholds))


@torch.no_grad()
def freeze_hific(trained: HificHyperprior, z: Tensor) -> FrozenHyperprior:
    """The coding form of a trained HiFiC hyperprior, every float rounded to half precision as it ships.

    Args:
        trained: weights to freeze.
        z: (n, Cz, hz, wz) hyper-latents of typical pictures, rounded; they set the range of the integer activations.

    Raises:
        WeightsError: the scale synthesis does not fit 16-bit weights.
    """
    config = trained.config
    path = integer_scale_path(trained.scale_synthesis, z, sigma=config.scale_output == "sigma")
    networks = CodingNetworks(HificAnalysis(config), _synthesis(config), path)
    networks.analysis.load_state_dict(shipped_state(trained.analysis.state_dict()))
    networks.mean_path.load_state_dict(shipped_state(trained.mean_path.state_dict()))
    codec = FrozenHyperprior(config, prior_tables(trained.prior, (1,)), gaussian_tables(), networks)
    return codec.to(z.device).eval()


def hific_from_arrays(config: HificHyperpriorConfig, arrays: Mapping[str, np.ndarray]) -> FrozenHyperprior:
    """The codec whose ``decode_arrays`` and ``encode_arrays`` these are."""
    shifts = tuple(int(shift) for shift in arrays.get("scale_path.shift", np.full(3, SHIFT_BITS)))
    return FrozenHyperprior.from_arrays(config, arrays, coding_networks(config, shifts))
