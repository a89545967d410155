"""The image encoder: published sizes, the light configuration's limits, what one latent cell can see."""

from __future__ import annotations

import pytest
import torch

from smalto.encoders import ENCODERS
from smalto.encoders.hific import HIFIC, LITE, Encoder, EncoderConfig
from tests.tiny_models import NARROW_HIFIC_ENCODER, TINY_ENCODER, macs_per_pixel, num_parameters, reach, seeded


def test_hific_has_the_published_size() -> None:
    with torch.device("meta"):
        encoder = ENCODERS["hific"]()
        x = torch.empty(1, 3, 256, 256)
    assert num_parameters(encoder) == 7_423_420
    assert encoder(x).shape == (1, 220, 16, 16)
    assert macs_per_pixel(encoder, x, 256 * 256) == pytest.approx(81_000, rel=0.01)


def test_lite_is_the_same_code_and_light() -> None:
    encoder = ENCODERS["lite"]()
    x = torch.rand(1, 3, 64, 64)
    assert type(encoder) is Encoder
    assert encoder(x).shape == (1, LITE.latent_channels, 4, 4)
    assert macs_per_pixel(encoder, x, 64 * 64) < 25_000


@pytest.mark.parametrize("config", [TINY_ENCODER, NARROW_HIFIC_ENCODER], ids=["lite", "hific"])
def test_one_cell_sees_no_further_than_the_halo(config: EncoderConfig) -> None:
    encoder = seeded(Encoder, config)
    halo, stride = encoder.halo_px, config.stride
    cells = 2 * (halo // stride) + 3
    centre = cells // 2
    x = torch.rand(1, 3, cells * stride, cells * stride, generator=torch.Generator().manual_seed(0))
    first_row, last_row, first_column, last_column = reach(encoder, x, centre, centre)
    assert halo % stride == 0
    for first, last in ((first_row, last_row), (first_column, last_column)):
        assert centre * stride - halo <= first
        assert last < (centre + 1) * stride + halo
        assert last - first >= stride - 1


def test_halo_is_not_larger_than_needed_by_a_cell_each_side() -> None:
    encoder = seeded(Encoder, TINY_ENCODER)
    cells = 2 * (encoder.halo_px // 16) + 3
    x = torch.rand(1, 3, cells * 16, cells * 16, generator=torch.Generator().manual_seed(0))
    first, _, _, _ = reach(encoder, x, cells // 2, cells // 2)
    assert (cells // 2) * 16 - first > encoder.halo_px - 16


def test_lite_starts_as_its_linear_path() -> None:
    torch.manual_seed(0)
    encoder = Encoder(TINY_ENCODER)
    x = torch.rand(1, 3, 32, 32)
    assert encoder.linear is not None
    linear = encoder.linear(x - 0.5)
    difference = (encoder(x) - linear).detach().std()
    assert float(difference) < 0.2 * float(linear.detach().std())


def test_hific_downs_pad_below_and_right_only() -> None:
    encoder = seeded(Encoder, NARROW_HIFIC_ENCODER)
    down = encoder.stages[1][0]
    x = torch.rand(1, 4, 6, 6)
    first = reach(down, x, 0, 0)
    last = reach(down, x, 2, 2)
    assert first == (0, 2, 0, 2)
    assert last == (4, 5, 4, 5)


def test_stride_follows_the_configuration() -> None:
    assert HIFIC.stride == LITE.stride == TINY_ENCODER.stride == 16
