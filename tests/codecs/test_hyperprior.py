"""The training form of the hyperprior: rates, gains and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smalto.bits.cdf import gaussian_scales
from smalto.codecs.hyperprior import (
    LOG_STEP,
    MAX_SCALE,
    MIN_SCALE,
    NUM_SCALES,
    GainTable,
    MeanScaleHyperprior,
    gaussian_bits,
)
from tests.tiny_models import TINY_CODEC, latent, seeded, tiny_trained


def test_scales_are_those_of_the_tables() -> None:
    ours = [MIN_SCALE * math.exp(LOG_STEP * k) for k in range(NUM_SCALES)]
    np.testing.assert_allclose(ours, gaussian_scales(), rtol=1e-12)
    assert ours[-1] == pytest.approx(MAX_SCALE)


def test_gaussian_bits_are_the_cell_masses() -> None:
    normal = torch.distributions.Normal(0.0, 1.7)
    symbols = torch.tensor([-3.0, 0.0, 1.0, 6.0])
    expected = -torch.log2(normal.cdf(symbols + 0.5) - normal.cdf(symbols - 0.5))
    torch.testing.assert_close(gaussian_bits(symbols, torch.tensor(1.7)), expected, atol=1e-3, rtol=1e-3)
    assert float(gaussian_bits(torch.tensor(500.0), torch.tensor(0.11))) == 30.0


def test_gains_are_interpolated_in_their_logarithm() -> None:
    table = GainTable(2, 3, 0.5, 2.0)
    gains = table(torch.tensor([0, 127.5, 255]))[:, 0, 0, 0].detach()
    torch.testing.assert_close(gains, torch.tensor([0.5, 1.0, 2.0]))
    middle = table(torch.tensor([63.75]))[0, 1, 0, 0].detach()
    assert float(middle) == pytest.approx(math.sqrt(0.5), rel=1e-6)


def test_estimate_is_the_rate_of_the_rounded_symbols() -> None:
    codec = tiny_trained()
    y, q = latent(8, 12), torch.tensor([100])
    with torch.no_grad():
        first, second = codec.estimate(y, q), codec.estimate(y, q)
        z_hat, _, step = codec.hyper(y, q)
        mean, gain = codec.mean_path(z_hat), codec.gain(q)
        sigma = codec.scales(codec.scale_path(z_hat), gain)
        symbols = torch.floor((y - mean) * gain + 0.5)
    torch.testing.assert_close(first.y_bits, gaussian_bits(symbols, sigma).sum(dim=(1, 2, 3)))
    torch.testing.assert_close(first.z_bits, codec.prior.bits(z_hat, step).detach())
    torch.testing.assert_close(first.y_bits, second.y_bits)  # noise moves gradients only
    torch.testing.assert_close(first.y_hat, mean + symbols * codec.inverse_gain(q))


def test_rate_rises_with_the_level() -> None:
    codec = tiny_trained()
    y = latent(8, 8).expand(6, -1, -1, -1)
    with torch.no_grad():
        estimate = codec.estimate(y, torch.tensor([0, 51, 102, 153, 204, 255]))
    assert bool((estimate.y_bits.diff() > 0).all())
    errors = (estimate.y_hat - y).square().mean(dim=(1, 2, 3))
    assert bool((errors.diff() < 0).all())


def test_every_weight_learns_from_rate_and_distortion() -> None:
    codec = seeded(MeanScaleHyperprior, TINY_CODEC).train()
    y = latent(8, 8).requires_grad_()
    estimate = codec.estimate(y, torch.tensor([80]))
    loss = estimate.y_bits.sum() + estimate.z_bits.sum() + 100 * (estimate.y_hat - y).square().sum()
    loss.backward()
    assert y.grad is not None
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().sum()) > 0, name


def test_hyper_steps_follow_the_four_ranges_of_quality() -> None:
    codec = tiny_trained()
    q = torch.tensor([0, 63, 64, 127, 128, 191, 192, 255])
    assert codec.z_gain(q)[:, 0, 0, 0].tolist() == [6, 6, 4, 4, 3, 3, 2, 2]
