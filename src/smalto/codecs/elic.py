"""The ELIC entropy model over one grid plane, at every rate: the training form.

::

    y ──► gain(q) ─►(-)─► round ─► symbols ─► inverse gain(q) ─►(+)─► y_hat
    │                ▲               │  │                        ▲      │
    │                └── mean ───────┼──┼────────────────────────┤      │
    └► h_a ─► / z gain ─► round ─► z │  └► scale path (integers) │      │
                                   ├─┼──────────┘ ─► table index │      │
                                   └─┼─► mean path (float32) ────┘ ◄────┘ earlier groups, anchors

Means read values, tables read symbols; both walk the same ten steps (``elic_context``).

Legend: y latent, z hyper-latent, M channels of y, q quality level 0..255, mu mean, sigma scale in symbol steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalto.codecs.elic_context import ELIC, ElicConfig, ElicMeanPath, ElicScalePath, Step
from smalto.codecs.factorized import FactorizedPrior
from smalto.codecs.hyperprior import (
    INDEX_STEPS,
    LOG_STEP,
    MIN_SCALE,
    NUM_LEVELS,
    NUM_SCALES,
    Estimate,
    GainTable,
    HyperAnalysis,
    gaussian_bits,
)
from smalto.layers import straight_through


class Elic(nn.Module):
    """Trainable ELIC entropy model with one set of weights for all rates.

    Source: ELIC (He et al. 2022, arXiv 2203.10886), section 3: uneven groups, checkerboard and channel context; gain
    units Cui et al. 2021. Different here: table indexes come from an integer network that reads symbols alone, and
    quality enters as gains and index offsets only.

    Args:
        config: layers and rate range; ELIC has 2.40 M parameters in the hyper-analysis, 16.90 M in the mean path and
            3.51 M in the scale path.
    """

    def __init__(self, config: ElicConfig = ELIC) -> None:
        super().__init__()
        self.config = config
        channels = config.latent_channels
        self.analysis = HyperAnalysis(config.analysis)
        self.prior = FactorizedPrior(config.hyper_channels)
        self.mean_path = ElicMeanPath(config)
        self.scale_path = ElicScalePath(config)
        first, last = config.gain_range
        self.gain = GainTable(channels, config.num_anchors, first, last)
        self.inverse_gain = GainTable(channels, config.num_anchors, 1 / first, 1 / last)
        self.register_buffer("z_gains", torch.tensor(config.z_gains, dtype=torch.float32))

    def z_gain(self, q: Tensor) -> Tensor:
        """q (B,) -> (B, 1, 1, 1)."""
        return self.z_gains[(q.long() * 4) // NUM_LEVELS][:, None, None, None]  # type: ignore[index]

    def hyper(self, y: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """y -> (z_hat straight through, z noisy, z gain), sides of y multiples of 4."""
        z, step = self.analysis(y), self.z_gain(q)
        noisy = z + (torch.rand_like(z) - 0.5) * step
        return straight_through.round_half_up(z / step) * step, noisy, step

    def values(self, y: Tensor, z_hat: Tensor, gain: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
        """Means and y_hat of all steps, (B, M, h, w) both, gradients straight through the rounding."""
        flat = y.flatten(2)

        def values_of(step: Step, mean: Tensor) -> Tensor:
            part = flat[:, step.channels].index_select(2, step.cells)
            residual = (part - mean) * gain[:, step.channels, 0]
            return mean + straight_through.round_half_up(residual) * inverse[:, step.channels, 0]

        return self.mean_path(self.mean_path.features(z_hat), values_of)

    def indexes(self, symbols: Tensor, z_hat: Tensor, gain: Tensor) -> Tensor:
        """Index in 1/16 table steps at gain 1, (B, M, h, w); no gradient to the symbols."""
        flat = symbols.detach().flatten(2)
        offset = _offset(gain).detach()[:, :, 0]
        features = self.scale_path.features(z_hat)
        return self.scale_path(features, offset, lambda step, index: flat[:, step.channels].index_select(2, step.cells))

    def scales(self, index: Tensor, gain: Tensor) -> Tensor:
        """Index in 1/16 steps at gain 1 -> sigma in symbol steps (B, M, h, w), quantised as decoding will."""
        whole = straight_through.floor((index + _offset(gain)) / INDEX_STEPS)
        return MIN_SCALE * torch.exp(LOG_STEP * straight_through.clamp(whole, 0, NUM_SCALES - 1))

    def estimate(self, y: Tensor, q: Tensor) -> Estimate:
        """Differentiable rate and the latent after coding.

        Math: ``y_hat = mu + round((y - mu) g) / g'``; rate ``-log2 P(round((y - mu) g) | sigma)``.

        Values and gradients of the rate as described at ``MeanScaleHyperprior.estimate``; scales give no gradient to
        the symbols that they were read from, means do.

        Args:
            y: (B, M, h, w), sides multiples of 4.
            q: (B,) quality level 0..255.
        """
        z_hat, z_noisy, step = self.hyper(y, q)
        with torch.autocast(y.device.type, enabled=False):
            y = y.float()
            gain, inverse = self.gain(q), self.inverse_gain(q)
            mean, y_hat = self.values(y, z_hat, gain, inverse)
            residual = (y - mean) * gain
            symbols = straight_through.round_half_up(residual).detach()
            sigma = self.scales(self.indexes(symbols, z_hat, gain), gain)
            noisy = residual + torch.rand_like(residual) - 0.5
            y_bits = _with_gradient_of(gaussian_bits(symbols, sigma), gaussian_bits(noisy, sigma.detach()))
            z_real = self.prior.bits(z_hat.detach(), step)
            z_bits = z_real + _gradient(self.prior.bits(z_noisy, step))
        return Estimate(y_hat, y_bits, z_bits)


def _offset(gain: Tensor) -> Tensor:
    """Index offset of a gain, in 1/16 table steps."""
    return straight_through.round_half_up(INDEX_STEPS * gain.log() / LOG_STEP)


def _gradient(x: Tensor) -> Tensor:
    """Zero with the gradient of x."""
    return x - x.detach()


def _with_gradient_of(real: Tensor, noisy: Tensor) -> Tensor:
    """Sums (B,) of ``real``, with the gradients of both."""
    return real.sum(dim=(1, 2, 3)) + _gradient(noisy.sum(dim=(1, 2, 3)))
