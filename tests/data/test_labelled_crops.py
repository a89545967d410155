"""Labelled crops: labels stay on their pixels, batches repeat, the cache is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.data.crops import CropConfig
from smalto.data.labelled_crops import LabelledCrops, cache_labelled, open_labelled
from smalto.data.picture_cache import PictureCache
from smalto.data.segmentation import VOID, LabelledTree
from smalto.errors import ImageError, UsageError
from tests.data.labelled_trees import camvid_tree


@pytest.fixture
def cache(tmp_path: Path) -> PictureCache:
    return cache_labelled(camvid_tree(tmp_path / "tree"), tmp_path / "run" / "labelled.u8")


def test_the_cache_holds_pictures_and_labels(cache: PictureCache, tmp_path: Path) -> None:
    tree = LabelledTree(tmp_path / "tree", "train")
    assert len(cache) == 3
    for number in range(3):
        held = tree.read(number)
        assert np.array_equal(cache.picture(number)[..., :3], held.picture.pixels)
        assert np.array_equal(cache.picture(number)[..., 3], held.ids)


def test_the_cache_is_reused_until_the_source_changes(cache: PictureCache, tmp_path: Path) -> None:
    written = cache.path.stat().st_mtime_ns
    cache_labelled(tmp_path / "tree", cache.path)
    assert cache.path.stat().st_mtime_ns == written
    for folder in ("train", "trainannot"):
        (tmp_path / "tree" / folder / "0002.png").unlink()
    assert len(cache_labelled(tmp_path / "tree", cache.path)) == 2


def test_a_damaged_cache_is_named_and_made_anew(cache: PictureCache, tmp_path: Path) -> None:
    whole = cache.path.read_bytes()
    for broken in (whole[:-1], whole[5:], b""):
        cache.path.write_bytes(broken)
        with pytest.raises(ImageError, match="not a cache"):
            open_labelled(cache.path)
    assert len(cache_labelled(tmp_path / "tree", cache.path)) == 3


def test_labels_stay_on_their_pixels(cache: PictureCache) -> None:
    batch = LabelledCrops(cache, CropConfig(16), (1.0, 1.0)).batch(0, 60)
    assert batch.shape == (60, 4, 16, 16)
    is_left, is_top, number = batch[:, 1] < 4 * 18, batch[:, 0] == 0, batch[:, 2]
    expected = np.where(is_top, 8, np.where(is_left, number, VOID))
    assert np.array_equal(batch[:, 3], expected)
    assert {bool(row[0, 0] < row[0, -1]) for row in batch[:, 1]} == {True, False}  # mirrored or not


def test_scaled_labels_are_labels(cache: PictureCache) -> None:
    crops = LabelledCrops(cache, CropConfig(16), (0.5, 3.0))
    batch = crops.batch(4, 60)
    assert set(np.unique(batch[:, 3]).tolist()) <= {0, 1, 2, 8, VOID}
    spans = batch[:, 0, -1, 0].astype(int) - batch[:, 0, 0, 0]
    assert int(spans.min()) < 40 < 70 < int(spans.max())


def test_batches_depend_on_seed_and_step_alone(cache: PictureCache) -> None:
    crops = LabelledCrops(cache, CropConfig(16, seed=3))
    assert np.array_equal(crops.batch(5, 4), LabelledCrops(cache, CropConfig(16, seed=3)).batch(5, 4))
    assert not np.array_equal(crops.batch(5, 4), crops.batch(6, 4))
    ahead = crops.batches(4, first_step=5)
    assert np.array_equal(next(ahead), crops.batch(5, 4))
    ahead.close()  # type: ignore[attr-defined]


def test_scales_must_rise(cache: PictureCache) -> None:
    with pytest.raises(UsageError, match="smaller first"):
        LabelledCrops(cache, CropConfig(16), (2.0, 1.0))
