"""Denoising heads: counts, shapes, what is passed on, how far they see."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.layers.shared_planes import SharedPlanes
from tests.tiny_models import macs_per_pixel, num_parameters


class _OnDetail(nn.Module):
    """A head as a function of z_b alone."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, z_b: torch.Tensor) -> torch.Tensor:
        return self.head(SharedPlanes(z_b, z_b.new_zeros(1)))[0]


def _planes(height: int, width: int) -> SharedPlanes:
    generator = torch.Generator().manual_seed(0)
    z_b = torch.randn(2, 64, height // 2, width // 2, generator=generator)
    return SharedPlanes(z_b, torch.randn(2, 64, height // 4, width // 4, generator=generator))


def test_the_exact_head_has_the_papers_parameters() -> None:
    assert num_parameters(Denoiser()) == 443_136


def test_multiplications_a_pixel() -> None:
    for head, expected in ((Denoiser(), 110_592), (LightDenoiser(), 71_424)):
        on_detail = _OnDetail(head).to("meta")
        counted = macs_per_pixel(on_detail, torch.empty(1, 64, 256, 256, device="meta"), 512 * 512)
        assert counted == expected, type(head).__name__
    assert round(512 * 512 * 110_592 / 1e9, 2) == 28.99
    assert 556_416 / 71_424 > 7.7


@pytest.mark.parametrize("build", [Denoiser, LightDenoiser])
@pytest.mark.parametrize("size", [(32, 48), (4, 4), (36, 20), (44, 60)])
def test_detail_is_replaced_and_structure_is_not(build: type[nn.Module], size: tuple[int, int]) -> None:
    planes = _planes(*size)
    before = planes.z_b.clone()
    with torch.no_grad():
        answer = build()(planes)
    assert isinstance(answer, SharedPlanes)
    assert answer.z_b.shape == planes.z_b.shape
    assert answer.z_t is planes.z_t
    assert not torch.equal(answer.z_b, before)
    assert torch.equal(planes.z_b, before)  # nothing was written into the input


@pytest.mark.parametrize("build", [Denoiser, LightDenoiser])
def test_every_weight_takes_part(build: type[nn.Module]) -> None:
    head = build()
    head(_planes(32, 32)).z_b.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in head.parameters())


def test_a_fresh_head_changes_little() -> None:
    planes = _planes(32, 32)
    for head in (Denoiser().requires_grad_(False), LightDenoiser().requires_grad_(False)):
        assert float((head(planes).z_b - planes.z_b).square().mean()) < 0.1
