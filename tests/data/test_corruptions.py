"""Corruptions keep shape and kind, repeat with their seed, grow worse with severity and do what they are defined as."""

from __future__ import annotations

import itertools
import math
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from smalto.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from smalto.errors import UsageError
from smalto.measure.psnr import psnr_db
from tests.tiny_models import scene

names = st.sampled_from(sorted(CORRUPTIONS))


@settings(max_examples=80)
@given(
    name=names,
    severity=st.sampled_from(SEVERITIES),
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    is_grey=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_any_size_and_kind(name: str, severity: int, height: int, width: int, is_grey: bool, seed: int) -> None:
    pixels = scene(height, width)[:, :, 0] if is_grey else scene(height, width)
    before = pixels.copy()
    shifted = corrupt(pixels, name, severity, seed)
    assert shifted.shape == pixels.shape
    assert shifted.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert np.array_equal(shifted, corrupt(pixels, name, severity, seed))


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_each_severity_is_worse(name: str) -> None:
    pixels = scene(120, 160)
    scores = [
        np.mean([psnr_db(corrupt(pixels, name, severity, seed), pixels) for seed in range(4)])
        for severity in SEVERITIES
    ]
    assert all(harder < milder for milder, harder in itertools.pairwise(scores)), scores


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "motion_blur"])
def test_seeds_matter_where_there_is_chance(name: str) -> None:
    assert not np.array_equal(corrupt(scene(40, 40), name, 3, 0), corrupt(scene(40, 40), name, 3, 1))


@pytest.mark.parametrize("name", ["defocus_blur", "brightness", "contrast", "jpeg"])
def test_seeds_do_not_matter_elsewhere(name: str) -> None:
    assert np.array_equal(corrupt(scene(40, 40), name, 3, 0), corrupt(scene(40, 40), name, 3, 1))


def test_noises_have_the_stated_size() -> None:
    grey = np.full((300, 300, 3), 128, dtype=np.uint8)
    gaussian = corrupt(grey, "gaussian_noise", 1).astype(np.float64) / 255
    assert gaussian.std() == pytest.approx(0.08, rel=0.02)
    shot = corrupt(grey, "shot_noise", 1).astype(np.float64) / 255
    assert shot.std() == pytest.approx(math.sqrt(128 / 255 / 60), rel=0.02)
    impulse = corrupt(grey, "impulse_noise", 5)
    assert np.mean(impulse == 0) == pytest.approx(0.135, rel=0.05)
    assert np.mean(impulse == 255) == pytest.approx(0.135, rel=0.05)
    assert np.mean(impulse[:, :, 0] == impulse[:, :, 1]) < 0.8  # channel by channel


def test_brightness_adds_to_the_value_of_hsv() -> None:
    pixels = scene(30, 40)
    pixels[0, 0] = 0
    shifted = corrupt(pixels, "brightness", 2)
    hsv, shifted_hsv = (np.asarray(Pil.fromarray(p).convert("HSV"), dtype=np.int64) for p in (pixels, shifted))
    np.testing.assert_allclose(shifted_hsv[..., 2], np.minimum(hsv[..., 2] + 51, 255), atol=1)
    assert shifted[0, 0].tolist() == [51, 51, 51]
    is_coloured = (hsv[..., 1] > 60) & (hsv[..., 2] > 60)
    hue = np.abs(shifted_hsv[..., 0] - hsv[..., 0])[is_coloured]
    assert np.median(np.minimum(hue, 256 - hue)) <= 1
    assert np.median(np.abs(shifted_hsv[..., 1] - hsv[..., 1])[is_coloured]) <= 2


def test_contrast_keeps_the_mean() -> None:
    pixels = scene(64, 48)
    shifted = corrupt(pixels, "contrast", 5).astype(np.float64)
    np.testing.assert_allclose(shifted.mean(axis=(0, 1)), pixels.mean(axis=(0, 1)), atol=1)
    np.testing.assert_allclose(shifted.std(axis=(0, 1)), 0.05 * pixels.std(axis=(0, 1)), atol=0.5)


@pytest.mark.parametrize(("severity", "radius"), [(1, 3), (2, 4), (3, 6), (4, 8), (5, 10)])
def test_defocus_spreads_a_point_over_its_disk(severity: int, radius: int) -> None:
    point = np.zeros((41, 41), dtype=np.uint8)
    point[19:22, 19:22] = 255  # one pixel alone would fall below one level under the largest disk
    spread = np.tile(point[:, :, None], (1, 1, 3))
    light = corrupt(spread, "defocus_blur", severity)[:, :, 0] > 0
    reach = (np.flatnonzero(light.any(axis=0)).max() - np.flatnonzero(light.any(axis=0)).min()) // 2
    assert radius <= reach <= radius + 1
    flat = np.full((9, 7, 3), 77, dtype=np.uint8)  # smaller than the disk: mirrored again and again
    assert np.array_equal(corrupt(flat, "defocus_blur", severity), flat)


def test_motion_runs_one_way_within_45_degrees() -> None:
    point = np.zeros((81, 81), dtype=np.uint8)
    point[40, 60] = 255
    for seed in range(6):
        rows, columns = np.nonzero(corrupt(point, "motion_blur", 2, seed))
        assert columns.max() == 60  # out(p) reads x(p + d): light trails to the left
        assert columns.min() < 55
        assert np.all(np.abs(rows - 40) <= 60 - columns + 1)


def test_jpeg_is_pillows() -> None:
    pixels, buffer = scene(50, 70), BytesIO()
    Pil.fromarray(pixels).save(buffer, "JPEG", quality=15)
    assert np.array_equal(corrupt(pixels, "jpeg", 3), np.asarray(Pil.open(buffer)))


def test_wrong_use_is_named() -> None:
    pixels = scene(8, 8)
    with pytest.raises(UsageError, match="gaussian_noise, shot_noise"):
        corrupt(pixels, "fog")
    with pytest.raises(UsageError, match=r"1\.\.5"):
        corrupt(pixels, "jpeg", 6)
    for wrong in (pixels.astype(np.float32), pixels[:, :, :2], pixels[None], pixels[:0]):
        with pytest.raises(UsageError, match="no picture"):
            corrupt(wrong, "jpeg")
