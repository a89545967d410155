"""The shared decoder: its size, shapes, what one pixel can see."""

from __future__ import annotations

import torch

from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import SharedPlanes
from tests.shared_space import multiply_adds, seeded_networks
from tests.tiny_models import num_parameters


def _planes(rows: int, columns: int, device: str = "cpu") -> SharedPlanes:
    generator = torch.Generator().manual_seed(0)
    z_b, z_t = (torch.randn(1, 64, k * rows, k * columns, generator=generator) for k in (2, 1))
    return SharedPlanes(z_b.to(device), z_t.to(device))


def test_it_has_the_specified_size() -> None:
    with torch.device("meta"):
        decoder = SharedDecoder()
    assert num_parameters(decoder) == 301_571
    assert decoder(_planes(5, 7, "meta")).shape == (1, 3, 20, 28)


def test_multiply_adds_a_pixel() -> None:
    with torch.device("meta"):
        decoder = SharedDecoder()
    planes = _planes(8, 8, "meta")
    stage = (9 * 128 * 128 + 2 * (9 * 128 * 32 + 32 * 128)) / 4
    assert multiply_adds(decoder, planes, over_output=False) / 32**2 == 64 * 64 * 16 / 16 + stage + 128 * 3 * 16 / 4
    assert multiply_adds(decoder, planes, over_output=True) / 32**2 == 64 * 64 * 16 / 4 + stage + 128 * 3 * 16


def test_channels_last_gives_the_same() -> None:
    _, decoder = seeded_networks()
    planes = _planes(6, 9)
    with torch.no_grad():
        plain = decoder(planes)
        decoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        last = decoder(SharedPlanes(*(p.contiguous(memory_format=torch.channels_last) for p in planes)))
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


def test_one_pixel_sees_no_further_than_the_halo() -> None:
    _, decoder = seeded_networks()
    halo = decoder.halo_cells
    centre = halo + 1
    planes = SharedPlanes(*(plane.requires_grad_() for plane in _planes(2 * centre + 1, 2 * centre + 1)))
    decoder(planes)[:, :, 4 * centre : 4 * centre + 4, 4 * centre : 4 * centre + 4].abs().sum().backward()
    for plane, scale in zip(planes, (2, 1), strict=True):
        assert plane.grad is not None
        rows = plane.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist()
        assert centre - halo <= rows[0] // scale
        assert rows[-1] // scale <= centre + halo
        if scale == 1:
            assert (rows[0], rows[-1]) == (centre - halo, centre + halo)


def test_the_answer_is_float32_under_autocast() -> None:
    _, decoder = seeded_networks()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert decoder(_planes(2, 2)).dtype == torch.float32
