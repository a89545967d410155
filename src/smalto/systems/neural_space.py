"""The system ``neural-space``: the shared space's encoders, codecs and heads, wired.

::

    picture ─► encoder ──────┐                                    ┌─► decoder ─► picture           reconstruct
    mosaic ─► RAW encoder ───┴► z_b, z_t ─► codec ─► file ─► z_b, z_t ─► denoise ─► decoder ─► picture   denoise
                                                                  ├─► segment ─► classes            segment
                                                     the other view ┴► stereo ─► disparity          depth

Inside, both planes travel as one tensor (1, 320, H/4, W/4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smalto.data.photographs import MAX_PIXELS
from smalto.data.segmentation import CLASSES, COLOURS
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.segment import Segmenter, class_ids
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import StereoHead
from smalto.layers.shared_planes import FOLD, FOLDED_CHANNELS, TOP_STRIDE, SharedPlanes, folded, unfolded
from smalto.systems.coding import ArchiveCodec
from smalto.systems.engine import Engine
from smalto.systems.plane_latent import LatentNetworks
from smalto.systems.shared_space import SPEC, SYSTEM_NAME, shared_decoder_digest
from smalto.systems.system import Parts, System
from smalto.systems.tasks import DisparityTask, LabelTask, PictureTask, Task
from smalto.types import PlaneSpec

_CARRIER = PlaneSpec("planes", "grid", FOLDED_CHANNELS, TOP_STRIDE)


class FoldedPlanes:
    """Both planes in one tensor."""

    plane = _CARRIER

    def fold(self, planes: Mapping[str, Tensor]) -> Tensor:
        """z_b and z_t -> (B, 320, H/4, W/4)."""
        return folded(SharedPlanes(planes["z_b"], planes["z_t"]))

    def unfold(self, carrier: Tensor) -> dict[str, Tensor]:
        """(B, 320, H/4, W/4) -> z_b and z_t."""
        planes = unfolded(carrier)
        return {"z_b": planes.z_b, "z_t": planes.z_t}


class FoldedEncoder(nn.Module):
    """A shared encoder that gives the carrier."""

    def __init__(self, encoder: SharedEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.halo_px = encoder.halo_px

    def forward(self, x: Tensor) -> Tensor:
        """(1, 3 | 1, H, W) -> (1, 320, H/4, W/4)."""
        return folded(self.encoder(x))


class FoldedPictureHead(nn.Module):
    """The decoder on the carrier, after a denoising head where there is one."""

    scale = 1

    def __init__(self, decoder: SharedDecoder, denoiser: Denoiser | LightDenoiser | None = None) -> None:
        super().__init__()
        self.decoder, self.denoiser = decoder, denoiser
        seen = 0 if denoiser is None else -(-denoiser.halo_cells // FOLD)
        self.halo_cells = decoder.halo_cells + seen
        self.align_cells = 1 if denoiser is None else max(denoiser.align_cells // FOLD, 1)

    def forward(self, carrier: Tensor) -> Tensor:
        """(1, 320, H/4, W/4) -> (1, 3, H, W)."""
        planes = unfolded(carrier)
        return self.decoder(planes if self.denoiser is None else self.denoiser(planes))


@dataclass(frozen=True)
class SpaceNetworks:
    """What the system is made of; what is None it does without.

    Args:
        encoder: of pictures.
        decoder: frozen.
        latent: the learned codec.
        raw: encoder of mosaics.
        archive: codec of the planes themselves, and the first 8 bytes of its digest.
        denoise: head.
        segment: head, of CamVid's classes.
        stereo: head.
    """

    encoder: SharedEncoder
    decoder: SharedDecoder
    latent: LatentNetworks
    raw: SharedEncoder | None = None
    archive: tuple[ArchiveCodec, bytes] | None = None
    denoise: Denoiser | LightDenoiser | None = None
    segment: Segmenter | None = None
    stereo: StereoHead | None = None


def space_parts(networks: SpaceNetworks) -> Parts:
    """Parts of the system from its networks, digests computed from them."""
    encoders: dict[str, nn.Module] = {"base": FoldedEncoder(networks.encoder)}
    if networks.raw is not None:
        encoders["raw"] = FoldedEncoder(networks.raw)
    heads: dict[str, nn.Module] = {"reconstruct": FoldedPictureHead(networks.decoder)}
    tasks: dict[str, Task] = {}
    if networks.denoise is not None:
        head = FoldedPictureHead(networks.decoder, networks.denoise)
        heads["denoise"] = head
        tasks["denoise"] = PictureTask("denoise", head, TOP_STRIDE, head.align_cells)
    if (segment := networks.segment) is not None:
        heads["segment"] = segment
        tasks["segment"] = LabelTask("segment", _label(segment), CLASSES, COLOURS, TOP_STRIDE)
    if (stereo := networks.stereo) is not None:
        heads["depth"] = stereo
        tasks["depth"] = DisparityTask("depth", lambda left, right: stereo(unfolded(left), unfolded(right)).fine)
    archive, archive_digest = networks.archive or (None, b"")
    return Parts(
        SPEC,
        encoders,
        networks.latent.codec,
        heads,
        shared_decoder_digest(networks.decoder),
        networks.latent.digest,
        form=FoldedPlanes(),
        transform=networks.latent.transform,
        archive=archive,
        archive_digest=archive_digest,
        tasks=tasks,
    )


def _label(segment: Segmenter):  # type: ignore[no-untyped-def]
    def labelled(carrier: Tensor, height: int, width: int) -> Tensor:
        return class_ids(segment(unfolded(carrier)), height, width)

    return labelled


def neural_space(
    networks: SpaceNetworks, device: str = "cpu", dtype: torch.dtype | None = None, max_pixels: int = MAX_PIXELS
) -> System:
    """The system of given networks, as ``load`` gives that of the installed ones.

    Args:
        networks: filled.
        device: torch device.
        dtype: as for ``Engine.on``.
        max_pixels: largest picture, height x width, that is read from a file.
    """
    return System(SYSTEM_NAME, space_parts(networks), Engine.on(device, dtype), max_pixels)
