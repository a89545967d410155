"""The conformance suite over everything that is registered, and over parts that break its rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from smalto.codecs import CODECS
from smalto.codecs.factorized_codec import FactorizedCodec, FactorizedConfig, freeze_factorized
from smalto.codecs.freeze import freeze
from smalto.encoders import ENCODERS
from smalto.encoders.hific import Encoder
from smalto.heads import HEADS
from smalto.heads.image import Decoder
from smalto.heads.super_resolve import SuperResolver
from smalto.testing import ConformanceError, check_codec, check_encoder, check_head
from tests.tiny_elic import tiny_elic, tiny_elic_trained
from tests.tiny_models import (
    CHANNELS,
    NARROW_HIFIC_DECODER,
    NARROW_HIFIC_ENCODER,
    TINY_DECODER,
    TINY_ENCODER,
    TINY_SUPER,
    seeded,
    tiny_codec,
    tiny_encoder,
    tiny_hific_codec,
    tiny_hific_trained,
    tiny_trained,
)

NARROW_ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "hific": lambda: seeded(Encoder, NARROW_HIFIC_ENCODER),
    "lite": lambda: seeded(Encoder, TINY_ENCODER),
}
NARROW_CODECS: dict[str, Callable[[], nn.Module]] = {
    "elic": tiny_elic_trained,
    "factorized": lambda: seeded(FactorizedCodec, FactorizedConfig(latent_channels=6)),
    "hyperprior": tiny_trained,
    "hific": tiny_hific_trained,
}
CODING_FORMS = {
    "elic": tiny_elic,
    "factorized": lambda: freeze_factorized(FactorizedCodec(FactorizedConfig(latent_channels=6))),
    "hyperprior": tiny_codec,
    "hific": tiny_hific_codec,
}
NARROW_HEADS: dict[str, Callable[[], nn.Module]] = {
    "hific": lambda: seeded(Decoder, NARROW_HIFIC_DECODER),
    "lite": lambda: seeded(Decoder, TINY_DECODER),
}


@pytest.mark.parametrize(
    ("registry", "narrow"),
    [(ENCODERS, NARROW_ENCODERS), (CODECS, NARROW_CODECS), (HEADS, NARROW_HEADS)],
    ids=["encoders", "codecs", "heads"],
)
def test_every_registered_part_has_a_narrow_twin_of_the_same_class(
    registry: dict[str, Callable[[], nn.Module]], narrow: dict[str, Callable[[], nn.Module]]
) -> None:
    assert set(registry) == set(narrow)
    for name, build in registry.items():
        with torch.device("meta"):
            registered = build()
        assert type(registered) is type(narrow[name]()), name


@pytest.mark.parametrize("name", NARROW_ENCODERS)
def test_encoders(name: str) -> None:
    check_encoder(NARROW_ENCODERS[name]())


@pytest.mark.parametrize("name", NARROW_HEADS)
def test_heads(name: str) -> None:
    check_head(NARROW_HEADS[name](), CHANNELS)


def test_super_resolver() -> None:
    check_head(seeded(SuperResolver, TINY_SUPER), CHANNELS)


@pytest.mark.parametrize("name", NARROW_CODECS)
def test_codecs(name: str) -> None:
    codec = NARROW_CODECS[name]()
    check_codec(codec)
    check_codec(CODING_FORMS[name]())


# -- the suite finds what it says it finds ----------------------------------------------------------------------------


class _Wrong(nn.Module):
    """A healthy encoder or head with one fault."""

    scale = 1

    def __init__(self, part: nn.Module, fault: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.part, self.fault = part, fault

    @property
    def halo_px(self) -> int:
        return int(self.part.halo_px)  # type: ignore[arg-type]

    @property
    def halo_cells(self) -> int:
        return int(self.part.halo_cells)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.fault(self.part, x)


FAULTS: dict[str, tuple[str, Callable[[nn.Module, Tensor], Tensor]]] = {
    "mean": ("further away", lambda part, x: part(x - x.mean(dim=(2, 3), keepdim=True))),
    "batch": ("others in its batch", lambda part, x: part(x) + x.shape[0]),
    "noise": ("second time", lambda part, x: part(x) + 0.01 * torch.rand(1)),
    "half": ("not float32", lambda part, x: part(x).half()),
    "crop": ("4 x 5 cell", lambda part, x: part(x)[:, :, 1:]),
    "nan": ("not finite", lambda part, x: part(x) / 0),
    "input": ("writes into its input", lambda part, x: part(x.mul_(0.5))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_encoders_are_found(fault: str) -> None:
    message, change = FAULTS[fault]
    with pytest.raises(ConformanceError, match=message):
        check_encoder(_Wrong(tiny_encoder(), change))


@pytest.mark.parametrize("fault", ["mean", "batch", "noise", "half", "nan", "input"])
def test_faulty_heads_are_found(fault: str) -> None:
    message, change = FAULTS[fault]
    with pytest.raises(ConformanceError, match=message):
        check_head(_Wrong(seeded(Decoder, TINY_DECODER), change), CHANNELS)


def test_an_encoder_without_a_halo_is_refused() -> None:
    with pytest.raises(ConformanceError, match="halo_px"):
        check_encoder(nn.Conv2d(3, 4, 16, 16))


def test_a_head_without_a_scale_is_refused() -> None:
    with pytest.raises(ConformanceError, match="scale"):
        check_head(nn.ConvTranspose2d(CHANNELS, 3, 16, 16), CHANNELS)


def test_what_is_no_codec_is_refused() -> None:
    with pytest.raises(ConformanceError, match="neither estimate"):
        check_codec(nn.Identity())


class _FaultyCodec(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.has_context = fault == "context"
        self.inner = freeze(tiny_trained())
        self.config = self.inner.config
        self.fault = fault

    def encode(self, y: Tensor, q: int, tile_cells: int = 64, z: Tensor | None = None):  # type: ignore[no-untyped-def]
        if self.fault == "any level":
            q = min(max(q, 0), 255)
        code = self.inner.encode(y, 255 - q if self.fault == "backwards" else q, tile_cells, z)
        return type(code)(q, code.hyper, code.main) if self.fault == "backwards" else code

    def decode(self, code, height: int, width: int, tile_cells: int = 64) -> Tensor:  # type: ignore[no-untyped-def]
        if self.fault == "backwards":
            code = type(code)(255 - code.q, code.hyper, code.main)
        if self.fault == "crash":
            try:
                return self.inner.decode(code, height, width, tile_cells)
            except Exception as error:
                raise IndexError("out of range") from error
        y = self.inner.decode(code, height, width, tile_cells)
        return y * (1 + len(code.main)) if self.fault in ("tiles", "context") else y


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("backwards", "must rise"),
        ("tiles", "cutting into tiles"),
        ("context", "in tiles it errs"),
        ("any level", "level"),
        ("crash", "IndexError"),
    ],
)
def test_faulty_codecs_are_found(fault: str, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check_codec(_FaultyCodec(fault))
