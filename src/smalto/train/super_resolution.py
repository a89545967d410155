"""The objective of super-resolution: the picture at twice the size, from the frozen codec's latent."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.codecs.hyperprior import NUM_LEVELS
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.encoders.hific import Encoder
from smalto.errors import UsageError
from smalto.heads.image import Decoder
from smalto.heads.super_resolve import SuperResolver
from smalto.measure.ssim import ssim_loss
from smalto.train.run import Objective, StepResult


class UpscaleObjective(Objective):
    """SuperNet and SuperDecoder on latents that went through real rounding; encoder and codec are frozen.

    Math: ``L = ssim_weight (1 - SSIM(X2, SRD(R(y_hat)))) + mean |X2 - SRD(R(y_hat))|``, y_hat coded from X2 halved.

    Source: multi-task paper, equation 4 (SSIM alone); the absolute difference is ours and holds colours and PSNR.

    Args:
        system: installed system whose encoder, codec and decoder are used.
        ssim_weight: weight of the SSIM term.
        levels: range of quality levels that latents are coded at.
    """

    def __init__(self, system: str = "default", ssim_weight: float = 0.1, levels: tuple[int, int] = (40, 255)) -> None:
        super().__init__()
        from smalto.systems import load

        parts = load(system, dtype=torch.float32).parts
        encoder, decoder = next(iter(parts.encoders.values())), parts.heads["reconstruct"]
        codec = parts.codec
        if not (isinstance(encoder, Encoder) and isinstance(decoder, Decoder) and isinstance(codec, FrozenHyperprior)):
            raise UsageError(f"system {system}: its networks are not of the kind this recipe trains on")
        self._space = (_Frozen(encoder, codec, decoder),)  # in a tuple: not a part of what is trained and saved
        self.resolver = SuperResolver()
        self.ssim_weight = ssim_weight
        self.levels = levels

    @property
    def frozen(self) -> _Frozen:
        """The space: encoder, codec and decoder."""
        return self._space[0]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Move the space along with the head."""
        self.frozen._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def start(self, batches: Iterator[Tensor]) -> None:
        """Take the decoder's weights; the linear path starts as interpolation."""
        self.resolver.start_from(self.frozen.decoder, self.frozen.encoder.linear)

    def halved(self, batch: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 3, S/2, S/2), bicubic with antialiasing, 8-bit levels."""
        small = F.interpolate(batch, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
        return (small.clamp(0, 1) * 255).round() / 255

    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1] of pictures at the larger size; S a multiple of 128."""
        with torch.no_grad():
            low, high = self.levels
            q = torch.randint(low, min(high + 1, NUM_LEVELS), (batch.shape[0],), device=batch.device)
            y_hat = self.frozen.coded(self.halved(batch), q)
        large = self.resolver(y_hat)
        ssim = ssim_loss(large.clamp(0, 1), batch)
        loss = (large - batch).abs().mean() + self.ssim_weight * ssim
        squared = (large.detach().clamp(0, 1) - batch).square().mean(dim=(1, 2, 3))
        psnr = (-10 * torch.log10(squared.clamp_min(1e-10))).mean()
        return StepResult(loss, {"psnr_db": psnr, "ssim": 1 - ssim.detach()})

    def preview(self, batch: Tensor) -> Tensor:
        """The original, the coded half enlarged bicubically, and the head's answer, side by side."""
        q = torch.full((batch.shape[0],), 153, device=batch.device)
        y_hat = self.frozen.coded(self.halved(batch), q)
        small = self.frozen.decoder(y_hat)
        plain = F.interpolate(small, scale_factor=2.0, mode="bicubic", align_corners=False)
        rows = torch.cat([batch, plain.clamp(0, 1), self.resolver(y_hat).clamp(0, 1)], dim=3)
        return torch.cat(list(rows), dim=1)

    def load_installed(self, system: str) -> None:
        """Take the installed super-resolution head.

        Raises:
            UsageError: the system has none.
        """
        from smalto.systems import load

        head = load(system).parts.heads.get("upscale")
        if head is None:
            raise UsageError(f"system {system} has no upscale head to start from; leave --resume out")
        self.resolver.load_state_dict(head.state_dict())


class _Frozen(torch.nn.Module):
    """Networks of a space, none of them trained."""

    def __init__(self, encoder: Encoder, codec: FrozenHyperprior, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.codec, self.decoder = encoder, codec, decoder
        self.requires_grad_(False)

    @torch.no_grad()
    def coded(self, pictures: Tensor, q: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) to latents as a decoder sees them (B, M, S/16, S/16)."""
        y = self.encoder(pictures)
        codec = self.codec
        step = codec.z_gain[q][:, None, None, None].float()  # type: ignore[index]
        z_hat = torch.floor(codec.analysis(y) / step + 0.5) * step
        with torch.autocast(pictures.device.type, enabled=False):
            mean = codec.mean_path(z_hat)
        gain = codec.gain[q][:, :, None, None]  # type: ignore[index]
        inverse = codec.inverse_gain[q][:, :, None, None]  # type: ignore[index]
        return mean + torch.floor((y - mean) * gain + 0.5) * inverse
