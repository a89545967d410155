"""Packed pairs and crops of pairs in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.data.camera_light import PhotometricConfig
from smalto.data.stereo import stereo_files
from smalto.data.stereo_batches import StereoCropConfig, StereoCrops, packed
from smalto.errors import UsageError
from tests.data.stereo_trees import scaled_pair

SMALL = StereoCropConfig(16, 32)


def test_unknown_and_too_large_disparities_are_packed_as_zero() -> None:
    view = np.zeros((1, 6, 3), np.uint8)
    disparity = np.array([[0.0, -3.0, np.nan, np.inf, 255.0, 254.75]])
    planes = packed(view, view + 9, disparity)
    assert planes.shape == (8, 1, 6)
    assert planes[6, 0].tolist() == [0, 0, 0, 0, 0, 254]
    assert planes[7, 0].tolist() == [0, 0, 0, 0, 0, 192]
    assert planes[5].max() == 9


def test_crops_are_the_same_window_of_everything(tmp_path: Path) -> None:
    scaled_pair(tmp_path / "a", 40, 80)
    source = StereoCrops(stereo_files(tmp_path), SMALL)
    batch = source.batch(3, 5)
    assert batch.shape == (5, 8, 16, 32)
    for crop in batch:
        assert set(np.unique(crop[6])) == {5}
        assert np.array_equal(crop[0:3, :, 5:], crop[3:6, :, :-5])  # a point at x is at x - 5 in the right view
    assert len({crop[0].tobytes() for crop in batch}) > 1


def test_batches_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    for name in "abc":
        scaled_pair(tmp_path / name, 40, 80)
    files = stereo_files(tmp_path)
    lit = StereoCropConfig(16, 32, seed=4, photometric=PhotometricConfig())
    first, again = StereoCrops(files, lit), StereoCrops(files, lit)
    assert np.array_equal(first.batch(7, 2), again.batch(7, 2))
    assert not np.array_equal(first.batch(7, 2), first.batch(8, 2))
    ahead = first.batches(2, first_step=7)
    assert np.array_equal(next(ahead), first.batch(7, 2))
    ahead.close()  # type: ignore[attr-defined]


def test_wrong_use_is_named(tmp_path: Path) -> None:
    scaled_pair(tmp_path / "a", 40, 80)
    with pytest.raises(UsageError, match="smaller than a crop"):
        StereoCrops(stereo_files(tmp_path), StereoCropConfig(41, 32)).batch(0, 1)
    with pytest.raises(UsageError, match="no pairs"):
        StereoCrops((), SMALL)
    with pytest.raises(UsageError, match="1 px or more"):
        StereoCropConfig(0, 32)
