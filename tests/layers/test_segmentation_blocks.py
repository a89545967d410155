"""PIDNet's parts against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.layers.segmentation_blocks import (
    BoundaryFusion,
    LightBoundaryFusion,
    PixelAttentionFusion,
    PyramidPooling,
    basic_stage,
    bottleneck_stage,
)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_branches_meet_unrectified() -> None:
    x = torch.randn(2, 6, 9, 7)
    for stage in (basic_stage(6, 8, 2), bottleneck_stage(6, 4, 2)):
        y = stage(x).detach()
        assert y.shape == (2, 8, 9, 7)
        assert float(y.min()) < 0
    assert basic_stage(6, 8, 3, stride=2)(x).shape == (2, 8, 5, 4)


def test_attention_mixes_between_its_inputs() -> None:
    fusion = PixelAttentionFusion(4, 2).eval().requires_grad_(False)
    detail, context = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    mixed = fusion(detail, context)
    low, high = torch.minimum(detail, context), torch.maximum(detail, context)
    assert bool(((mixed >= low - 1e-6) & (mixed <= high + 1e-6)).all())
    for conv in (fusion.of_detail[0], fusion.of_context[0]):
        conv.weight.fill_(100.0)  # type: ignore[operator, union-attr]
    same = torch.rand(1, 4, 8, 8) + 0.1  # agrees with itself: the context is believed wholly
    torch.testing.assert_close(fusion(same, same.flip(1)), same.flip(1))


@pytest.mark.parametrize("is_parallel", [True, False])
def test_the_pyramid_sees_everything(is_parallel: bool) -> None:
    pyramid = PyramidPooling(6, 4, 5, is_parallel).eval()
    x = torch.randn(1, 6, 12, 20, requires_grad=True)
    y = pyramid(x)
    assert y.shape == (1, 5, 12, 20)
    (gradient,) = torch.autograd.grad(y[0, :, 0, 0].square().sum(), x)
    assert bool((gradient.abs().sum(dim=1) > 0).float().mean() > 0.5)


def test_the_boundary_decides() -> None:
    detail, context = torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6)
    far = torch.full_like(detail, 40.0)
    bag = BoundaryFusion(4).eval().requires_grad_(False)
    torch.testing.assert_close(bag(detail, context, far), bag.mix(detail))
    torch.testing.assert_close(bag(detail, context, -far), bag.mix(context))
    light = LightBoundaryFusion(4).eval().requires_grad_(False)
    p, i = light.of_detail, light.of_context
    torch.testing.assert_close(light(detail, context, far), p(detail) + i(context + detail))
    torch.testing.assert_close(light(detail, context, -far), p(context + detail) + i(context))


def test_gradients_reach_both_forms() -> None:
    for fuse in (BoundaryFusion(4), LightBoundaryFusion(4)):
        assert isinstance(fuse, nn.Module)
        fuse(*(torch.randn(2, 4, 5, 5) for _ in range(3))).square().sum().backward()
        assert all(parameter.grad is not None for parameter in fuse.parameters())
