"""Correlation against loops in NumPy, soft-argmax on one level, upsampling by one weight."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.layers.stereo_volume import convex_upsample, correlation_volume, soft_argmax


@settings(max_examples=20)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 12), st.integers(1, 14))
def test_correlation_is_what_the_formula_says(
    batch: int, channels: int, height: int, width: int, num_levels: int
) -> None:
    generator = np.random.default_rng(width)
    left, right = generator.standard_normal((2, batch, channels, height, width)).astype(np.float32)
    expected = np.zeros((batch, num_levels, height, width), np.float32)
    for shift in range(num_levels):
        for x in range(shift, width):
            expected[:, shift, :, x] = (left[..., x] * right[..., x - shift]).mean(axis=1)
    volume = correlation_volume(torch.from_numpy(left), torch.from_numpy(right), num_levels)
    np.testing.assert_allclose(volume.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_correlation_stays_exact_under_autocast() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(2, 1, 16, 4, 20)
    with torch.autocast("cpu", torch.bfloat16):
        volume = correlation_volume(left, right, 8)
    assert volume.dtype == torch.float32
    torch.testing.assert_close(volume, correlation_volume(left, right, 8))


def test_a_shifted_view_correlates_best_at_its_shift() -> None:
    torch.manual_seed(0)
    right = torch.randn(1, 64, 6, 40)
    left = right.roll(5, dims=3)  # a point at x of the right view is at x + 5 of the left one
    volume = correlation_volume(left, right, 12)
    assert bool((volume[..., 12:].argmax(dim=1) == 5).all())


def test_soft_argmax_of_one_level_is_that_level() -> None:
    levels = torch.arange(48)
    scores = torch.full((1, 48, 1, 48), -1e4)
    scores[0, levels, 0, levels] = 1e4
    assert torch.equal(soft_argmax(scores)[0, 0, 0], levels.float())


def test_soft_argmax_between_equal_levels_is_their_middle() -> None:
    scores = torch.full((1, 8, 1, 1), -1e4)
    scores[0, [2, 5]] = 0.0
    assert float(soft_argmax(scores)) == pytest.approx(3.5)
    assert soft_argmax(scores.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("place", range(9))
def test_upsampling_by_one_weight_takes_that_neighbour(place: int) -> None:
    torch.manual_seed(0)
    coarse = torch.rand(2, 1, 3, 5)
    scores = torch.full((2, 9, 12, 20), -1e4)
    scores[:, place] = 1e4
    rows = np.clip(np.arange(3) + place // 3 - 1, 0, 2)
    columns = np.clip(np.arange(5) + place % 3 - 1, 0, 4)
    expected = coarse[:, :, rows][:, :, :, columns].repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(convex_upsample(coarse, scores), expected)


def test_upsampling_never_leaves_the_neighbours_range() -> None:
    torch.manual_seed(0)
    coarse = torch.rand(1, 1, 4, 4) * 100
    fine = convex_upsample(coarse, torch.randn(1, 9, 16, 16))
    assert float(coarse.min()) <= float(fine.min())
    assert float(fine.max()) <= float(coarse.max())
