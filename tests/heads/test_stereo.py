"""The stereo head and its twin on pixels: any size, known counts, gradients everywhere, one answer in any layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.heads.stereo import SIZES, PixelStereo, Size, StereoConfig, StereoHead
from smalto.layers.shared_planes import SharedPlanes

TINY = StereoConfig(
    (1, 1, 1),
    2,
    aggregation_widths=(8, 12, 16),
    pyramid_widths=(16, 16, 20, 24),
    pyramid_blocks=(1, 1, 1, 1),
    match_channels=8,
    guide_channels=8,
)
COUNTS: dict[Size, tuple[int, int]] = {
    "S": (3_539_833, 3_652_665),
    "M": (7_739_737, 7_852_569),
    "L": (24_768_601, 24_881_433),
}


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _planes(height: int, width: int, batch: int = 1) -> tuple[SharedPlanes, SharedPlanes]:
    torch.manual_seed(1)
    views = [
        SharedPlanes(torch.randn(batch, 64, height // 2, width // 2), torch.randn(batch, 64, height // 4, width // 4))
        for _ in range(2)
    ]
    return views[0], views[1]


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_the_recorded_numbers(size: Size) -> None:
    with torch.device("meta"):
        head, twin = StereoHead(SIZES[size]), PixelStereo(SIZES[size])
    assert (_count(head), _count(twin)) == COUNTS[size]
    assert SIZES[size].max_disparity_px == 192


@pytest.mark.parametrize(("height", "width"), [(32, 64), (36, 100), (4, 4), (60, 52)])
def test_planes_of_any_size_give_disparities_of_the_pictures(height: int, width: int) -> None:
    torch.manual_seed(0)
    head = StereoHead(TINY).eval().requires_grad_(False)
    fine, coarse = head(*_planes(height, width, batch=2))
    assert fine.shape == (2, 1, height, width)
    assert coarse.shape == (2, 1, height // 4, width // 4)
    assert fine.dtype == torch.float32
    for answer in (fine, coarse):
        assert 0 <= float(answer.min()) <= float(answer.max()) <= 4 * 7


@pytest.mark.parametrize(("height", "width"), [(33, 70), (1, 1), (64, 32)])
def test_pictures_of_any_size_give_disparities(height: int, width: int) -> None:
    torch.manual_seed(0)
    twin = PixelStereo(TINY).eval()
    fine, coarse = twin(torch.rand(1, 3, height, width), torch.rand(1, 3, height, width))
    assert fine.shape == (1, 1, height, width)
    assert coarse.shape == (1, 1, -(-height // 4), -(-width // 4))


@pytest.mark.parametrize("network", [StereoHead(TINY), PixelStereo(TINY)], ids=["planes", "pixels"])
def test_gradients_reach_every_parameter(network: nn.Module) -> None:
    torch.manual_seed(0)
    given = _planes(64, 64, 2) if isinstance(network, StereoHead) else torch.rand(2, 2, 3, 64, 64)
    fine, coarse = network(*given)
    (fine.mean() + coarse.mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert float(parameter.grad.abs().sum()) > 0 or "match.1.bias" in name, name


def test_channels_last_gives_the_same_answer() -> None:
    torch.manual_seed(0)
    head = StereoHead(TINY).eval().requires_grad_(False)
    left, right = _planes(64, 96)
    plain = head(left, right)
    head = head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    views = [SharedPlanes(*(plane.to(memory_format=torch.channels_last) for plane in view)) for view in (left, right)]
    turned = head(*views)
    for one, other in zip(plain, turned, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_views_are_not_exchangeable() -> None:
    torch.manual_seed(0)
    head = StereoHead(TINY).eval().requires_grad_(False)
    left, right = _planes(64, 96)
    assert not torch.allclose(head(left, right).fine, head(right, left).fine)


@pytest.mark.slow
def test_the_network_learns_a_shift() -> None:
    """A few steps on one pair bring the error well below that of a constant answer."""
    torch.manual_seed(0)
    twin = PixelStereo(TINY)
    right = torch.rand(1, 3, 32, 96)
    rows = torch.arange(32) < 16
    truth = torch.where(rows, 4.0, 12.0)[None, None, :, None].expand(1, 1, 32, 96)
    left = torch.where(rows[:, None], right.roll(4, 3), right.roll(12, 3))
    optimiser = torch.optim.AdamW(twin.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        error = (twin(left, right).fine - truth)[..., 12:].abs().mean()
        error.backward()
        optimiser.step()
    assert float(error.detach()) < 1.5  # pyright: ignore[reportPossiblyUnboundVariable]
