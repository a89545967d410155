"""Transposed convolutions as 3x3 convolutions and pixel shuffles, and their integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from smalto.codecs.hific_hyperprior import HificSynthesis
from smalto.codecs.hyperprior import LOG_STEP, MIN_SCALE
from smalto.codecs.scale_path import reference_indexes
from smalto.codecs.transposed import SIGMA_UNIT, as_convolution, integer_scale_path, sigma_thresholds
from smalto.errors import WeightsError
from tests.tiny_models import seeded

WIDTHS = (6, 8, 8, 5)


def _z(seed: int = 0, limit: int = 12) -> torch.Tensor:
    return torch.randint(-limit, limit + 1, (4, 6, 5, 6), generator=torch.Generator().manual_seed(seed)).float()


def _synthesis(seed: int = 0, level: float = 20.0, slope: float = 0.0) -> HificSynthesis:
    synthesis = HificSynthesis(WIDTHS, slope)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for parameter in synthesis.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.25 if parameter.dim() == 4 else 0.1))
        synthesis.out.bias.fill_(level)  # type: ignore[union-attr]
    return synthesis


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 100))
def test_shuffled_convolution_is_the_transposed_one(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 4, 5, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    expected = F.conv_transpose2d(x, weight, stride=2, padding=2, output_padding=1)
    torch.testing.assert_close(F.pixel_shuffle(F.conv2d(x, as_convolution(weight), padding=1), 2), expected)


@pytest.mark.parametrize("seed", range(3))
def test_integer_path_follows_the_float_synthesis_within_a_quarter_step(seed: int) -> None:
    synthesis, z = _synthesis(seed), _z(seed)
    path = integer_scale_path(synthesis, z, sigma=False)
    with torch.no_grad():
        exact = synthesis(z)
    found = path(z) / 16
    assert float(exact.std()) > 2
    difference = (found - exact).abs()
    assert float(difference.mean()) < 0.12
    assert float(difference.max()) < 1.0


@pytest.mark.parametrize("sigma", [False, True])
def test_integer_path_is_the_oracle(sigma: bool) -> None:
    synthesis, z = _synthesis(1, 4.0 if sigma else 20.0), _z(1)
    path = integer_scale_path(synthesis, z, sigma)
    assert len({layer.shift for layer in path.layers} - {8}) > 0
    assert np.array_equal(path(z).numpy(), reference_indexes(path, z.numpy()))


def test_sigma_becomes_the_index_of_its_logarithm() -> None:
    synthesis, z = _synthesis(2, 6.0), _z(2)
    path = integer_scale_path(synthesis, z, sigma=True)
    with torch.no_grad():
        sigma = synthesis(z).clamp_min(MIN_SCALE)
    expected = torch.log(sigma / MIN_SCALE) / LOG_STEP
    clear = sigma > 0.5  # where an error of one activation step is small beside sigma
    difference = (path(z) / 16 - expected).abs()[clear]
    assert int(clear.sum()) > 100
    assert float(difference.mean()) < 0.25


def test_thresholds_rise_and_lie_where_the_index_rounds_up() -> None:
    thresholds = sigma_thresholds()
    assert len(thresholds) == 63 * 16
    assert bool((thresholds.diff() > 0).all())
    for k in (1, 2, 500, 1008):
        at = float(thresholds[k - 1]) * SIGMA_UNIT
        index = 16 * np.log(at / MIN_SCALE) / LOG_STEP
        assert k - 0.5 <= index < k + 0.5


def test_activations_beyond_the_calibrated_range_are_cut_not_wrapped() -> None:
    synthesis = _synthesis(1)
    path = integer_scale_path(synthesis, _z(1, limit=2), sigma=False)
    far = _z(1, limit=120)
    assert np.array_equal(path(far).numpy(), reference_indexes(path, far.numpy()))


def test_leaky_rectifiers_are_refused() -> None:
    with pytest.raises(WeightsError, match="leaky"):
        integer_scale_path(_synthesis(slope=0.01), _z(), sigma=False)


def test_weights_that_fit_no_shift_are_refused() -> None:
    synthesis = seeded(HificSynthesis, WIDTHS)
    with torch.no_grad():
        synthesis.out.weight.mul_(1e12)
    with pytest.raises(WeightsError, match="16 bits"):
        integer_scale_path(synthesis, _z(), sigma=False)
