"""The one-channel ELIC codec of feature planes: sizes, bytes, configuration."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from smalto.codecs.elic_planes import (
    ELIC_PLANES,
    ElicPlaneCodec,
    ElicPlaneConfig,
    FrozenElicPlaneCodec,
    freeze_elic_planes,
)
from smalto.codecs.hyperprior_frozen import PlaneCode
from smalto.errors import PacketError, WeightsError
from tests.codecs.test_index_planes import plane
from tests.tiny_elic import TINY_ELIC_PLANES, tiny_elic_planes


def test_layers_are_the_papers() -> None:
    with torch.device("meta"):
        codec = ElicPlaneCodec()
    assert (codec.config.filters, codec.config.codec.latent_channels) == (192, 320)
    assert codec.config.codec.groups == (16, 16, 32, 64, 192)
    assert sum(p.numel() for p in codec.analysis.parameters()) == pytest.approx(7.33e6, rel=0.01)
    assert sum(p.numel() for p in codec.parameters()) == pytest.approx(37.48e6, rel=0.001)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (70, 33), (5, 200)])
def test_bytes_there_and_back(size: tuple[int, int]) -> None:
    frozen = freeze_elic_planes(tiny_elic_planes())
    code = frozen.encode(plane(*size), 200)
    decoded = frozen.decode(code, *size)
    assert decoded.shape == size
    assert decoded.dtype == np.float32
    assert 0 <= decoded.min() <= decoded.max() <= 255
    assert np.array_equal(decoded, frozen.decode(code, *size))


def test_bytes_agree_with_the_estimate() -> None:
    trained = tiny_elic_planes()
    frozen = freeze_elic_planes(trained)
    original = plane(192, 192)
    planes = torch.from_numpy(original)[None, None].float() / 255
    with torch.no_grad():
        estimate = trained.estimate(planes, torch.tensor([200.0]))
    code = frozen.encode(original, 200)
    num_bits = 8 * (len(code.hyper) + sum(len(chunk) for chunk in code.main))
    assert num_bits == pytest.approx(float(estimate.bits), rel=0.1, abs=300)  # ten streams, each with its state
    decoded = frozen.decode(code, 192, 192)
    assert np.abs(decoded / 255 - estimate.plane[0, 0].clamp(0, 1).numpy()).mean() < 0.01


def test_arrays_and_configuration_there_and_back() -> None:
    frozen = freeze_elic_planes(tiny_elic_planes())
    config = ElicPlaneConfig.from_array(TINY_ELIC_PLANES.to_array())
    assert config == TINY_ELIC_PLANES
    assert ElicPlaneConfig.from_array(ELIC_PLANES.to_array()) == ELIC_PLANES
    again = FrozenElicPlaneCodec.from_arrays(config, {**frozen.decode_arrays(), **frozen.encode_arrays()})
    assert again.digest == frozen.digest
    original = plane(40, 40)
    assert again.encode(original, 99) == frozen.encode(original, 99)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"codec": {"groups": 3, "more": 1}}', '{"width": 1, "codec": {}}'])
def test_a_wrong_configuration_is_named(text: str) -> None:
    with pytest.raises(WeightsError, match="configuration"):
        ElicPlaneConfig.from_array(np.frombuffer(text.encode(), np.uint8))


def test_damage_is_named() -> None:
    frozen = freeze_elic_planes(tiny_elic_planes())
    code = frozen.encode(plane(64, 64), 255)
    for broken in (
        PlaneCode(255, code.hyper[:-1], code.main),
        PlaneCode(255, code.hyper, (code.main[0][:-2],)),
        PlaneCode(255, code.hyper, ()),
    ):
        with pytest.raises(PacketError):
            frozen.decode(broken, 64, 64)
