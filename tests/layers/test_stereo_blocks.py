"""Blocks of the stereo network keep shapes, and fresh attention leaves a volume nearly as it is."""

from __future__ import annotations

import pytest
import torch

from smalto.layers.stereo_blocks import Aggregation, InvertedResidual, StripAttention, UpNorm


@pytest.mark.parametrize(("channels_out", "stride", "has_skip"), [(8, 1, True), (12, 1, False), (8, 2, False)])
def test_inverted_residual_adds_its_input_where_it_can(channels_out: int, stride: int, has_skip: bool) -> None:
    torch.manual_seed(0)
    block = InvertedResidual(8, channels_out, stride).eval()
    x = torch.randn(2, 8, 12, 16)
    answer = block(x)
    assert answer.shape == (2, channels_out, 12 // stride, 16 // stride)
    assert block.has_skip == has_skip
    with torch.no_grad():
        block.layers[-1][1].weight.zero_()  # type: ignore[index]
    assert torch.equal(block(x), x) == has_skip


def test_up_norm_doubles() -> None:
    assert UpNorm(6, 4)(torch.randn(2, 6, 5, 7)).shape == (2, 4, 10, 14)


def test_fresh_attention_is_near_one_and_sees_the_left_view_along_strips() -> None:
    torch.manual_seed(0)
    attention = StripAttention(5, 8).requires_grad_(False)
    volume, left = torch.ones(1, 8, 40, 40), torch.zeros(1, 5, 40, 40)
    weights = attention(volume, left)
    assert 0.3 < float(weights[..., 20, 20].mean()) < 1.7
    left[..., 20, 20] = 10.0
    is_seen = (attention(volume, left) - weights).abs().amax(dim=(0, 1)) > 1e-6  # (40, 40)
    rows, columns = torch.nonzero(is_seen, as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (20 - 12, 20 + 12)  # half a strip of 21 and half a 5x5
    assert (int(columns.min()), int(columns.max())) == (20 - 12, 20 + 12)


def test_attention_scales_the_volume() -> None:
    torch.manual_seed(0)
    attention = StripAttention(5, 8)
    volume, left = torch.randn(1, 8, 6, 6), torch.randn(1, 5, 6, 6)
    torch.testing.assert_close(attention(2 * volume, left), 2 * attention(volume, left))


def test_aggregation_keeps_the_volumes_shape() -> None:
    torch.manual_seed(0)
    network = Aggregation((8, 12, 16), (1, 2, 1), 2, (5, 6, 7))
    left = [torch.randn(2, 5, 8, 16), torch.randn(2, 6, 4, 8), torch.randn(2, 7, 2, 4)]
    answer = network(torch.randn(2, 8, 8, 16), left)
    assert answer.shape == (2, 8, 8, 16)
    answer.square().mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in network.parameters())
