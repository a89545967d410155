"""The objective of the shared neural space: reconstruction, and planes that move with their picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import BOTTOM_STRIDE, TOP_STRIDE, SharedPlanes
from smalto.measure.psnr import psnr_tensor
from smalto.measure.reconstruction import ReconstructionWeights, masked_psnr_db, reconstruction_loss
from smalto.train.equivariance import AffineRange, PlaneError, comparable, plane_error, warp
from smalto.train.run import Objective, StepResult
from smalto.train.shared_start import start_passing
from smalto.types import Affine

STRIDES = (BOTTOM_STRIDE, TOP_STRIDE)  # of z_b and z_t
_SHOWN = Affine(20.0, 1.15, 6.0, -4.0)


@dataclass(frozen=True)
class SharedSpaceConfig:
    """What the space is trained for. The paper publishes none of these numbers.

    Args:
        reconstruction: weights of L1 and SSIM.
        regulariser_weight: of the transform-equivariance term; 0 leaves it out.
        plane_weight: of the planes' error within that term, beside the pixels' reconstruction of weight one.
        regularised_share: part of each batch that is transformed. EQ-VAE instead regularises whole batches with
            probability 0.5; so every step costs and weighs the same.
        affines: what the transforms are drawn from.
        margin_px: what is nearer to the frame, before or after the transform, does not count.
    """

    reconstruction: ReconstructionWeights = field(default_factory=ReconstructionWeights)
    regulariser_weight: float = 0.25
    plane_weight: float = 0.2
    regularised_share: float = 0.5
    affines: AffineRange = field(default_factory=AffineRange)
    margin_px: float = 8.0

    def __post_init__(self) -> None:
        if self.regulariser_weight < 0 or self.plane_weight < 0 or not 0 < self.regularised_share <= 1:
            raise UsageError("shared space: weights must be 0 or more, regularised_share above 0 and at most 1")


class SharedSpaceObjective(Objective):
    """Encoder E and decoder D of the space.

    Math: ``L_rl[X, D(E(X))] + w (v L2[z^f, E(X^f)] + L_rl[X^f, D(z^f)])`` with z = E(X), f a random affine, and L2
    relative to the planes' variance (see ``plane_error``), the mean of both planes.

    Source: Shared Neural Space paper, equations 2 and 3.

    Args:
        config: weights and transforms.
    """

    def __init__(self, config: SharedSpaceConfig | None = None) -> None:
        super().__init__()
        self.config = config or SharedSpaceConfig()
        self.encoder = SharedEncoder()
        self.decoder = SharedDecoder()

    def start(self, batches: Iterator[Tensor]) -> None:
        """Hand pictures through; needs no batches."""
        start_passing(self.encoder, self.decoder)

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1]; S a multiple of 4."""
        config, num, size_px = self.config, len(batch), (batch.shape[2], batch.shape[3])
        num_moved = max(round(num * config.regularised_share), 1) if config.regulariser_weight > 0 else 0
        affines = config.affines.draw(num_moved, size_px)
        moved = warp(batch[:num_moved], affines, 1, size_px) if affines else batch[:0]  # X^f
        planes = self.encoder(torch.cat([batch, moved]))
        still = SharedPlanes(*(plane[:num] for plane in planes))
        turned = move(SharedPlanes(*(plane[:num_moved] for plane in still)), affines, size_px)  # z^f
        decoded = self.decoder(SharedPlanes(*(torch.cat(pair) for pair in zip(still, turned, strict=True))))
        loss = reconstruction_loss(decoded[:num], batch, config.reconstruction)
        measures = {"psnr_db": psnr_tensor(decoded[:num].detach().clamp(0, 1), batch).mean()}
        if affines:
            errors = plane_errors(turned, SharedPlanes(*(p[num:] for p in planes)), affines, size_px, config.margin_px)
            mask = comparable(affines, size_px, 1, size_px, config.margin_px).to(batch.device)
            pixels = reconstruction_loss(decoded[num:], moved, config.reconstruction, mask)
            planes_term = torch.stack([error.relative for error in errors]).mean()
            loss = loss + config.regulariser_weight * (config.plane_weight * planes_term + pixels)
            measures["transformed_psnr_db"] = masked_psnr_db(decoded[num:].detach(), moved, mask).mean()
            measures |= {"z_b_error": errors[0].root, "z_t_error": errors[1].root}
        return StepResult(loss, measures)

    def preview(self, batch: Tensor) -> Tensor:
        """Each picture, its reconstruction, the picture transformed, and its transformed planes decoded."""
        size_px, affines = (batch.shape[2], batch.shape[3]), [_SHOWN] * len(batch)
        planes = self.encoder(batch)
        columns = [batch, self.decoder(planes), warp(batch, affines, 1, size_px)]
        columns.append(self.decoder(move(planes, affines, size_px)))
        rows = torch.cat([column.clamp(0, 1) for column in columns], dim=3)  # (B, 3, S, 4 S)
        return torch.cat(list(rows), dim=1)  # (3, B S, 4 S)

    def load_installed(self, system: str) -> None:
        """Take the installed encoder and decoder.

        Raises:
            UsageError: the system is not a shared space.
        """
        from smalto.train.release_shared_space import load_shared_space

        load_shared_space(self, system)


def move(planes: SharedPlanes, affines: Sequence[Affine], size_px: tuple[int, int]) -> SharedPlanes:
    """z^f: both planes of B pictures by B affines; no pictures stay none."""
    if not affines:
        return planes
    return SharedPlanes(*(warp(plane, affines, s, size_px) for plane, s in zip(planes, STRIDES, strict=True)))


def plane_errors(
    transformed: SharedPlanes,
    encoded: SharedPlanes,
    affines: Sequence[Affine],
    size_px: tuple[int, int],
    margin_px: float,
) -> tuple[PlaneError, PlaneError]:
    """``plane_error`` of z_b and of z_t."""
    z_b, z_t = (
        plane_error(one, other, comparable(affines, one.shape[2:], stride, size_px, margin_px).to(one.device))  # type: ignore[arg-type]
        for one, other, stride in zip(transformed, encoded, STRIDES, strict=True)
    )
    return z_b, z_t
