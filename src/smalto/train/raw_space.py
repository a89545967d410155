"""The objective of the RAW encoder: one channel of a Bayer mosaic to the planes of the picture behind it.

::

    X (B, 3, S, S) ─► E0, frozen ─────────────► z  ─► D, frozen ─► D(z)
        └─► mosaic, noise ─► RGGB ─► E1 ─► E1(raw) ─► D, frozen ─► D(E1(raw))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.bayer import mosaic_of
from smalto.layers.shared_planes import SharedPlanes
from smalto.measure.psnr import psnr_tensor
from smalto.measure.reconstruction import ReconstructionWeights, reconstruction_loss
from smalto.train.raw_start import start_from_pictures
from smalto.train.run import Objective, StepResult

_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class RawSpaceConfig:
    """What the RAW encoder is trained for. The paper publishes none of these numbers.

    Args:
        reconstruction: weights of L1 and SSIM between the two decodes.
        plane_weight: of the planes' relative error beside them.
        exposure: least and largest factor of each picture, drawn log-uniformly, before anything else; values above 1
            saturate. (1, 1) leaves pictures as they are.
        read_noise: deviation of the noise that every sample of the mosaic gets; 0 is off.
        shot_noise: variance per value of the noise that grows with the sample; 0 is off.
    """

    reconstruction: ReconstructionWeights = field(default_factory=ReconstructionWeights)
    plane_weight: float = 0.2
    exposure: tuple[float, float] = (1.0, 1.0)
    read_noise: float = 0.0
    shot_noise: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.exposure
        if not 0.0 < low <= high or min(self.plane_weight, self.read_noise, self.shot_noise) < 0.0:
            raise UsageError("RAW encoder: exposure is two rising factors above 0; weights and noises are 0 or more")


class RawSpaceObjective(Objective):
    """The RAW encoder E1 against the frozen space: E0 and D are neither trained nor saved.

    Math: ``w L2[E1(raw), z] + L_rl[D(E1(raw)), D(z)]``, z = E0(X), raw the RGGB mosaic of X with noise; L2 relative to
    the planes' variance, the mean of both planes.

    Source: Shared Neural Space paper, equations 4 and 5. Where we differ: X is a photograph and raw its mosaic, so the
    demosaiced picture that z is made of is exact, where the paper takes a network's guess from a capture. Mosaics hold
    sRGB values, as X does; captures come the same way through ``smalto.data.raw_mosaic.display_mosaic``.

    Args:
        networks: gives E0 and D, filled.
        config: weights, exposure and noise.
    """

    def __init__(
        self, networks: Callable[[], tuple[SharedEncoder, SharedDecoder]], config: RawSpaceConfig | None = None
    ) -> None:
        super().__init__()
        self.config = config or RawSpaceConfig()
        self._space = (_FrozenSpace(*networks()),)  # in a tuple: not a part of what is trained and saved
        self.encoder = SharedEncoder(channels_in=1)

    @property
    def frozen(self) -> _FrozenSpace:
        """The space: encoder of pictures and decoder."""
        return self._space[0]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move the space along with the encoder."""
        self.frozen._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Take the teacher's weights behind a short demosaicing filter; needs no batches."""
        start_from_pictures(self.encoder, self.frozen.encoder)

    def exposed(self, pictures: Tensor) -> Tensor:
        """X: pictures (B, 3, S, S) with random exposure, in [0, 1]."""
        low, high = self.config.exposure
        if low == high == 1.0:
            return pictures
        share = torch.rand(len(pictures), 1, 1, 1, device=pictures.device)
        return (pictures * low * (high / low) ** share).clamp(0, 1)

    def captured(self, pictures: Tensor) -> Tensor:
        """raw: the RGGB mosaic (B, 1, S, S) of X with noise, in [0, 1]."""
        mosaic, config = mosaic_of(pictures), self.config
        if config.read_noise == config.shot_noise == 0.0:
            return mosaic
        variance = config.read_noise**2 + config.shot_noise * mosaic
        return (mosaic + variance.sqrt() * torch.randn_like(mosaic)).clamp(0, 1)

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1]; S a multiple of 4."""
        pictures = self.exposed(batch)
        teacher, decoded = self.frozen.target(pictures)
        planes = self.encoder(self.captured(pictures))
        answer = self.frozen.decoder(planes)
        errors = [relative_error(ours, theirs) for ours, theirs in zip(planes, teacher, strict=True)]
        loss = reconstruction_loss(answer, decoded, self.config.reconstruction)
        loss = loss + self.config.plane_weight * torch.stack(errors).mean()
        shown = answer.detach().clamp(0, 1)
        measures = {
            "psnr_db": psnr_tensor(shown, pictures).mean(),
            "decoder_psnr_db": psnr_tensor(decoded, pictures).mean(),
            "decodes_psnr_db": psnr_tensor(shown, decoded).mean(),
            "z_b_error": errors[0].detach().sqrt(),
            "z_t_error": errors[1].detach().sqrt(),
        }
        return StepResult(loss, measures)

    def preview(self, batch: Tensor) -> Tensor:
        """Each picture, its mosaic in grey, the picture decoded from E1(raw), and that from E0."""
        raw = self.captured(batch)
        _, decoded = self.frozen.target(batch)
        columns = [batch, raw.expand_as(batch), self.frozen.decoder(self.encoder(raw)), decoded]
        rows = torch.cat([column.clamp(0, 1) for column in columns], dim=3)  # (B, 3, S, 4 S)
        return torch.cat(list(rows), dim=1)  # (3, B S, 4 S)

    def load_installed(self, system: str) -> None:
        """Take the installed RAW encoder.

        Raises:
            UsageError: the system has none, or it was trained on another decoder.
        """
        from smalto.train.release_raw_space import load_raw_encoder

        load_raw_encoder(self, system)


class _FrozenSpace(nn.Module):
    """E0 and D, neither of them trained."""

    def __init__(self, encoder: SharedEncoder, decoder: SharedDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def target(self, pictures: Tensor) -> tuple[SharedPlanes, Tensor]:
        """z and D(z) in [0, 1] of pictures (B, 3, S, S), in full precision whatever the step's."""
        with torch.autocast(pictures.device.type, enabled=False):
            planes = self.encoder(pictures.float())
            return planes, self.decoder(planes).clamp(0, 1)


def relative_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean squared difference of planes (B, C, h, w) by the second ones' variance around their channels' means."""
    with torch.autocast(ours.device.type, enabled=False):
        ours, theirs = ours.float(), theirs.float()
        variance = (theirs - theirs.mean(dim=(0, 2, 3), keepdim=True)).square().mean()
        return (ours - theirs).square().mean() / variance.clamp_min(_LEAST_VARIANCE)
