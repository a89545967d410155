"""Semi-global matching is complete, and gaps are filled from the background."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench.peers.sgbm import SgbmSettings, background_filled, sgbm_disparity
from smalto.data.stereo import read_pair, stereo_files
from smalto.errors import UsageError
from smalto.types import Image
from tests.data.stereo_trees import scaled_pair


def test_gaps_take_the_smaller_end() -> None:
    rows = np.array([[-1, 5, -1, -1, 3, -1], [-1, -1, -1, -1, -1, -1], [7, -1, 9, -1, -1, 8]], np.float32)
    expected = [[5, 5, 3, 3, 3, 3], [5, 5, 3, 3, 3, 3], [7, 7, 9, 8, 8, 8]]
    assert background_filled(rows).tolist() == expected
    assert background_filled(np.full((2, 2), -1.0)).tolist() == [[0, 0], [0, 0]]


def test_every_pixel_has_an_answer(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    scaled_pair(tmp_path / "a", 60, 100)
    pair = read_pair(stereo_files(tmp_path)[0])
    answer = sgbm_disparity(pair.left, pair.right, SgbmSettings(num_disparities=16))
    assert answer.shape == (60, 100)
    assert answer.min() >= 0
    assert np.mean(np.abs(answer[:, 8:] - 5) < 1) > 0.9


def test_views_of_different_sizes_are_refused() -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    views = [Image(np.zeros((8, width, 3), np.uint8)) for width in (8, 9)]
    with pytest.raises(UsageError, match="differ in size"):
        sgbm_disparity(*views)


def test_settings_say_what_they_are() -> None:
    assert "P1 600, P2 2400" in str(SgbmSettings())
