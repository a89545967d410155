"""ELIC's blocks against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from smalto.layers.elic_blocks import AttentionBlock, ResidualBottleneck
from tests.tiny_models import latent, num_parameters, reach, seeded


def _unit(block: ResidualBottleneck, x: torch.Tensor) -> torch.Tensor:
    inner = torch.relu(F.conv2d(x, block.reduce.weight, block.reduce.bias))
    inner = torch.relu(F.conv2d(F.pad(inner, (1, 1, 1, 1)), block.conv.weight, block.conv.bias))
    return x + F.conv2d(inner, block.expand.weight, block.expand.bias)


@pytest.mark.parametrize("channels", [6, 192])
def test_bottleneck_is_the_published_sequence(channels: int) -> None:
    block = seeded(ResidualBottleneck, channels)
    x = torch.randn(2, channels, 4, 5)
    torch.testing.assert_close(block(x), _unit(block, x))
    half = channels // 2
    assert num_parameters(block) == 2 * channels * half + 9 * half**2 + 2 * half + channels


def test_bottleneck_sees_one_neighbour() -> None:
    assert reach(seeded(ResidualBottleneck, 32), latent(7, 7, channels=32), 3, 3) == (2, 4, 2, 4)


def test_attention_weighs_the_trunk_between_nothing_and_all() -> None:
    block = seeded(AttentionBlock, 6)
    x = torch.randn(1, 6, 5, 4)
    trunk, mask = x, x
    for unit, other in zip(block.trunk, block.mask, strict=True):
        trunk, mask = torch.relu(_unit(unit, trunk)), torch.relu(_unit(other, mask))
    weight = 1 / (1 + torch.exp(-F.conv2d(mask, block.project.weight, block.project.bias)))
    torch.testing.assert_close(block(x), x + weight * trunk)


def test_attention_reaches_three_cells() -> None:
    assert reach(seeded(AttentionBlock, 32), latent(11, 11, channels=32), 5, 5) == (2, 8, 2, 8)
