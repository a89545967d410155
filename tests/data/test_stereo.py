"""Miniature trees in the layouts of Middlebury and SceneFlow, and what is wrong with broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from smalto.data.pfm import write_pfm
from smalto.data.stereo import StereoPair, read_pair, stereo_files
from smalto.errors import ImageError, UsageError
from smalto.types import Image

TRUTH = np.array([[0, 30, 60, 90], [3, 6, 9, 12], [255, 1, 2, 0]], np.uint8)


def _views(folder: Path, left: str = "left.png", right: str = "right.png", width: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Pil.new("RGB", (width, 3), (10, 20, 30)).save(folder / left)
    Pil.new("RGB", (width, 3), (40, 50, 60)).save(folder / right)


def _scaled(folder: Path, divisor: int, values: np.ndarray = TRUTH) -> None:
    _views(folder)
    Pil.fromarray(values).save(folder / f"disparity_left_x{divisor}.png")


def test_scaled_maps_are_divided_by_what_their_name_says(tmp_path: Path) -> None:
    _scaled(tmp_path / "Art", 3)
    _scaled(tmp_path / "Cones", 4)
    pairs = [read_pair(files) for files in stereo_files(tmp_path)]
    assert [pair.name for pair in pairs] == ["Art", "Cones"]
    assert np.array_equal(pairs[0].disparity, (TRUTH / 3).astype(np.float32))
    assert np.array_equal(pairs[1].disparity, (TRUTH / 4).astype(np.float32))
    assert pairs[0].disparity.dtype == np.float32
    assert np.array_equal(pairs[0].is_known, TRUTH > 0)
    assert tuple(pairs[0].left.pixels[0, 0]) == (10, 20, 30)
    assert tuple(pairs[0].right.pixels[0, 0]) == (40, 50, 60)


def test_one_scenes_folder_is_enough(tmp_path: Path) -> None:
    _scaled(tmp_path / "Teddy", 4)
    assert [files.name for files in stereo_files(tmp_path / "Teddy")] == ["Teddy"]


def test_float_maps_keep_their_values_and_lose_what_is_no_disparity(tmp_path: Path) -> None:
    truth = np.array([[1.5, np.inf, 2.25], [np.nan, -4.0, 0.0], [7.0, 8.0, 9.0]], np.float32)
    expected = np.array([[1.5, 0, 2.25], [0, 0, 0], [7, 8, 9]], np.float32)
    _views(tmp_path / "0", width=3)
    write_pfm(tmp_path / "0" / "disparity_left.pfm", truth)
    _views(tmp_path / "Adirondack", "im0.png", "im1.png", width=3)
    write_pfm(tmp_path / "Adirondack" / "disp0GT.pfm", truth)
    pairs = [read_pair(files) for files in stereo_files(tmp_path)]
    assert [pair.name for pair in pairs] == ["0", "Adirondack"]
    for pair in pairs:
        assert np.array_equal(pair.disparity, expected)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_sceneflow_sets_are_found_at_any_depth(tmp_path: Path, suffix: str) -> None:
    for inside in ("TRAIN/A/0000", "15mm_focallength/scene_forwards/fast"):
        frames, maps = tmp_path / "set" / "frames_finalpass" / inside, tmp_path / "set" / "disparity" / inside
        (maps / "left").mkdir(parents=True)
        write_pfm(maps / "left" / "0006.pfm", np.ones((3, 4), np.float32))
        for view in ("left", "right"):
            (frames / view).mkdir(parents=True)
            Pil.new("RGB", (4, 3)).save(frames / view / f"0006{suffix}")
    found = stereo_files(tmp_path)
    assert [files.name for files in found] == ["set/15mm_focallength/scene_forwards/fast/0006", "set/TRAIN/A/0000/0006"]
    assert found[0].right.parent.name == "right"
    assert read_pair(found[0]).disparity.min() == 1.0


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        stereo_files(tmp_path / "none")
    with pytest.raises(UsageError, match="no stereo pairs here"):
        stereo_files(tmp_path)
    _scaled(tmp_path / "Art", 3)
    (tmp_path / "Art" / "right.png").unlink()
    with pytest.raises(ImageError, match=r"its view right.png is not at"):
        stereo_files(tmp_path)


def test_a_set_without_frames_is_named(tmp_path: Path) -> None:
    (tmp_path / "disparity" / "left").mkdir(parents=True)
    write_pfm(tmp_path / "disparity" / "left" / "1.pfm", np.ones((3, 4), np.float32))
    with pytest.raises(ImageError, match="no frames_finalpass folder"):
        stereo_files(tmp_path)


def test_maps_of_other_kinds_or_sizes_are_refused(tmp_path: Path) -> None:
    _scaled(tmp_path / "colours", 3, np.arange(36, dtype=np.uint8).reshape(3, 4, 3))
    _scaled(tmp_path / "deep", 3, TRUTH.astype(np.uint16) * 200)
    _scaled(tmp_path / "small", 3, TRUTH[:2])
    _views(tmp_path / "three")
    write_pfm(tmp_path / "three" / "disparity_left.pfm", np.ones((3, 4, 3), np.float32))
    messages = {}
    for files in stereo_files(tmp_path):
        with pytest.raises(ImageError) as caught:
            read_pair(files)
        messages[files.name] = str(caught.value)
    assert "not an 8-bit grey picture" in messages["colours"]
    assert "not an 8-bit grey picture" in messages["deep"]
    assert "differ in size" in messages["small"]
    assert "one plane" in messages["three"]


def test_views_of_different_sizes_are_refused() -> None:
    one, other = Image(np.zeros((3, 4, 3), np.uint8)), Image(np.zeros((3, 5, 3), np.uint8))
    with pytest.raises(ImageError, match="differ in size"):
        StereoPair(one, other, np.zeros((3, 4), np.float32), "pair")


def test_the_sets_here_are_read(data_folder: Path) -> None:
    for name, count in (("middlebury", 8), ("sceneflow", 2)):
        if not (data_folder / name).is_dir():
            pytest.skip(f"no {name} in the data folder")
        found = stereo_files(data_folder / name)
        assert len(found) == count
        for files in found:
            pair = read_pair(files)
            assert pair.is_known.mean() > 0.9
            assert pair.disparity.max() < 320
