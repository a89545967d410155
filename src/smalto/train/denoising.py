"""The objective of denoising: clean planes from noisy ones in the frozen space, or DnCNN on pixels.

::

    X_gt ─► E ─► F ─┐ L2                                       E, D frozen; F the head
      └─(+ noise)─► E ─► F ─► D ─► L_re with X_gt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from smalto.errors import UsageError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.layers.shared_planes import SharedPlanes
from smalto.measure.psnr import psnr_tensor
from smalto.measure.reconstruction import ReconstructionWeights, reconstruction_loss
from smalto.train.raw_space import relative_error
from smalto.train.run import StepResult
from smalto.train.space_head import SpaceHeadObjective, SpaceNetworks

HeadKind = Literal["exact", "light"]
_SHOWN_DEVIATION = 25.0


@dataclass(frozen=True)
class DenoiseConfig:
    """What the head is trained for. The paper publishes none of these numbers.

    Args:
        deviations: least and largest deviation of the Gaussian noise, in 8-bit levels; drawn evenly for each picture.
        plane_weight: of the planes' relative error beside the picture's reconstruction (1 / lambda of equation 6).
        reconstruction: weights of L1 and SSIM.
    """

    deviations: tuple[float, float] = (0.0, 55.0)
    plane_weight: float = 0.2
    reconstruction: ReconstructionWeights = field(default_factory=ReconstructionWeights)

    def __post_init__(self) -> None:
        if not 0 <= self.deviations[0] <= self.deviations[1] or self.plane_weight < 0:
            raise UsageError("denoising: deviations are two rising numbers, 0 or more; plane_weight is 0 or more")


class DenoiseObjective(SpaceHeadObjective):
    """A denoising head.

    Math: in the space ``w L2[F(E(X_gt)), F(E(X))] + L_re[X_gt, D(F(E(X)))]``; L2 is relative to the planes' variance.
    On pixels E and D are the identity and F(X_gt), ideally X_gt, is X_gt: ``w L2[X_gt, F(X)] + L_re[X_gt, F(X)]``,
    which is DnCNN's own loss with the same second term, at the cost of one pass instead of two.

    Source: Shared Neural Space paper, equation 6, multiplied by 1 / lambda.

    Args:
        networks: gives encoder and decoder of the space; None trains DnCNN on pixels.
        head: of the space: the paper's, or the light one.
        config: noise and weights.
    """

    def __init__(
        self, networks: SpaceNetworks | None, head: HeadKind = "exact", config: DenoiseConfig | None = None
    ) -> None:
        super().__init__(networks)
        self.config = config or DenoiseConfig()
        if networks is None:
            self.head: Denoiser | LightDenoiser | PixelDenoiser = PixelDenoiser()
        else:
            self.head = Denoiser() if head == "exact" else LightDenoiser()

    def start(self, batches: Iterator[Tensor]) -> None:
        """Needs nothing: fresh heads are close to the identity."""

    def noisy(self, pictures: Tensor) -> Tensor:
        """X: pictures (B, 3, S, S) with Gaussian noise, neither clamped nor rounded."""
        low, high = self.config.deviations
        deviation = low + (high - low) * torch.rand(len(pictures), 1, 1, 1, device=pictures.device)
        return pictures + deviation / 255 * torch.randn_like(pictures)

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) of clean pictures in [0, 1]; S a multiple of 4."""
        noisy = self.noisy(batch)
        if self.frozen is None or isinstance(self.head, PixelDenoiser):
            answer = self.head(noisy)
            error = relative_error(answer, batch)
        else:
            cleaned = self.head(self.frozen.planes(torch.cat([batch, noisy])))  # F(E(X_gt)) and F(E(X))
            ideal, ours = cleaned.z_b.chunk(2)  # (B, 64, S/2, S/2) each
            answer = self.frozen.decoder(SharedPlanes(ours, cleaned.z_t[len(batch) :]))
            error = relative_error(ours, ideal)
        loss = reconstruction_loss(answer, batch, self.config.reconstruction) + self.config.plane_weight * error
        measures = {
            "psnr_db": psnr_tensor(answer.detach().clamp(0, 1), batch).mean(),
            "noisy_psnr_db": psnr_tensor(noisy, batch).mean(),
            "plane_error": error.detach().sqrt(),
        }
        return StepResult(loss, measures)

    def cleaned(self, noisy: Tensor) -> Tensor:
        """Noisy pictures (B, 3, S, S) through the whole path: (B, 3, S, S), not clamped."""
        if self.frozen is None or isinstance(self.head, PixelDenoiser):
            return self.head(noisy)
        return self.frozen.decoder(self.head(self.frozen.planes(noisy)))

    def preview(self, batch: Tensor) -> Tensor:
        """Each picture with noise of deviation 25, cleaned, and as it was."""
        noisy = batch + _SHOWN_DEVIATION / 255 * torch.randn_like(batch)
        rows = torch.cat(
            [column.clamp(0, 1) for column in (noisy, self.cleaned(noisy), batch)], dim=3
        )  # (B, 3, S, 3 S)
        return torch.cat(list(rows), dim=1)  # (3, B S, 3 S)

    def load_installed(self, system: str) -> None:
        """Take the installed denoising head.

        Raises:
            UsageError: the system has none, or one of another kind.
        """
        from smalto.train.release_heads import load_installed_head

        load_installed_head(self.head, system, "denoise")
