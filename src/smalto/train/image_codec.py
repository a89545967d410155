"""The objective of the image codec: rate and distortion at every quality at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.codecs.hyperprior import LITE as LITE_CODEC
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.encoders.hific import LITE as LITE_ENCODER
from smalto.encoders.hific import Encoder, EncoderConfig
from smalto.heads.image import LITE as LITE_DECODER
from smalto.heads.image import Decoder, DecoderConfig
from smalto.measure.ssim import ms_ssim_loss
from smalto.train.levels import draw_levels, lambda_of
from smalto.train.rate_control import RateController
from smalto.train.run import Objective, StepResult

_MIDDLE_LAMBDA = 0.0086
_LATENT_UNIT = 255 / 64


@dataclass(frozen=True)
class CodecObjectiveConfig:
    """What the codec is trained for.

    Args:
        encoder: layers.
        decoder: layers.
        codec: layers.
        distortion: ``mse`` on a 0..255 scale, or ``ms-ssim`` (1 - MS-SSIM).
        lambdas: weight of the distortion at q = 0 and at q = 255; between them its logarithm is linear in q.
        fixed_q: train this one quality only (for fixed-lambda codecs); None draws q for every picture.
        target_bpp: hold the rate near this by adapting the rate's weight; needs ``fixed_q``.
    """

    encoder: EncoderConfig = field(default_factory=lambda: LITE_ENCODER)
    decoder: DecoderConfig = field(default_factory=lambda: LITE_DECODER)
    codec: HyperpriorConfig = field(default_factory=lambda: LITE_CODEC)
    distortion: Literal["mse", "ms-ssim"] = "mse"
    lambdas: tuple[float, float] = (0.0004, 0.0935)
    fixed_q: int | None = None
    target_bpp: float | None = None


class CodecObjective(Objective):
    """Encoder, hyperprior and decoder with the loss ``bpp + lambda(q) D``.

    Math: per picture ``w(q) (R + lambda(q) D)`` with ``w = (lambda / 0.0086)^-1/2``, so that low and high rates pull
    equally. Gradients of rate: see ``MeanScaleHyperprior.estimate``.

    Source: Balle et al. 2018, equation 10 (the loss); Cui et al. 2021 (one model, every rate).
    """

    def __init__(self, config: CodecObjectiveConfig | None = None) -> None:
        super().__init__()
        self.config = config or CodecObjectiveConfig()
        self.encoder = Encoder(self.config.encoder)
        self.decoder = Decoder(self.config.decoder)
        self.codec = MeanScaleHyperprior(self.config.codec)
        target = self.config.target_bpp
        self.rate_controller = None if target is None else RateController(target)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Set the linear paths to the principal components of 16x16 blocks (a block transform that codes at once)."""
        if self.encoder.linear is not None and self.decoder.linear is not None:
            basis, deviation = principal_blocks(
                batches, self.encoder.config.stride, self.encoder.config.latent_channels
            )
            with torch.no_grad():
                self.encoder.linear.weight.copy_(basis * _LATENT_UNIT)
                self.decoder.linear.weight.copy_(basis / _LATENT_UNIT)
                for bias in (self.encoder.linear.bias, self.decoder.linear.bias):
                    bias.zero_()  # type: ignore[union-attr]
                scale = (deviation * _LATENT_UNIT).clamp_min(0.3)[None, :, None, None]
                self.decoder.head.weight.div_(scale)
                self.codec.analysis.convs[0].weight.div_(scale)  # type: ignore[operator]
                self.codec.mean_path.conv3.weight.mul_(0.1)

    def lambda_of(self, q: Tensor) -> Tensor:
        """(B,) levels -> (B,) weight of the distortion."""
        return lambda_of(q, self.config.lambdas)

    def draw_levels(self, num: int, device: torch.device) -> Tensor:
        """Quality levels of a batch: spread evenly with a common random shift, or the fixed one."""
        return draw_levels(num, device, self.config.fixed_q)

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1]; S a multiple of 64."""
        q = self.draw_levels(batch.shape[0], batch.device)
        y = self.encoder(batch)
        estimate = self.codec.estimate(y, q)
        decoded = self.decoder(estimate.y_hat)
        num_pixels = batch.shape[2] * batch.shape[3]
        bpp = (estimate.y_bits + estimate.z_bits) / num_pixels
        squared = (decoded - batch).square().mean(dim=(1, 2, 3))
        weight = self.lambda_of(q)
        if self.config.distortion == "mse":
            distortion = squared * 255**2
        else:
            distortion = torch.stack([ms_ssim_loss(a[None], b[None]) for a, b in zip(decoded, batch, strict=True)])
        rate_weight = 1.0 if self.rate_controller is None else self.rate_controller.weight(float(bpp.detach().mean()))
        loss = ((weight / _MIDDLE_LAMBDA) ** -0.5 * (rate_weight * bpp + weight * distortion)).mean()
        measures = {
            "bpp": bpp.detach().mean(),
            "z_bpp": (estimate.z_bits / num_pixels).detach().mean(),
            "psnr_db": (-10 * torch.log10(squared.detach().clamp_min(1e-10))).mean(),
        }
        return StepResult(loss, measures)

    def preview(self, batch: Tensor) -> Tensor:
        """Each picture, then its reconstruction at q 51, 102 and 153, side by side; pictures below each other."""
        y = self.encoder(batch)
        columns = [batch]
        for level in (51, 102, 153):
            q = torch.full((batch.shape[0],), float(level), device=batch.device)
            columns.append(self.decoder(self.codec.estimate(y, q).y_hat).clamp(0, 1))
        rows = torch.cat(columns, dim=3)  # (B, 3, S, 4 S)
        return torch.cat(list(rows), dim=1)  # (3, B S, 4 S)

    def load_installed(self, system: str) -> None:
        """Take the installed encoder, decoder and codec, and what training needs beside them."""
        from smalto.train.release import load_training_state

        load_training_state(self, system)


def principal_blocks(batches: Iterator[Tensor], side: int, num: int, num_batches: int = 60) -> tuple[Tensor, Tensor]:
    """Principal components of side x side colour blocks.

    Args:
        batches: (B, 3, S, S) in [0, 1].
        side: of a block in pixels.
        num: components to keep.
        num_batches: how many batches to take.

    Returns:
        basis (num, 3, side, side), orthonormal rows by falling variance, and the components' deviation (num,).
    """
    moment = torch.zeros(3 * side * side, 3 * side * side, dtype=torch.float64)
    count = 0
    for _ in range(num_batches):
        blocks = F.unfold(next(batches).cpu().contiguous() - 0.5, side, stride=side)  # (B, 3 side^2, N)
        rows = blocks.transpose(1, 2).reshape(-1, blocks.shape[1]).double()
        moment += rows.T @ rows
        count += rows.shape[0]
    values, vectors = torch.linalg.eigh(moment / count)
    basis = vectors.flip(1)[:, :num].T.float().reshape(num, 3, side, side)
    return basis, values.flip(0)[:num].clamp_min(0).sqrt().float()
