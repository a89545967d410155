"""Crops come from the pictures, repeat with their seed and step, and the cache is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.data.crops import CropConfig, Crops, cache_pictures, open_cache
from smalto.data.picture_cache import PictureCache
from smalto.errors import ImageError, SmaltoError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures whose pixels tell where they lie: red = row, green = column, blue = picture."""
    root = tmp_path / "pictures"
    (root / "more").mkdir(parents=True)
    for number, (name, height, width) in enumerate((("a.png", 40, 60), ("more/b.png", 64, 48), ("c.png", 8, 8))):
        rows, columns = np.mgrid[0:height, 0:width]
        pixels = np.stack([rows, columns, np.full_like(rows, number)], axis=-1).astype(np.uint8)
        Pil.fromarray(pixels).save(root / name)
    return root


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> PictureCache:
    return cache_pictures(folder, tmp_path / "run" / "pictures.u8")


def test_the_cache_holds_every_picture(folder: Path, cache: PictureCache) -> None:
    assert cache.names == ("a.png", "c.png", "more/b.png")
    for k, name in enumerate(cache.names):
        assert np.array_equal(cache.picture(k), np.asarray(Pil.open(folder / name)))
    with pytest.raises(ValueError, match="read-only"):
        cache.picture(0)[0, 0, 0] = 1


def test_the_cache_is_reused_until_the_folder_changes(folder: Path, cache: PictureCache) -> None:
    written = cache.path.stat().st_mtime_ns
    assert len(cache_pictures(folder, cache.path)) == 3
    assert cache.path.stat().st_mtime_ns == written
    Pil.new("RGB", (50, 50)).save(folder / "d.png")
    assert len(cache_pictures(folder, cache.path)) == 4


def test_a_damaged_cache_is_named_and_made_anew(folder: Path, cache: PictureCache) -> None:
    whole = cache.path.read_bytes()
    for broken in (whole[:-1], whole[5:], b"", b"\xff" * 40):
        cache.path.write_bytes(broken)
        with pytest.raises(ImageError, match="not a picture cache"):
            open_cache(cache.path)
    assert len(cache_pictures(folder, cache.path)) == 3


def test_crops_are_windows_of_their_picture(cache: PictureCache) -> None:
    crops = Crops(cache, CropConfig(size_px=16, is_flipped=False))
    batch = crops.batch(step=3, num_crops=40)
    assert batch.shape == (40, 3, 16, 16)
    assert batch.dtype == np.uint8
    assert set(batch[:, 2, 0, 0].tolist()) == {0, 2 - 1}  # both large pictures, never the 8 px one
    for red, green, _ in batch:
        assert np.array_equal(red - red[0, 0], np.mgrid[0:16, 0:16][0])
        assert np.array_equal(green - green[0, 0], np.mgrid[0:16, 0:16][1])


def test_every_position_is_reached(cache: PictureCache) -> None:
    batch = Crops(cache, CropConfig(size_px=40, is_flipped=False)).batch(0, 400)
    of_a = batch[batch[:, 2, 0, 0] == 0]
    assert set(of_a[:, 1, 0, 0].tolist()) == set(range(21))
    assert 0.3 < len(of_a) / 400 < 0.6  # by area: 2400 of 5472 pixels


def test_flips_and_turns(cache: PictureCache) -> None:
    batch = Crops(cache, CropConfig(size_px=16, is_rotated=True)).batch(0, 200)
    corners = {(int(red[0, 1]) - int(red[0, 0]), int(red[1, 0]) - int(red[0, 0])) for red in batch[:, 0]}
    assert corners == {(0, 1), (0, -1), (1, 0), (-1, 0)}


def test_downscaling_covers_more(cache: PictureCache) -> None:
    config = CropConfig(size_px=16, max_downscale=2.0, downscale_share=1.0, is_flipped=False)
    spans = [int(red[-1, 0]) - int(red[0, 0]) for red in Crops(cache, config).batch(0, 60)[:, 0]]
    assert max(spans) > 25
    assert min(spans) >= 15


def test_batches_depend_on_seed_and_step_alone(cache: PictureCache) -> None:
    crops = Crops(cache, CropConfig(size_px=16, seed=7, max_downscale=1.5))
    assert np.array_equal(crops.batch(5, 4), Crops(cache, crops.config).batch(5, 4))
    assert not np.array_equal(crops.batch(5, 4), crops.batch(6, 4))
    assert not np.array_equal(crops.batch(5, 4), Crops(cache, CropConfig(size_px=16, seed=8)).batch(5, 4))


def test_batches_made_ahead_are_the_same(cache: PictureCache) -> None:
    crops = Crops(cache, CropConfig(size_px=16))
    ahead = crops.batches(2, first_step=10)
    for step in range(10, 16):
        assert np.array_equal(next(ahead), crops.batch(step, 2))
    ahead.close()


def test_an_error_in_the_thread_reaches_the_reader(cache: PictureCache) -> None:
    ahead = Crops(cache, CropConfig(size_px=16)).batches(-1)
    with pytest.raises(ValueError, match="negative"):
        next(ahead)


def test_wrong_use_is_named(folder: Path, cache: PictureCache, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="smaller crops"):
        Crops(cache, CropConfig(size_px=65))
    with pytest.raises(UsageError, match="max_downscale"):
        CropConfig(max_downscale=0.5)
    with pytest.raises(UsageError, match="no such folder"):
        cache_pictures(tmp_path / "none", tmp_path / "x.u8")
    with pytest.raises(SmaltoError, match=r"not a \.tar"):
        cache_pictures(folder / "a.png", tmp_path / "x.u8")
    assert not (tmp_path / "x.u8").exists()


def test_pictures_held_out_are_no_training_pictures(tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(40):
        Pil.fromarray(np.full((16, 16, 3), number, np.uint8)).save(root / f"{number:02d}.png")
    crops = Crops(cache_pictures(root, tmp_path / "many.u8"), CropConfig(16))
    training, held = crops.split(8, CropConfig(8))
    assert len(held.usable) == 5
    assert sorted([*training.usable, *held.usable]) == list(range(40))
    assert np.array_equal(crops.split(8, CropConfig(8))[1].usable, held.usable)
    assert training.num_pixels == 35 * 16 * 16
    seen = {int(training.batch(step, 16)[0, 0, 0, 0]) for step in range(200)}
    assert seen <= set(training.usable.tolist())
    assert {int(value) for value in held.batch(0, 64)[:, 0, 0, 0]} == set(held.usable.tolist())
    assert len(crops.split(100, CropConfig(8))[1].usable) == 1


def test_one_picture_cannot_be_split(cache: PictureCache) -> None:
    with pytest.raises(UsageError, match="one picture cannot be split"):
        Crops(cache, CropConfig(45)).split(16, CropConfig(8))
