"""Blocks against their formulas."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from smalto.layers.blocks import ChannelNorm, ResidualBlock, SeparableBlock
from tests.tiny_models import num_parameters, reach, seeded


def test_channel_norm_is_the_formula_with_the_unbiased_variance() -> None:
    norm = seeded(ChannelNorm, 5)
    x = torch.randn(2, 5, 3, 4) * 3 + 1
    mean = x.sum(1, keepdim=True) / 5
    variance = ((x - mean) ** 2).sum(1, keepdim=True) / 4
    expected = norm.gamma * (x - mean) / torch.sqrt(variance + 1e-3) + norm.beta
    torch.testing.assert_close(norm(x), expected)


def test_channel_norm_sees_one_position_only() -> None:
    assert reach(seeded(ChannelNorm, 5), torch.randn(1, 5, 7, 9), 3, 4) == (3, 3, 4, 4)


def test_residual_block_of_the_generator_is_the_published_sequence() -> None:
    block = seeded(ResidualBlock, 6)
    x = torch.randn(1, 6, 5, 4)
    inner = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), block.conv1.weight, block.conv1.bias)
    inner = torch.relu(block.norm1(inner))
    inner = F.conv2d(F.pad(inner, (1, 1, 1, 1), mode="reflect"), block.conv2.weight, block.conv2.bias)
    torch.testing.assert_close(block(x), x + block.norm2(inner))


def test_residual_block_without_norm_pads_with_zeros() -> None:
    block = ResidualBlock(4, norm=False)
    assert block.conv1.padding_mode == "zeros"
    assert num_parameters(block) == 2 * (4 * 4 * 9 + 4)


def test_separable_block_starts_close_to_the_identity_and_sees_one_neighbour() -> None:
    torch.manual_seed(0)
    block = SeparableBlock(32)
    x = torch.randn(1, 32, 9, 9)
    assert float((block(x) - x).detach().std()) < 0.3
    assert reach(block, x, 4, 4) == (3, 5, 3, 5)
