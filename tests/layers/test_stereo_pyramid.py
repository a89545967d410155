"""The pyramid's strides, the stem's planes, and padding that continues the last cells."""

from __future__ import annotations

import torch

from smalto.layers.shared_planes import SharedPlanes
from smalto.layers.stereo_pyramid import PixelStem, SharedPyramid, padded_planes


def _planes(height: int, width: int) -> SharedPlanes:
    torch.manual_seed(0)
    return SharedPlanes(torch.randn(1, 64, height // 2, width // 2), torch.randn(1, 64, height // 4, width // 4))


def test_levels_are_at_a_quarter_to_a_thirty_second() -> None:
    pyramid = SharedPyramid((16, 20, 24, 28), (1, 2, 1, 1), 2)(_planes(64, 96))
    assert [tuple(level.shape) for level in pyramid] == [
        (1, 16, 16, 24),
        (1, 20, 8, 12),
        (1, 24, 4, 6),
        (1, 28, 2, 3),
    ]


def test_both_planes_and_the_coarsest_level_reach_the_finest() -> None:
    network = SharedPyramid((16, 20, 24, 28), (1, 1, 1, 1), 2)
    planes = SharedPlanes(*(plane.requires_grad_() for plane in _planes(64, 64)))
    network(planes).p2.square().sum().backward()
    for plane in planes:
        assert plane.grad is not None
        assert float(plane.grad.abs().sum()) > 0
    assert all(p.grad is not None for p in network.stages[3].parameters())


def test_the_stem_gives_planes_of_the_spaces_shape() -> None:
    planes = PixelStem()(torch.rand(2, 3, 32, 64))
    assert planes.z_b.shape == (2, 64, 16, 32)
    assert planes.z_t.shape == (2, 64, 8, 16)


def test_padding_continues_the_last_cells() -> None:
    planes = _planes(36, 44)
    padded = padded_planes(planes)
    assert padded.z_b.shape == (1, 64, 32, 32)
    assert padded.z_t.shape == (1, 64, 16, 16)
    assert torch.equal(padded.z_b[:, :, :18, :22], planes.z_b)
    assert torch.equal(padded.z_b[:, :, 18:, :22], planes.z_b[:, :, -1:].expand(-1, -1, 14, -1))
    assert torch.equal(padded.z_t[:, :, :9, 11:], planes.z_t[:, :, :, -1:].expand(-1, -1, -1, 5))
    whole = _planes(64, 32)
    assert padded_planes(whole) is whole
