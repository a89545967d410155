"""Any layout becomes RGGB without moving a sample, and comes back by a crop."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from smalto.errors import UsageError
from smalto.layers.bayer import PATTERNS, PaddedMosaic, channel_map, mosaic_of, offset_of, to_rggb

patterns = st.sampled_from(PATTERNS)
sides = st.integers(2, 23)


@given(pattern=patterns, height=sides, width=sides, multiple=st.sampled_from((2, 4, 16)))
def test_every_padded_sample_has_the_colour_of_its_place(pattern: str, height: int, width: int, multiple: int) -> None:
    channels = channel_map(pattern, height, width)[None, None]
    padded = to_rggb(channels, pattern, multiple)
    assert torch.equal(padded.values[0, 0], channel_map("RGGB", *padded.values.shape[-2:]))
    assert padded.values.shape[-2] % multiple == padded.values.shape[-1] % multiple == 0
    assert padded.values.shape[-2] - height < multiple + 1
    assert padded.values.shape[-1] - width < multiple + 1


@given(pattern=patterns, height=sides, width=sides)
def test_cropping_gives_the_mosaic_back(pattern: str, height: int, width: int) -> None:
    mosaics = torch.arange(2 * height * width).view(2, 1, height, width)
    padded = to_rggb(mosaics, pattern)
    assert padded.offset == offset_of(pattern)
    assert torch.equal(padded.cropped(padded.values), mosaics)


@given(pattern=patterns, height=sides, width=sides, stride=st.sampled_from((2, 4)))
def test_cropped_cells_hold_every_true_sample(pattern: str, height: int, width: int, stride: int) -> None:
    padded = to_rggb(torch.zeros(1, 1, height, width), pattern)
    covered = torch.ones(1, 1, padded.values.shape[-2] // stride, padded.values.shape[-1] // stride)
    cells = padded.cropped(covered, stride)
    row, column = padded.offset
    assert cells.shape[-2] == len({(row + k) // stride for k in range(height)})
    assert cells.shape[-1] == len({(column + k) // stride for k in range(width)})


@given(pattern=patterns, height=st.integers(1, 9), width=st.integers(1, 9))
def test_a_mosaic_keeps_one_channel_at_each_place(pattern: str, height: int, width: int) -> None:
    pictures = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    mosaic = mosaic_of(pictures, pattern)
    for row in range(height):
        for column in range(width):
            channel = "RGB".index(pattern[2 * (row % 2) + column % 2])
            assert torch.equal(mosaic[:, 0, row, column], pictures[:, channel, row, column])


@given(pattern=patterns)
def test_a_layout_is_rggb_seen_from_another_corner(pattern: str) -> None:
    pictures = torch.rand(1, 3, 12, 14, generator=torch.Generator().manual_seed(1))
    row, column = offset_of(pattern)
    inner = mosaic_of(pictures, "RGGB")[..., row:, column:]
    assert torch.equal(mosaic_of(pictures[..., row:, column:], pattern), inner)


def test_gradients_flow_through_padding() -> None:
    mosaics = torch.rand(1, 1, 5, 7, requires_grad=True)
    to_rggb(mosaics, "BGGR").values.sum().backward()
    assert mosaics.grad is not None
    assert float(mosaics.grad.sum()) == 8 * 8


@pytest.mark.parametrize("pattern", ["rggb", "RGBG", "", "XTRANS"])
def test_unknown_patterns_are_named(pattern: str) -> None:
    for call in (
        lambda: to_rggb(torch.zeros(1, 1, 4, 4), pattern),
        lambda: mosaic_of(torch.zeros(1, 3, 4, 4), pattern),
    ):
        with pytest.raises(UsageError, match="RGGB, GRBG, GBRG, BGGR"):
            call()


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(UsageError, match="sides of 2 or more"):
        to_rggb(torch.zeros(1, 1, 1, 8), "RGGB")
    with pytest.raises(UsageError, match="sides of 2 or more"):
        to_rggb(torch.zeros(1, 3, 8, 8), "RGGB")
    with pytest.raises(UsageError, match="even"):
        to_rggb(torch.zeros(1, 1, 8, 8), "RGGB", multiple=3)
    with pytest.raises(UsageError, match=r"\(B, 3, H, W\)"):
        mosaic_of(torch.zeros(3, 8, 8))
    padded = to_rggb(torch.zeros(1, 1, 8, 8), "RGGB")
    assert isinstance(padded, PaddedMosaic)
    with pytest.raises(UsageError, match="do not belong"):
        padded.cropped(torch.zeros(1, 3, 4, 8))
