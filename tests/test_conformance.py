"""The conformance suite over everything that is registered, and over parts that break its rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from smalto.codecs import CODECS, TRANSFORMS
from smalto.codecs.archive_planes import ArchivePlanes
from smalto.codecs.factorized_codec import FactorizedCodec, FactorizedConfig, freeze_factorized
from smalto.codecs.freeze import freeze
from smalto.codecs.plane_transform import FoldedAnalysis, FoldedSynthesis, PlaneAnalysis, PlaneSynthesis
from smalto.encoders import ENCODERS
from smalto.encoders.hific import Encoder
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import DamagedPacket
from smalto.heads import HEADS
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.image import Decoder
from smalto.heads.segment import Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import Disparity, StereoHead
from smalto.heads.super_resolve import SuperResolver
from smalto.layers.shared_planes import FOLDED_CHANNELS, TOP_STRIDE, SharedPlanes
from smalto.systems.coding import PlaneTransform
from smalto.testing import (
    ConformanceError,
    check_codec,
    check_encoder,
    check_head,
    check_label_head,
    check_picture_head,
    check_planes_head,
    check_stereo_head,
    check_transform,
)
from tests.bench.space_systems import TINY_STEREO
from tests.systems.golden_neural_space import golden_archive, golden_system
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

# What has one size alone is its own twin.
NARROW_ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "hific": lambda: seeded(Encoder, NARROW_HIFIC_ENCODER),
    "lite": lambda: seeded(Encoder, TINY_ENCODER),
    "shared": lambda: seeded(SharedEncoder, 3),
    "shared-raw": lambda: seeded(SharedEncoder, 1),
}
ENCODER_FORMS = {"shared": (TOP_STRIDE, 3), "shared-raw": (TOP_STRIDE, 1)}
NARROW_CODECS: dict[str, Callable[[], nn.Module | ArchivePlanes]] = {
    "archive": CODECS["archive"],
    "elic": tiny_elic_trained,
    "factorized": lambda: seeded(FactorizedCodec, FactorizedConfig(latent_channels=6)),
    "hyperprior": tiny_trained,
    "hific": tiny_hific_trained,
}
CODING_FORMS = {
    "archive": golden_archive,
    "elic": tiny_elic,
    "factorized": lambda: freeze_factorized(FactorizedCodec(FactorizedConfig(latent_channels=6))),
    "hyperprior": tiny_codec,
    "hific": tiny_hific_codec,
}
NARROW_HEADS: dict[str, Callable[[], nn.Module]] = {
    "denoise": lambda: seeded(Denoiser, 64),
    "denoise-light": lambda: seeded(LightDenoiser, (64, 8, 8)),
    "depth": lambda: seeded(StereoHead, TINY_STEREO),
    "hific": lambda: seeded(Decoder, NARROW_HIFIC_DECODER),
    "lite": lambda: seeded(Decoder, TINY_DECODER),
    "segment": lambda: HEADS["segment"](),
    "shared": lambda: HEADS["shared"](),
    "upscale": lambda: seeded(SuperResolver, TINY_SUPER),
}
HEAD_CHECKS: dict[str, Callable[[nn.Module], None]] = {
    "denoise": check_planes_head,
    "denoise-light": check_planes_head,
    "depth": check_stereo_head,
    "hific": lambda head: check_head(head, CHANNELS),
    "lite": lambda head: check_head(head, CHANNELS),
    "segment": lambda head: check_label_head(head, 11),
    "shared": check_picture_head,
    "upscale": lambda head: check_head(head, CHANNELS),
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


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name: str) -> None:
    check_encoder(NARROW_ENCODERS[name](), *ENCODER_FORMS.get(name, (16, 3)))


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    HEAD_CHECKS[name](NARROW_HEADS[name]())


@pytest.mark.parametrize("name", ["denoise", "denoise-light"])
def test_the_decoder_after_a_cleaning_head(name: str) -> None:
    check_picture_head(HEADS["shared"](), HEADS[name]())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CODECS)
def test_codecs(name: str) -> None:
    check_codec(NARROW_CODECS[name]())
    check_codec(CODING_FORMS[name]())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms(name: str) -> None:
    analysis, synthesis = TRANSFORMS[name]()
    assert isinstance(analysis, PlaneAnalysis)
    assert isinstance(synthesis, PlaneSynthesis)
    check_transform(_transform(analysis, synthesis), FOLDED_CHANNELS)


def test_a_narrow_transform() -> None:
    transform = golden_system().parts.transform
    assert transform is not None
    check_transform(transform, FOLDED_CHANNELS)


def _transform(analysis: PlaneAnalysis, synthesis: PlaneSynthesis) -> PlaneTransform:
    return PlaneTransform(FoldedAnalysis(analysis), FoldedSynthesis(synthesis), 4, analysis.config.latent_channels)


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


# -- and in the shared space ------------------------------------------------------------------------------------------


class _WrongPart(nn.Module):
    """A healthy part of the shared space with one fault, in its answer or in what it says of itself."""

    def __init__(self, part: nn.Module, fault: Callable[..., object], **says: int) -> None:
        super().__init__()
        self.part, self.fault = part, fault
        for name in ("halo_px", "halo_cells", "align_cells", "num_views", "scale"):
            if name in says or name in dir(part):
                setattr(self, name, says[name] if name in says else getattr(part, name))

    def forward(self, *inputs: object) -> object:
        return self.fault(self.part, *inputs)


def _run(part: nn.Module, *inputs: object) -> object:
    return part(*inputs)


def _detail(change: Callable[[Tensor], Tensor]) -> Callable[..., SharedPlanes]:
    """A fault of z_b."""
    return lambda part, *inputs: SharedPlanes(change(part(*inputs).z_b), part(*inputs).z_t)


PLANES_FAULTS: dict[str, tuple[str, Callable[..., object], dict[str, int]]] = {
    "structure": ("z_t is changed", lambda part, p: SharedPlanes(part(p).z_b, p.z_t + 1), {}),
    "tensor": ("not SharedPlanes", lambda part, p: part(p).z_b, {}),
    "batch": ("others in its batch", _detail(lambda z: z + len(z)), {}),
    "noise": ("second time", _detail(lambda z: z + 0.01 * torch.rand(1)), {}),
    "nan": ("not finite", _detail(lambda z: z / 0), {}),
    "sides": ("came back as", _detail(lambda z: z[..., : max(4 * (z.shape[-1] // 4), 2)]), {}),
    "input": ("writes into its input", lambda part, p: part(SharedPlanes(p.z_b.mul_(0.5), p.z_t)), {}),
    "halo": ("halo_cells is 1", _run, {"halo_cells": 1}),
    "mean": ("further away", lambda part, p: part(SharedPlanes(p.z_b - p.z_b.mean((1, 2, 3), True), p.z_t)), {}),
    "align": ("multiples of align_cells 1", _run, {"align_cells": 1}),
}


@pytest.mark.parametrize("fault", PLANES_FAULTS)
def test_faulty_heads_of_planes_are_found(fault: str) -> None:
    message, change, says = PLANES_FAULTS[fault]
    with pytest.raises(ConformanceError, match=message):
        check_planes_head(_WrongPart(seeded(LightDenoiser, (64, 8, 8)), change, **says))


ENCODER_FAULTS: dict[str, tuple[str, Callable[..., object], dict[str, int]]] = {
    "stride": ("z_b is", lambda part, x: part(x)._replace(z_b=part(x).z_t), {}),
    "half": ("z_t is torch.float16", lambda part, x: part(x)._replace(z_t=part(x).z_t.half()), {}),
    "halo": ("halo_px is 4", _run, {"halo_px": 4}),
    "batch": ("others in its batch", lambda part, x: part(x)._replace(z_t=part(x).z_t + len(x)), {}),
}


@pytest.mark.parametrize("fault", ENCODER_FAULTS)
def test_faulty_encoders_of_planes_are_found(fault: str) -> None:
    message, change, says = ENCODER_FAULTS[fault]
    with pytest.raises(ConformanceError, match=message):
        check_encoder(_WrongPart(seeded(SharedEncoder, 3), change, **says), TOP_STRIDE)


def test_planes_are_checked_at_their_own_stride() -> None:
    with pytest.raises(ConformanceError, match="stride 4"):
        check_encoder(_WrongPart(SharedEncoder(), _run, halo_px=48), 16)


def test_a_decoder_that_sees_further_than_it_says_is_found() -> None:
    with pytest.raises(ConformanceError, match="halo_cells is 1"):
        check_picture_head(_WrongPart(SharedDecoder(), _run, halo_cells=1))


LABEL_FAULTS: dict[str, tuple[str, Callable[..., object]]] = {
    "classes": ("scores of shape", lambda part, p: part(p)[:, 1:]),
    "sides": ("scores of shape", lambda part, p: part(p)[:, :, 1:]),
    "nan": ("not finite", lambda part, p: part(p) / 0),
    "batch": ("others in its batch", lambda part, p: part(p) + len(p.z_b)),
    "deaf": ("the same scores", lambda part, p: part(p) * 0),
}


@pytest.mark.parametrize("fault", LABEL_FAULTS)
def test_faulty_label_heads_are_found(fault: str) -> None:
    message, change = LABEL_FAULTS[fault]
    with pytest.raises(ConformanceError, match=message):
        check_label_head(_WrongPart(Segmenter("s", 11), change), 11)


def _of_both(change: Callable[[Tensor], Tensor]) -> Callable[..., Disparity]:
    return lambda part, left, right: Disparity(*(change(one) for one in part(left, right)))


STEREO_FAULTS: dict[str, tuple[str, Callable[..., object], dict[str, int]]] = {
    "views": ("num_views is 1", _run, {"num_views": 1}),
    "size": ("disparities of shape", _of_both(lambda d: d[..., 1:]), {}),
    "half": ("not float32", _of_both(lambda d: d.half()), {}),
    "negative": ("the least is 0", _of_both(lambda d: -d - 1), {}),
    "one view": ("one view only", lambda part, left, right: part(left, left), {}),
    "batch": ("others in its batch", _of_both(lambda d: d + 100 * len(d)), {}),
}


@pytest.mark.parametrize("fault", STEREO_FAULTS)
def test_faulty_stereo_heads_are_found(fault: str) -> None:
    message, change, says = STEREO_FAULTS[fault]
    with pytest.raises(ConformanceError, match=message):
        check_stereo_head(_WrongPart(seeded(StereoHead, TINY_STEREO), change, **says))


@pytest.mark.parametrize("part", ["analysis", "synthesis"])
def test_a_transform_that_sees_further_than_it_says_is_found(part: str) -> None:
    transform = golden_system().parts.transform
    assert transform is not None
    blind = replace(transform, **{part: _WrongPart(getattr(transform, part), _run, halo_cells=0)})
    with pytest.raises(ConformanceError, match=f"{part}: halo_cells is 0"):
        check_transform(blind, FOLDED_CHANNELS)


class _FaultyArchive:
    """The stored archive codec with one fault."""

    def __init__(self, fault: str) -> None:
        self.inner, self.fault = golden_archive(), fault

    @property
    def plane_names(self) -> tuple[str, ...]:
        return ("z_t",) if self.fault == "names" else self.inner.plane_names

    def encode(self, planes: dict[str, Tensor], tile_px: int) -> dict[str, tuple[bytes, ...]]:
        if self.fault == "input":
            planes["z_t"].mul_(0.5)
        if self.fault == "drift":
            planes = {name: plane + 0.1 * plane.sign() + 2 for name, plane in planes.items()}
        if self.fault == "deaf":
            planes = {name: torch.zeros_like(plane) for name, plane in planes.items()}
        return self.inner.encode(planes, tile_px if self.fault != "one chunk" else 1024)

    def decode(self, chunks, grids, tile_px: int) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
        try:
            planes = self.inner.decode(chunks, grids, tile_px if self.fault != "one chunk" else 1024)
        except DamagedPacket as error:
            if self.fault == "chunks":
                return {name: torch.zeros(1, 64, *grid) for name, grid in grids.items()}
            raise (IndexError("out of range") if self.fault == "crash" else error) from error
        if self.fault == "tiles":
            return {name: plane + len(chunks["z_t"]) - 1 for name, plane in planes.items()}
        return {name: plane.double() if self.fault == "double" else plane for name, plane in planes.items()}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("names", "plane_names"),
        ("input", "writes into the planes"),
        ("drift", "loses once more"),
        ("deaf", "other planes give the same bytes"),
        ("one chunk", "gave 1 chunks of z_"),
        ("tiles", "cutting into tiles changes z_"),
        ("double", "not float32"),
        ("chunks", "must raise DamagedPacket"),
        ("crash", "IndexError"),
    ],
)
def test_faulty_archive_codecs_are_found(fault: str, message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check_codec(_FaultyArchive(fault))
