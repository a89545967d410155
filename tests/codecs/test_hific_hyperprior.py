"""HiFiC's hyperprior: published sizes, paper-form estimate, real bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from smalto.codecs import CODECS
from smalto.codecs.hific_hyperprior import HificAnalysis, HificHyperprior, hific_from_arrays
from smalto.codecs.hyperprior import gaussian_bits
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.codecs.tiles import Tile
from smalto.errors import UsageError
from tests.tiny_models import NARROW_HIFIC_CODEC, latent, macs_per_pixel, num_parameters, seeded, tiny_hific_codec
from tests.tiny_models import tiny_hific_trained as trained


def test_published_sizes() -> None:
    with torch.device("meta"):
        codec = CODECS["hific"]()
        y, z = torch.empty(1, 220, 16, 16), torch.empty(1, 320, 4, 4)
    assert isinstance(codec, HificHyperprior)
    assert num_parameters(codec.analysis) == 5_754_560
    assert num_parameters(codec.mean_path) + num_parameters(codec.scale_synthesis) == 11_508_920
    assert num_parameters(codec.prior) == 13_760
    assert codec.analysis(y).shape == (1, 320, 4, 4)
    assert codec.mean_path(z).shape == (1, 220, 16, 16)
    pixels = 256 * 256
    assert macs_per_pixel(codec.analysis, y, pixels) == pytest.approx(5_600, rel=0.02)
    syntheses = macs_per_pixel(codec.mean_path, z, pixels) + macs_per_pixel(codec.scale_synthesis, z, pixels)
    assert syntheses == pytest.approx(11_200, rel=0.02)


def test_estimate_in_evaluation_is_the_rate_of_the_rounded_symbols() -> None:
    codec, y = trained(), latent(8, 12)
    with torch.no_grad():
        estimate = codec.estimate(y)
        z_hat = torch.floor(codec.analysis(y) + 0.5)
        mean, sigma = codec.mean_path(z_hat), codec.sigma(z_hat)
        symbols = torch.floor(y - mean + 0.5)
    torch.testing.assert_close(estimate.y_hat, mean + symbols)
    torch.testing.assert_close(estimate.y_bits, gaussian_bits(symbols, sigma).sum(dim=(1, 2, 3)))
    assert float(sigma.min()) >= 0.11


def test_training_adds_uniform_noise_to_the_rate_only() -> None:
    codec, y = seeded(HificHyperprior, NARROW_HIFIC_CODEC, 2).train(), latent(8, 8).requires_grad_()
    first, second = codec.estimate(y), codec.estimate(y)
    assert not torch.equal(first.y_bits, second.y_bits)
    assert torch.equal(first.y_hat, second.y_hat)
    (first.y_bits.sum() + first.z_bits.sum() + first.y_hat.square().sum()).backward()
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (20, 4)])
def test_decoded_latent_is_the_senders(size: tuple[int, int]) -> None:
    codec, y = tiny_hific_codec(), latent(*size)
    z = torch.floor(codec.hyper_latent(y) + 0.5).double()
    _, mean = codec.parameters_of(z, 0, Tile(0, size[0], 0, size[1]))
    expected = mean + torch.floor(y - mean + 0.5)
    torch.testing.assert_close(codec.decode(codec.encode(y, 0), *size), expected, atol=2e-6, rtol=0)


def test_real_bytes_cost_what_the_float_form_estimates() -> None:
    """The integer scale path loses next to nothing against the float synthesis it replaces."""
    codec, y = tiny_hific_codec(), latent(32, 32, 5)
    with torch.no_grad():
        estimate = trained().estimate(y)
    code = codec.encode(y, 0)
    assert 8 * len(code.main[0]) == pytest.approx(float(estimate.y_bits), rel=0.005)
    assert 8 * len(code.hyper) == pytest.approx(float(estimate.z_bits), rel=0.02, abs=64)


def test_the_level_changes_nothing() -> None:
    codec, y = tiny_hific_codec(), latent(8, 8)
    low, high = codec.encode(y, 0), codec.encode(y, 255)
    assert (low.hyper, low.main) == (high.hyper, high.main)


@pytest.mark.parametrize("output", ["index", "sigma"])
def test_arrays_carry_the_whole_codec(output: str) -> None:
    config = replace(NARROW_HIFIC_CODEC, scale_output=output)
    codec = tiny_hific_codec(config)
    copy = hific_from_arrays(config, {**codec.decode_arrays(), **codec.encode_arrays()})
    y = latent(8, 12)
    code = codec.encode(y, 3)
    assert copy.encode(y, 3) == code
    assert torch.equal(copy.decode(code, 8, 12), codec.decode(code, 8, 12))
    assert "scale_path.shift" in codec.decode_arrays()
    for name, array in codec.decode_arrays().items():
        assert np.array_equal(copy.decode_arrays()[name], array), name


@pytest.mark.parametrize("size", [(4, 4), (4, 8), (8, 16)])
def test_reflection_works_down_to_one_hyper_cell(size: tuple[int, int]) -> None:
    config = replace(NARROW_HIFIC_CODEC, reflects=True)
    analysis = seeded(HificAnalysis, config)
    z = analysis(latent(*size))
    assert z.shape[2:] == (size[0] // 4, size[1] // 4)
    assert bool(torch.isfinite(z).all())


def test_the_coding_form_must_be_told_its_networks() -> None:
    codec = tiny_hific_codec()
    with pytest.raises(UsageError, match="pass them"):
        FrozenHyperprior(NARROW_HIFIC_CODEC, codec.z_tables, codec.y_tables)
