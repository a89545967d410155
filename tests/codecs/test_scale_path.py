"""The scale path: the integer form, its training simulation and the oracle give the same integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.codecs.scale_path import IntegerScalePath, ScaleLayer, ScalePath, reference_indexes, scale_layers
from smalto.errors import WeightsError
from tests.tiny_models import seeded

LAYERS = scale_layers(3, (5, 4), 6)


def _symbols(shape: tuple[int, ...], seed: int = 0, limit: int = 200) -> torch.Tensor:
    return torch.randint(-limit, limit + 1, shape, generator=torch.Generator().manual_seed(seed)).double()


@settings(max_examples=25)
@given(st.integers(0, 2**31 - 1), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_integer_form_is_the_oracle(seed: int, height: int, width: int, batch: int) -> None:
    path = seeded(ScalePath, LAYERS, seed % 7).frozen()
    z = _symbols((batch, 3, height, width), seed)
    indexes = path(z)
    assert indexes.dtype == torch.float64
    assert indexes.shape == (batch, 6, 4 * height, 4 * width)
    assert np.array_equal(indexes.numpy(), reference_indexes(path, z.numpy()))


@pytest.mark.parametrize("seed", range(5))
def test_training_simulates_the_integer_form_exactly(seed: int) -> None:
    trained = seeded(ScalePath, LAYERS, seed)
    z = _symbols((2, 3, 4, 5), seed)
    with torch.no_grad():
        assert torch.equal(trained(z.float()).double(), trained.frozen()(z))


def test_a_pointwise_last_layer_is_supported() -> None:
    path = seeded(ScalePath, scale_layers(3, (5, 4), 6, kernel=1)).frozen()
    z = _symbols((1, 3, 2, 3))
    assert np.array_equal(path(z).numpy(), reference_indexes(path, z.numpy()))


def test_symbols_beyond_eight_bits_are_clamped() -> None:
    path = seeded(ScalePath, LAYERS).frozen()
    far = torch.tensor([10_000.0, -10_000.0, 0.0], dtype=torch.float64)[None, :, None, None]
    near = torch.tensor([127.0, -128.0, 0.0], dtype=torch.float64)[None, :, None, None]
    assert torch.equal(path(far), path(near))


def test_gradients_reach_every_weight() -> None:
    trained = seeded(ScalePath, LAYERS)
    trained(_symbols((1, 3, 3, 3), limit=20).float()).sum().backward()
    for parameter in trained.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().sum()) > 0


def test_casting_the_module_leaves_the_integers_exact() -> None:
    path = seeded(ScalePath, LAYERS).frozen()
    z = _symbols((1, 3, 3, 3))
    before = path(z)
    for cast in (path.half(), path.float(), path.to(torch.bfloat16)):
        assert cast.weight0.dtype == torch.float64
        assert torch.equal(cast(z), before)


def test_sums_that_double_precision_cannot_hold_are_refused() -> None:
    path = IntegerScalePath((ScaleLayer(1, 1, 1, 1),))
    with pytest.raises(WeightsError, match="not exact in float64"):
        path.load_integers([torch.tensor([[2**46]])], [torch.tensor([0])])


def test_weights_beyond_sixteen_bits_are_refused() -> None:
    trained = seeded(ScalePath, LAYERS)
    with torch.no_grad():
        trained.weights[1].mul_(1e4)
    with pytest.raises(WeightsError, match="16 bits"):
        trained.frozen()
