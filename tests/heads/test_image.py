"""The image decoder: published sizes, the light configuration's limits, what one pixel can see."""

from __future__ import annotations

import pytest
import torch

from smalto.codecs.hyperprior import MeanScaleHyperprior
from smalto.encoders.hific import Encoder
from smalto.heads import HEADS
from smalto.heads.image import HIFIC, LITE, Decoder, DecoderConfig
from tests.tiny_models import NARROW_HIFIC_DECODER, TINY_DECODER, macs_per_pixel, num_parameters, seeded


def test_hific_generator_has_the_published_size() -> None:
    with torch.device("meta"):
        decoder = HEADS["hific"]()
        y = torch.empty(1, 220, 16, 16)
    assert num_parameters(decoder) == 156_774_683
    assert decoder(y).shape == (1, 3, 256, 256)
    assert macs_per_pixel(decoder, y, 256 * 256) == pytest.approx(664_000, rel=0.01)


def test_lite_model_stays_within_ten_million_parameters() -> None:
    with torch.device("meta"):
        parts = [Encoder(), Decoder(), MeanScaleHyperprior()]
    assert sum(num_parameters(part) for part in parts) <= 10_000_000
    assert macs_per_pixel(Decoder(), torch.randn(1, LITE.latent_channels, 4, 4), 64 * 64) < 25_000


@pytest.mark.parametrize("config", [TINY_DECODER, NARROW_HIFIC_DECODER], ids=["lite", "hific"])
def test_a_cell_changes_no_pixel_further_than_the_halo(config: DecoderConfig) -> None:
    decoder = seeded(Decoder, config)
    halo, stride = decoder.halo_cells, config.stride
    cells = 2 * halo + 3
    y = torch.randn(1, config.latent_channels, cells, cells, generator=torch.Generator().manual_seed(0))
    changed = y.clone()
    centre = cells // 2
    changed[:, :, centre, centre] += 5
    with torch.no_grad():
        touched = (decoder(changed) != decoder(y)).any(1)[0]
    rows = torch.nonzero(touched.any(1)).flatten()
    columns = torch.nonzero(touched.any(0)).flatten()
    for axis in (rows, columns):
        assert int(axis[0]) >= (centre - halo) * stride
        assert int(axis[-1]) < (centre + 1 + halo) * stride
        assert int(axis[-1]) - int(axis[0]) >= stride - 1


def test_lite_starts_as_its_linear_path() -> None:
    torch.manual_seed(0)
    decoder = Decoder(TINY_DECODER)
    y = torch.randn(1, TINY_DECODER.latent_channels, 3, 4)
    assert decoder.linear is not None
    linear = decoder.linear(y) + 0.5
    assert float((decoder(y) - linear).detach().std()) < 0.3 * float(linear.detach().std())


def test_generator_has_the_long_skip_around_its_trunk() -> None:
    decoder = seeded(Decoder, NARROW_HIFIC_DECODER)
    y = torch.randn(1, NARROW_HIFIC_DECODER.latent_channels, 4, 4)
    with torch.no_grad():
        head = decoder.head_norm(decoder.head(decoder.in_norm(y)))
        hidden = head + decoder.trunk(head)
        for stage in decoder.stages:
            hidden = stage(hidden)
        expected = decoder.out(hidden) + 0.5
        torch.testing.assert_close(decoder(y), expected)


def test_strides_follow_the_configurations() -> None:
    assert HIFIC.stride == LITE.stride == TINY_DECODER.stride == NARROW_HIFIC_DECODER.stride == 16
