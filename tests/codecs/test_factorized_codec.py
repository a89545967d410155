"""The factorised codec: its tables, its bytes, its rate."""

from __future__ import annotations

import pytest
import torch

from smalto.codecs.factorized_codec import (
    FactorizedCodec,
    FactorizedConfig,
    FrozenFactorized,
    freeze_factorized,
    table_set,
)
from smalto.codecs.hyper_coder import PlaneCode
from smalto.errors import DamagedPacket, UsageError
from smalto.testing import check_codec

CONFIG = FactorizedConfig(latent_channels=6)


@pytest.fixture(scope="module")
def trained() -> FactorizedCodec:
    torch.manual_seed(0)
    return FactorizedCodec(CONFIG)


@pytest.fixture(scope="module")
def frozen(trained: FactorizedCodec) -> FrozenFactorized:
    return freeze_factorized(trained)


def test_both_forms_conform(trained: FactorizedCodec, frozen: FrozenFactorized) -> None:
    check_codec(trained)
    check_codec(frozen)


def test_the_decoded_latent_is_the_estimated_one(trained: FactorizedCodec, frozen: FrozenFactorized) -> None:
    y = 5 * torch.randn(1, 6, 9, 7)
    for q in (0, 100, 255):
        estimate = trained.estimate(y, torch.tensor([q]))
        decoded = frozen.decode(frozen.encode(y, q), 9, 7)
        is_close = torch.isclose(decoded, estimate.y_hat.detach(), rtol=2e-3, atol=2e-3)
        assert float(is_close.float().mean()) > 0.99  # shipped gains have half precision: a tie may fall the other way


def test_the_estimated_rate_is_the_rate_of_the_bytes(trained: FactorizedCodec, frozen: FrozenFactorized) -> None:
    y = 4 * torch.randn(1, 6, 48, 48)
    estimate = trained.estimate(y, torch.tensor([150]))
    real = 8 * len(frozen.encode(y, 150).main[0])
    assert real == pytest.approx(float(estimate.y_bits.detach()), rel=0.01)


def test_far_values_are_escaped(frozen: FrozenFactorized) -> None:
    y = torch.zeros(1, 6, 2, 2)
    y[0, 3, 1, 0] = 2000.0
    decoded = frozen.decode(frozen.encode(y, 255), 2, 2)
    assert float(decoded[0, 3, 1, 0]) == pytest.approx(2000.0, rel=2e-3)


def test_sixteen_qualities_share_a_table_set() -> None:
    sets = table_set(torch.arange(256))
    assert sets.unique().tolist() == list(range(8, 256, 16))


def test_bad_levels_and_chunks_are_named(frozen: FrozenFactorized) -> None:
    with pytest.raises(UsageError, match=r"outside 0\.\.255"):
        frozen.encode(torch.zeros(1, 6, 2, 2), 256)
    with pytest.raises(DamagedPacket, match="2 chunks where"):
        frozen.decode(PlaneCode(3, b"", (b"", b"")), 2, 2)
