"""Blocks of the shared neural space: shapes, sizes, what the skip carries."""

from __future__ import annotations

import torch

from smalto.layers.shared_blocks import NarrowBlock, NarrowStage, doubled, halved
from tests.tiny_models import num_parameters


def test_sizes_are_the_published_ones() -> None:
    assert num_parameters(NarrowBlock()) == 3 * 3 * 128 * 32 + 32 + 32 * 128 + 128
    assert num_parameters(NarrowStage(64)) == 73_856 + 2 * 41_120


def test_the_skip_carries_the_input_itself() -> None:
    block = NarrowBlock(4, 2)
    torch.nn.init.zeros_(block.widen.weight)
    torch.nn.init.zeros_(block.widen.bias)  # type: ignore[arg-type]
    x = torch.randn(1, 4, 5, 6)
    before = x.clone()
    assert torch.equal(block(x), before)
    assert torch.equal(x, before)


def test_a_stage_is_rectified_and_sees_three_cells() -> None:
    torch.manual_seed(0)
    stage = NarrowStage(3)
    x = torch.randn(1, 3, 11, 11, requires_grad=True)
    y = stage(x)
    assert float(y.detach().min()) >= 0
    y[:, :, 5, 5].sum().backward()
    assert x.grad is not None
    rows = x.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert rows.tolist() == list(range(5 - NarrowStage.reach_cells, 5 + NarrowStage.reach_cells + 1))


def test_halving_and_doubling_keep_centres() -> None:
    down, up = halved(1, 1), doubled(1, 1)
    with torch.no_grad():
        for layer in (down, up):
            layer.weight.fill_(0.25)
            layer.weight[:, :, [0, 3]] = 0
            layer.weight[:, :, :, [0, 3]] = 0
            layer.bias.zero_()  # type: ignore[union-attr]
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert down(ramp)[0, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert (4 * up(down(ramp)))[0, 0, 0].tolist() == [0.5, 0.5, 2.5, 2.5, 4.5, 4.5, 6.5, 6.5]
