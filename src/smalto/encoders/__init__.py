"""Encoders: picture to latent. ``ENCODERS`` maps a name to a builder that imports inside."""

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


ENCODERS: dict[str, Callable[[], nn.Module]] = {"hific": _hific, "lite": _lite}
