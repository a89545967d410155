"""The one-channel ELIC codec of feature planes: sizes and configuration; its bytes in ``test_index_planes``."""

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
from smalto.errors import WeightsError
from tests.codecs.test_index_planes import plane
from tests.tiny_elic import TINY_ELIC_PLANES, tiny_elic_planes


def test_layers_are_the_papers() -> None:
    with torch.device("meta"):
        codec = ElicPlaneCodec()
    assert (codec.config.filters, codec.config.codec.latent_channels) == (192, 320)
    assert codec.config.codec.groups == (16, 16, 32, 64, 192)
    assert sum(p.numel() for p in codec.analysis.parameters()) == pytest.approx(7.33e6, rel=0.01)
    assert sum(p.numel() for p in codec.parameters()) == pytest.approx(37.48e6, rel=0.001)


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
