"""The shared encoder: published sizes and multiply-adds, shapes, what one cell can see."""

from __future__ import annotations

import pytest
import torch

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.layers.shared_planes import SharedPlanes
from tests.shared_space import multiply_adds, seeded_networks
from tests.tiny_models import num_parameters


@pytest.mark.parametrize(("channels", "expected"), [(3, 754_304), (1, 752_256)])
def test_it_has_the_specified_size(channels: int, expected: int) -> None:
    with torch.device("meta"):
        encoder = SharedEncoder(channels)
        planes = encoder(torch.empty(2, channels, 32, 48))
    assert num_parameters(encoder) == expected
    assert isinstance(planes, SharedPlanes)
    assert planes.z_b.shape == (2, 64, 16, 24)
    assert planes.z_t.shape == (2, 64, 8, 12)


@pytest.mark.parametrize(
    ("height", "width", "published", "true"), [(720, 1280, 95.551, 72.902), (1080, 1920, 214.991, 164.030)]
)
def test_multiply_adds_are_the_published_ones(height: int, width: int, published: float, true: float) -> None:
    with torch.device("meta"):
        encoder, x = SharedEncoder(), torch.empty(1, 3, height, width)
    assert multiply_adds(encoder, x, over_output=True) / 1e9 == pytest.approx(published, abs=6e-4)
    assert multiply_adds(encoder, x, over_output=False) / 1e9 == pytest.approx(true, abs=6e-4)


def test_detail_depends_on_structure() -> None:
    encoder, _ = seeded_networks()
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = encoder(x)
    with torch.no_grad():
        encoder.to_t.bias.add_(1.0)  # type: ignore[union-attr]
        after = encoder(x)
    assert not torch.allclose(before.z_b, after.z_b)
    torch.testing.assert_close(after.z_t, before.z_t + 1.0)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_gives_the_same(channels: int) -> None:
    encoder, _ = seeded_networks(channels)
    x = torch.rand(2, channels, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = encoder(x)
        last = encoder.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))  # type: ignore[call-overload]
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_one_cell_sees_no_further_than_the_halo() -> None:
    encoder, _ = seeded_networks()
    halo = encoder.halo_px
    centre = halo // 4 + 1
    side = 4 * (2 * centre + 1)
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).requires_grad_()
    planes = encoder(x)
    cells = (
        planes.z_t[:, :, centre, centre],
        planes.z_b[:, :, 2 * centre : 2 * centre + 2, 2 * centre : 2 * centre + 2],
    )
    sum(cell.abs().sum() for cell in cells).backward()  # type: ignore[union-attr]
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 1))
    rows, columns = seen.sum(dim=1).nonzero().flatten().tolist(), seen.sum(dim=0).nonzero().flatten().tolist()
    for places in (rows, columns):
        assert halo - 4 < 4 * centre - places[0] <= halo
        assert halo - 4 < places[-1] - (4 * centre + 3) <= halo


def test_planes_are_float32_under_autocast() -> None:
    encoder, _ = seeded_networks()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        planes = encoder(torch.rand(1, 3, 8, 8))
    assert planes.z_b.dtype == planes.z_t.dtype == torch.float32
