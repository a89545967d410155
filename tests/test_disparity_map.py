"""Disparity maps: numbers for scripts, colours and a scale for people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pil

from smalto.errors import UsageError
from smalto.types import DisparityMap


def _ramp(height: int = 30, width: int = 200) -> DisparityMap:
    return DisparityMap(np.linspace(2.0, 50.0, width, dtype=np.float32)[None].repeat(height, 0))


def _lightness(colours: np.ndarray) -> np.ndarray:
    """Oklab's L of (N, 3) uint8."""
    srgb = colours / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]])
    return np.cbrt(cones) @ np.array([0.2105, 0.7936, -0.0041])


def test_numbers_come_back(tmp_path: Path) -> None:
    disparity = _ramp()
    disparity.save(tmp_path / "a.npy")
    back = np.load(tmp_path / "a.npy")
    assert back.dtype == np.float32
    assert np.array_equal(back, disparity.pixels)


def test_equal_steps_of_disparity_are_equal_steps_of_lightness() -> None:
    steps = np.diff(_lightness(_ramp(1, 400).coloured()[0]))
    smooth = np.convolve(steps, np.ones(25) / 25, "valid")  # 8-bit colours jump
    assert smooth.min() > 0.7 * smooth.mean()
    assert smooth.max() < 1.4 * smooth.mean()


def test_the_picture_stands_above_its_scale(tmp_path: Path) -> None:
    disparity = _ramp()
    disparity.save(tmp_path / "a.png")
    shown = np.asarray(Pil.open(tmp_path / "a.png"))
    assert shown.shape == (30 + 34, 200, 3)
    assert np.array_equal(shown[:30], disparity.coloured())
    bar = shown[30 + 8]
    assert tuple(bar[4]) == tuple(disparity.coloured()[0, 0])
    assert tuple(bar[-5]) == tuple(disparity.coloured()[0, -1])
    text = shown[30 + 18 :].astype(int).sum(axis=2) < 200
    assert all(text[:, columns].any() for columns in (slice(0, 50), slice(80, 120), slice(150, 200)))  # three labels


def test_what_is_unknown_is_black_and_the_legend_says_so() -> None:
    pixels = _ramp().pixels.copy()
    pixels[3, 4], pixels[5, 6], pixels[7, 8] = np.nan, np.inf, -np.inf
    disparity = DisparityMap(pixels)
    shown = np.asarray(disparity.to_pil())
    assert shown.shape[0] == 30 + 52
    assert [tuple(shown[at]) for at in ((3, 4), (5, 6), (7, 8))] == [(0, 0, 0)] * 3
    assert tuple(shown[0, 0]) == tuple(_ramp().coloured()[0, 0])  # the scale is that of what is known
    assert tuple(shown[30 + 41, 9]) == (0, 0, 0)
    assert (shown[30 + 36 :, 20:].astype(int).sum(axis=2) < 200).any()  # its name


@given(value=st.floats(-1048576.0, 1048576.0), height=st.integers(1, 4), width=st.integers(1, 300))
def test_flat_and_small_maps_are_drawn(value: float, height: int, width: int) -> None:
    disparity = DisparityMap(np.full((height, width), value, np.float32))
    assert (disparity.height, disparity.width) == (height, width)
    assert len(np.unique(disparity.coloured().reshape(-1, 3), axis=0)) == 1
    assert disparity.to_pil().width == max(width, 180)


def test_nothing_known_is_all_black_without_a_scale() -> None:
    disparity = DisparityMap(np.full((9, 200), np.nan, np.float32))
    assert not disparity.coloured().any()
    assert (np.asarray(disparity.to_pil())[9 : 9 + 34] == 255).all()


def test_what_is_no_disparity_map_is_named(tmp_path: Path) -> None:
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 1), np.float32), np.zeros((4, 4), np.uint16)):
        with pytest.raises(UsageError, match="disparity map is"):
            DisparityMap(wrong)
    with pytest.raises(UsageError, match=r"use \.png"):
        _ramp().save(tmp_path / "a.xyz")
