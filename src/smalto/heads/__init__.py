"""Heads: latent to answer. ``HEADS`` maps a name to a builder that imports inside."""

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


HEADS: dict[str, Callable[[], nn.Module]] = {"hific": _hific, "lite": _lite}
