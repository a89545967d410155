"""The one-channel codecs of feature planes: sizes, bytes, bad input; what ELIC's shares is tested here for both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from smalto.codecs import index_planes
from smalto.codecs.elic_planes import freeze_elic_planes
from smalto.codecs.hyper_coder import PlaneCode
from smalto.codecs.hyperprior import HyperpriorConfig
from smalto.codecs.index_planes import (
    HYPERPRIOR,
    FrozenIndexPlaneCodec,
    FrozenPlaneCodec,
    IndexPlaneCodec,
    IndexPlaneConfig,
    PlaneCodec,
    freeze_index_planes,
)
from smalto.errors import PacketError, UsageError
from tests.tiny_elic import tiny_elic_planes

TINY = IndexPlaneConfig(
    filters=8,
    codec=HyperpriorConfig(
        latent_channels=12,
        hyper_channels=4,
        analysis_widths=(8, 8),
        mean_widths=(8, 6),
        scale_widths=(8, 6),
        gain_range=(4.0, 40.0),
    ),
)


def tiny() -> IndexPlaneCodec:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return IndexPlaneCodec(TINY).eval()


def plane(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (128 + 90 * np.sin(x / 7) * np.cos(y / 11)).astype(np.uint8)


def test_parameters_of_the_papers_size() -> None:
    with torch.device("meta"):
        codec = IndexPlaneCodec(HYPERPRIOR)
    layers = 25 * (128 + 2 * 128 * 128 + 128 * 192)  # the four 5x5 convolutions of g_a; as many in g_s
    gdn = 3 * (128 + 128 * 128)
    assert sum(p.numel() for p in codec.analysis.parameters()) == layers + 3 * 128 + 192 + gdn
    assert sum(p.numel() for p in codec.synthesis.parameters()) == layers + 3 * 128 + 1 + gdn


both = pytest.mark.parametrize(
    "frozen", [freeze_index_planes(tiny()), freeze_elic_planes(tiny_elic_planes())], ids=["hyperprior", "elic"]
)


@both
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (70, 33), (5, 400)])
def test_bytes_there_and_back(frozen: FrozenPlaneCodec, size: tuple[int, int]) -> None:
    original = plane(*size)
    code = frozen.encode(original, 200)
    decoded = frozen.decode(code, *size)
    assert decoded.shape == size
    assert decoded.dtype == np.float32
    assert 0 <= decoded.min() <= decoded.max() <= 255
    assert np.array_equal(decoded, frozen.decode(code, *size))


@pytest.mark.parametrize(
    ("trained", "freeze", "margin"),
    [
        (tiny(), freeze_index_planes, (0.05, 64)),
        (tiny_elic_planes(), freeze_elic_planes, (0.1, 300)),  # ten streams, each with its state
    ],
    ids=["hyperprior", "elic"],
)
def test_bytes_agree_with_the_estimate(
    trained: PlaneCodec, freeze: Callable[..., FrozenPlaneCodec], margin: tuple[float, int]
) -> None:
    frozen = freeze(trained)
    original = plane(192, 192)
    planes = torch.from_numpy(original)[None, None].float() / 255
    with torch.no_grad():
        estimate = trained.estimate(planes, torch.tensor([200.0]))
    code = frozen.encode(original, 200)
    num_bits = 8 * (len(code.hyper) + sum(len(chunk) for chunk in code.main))
    assert num_bits == pytest.approx(float(estimate.bits), rel=margin[0], abs=margin[1])
    decoded = frozen.decode(code, 192, 192)
    assert np.abs(decoded / 255 - estimate.plane[0, 0].clamp(0, 1).numpy()).mean() < 0.01


def test_tiles_decode_as_one() -> None:
    frozen = freeze_index_planes(tiny())  # ELIC's tiles see nothing of each other
    original = plane(150, 90)
    code = frozen.encode(original, 128, tile_cells=4)
    assert len(code.main) == 6
    whole = frozen.decode(frozen.encode(original, 128), 150, 90)
    assert np.allclose(frozen.decode(code, 150, 90, tile_cells=4), whole, atol=1e-3)


def test_arrays_there_and_back() -> None:
    frozen = freeze_index_planes(tiny())
    again = FrozenIndexPlaneCodec.from_arrays(TINY, {**frozen.decode_arrays(), **frozen.encode_arrays()})
    assert again.digest == frozen.digest
    original = plane(40, 40)
    assert again.encode(original, 99) == frozen.encode(original, 99)


@both
def test_wrong_planes_are_refused(frozen: FrozenPlaneCodec) -> None:
    for wrong in (np.zeros((4, 4), np.float32), np.zeros((1, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)):
        with pytest.raises(UsageError, match="planes are"):
            frozen.encode(wrong, 0)


@both
def test_damage_is_named(frozen: FrozenPlaneCodec) -> None:
    code = frozen.encode(plane(64, 64), 255)
    for broken in (
        PlaneCode(255, code.hyper[:-1], code.main),
        PlaneCode(255, code.hyper, (code.main[0][:-2],)),
        PlaneCode(255, code.hyper, ()),
    ):
        with pytest.raises(PacketError):
            frozen.decode(broken, 64, 64)


@both
def test_levels_between_indexes_are_coded(frozen: FrozenPlaneCodec) -> None:
    original = plane(70, 50)
    assert frozen.encode_levels(original.astype(np.float32), 200) == frozen.encode(original, 200)
    shifted = np.minimum(original.astype(np.float32) + 0.4, 255)
    assert frozen.latent(shifted).shape[2:] == (5, 4)
    assert not torch.equal(frozen.latent(shifted), frozen.latent(original.astype(np.float32)))
    decoded = frozen.decode(frozen.encode_levels(shifted, 255), 70, 50)
    assert decoded.shape == (70, 50)
    for wrong in (original, shifted[None], shifted + 90, shifted - 200, shifted * np.nan, shifted[:0]):
        with pytest.raises(UsageError, match="planes of levels"):
            frozen.encode_levels(wrong, 0)


def test_the_digest_is_taken_once_and_follows_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, other = freeze_index_planes(tiny()), tiny()
    first = frozen.digest
    with monkeypatch.context() as patch:
        patch.setattr(index_planes, "digest", lambda *_: pytest.fail("weights were hashed again"))
        assert frozen.digest == first
    with torch.no_grad():
        next(other.synthesis.parameters()).add_(1.0)
    frozen.with_trained(other)
    assert frozen.digest != first
    again = freeze_index_planes(tiny())
    frozen.with_arrays({**again.decode_arrays(), **again.encode_arrays()})
    assert frozen.digest == first
