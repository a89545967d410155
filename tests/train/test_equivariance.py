"""Random affines: identity, shifts, inverses; masks; the planes' error."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from smalto.errors import UsageError
from smalto.train.equivariance import AffineRange, comparable, plane_error, warp
from smalto.types import Affine
from tests.shared_space import smooth_pictures

ANY = st.builds(
    Affine,
    st.floats(-180, 180),
    st.floats(0.6, 1.6),
    st.floats(-9, 9),
    st.floats(-9, 9),
)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_identity_changes_nothing(stride: int) -> None:
    planes = torch.rand(2, 5, 12, 20, generator=torch.Generator().manual_seed(0))
    size_px = (12 * stride, 20 * stride)
    torch.testing.assert_close(warp(planes, [Affine()] * 2, stride, size_px), planes, rtol=0, atol=1e-5)
    assert bool((comparable([Affine()], (12, 20), stride, size_px) == 1).all())


@given(columns=st.integers(-3, 3), rows=st.integers(-2, 2), stride=st.sampled_from([1, 2, 4]))
def test_a_shift_by_whole_cells_is_a_shift(columns: int, rows: int, stride: int) -> None:
    planes = torch.rand(1, 2, 10, 14, generator=torch.Generator().manual_seed(0))
    affine = Affine(shift_x_px=columns * stride, shift_y_px=rows * stride)
    moved = warp(planes, [affine], stride, (10 * stride, 14 * stride))
    down, right = torch.arange(10) - rows, torch.arange(14) - columns
    expected = planes[:, :, down.clamp(0, 9)][:, :, :, right.clamp(0, 13)]
    torch.testing.assert_close(moved, expected, rtol=0, atol=2e-5)
    mask = comparable([affine], (10, 14), stride, (10 * stride, 14 * stride))[0, 0]
    inside = ((down >= 0) & (down < 10))[:, None] & ((right >= 0) & (right < 14))[None]
    assert torch.equal(mask > 0, inside)


@given(affine=ANY)
def test_positions_come_back_by_the_inverse(affine: Affine) -> None:
    """A picture of its own coordinates, moved and moved back, is itself wherever both moves stayed inside."""
    size = (40, 52)
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(52.0), indexing="ij")
    ramp = torch.stack([x, y])[None]
    back = warp(warp(ramp, [affine], 1, size), [affine.inverse()], 1, size)
    mask = comparable([affine.inverse()], size, 1, size, margin_px=1.0)
    kept = warp(comparable([affine], size, 1, size), [affine.inverse()], 1, size) > 0.999
    mask = mask * kept
    assert float(((back - ramp).abs() * mask).max()) < 2e-3


@given(affine=ANY)
def test_planes_see_the_same_picture_as_pixels(affine: Affine) -> None:
    """Means over 2x2 and 4x4 blocks of a linear ramp commute with every affine."""
    size = (40, 52)
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(52.0), indexing="ij")
    ramp = (0.3 * x - 0.7 * y)[None, None]
    moved = warp(ramp, [affine], 1, size)
    for stride in (2, 4):
        of_moved = F.avg_pool2d(moved, stride)
        of_planes = warp(F.avg_pool2d(ramp, stride), [affine], stride, size)
        mask = comparable([affine], (40 // stride, 52 // stride), stride, size, margin_px=6.0)
        assert float(((of_moved - of_planes).abs() * mask).max()) < 2e-3


def test_rotation_is_counter_clockwise_as_seen() -> None:
    picture = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    turned = warp(picture, [Affine(rotation_degrees=90.0)], 1, (8, 8))
    torch.testing.assert_close(turned, torch.rot90(picture, 1, (2, 3)), rtol=0, atol=1e-5)


def test_each_picture_has_its_own_affine() -> None:
    pictures = smooth_pictures(2, 16)
    affines = [Affine(shift_x_px=4.0), Affine(rotation_degrees=180.0)]
    both = warp(pictures, affines, 1, (16, 16))
    for k in range(2):
        torch.testing.assert_close(both[k : k + 1], warp(pictures[k : k + 1], affines[k : k + 1], 1, (16, 16)))


def test_the_margin_shrinks_both_frames() -> None:
    mask = comparable([Affine(shift_x_px=8.0)], (32, 32), 1, (32, 32), margin_px=4.0)[0, 0]
    columns = mask.sum(dim=0).nonzero().flatten().tolist()
    rows = mask.sum(dim=1).nonzero().flatten().tolist()
    assert (columns[0], columns[-1]) == (12, 27)
    assert (rows[0], rows[-1]) == (4, 27)


@given(seed=st.integers(0, 1000))
def test_draws_stay_in_range_and_repeat(seed: int) -> None:
    ranges = AffineRange(30.0, (0.5, 1.5), 0.25)
    first, second = (ranges.draw(4, (40, 60), torch.Generator().manual_seed(seed)) for _ in range(2))
    assert first == second
    for affine in first:
        assert abs(affine.rotation_degrees) <= 30.0
        assert 0.5 - 1e-9 <= affine.scale <= 1.5 + 1e-9
        assert max(abs(affine.shift_x_px), abs(affine.shift_y_px)) <= 10.0


def test_ranges_that_make_no_sense_are_named() -> None:
    for wrong in ({"scale": (1.2, 0.8)}, {"scale": (0.0, 1.0)}, {"rotation_degrees": -1.0}, {"shift_share": 0.5}):
        with pytest.raises(UsageError, match="affine range"):
            AffineRange(**wrong)  # type: ignore[arg-type]


def test_the_error_is_relative_and_masked() -> None:
    generator = torch.Generator().manual_seed(0)
    planes, noise = torch.randn(2, 6, 24, 24, generator=generator), torch.randn(2, 6, 24, 24, generator=generator)
    mask = torch.zeros(2, 1, 24, 24)
    mask[:, :, 4:20] = 1
    assert float(plane_error(planes, planes, mask).root) == 0.0
    small, large = (
        plane_error(planes, planes + 0.1 * noise, mask),
        plane_error(50 * planes, 50 * planes + 5 * noise, mask),
    )
    assert float(small.root) == pytest.approx(0.1, rel=0.05)
    assert float(large.relative) == pytest.approx(float(small.relative), rel=1e-4)
    assert float(plane_error(planes, noise, mask).root) == pytest.approx(math.sqrt(2), rel=0.05)
    elsewhere = planes.clone()
    elsewhere[:, :, :4] += 100
    assert float(plane_error(planes, elsewhere, mask).relative) == 0.0


def test_shrinking_planes_does_not_lower_the_error() -> None:
    planes = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    size = torch.ones((), requires_grad=True)
    error = plane_error(size * planes, size * (planes + 0.3 * planes.flip(3)), torch.ones(1, 1, 12, 12))
    error.relative.backward()
    assert size.grad is not None
    assert float(size.grad) == pytest.approx(0.0, abs=1e-5)
