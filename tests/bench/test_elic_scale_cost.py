"""The price of a scale path that reads symbols: measured on the same symbols, found where there is one."""

from __future__ import annotations

import pytest
import torch

from smalto.bench.elic_scale_cost import FloatScale, ScaleCost, fit_float_scale, scale_cost
from tests.tiny_elic import TINY_ELIC, tiny_elic_trained
from tests.tiny_models import latent


def test_what_is_coded_is_the_models_own_estimate() -> None:
    codec, y = tiny_elic_trained(), latent(8, 12)
    cost = scale_cost(codec, {}, [y, y], 90)
    with torch.no_grad():
        estimate = codec.estimate(y, torch.tensor([90]))
    assert cost.coded == pytest.approx(float(estimate.y_bits) / y.numel(), rel=1e-5)
    assert cost.hyper == pytest.approx(float(estimate.z_bits) / y.numel(), rel=1e-5)


def test_excess_counts_the_hyper_symbols_on_both_sides() -> None:
    assert ScaleCost(90, 1.1, {"values": 0.9}, 0.1).excess("values") == pytest.approx(0.2)


@pytest.mark.parametrize("reads", ["values", "symbols"])
def test_a_float_scale_learns_what_the_random_scale_path_does_not_know(reads) -> None:  # type: ignore[no-untyped-def]
    """Latents whose scale is that of their first channel: an untrained model does not see it, a fitted network does."""
    codec = tiny_elic_trained()
    generator = torch.Generator().manual_seed(1)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        size = torch.where(torch.rand(4, 1, 8, 8, generator=generator) < 0.5, 0.2, 6.0)
        return size * torch.randn(4, 8, 8, 8, generator=generator), torch.full((4,), 200)

    y, _ = batch()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        start = FloatScale(TINY_ELIC, reads).eval()
        fitted = fit_float_scale(codec, batch, reads, num_steps=60, learning_rate=1e-2)
    cost = scale_cost(codec, {"start": start, "fitted": fitted}, [y], 200)
    assert cost.floats["fitted"] < 0.9 * cost.floats["start"]
    assert cost.floats["fitted"] < cost.coded
    assert cost.excess("fitted") > 0
