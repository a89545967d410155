"""Where the demo looks closely; the whole demonstration is tested with the command line's demo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.bench.demonstration import detail_corner


@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 48), seed=st.integers(0, 2**32 - 1))
def test_window_lies_inside_and_no_other_has_more_detail(height: int, width: int, side: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    y, x = detail_corner(pixels, side)
    rows, columns = min(side, height), min(side, width)
    assert 0 <= y <= height - rows
    assert 0 <= x <= width - columns
    grey = pixels.astype(np.float64).mean(axis=2)
    energy = np.zeros_like(grey)
    energy[1:] += np.abs(np.diff(grey, axis=0))
    energy[:, 1:] += np.abs(np.diff(grey, axis=1))
    found = energy[y : y + rows, x : x + columns].sum()
    for top in range(height - rows + 1):
        for left in range(width - columns + 1):
            assert energy[top : top + rows, left : left + columns].sum() <= found + 1e-6


def test_detail_is_found() -> None:
    pixels = np.full((100, 120, 3), 90, np.uint8)
    pixels[60:70:2, 80:90] = 255
    y, x = detail_corner(pixels, 20)
    assert y <= 60 <= 70 <= y + 20
    assert x <= 80 <= 90 <= x + 20


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 3)])
def test_tiny_pictures(shape: tuple[int, int, int]) -> None:
    y, x = detail_corner(np.zeros(shape, np.uint8), 160)
    assert (y, x) == (0, 0)
