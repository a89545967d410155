"""Codecs: planes to coded bytes and back. ``CODECS`` maps a name to a builder that imports inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def _hyperprior() -> nn.Module:
    from smalto.codecs.hyperprior import LITE, MeanScaleHyperprior

    return MeanScaleHyperprior(LITE)


def _hific() -> nn.Module:
    from smalto.codecs.hific_hyperprior import HIFIC, HificHyperprior

    return HificHyperprior(HIFIC)


def _factorized() -> nn.Module:
    from smalto.codecs.factorized_codec import FactorizedCodec

    return FactorizedCodec()


def _elic() -> nn.Module:
    from smalto.codecs.elic import Elic
    from smalto.codecs.elic_context import ELIC

    return Elic(ELIC)


CODECS: dict[str, Callable[[], nn.Module]] = {
    "elic": _elic,
    "factorized": _factorized,
    "hyperprior": _hyperprior,
    "hific": _hific,
}
