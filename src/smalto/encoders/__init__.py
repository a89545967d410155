"""Encoders: picture or RAW mosaic to latent. ``ENCODERS`` maps a name to a builder that imports inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def _hific() -> nn.Module:
    from smalto.encoders.hific import HIFIC, Encoder

    return Encoder(HIFIC)


def _lite() -> nn.Module:
    from smalto.encoders.hific import LITE, Encoder

    return Encoder(LITE)


def _shared() -> nn.Module:
    from smalto.encoders.shared_cnn import SharedEncoder

    return SharedEncoder()


def _shared_raw() -> nn.Module:
    from smalto.encoders.shared_cnn import SharedEncoder

    return SharedEncoder(channels_in=1)


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "hific": _hific,
    "lite": _lite,
    "shared": _shared,
    "shared-raw": _shared_raw,
}
