"""Heads: one latent or several to an answer. ``HEADS`` maps a name to a builder that imports inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def _hific() -> nn.Module:
    from smalto.heads.image import HIFIC, Decoder

    return Decoder(HIFIC)


def _lite() -> nn.Module:
    from smalto.heads.image import LITE, Decoder

    return Decoder(LITE)


def _upscale() -> nn.Module:
    from smalto.heads.super_resolve import SuperResolver

    return SuperResolver()


def _shared() -> nn.Module:
    from smalto.heads.shared_decoder import SharedDecoder

    return SharedDecoder()


def _denoise() -> nn.Module:
    from smalto.heads.denoise import Denoiser

    return Denoiser()


def _denoise_light() -> nn.Module:
    from smalto.heads.denoise import LightDenoiser

    return LightDenoiser()


def _segment() -> nn.Module:
    from smalto.heads.segment import Segmenter

    return Segmenter("s", num_classes=11)


def _depth() -> nn.Module:
    from smalto.heads.stereo import SIZES, StereoHead

    return StereoHead(SIZES["S"])


HEADS: dict[str, Callable[[], nn.Module]] = {
    "denoise": _denoise,
    "denoise-light": _denoise_light,
    "depth": _depth,
    "hific": _hific,
    "lite": _lite,
    "segment": _segment,
    "shared": _shared,
    "upscale": _upscale,
}
