"""The mean-scale hyperprior over one grid plane, at every rate: the training form.

::

    y ──► gain(q) ──►(-)──► round ──► symbols ──► inverse gain(q) ──►(+)──► y_hat
    │                 ▲                  ▲                            ▲
    │                 └── mean ──────────│────────────────────────────┤
    └► h_a ─► / z gain(q) ─► round ─► z  │ table index                │
                             │           │                            │
                             ├─► scale path (integers) + offset(q) ───┘ ...
                             └─► mean path (float32) ─────────────────┘

The scale path alone chooses probability tables and is integer arithmetic; means, gains and pictures are values and
may differ in the last bit between machines without any harm to decoding.

Legend: y latent, z hyper-latent, M channels of y, q quality level 0..255, g gain, mu mean, sigma scale in symbol steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.codecs.factorized import FactorizedPrior
from smalto.codecs.scale_path import ScalePath, scale_layers
from smalto.layers import straight_through

NUM_LEVELS = 256
NUM_SCALES = 64
MIN_SCALE, MAX_SCALE = 0.11, 256.0
LOG_STEP = math.log(MAX_SCALE / MIN_SCALE) / (NUM_SCALES - 1)
INDEX_STEPS = 16


@dataclass(frozen=True)
class HyperpriorConfig:
    """Layers and rate range of a mean-scale hyperprior.

    Args:
        latent_channels: M, channels of y.
        hyper_channels: channels of z.
        analysis_widths: channels between the three layers of the hyper-analysis.
        analysis_kernels: sides of its three kernels; the second and third have stride 2.
        mean_widths: channels between the three layers of the mean path.
        scale_widths: channels between the three layers of the scale path.
        num_anchors: gains are learned at this many qualities and interpolated between.
        gain_range: gain at q = 0 and at q = 255 when training starts, in symbols per unit of y.
        z_gains: z gain for four equal ranges of q, from the lowest on.
        z_unit: the hyper-analysis' output is multiplied by this to give z.
    """

    latent_channels: int = 320
    hyper_channels: int = 96
    analysis_widths: tuple[int, int] = (128, 128)
    analysis_kernels: tuple[int, int, int] = (3, 3, 3)
    mean_widths: tuple[int, int] = (96, 64)
    scale_widths: tuple[int, int] = (96, 64)
    num_anchors: int = 9
    gain_range: tuple[float, float] = (0.36, 3.6)
    z_gains: tuple[int, int, int, int] = (6, 4, 3, 2)
    z_unit: float = 16.0


LITE = HyperpriorConfig()


@dataclass(frozen=True)
class Estimate:
    """What a codec's training form gives.

    Args:
        y_hat: (B, M, h, w) the latent a decoder would see, gradients straight through the rounding.
        y_bits: (B,) bits of the rounded main symbols; gradients as described at ``MeanScaleHyperprior.estimate``.
        z_bits: (B,) bits of the rounded hyper-symbols, likewise.
    """

    y_hat: Tensor
    y_bits: Tensor
    z_bits: Tensor


def _value_of(real: Tensor, noisy: Tensor) -> Tensor:
    """The value of ``real`` with the gradients of both terms."""
    return real + noisy - noisy.detach()


def gaussian_bits(symbols: Tensor, sigma: Tensor) -> Tensor:
    """Bits of unit-width cells around ``symbols`` under N(0, sigma^2), elementwise; at most 30."""
    magnitude = symbols.abs()
    scale = 1 / (sigma * math.sqrt(2))
    mass = 0.5 * (torch.erfc((magnitude - 0.5) * scale) - torch.erfc((magnitude + 0.5) * scale))
    return -torch.log2(mass.clamp_min(2.0**-30))


class HyperAnalysis(nn.Module):
    """h_a: y (B, M, h, w) -> z (B, Cz, h / 4, w / 4), before rounding."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        widths = (config.latent_channels, *config.analysis_widths, config.hyper_channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(widths[k], widths[k + 1], kernel, stride=1 if k == 0 else 2, padding=kernel // 2)
            for k, kernel in enumerate(config.analysis_kernels)
        )
        self.unit = config.z_unit

    def forward(self, y: Tensor) -> Tensor:
        """Sides of y are multiples of 4."""
        x = y
        for k, conv in enumerate(self.convs):
            x = conv(torch.relu(x) if k else x)
        return x.float() * self.unit


class MeanPath(nn.Module):
    """z_hat (B, Cz, hz, wz) -> mu (B, M, 4 hz, 4 wz), float32, in units of y."""

    def __init__(self, config: HyperpriorConfig) -> None:
        super().__init__()
        first, second = config.mean_widths
        self.conv1 = nn.Conv2d(config.hyper_channels, 4 * first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, 4 * second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, config.latent_channels, 3, padding=1)
        self.unit = config.z_unit

    def forward(self, z_hat: Tensor) -> Tensor:
        """Zero padding at the border of the plane."""
        x = F.pixel_shuffle(torch.relu(self.conv1(z_hat / self.unit)), 2)  # (B, C1, 2 hz, 2 wz)
        x = F.pixel_shuffle(torch.relu(self.conv2(x)), 2)  # (B, C2, 4 hz, 4 wz)
        return self.conv3(x).float()


class GainTable(nn.Module):
    """Per-channel log gains at anchors of q, interpolated linearly in between (gain units).

    Source: Cui et al. 2021 (arXiv 2003.02012), section 3: continuous rate by interpolated gain vectors.
    """

    def __init__(self, channels: int, num_anchors: int, first: float, last: float) -> None:
        super().__init__()
        line = torch.linspace(math.log(first), math.log(last), num_anchors)
        self.log_gain = nn.Parameter(line[:, None].repeat(1, channels))

    def forward(self, q: Tensor) -> Tensor:
        """q (B,) in 0..255 -> gain (B, C, 1, 1)."""
        position = q.float() / (NUM_LEVELS - 1) * (self.log_gain.shape[0] - 1)
        low = position.floor().long().clamp(0, self.log_gain.shape[0] - 2)
        weight = (position - low)[:, None]
        log_gain = torch.lerp(self.log_gain[low], self.log_gain[low + 1], weight)
        return log_gain.exp()[:, :, None, None]


class MeanScaleHyperprior(nn.Module):
    """Trainable mean-scale hyperprior with one set of weights for all rates.

    Source: Minnen et al. 2018 (mbt2018-mean), HiFiC appendix A; gain units Cui et al. 2021. Different here: table
    indexes come from an integer network, and quality enters as gains and index offsets only.

    Args:
        config: layers and rate range.
    """

    def __init__(self, config: HyperpriorConfig = LITE) -> None:
        super().__init__()
        self.config = config
        self.analysis = HyperAnalysis(config)
        self.prior = FactorizedPrior(config.hyper_channels)
        self.mean_path = MeanPath(config)
        self.scale_path = ScalePath(scale_layers(config.hyper_channels, config.scale_widths, config.latent_channels))
        first, last = config.gain_range
        self.gain = GainTable(config.latent_channels, config.num_anchors, first, last)
        self.inverse_gain = GainTable(config.latent_channels, config.num_anchors, 1 / first, 1 / last)
        self.register_buffer("z_gains", torch.tensor(config.z_gains, dtype=torch.float32))

    def z_gain(self, q: Tensor) -> Tensor:
        """q (B,) -> (B, 1, 1, 1)."""
        return self.z_gains[(q.long() * 4) // NUM_LEVELS][:, None, None, None]  # type: ignore[index]

    def scales(self, index: Tensor, gain: Tensor) -> Tensor:
        """Index in 1/16 steps at gain 1 -> sigma in symbol steps (B, M, h, w), quantised as decoding will."""
        offset = straight_through.round_half_up(INDEX_STEPS * gain.log() / LOG_STEP)
        whole = straight_through.floor((index + offset) / INDEX_STEPS)
        return MIN_SCALE * torch.exp(LOG_STEP * straight_through.clamp(whole, 0, NUM_SCALES - 1))

    def hyper(self, y: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y -> (z_hat straight through, z noisy, z gain), sides of y multiples of 4."""
        z, step = self.analysis(y), self.z_gain(q)
        noisy = z + (torch.rand_like(z) - 0.5) * step
        return straight_through.round_half_up(z / step) * step, noisy, step

    def estimate(self, y: Tensor, q: Tensor) -> Estimate:
        """Differentiable rate and the latent after coding.

        Math: ``y_hat = mu + round((y - mu) g) / g'``; rate ``-log2 P(round((y - mu) g) | sigma)``.

        The rate's value and its gradient to sigma are those of the rounded symbols; its gradient to y, mu and g is
        that of symbols with uniform noise (sigma held). Noise alone overstates the price of zeros: fitted to it,
        sigma never becomes small, which cost 15 % of the rate here.

        Args:
            y: (B, M, h, w), sides multiples of 4.
            q: (B,) quality level 0..255.
        """
        z_hat, z_noisy, step = self.hyper(y, q)
        with torch.autocast(y.device.type, enabled=False):
            mean = self.mean_path(z_hat)
            gain, inverse = self.gain(q), self.inverse_gain(q)
            sigma = self.scales(self.scale_path(z_hat), gain)
            residual = (y - mean) * gain
            symbols = straight_through.round_half_up(residual)
            noisy = residual + torch.rand_like(residual) - 0.5
            y_real = gaussian_bits(symbols.detach(), sigma).sum(dim=(1, 2, 3))
            y_bits = _value_of(y_real, gaussian_bits(noisy, sigma.detach()).sum(dim=(1, 2, 3)))
            z_real = self.prior.bits(z_hat.detach(), step)
            z_bits = _value_of(z_real, self.prior.bits(z_noisy, step))
        return Estimate(mean + symbols * inverse, y_bits, z_bits)
