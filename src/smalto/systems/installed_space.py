"""The installed ``neural-space`` system: every part that is there, from its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch

from smalto.data.photographs import MAX_PIXELS
from smalto.errors import WeightsError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.segment import Segmenter
from smalto.heads.stereo import StereoHead
from smalto.systems.coding import ArchiveCodec
from smalto.systems.neural_space import SpaceNetworks, neural_space
from smalto.systems.plane_latent import base_networks, image_networks, latent_networks
from smalto.systems.shared_space import SYSTEM_NAME, shared_networks
from smalto.systems.space_heads import denoise_network, raw_networks, segment_network
from smalto.systems.stereo_depth import stereo_network
from smalto.systems.system import System
from smalto.weights import SystemRecord, system_record
from smalto.weights.store import read_installed

_Part = TypeVar("_Part")
_Build = Callable[[Mapping[str, np.ndarray], str], _Part]


def load_neural_space(device: str = "cpu", dtype: torch.dtype | None = None, max_pixels: int = MAX_PIXELS) -> System:
    """The system with the installed weights.

    Raises:
        UsageError: it is not installed.
        WeightsError: a part is damaged, or its codec was made over other weights than are installed.
    """
    return neural_space(installed_networks(system_record(SYSTEM_NAME)), device, dtype, max_pixels)


def installed_networks(record: SystemRecord) -> SpaceNetworks:
    """The networks of every installed part.

    Raises:
        WeightsError: there is no codec of planes, a part is damaged, or the codec is not the recorded one.
    """
    if "latent" not in record.files:
        raise WeightsError(f"system {record.name} has no codec of planes yet; install a neural-space-codec run")
    encoder, decoder = shared_networks(read_installed(record.files["space"]), record.name)
    base = base_networks(image_networks(), encoder)
    latent = latent_networks(read_installed(record.files["latent"]), base, record.name)
    if latent.digest.hex() != record.codec_digest:
        raise WeightsError(
            f"system {record.name}: its codec of planes was made over another image codec or space "
            f"(digest {latent.digest.hex()}, on record {record.codec_digest}); install its run again"
        )
    denoise, segment = _part(record, "denoise", denoise_network), _part(record, "segment", segment_network)
    stereo = _part(record, "stereo", lambda arrays, source: stereo_network(arrays, source)[0])
    return SpaceNetworks(
        encoder,
        decoder,
        latent,
        raw=_part(record, "raw", raw_networks),
        archive=_part(record, "archive", _archive),
        denoise=denoise if isinstance(denoise, Denoiser | LightDenoiser) else None,
        segment=segment if isinstance(segment, Segmenter) else None,
        stereo=stereo if isinstance(stereo, StereoHead) else None,
    )


def _part(record: SystemRecord, part: str, build: _Build[_Part]) -> _Part | None:
    """A part's network, or None where it is not installed."""
    return build(read_installed(record.files[part]), record.name) if part in record.files else None


def _archive(arrays: Mapping[str, np.ndarray], source: str) -> tuple[ArchiveCodec, bytes]:
    from smalto.codecs.archive_planes import archive_codec_of

    codec = archive_codec_of(dict(arrays))
    return codec, codec.digest
