"""Synthetic scenes: repeatable, dense, in range, and the right view holds what the disparity says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.data.camera_light import PhotometricConfig
from smalto.data.picture_cache import PictureCache
from smalto.data.synthetic_stereo import StereoScene, SyntheticConfig, SyntheticStereo
from smalto.data.synthetic_surfaces import SurfaceConfig, draw_surfaces
from smalto.errors import UsageError
from tests.data.stereo_textures import textures

SMALL = SyntheticConfig(height_px=72, width_px=128, max_disparity_px=40.0, photometric=None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PictureCache:
    return textures(tmp_path_factory.mktemp("stereo"))


def _warped(scene: StereoScene) -> np.ndarray:
    """The right view at x - disparity: (H, W, 3) float, linear between columns."""
    height, width = scene.disparity.shape
    rows, columns = np.mgrid[0:height, 0:width]
    x = np.clip(columns - scene.disparity, 0, width - 1)
    first = np.minimum(x.astype(int), width - 2)
    share = (x - first)[..., None]
    return scene.right[rows, first] * (1 - share) + scene.right[rows, first + 1] * share


def _is_inside(disparity: np.ndarray) -> np.ndarray:
    """Pixels whose 5x5 surroundings have no step of disparity: edges there are mixed with what lies behind."""
    padded = np.pad(disparity, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return windows.max(axis=(2, 3)) - windows.min(axis=(2, 3)) < 2.0


def test_the_right_view_at_the_disparity_is_the_left_view(cache: PictureCache) -> None:
    source = SyntheticStereo(cache, SMALL)
    for index in range(12):
        scene = source.scene(index)
        error = np.abs(_warped(scene) - scene.left).mean(axis=2)
        is_seen = ~scene.is_hidden & _is_inside(scene.disparity)
        assert is_seen.mean() > 0.3
        assert error[is_seen].mean() < 2.0
        assert np.quantile(error[is_seen], 0.95) < 6.0


def test_a_wrong_disparity_does_not_explain_the_views(cache: PictureCache) -> None:
    """What the test above relies on: two pixels off, the error is several times as large."""
    scene = SyntheticStereo(cache, SMALL).scene(3)
    is_seen = ~scene.is_hidden & _is_inside(scene.disparity)
    right = np.abs(_warped(scene) - scene.left).mean(axis=2)[is_seen].mean()
    off = np.abs(_warped(replace(scene, disparity=scene.disparity + 2)) - scene.left).mean(axis=2)[is_seen].mean()
    assert off > 3 * right


def test_hidden_pixels_are_those_that_another_one_covers(cache: PictureCache) -> None:
    """Against brute force: every left pixel is sent to the right view, where the nearest one counts."""
    for index in range(4):
        scene = SyntheticStereo(cache, SMALL).scene(index)
        height, width = scene.disparity.shape
        is_agreed = np.zeros((height, width), bool)
        for row in range(height):
            x = np.arange(width) - scene.disparity[row]
            for column in range(width):
                near = (np.abs(x - x[column]) < 0.5) & (scene.disparity[row] > scene.disparity[row, column] + 2.0)
                is_covered = bool(near.any()) or x[column] < -0.5
                is_agreed[row, column] = is_covered == scene.is_hidden[row, column]
        assert is_agreed.mean() > 0.93  # the rest: covered by what only the right view sees, and edges


@settings(max_examples=15)
@given(st.integers(0, 2**40), st.integers(0, 2**20), st.floats(8.0, 200.0))
def test_disparities_are_dense_and_in_range(cache: PictureCache, seed: int, index: int, largest: float) -> None:
    config = replace(SMALL, seed=seed, max_disparity_px=largest, surfaces=SurfaceConfig(min_disparity_px=2.0))
    scene = SyntheticStereo(cache, config).scene(index)
    assert scene.disparity.shape == (72, 128)
    assert scene.disparity.min() >= 2.0 - 1e-4
    assert scene.disparity.max() <= largest + 1e-4
    assert scene.left.shape == scene.right.shape == (72, 128, 3)
    assert scene.left.dtype == scene.right.dtype == np.uint8


def test_the_background_fills_both_views(cache: PictureCache) -> None:
    bare = replace(SMALL, surfaces=SurfaceConfig(num_shapes=(0, 0), flat_share=0.0))
    for index in range(20):
        scene = SyntheticStereo(cache, bare).scene(index)
        assert scene.left.max(axis=2).min() > 0  # textures here are never quite black over a whole column
        assert not (scene.right.reshape(72, -1).max(axis=0) == 0).any()


def test_a_scene_is_a_function_of_seed_and_index(cache: PictureCache) -> None:
    config = replace(SMALL, photometric=PhotometricConfig())
    first, again = SyntheticStereo(cache, config), SyntheticStereo(cache, config)
    again.scene(9)
    for one, other in zip(vars(first.scene(4)).values(), vars(again.scene(4)).values(), strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(first.scene(4).left, first.scene(5).left)
    assert not np.array_equal(first.scene(4).left, SyntheticStereo(cache, replace(config, seed=1)).scene(4).left)


def test_light_differs_between_the_views_and_geometry_does_not(cache: PictureCache) -> None:
    plain = SyntheticStereo(cache, SMALL).scene(2)
    lit = SyntheticStereo(cache, replace(SMALL, photometric=PhotometricConfig(noise=0.0, erase_share=0.0))).scene(2)
    assert np.array_equal(plain.disparity, lit.disparity)
    assert np.array_equal(plain.is_hidden, lit.is_hidden)
    changes = [float((getattr(lit, view).astype(float) - getattr(plain, view)).mean()) for view in ("left", "right")]
    assert changes[0] != pytest.approx(changes[1], abs=0.2)


def test_noise_and_erasure_are_as_asked(cache: PictureCache) -> None:
    still = PhotometricConfig(0, 0, 0, 0, 0, noise=0.0, erase_share=0.0)
    plain = SyntheticStereo(cache, SMALL)
    same = SyntheticStereo(cache, replace(SMALL, photometric=still))
    erased = SyntheticStereo(cache, replace(SMALL, photometric=replace(still, erase_share=1.0)))
    noisy = SyntheticStereo(cache, replace(SMALL, photometric=replace(still, noise=0.1)))
    for index in range(3):
        scene = plain.scene(index)
        assert np.abs(same.scene(index).left.astype(int) - scene.left).max() <= 1
        assert np.abs(noisy.scene(index).left.astype(int) - scene.left).mean() > 0.3
        assert np.array_equal(erased.scene(index).left, same.scene(index).left)
        gone = (erased.scene(index).right != same.scene(index).right).any(axis=2)
        rows, columns = np.nonzero(gone)
        assert 0 < np.ptp(rows) + 1 <= 19
        assert 0 < np.ptp(columns) + 1 <= 33


def test_batches_are_scenes_packed_whatever_the_threads(cache: PictureCache) -> None:
    source = SyntheticStereo(cache, SMALL)
    batch = source.batch(step=5, num_crops=2)
    assert batch.shape == (2, 8, 72, 128)
    assert batch.dtype == np.uint8
    for place in range(2):
        scene = source.scene(10 + place)
        assert np.array_equal(batch[place, :3].transpose(1, 2, 0), scene.left)
        assert np.array_equal(batch[place, 3:6].transpose(1, 2, 0), scene.right)
        disparity = (batch[place, 6].astype(float) * 256 + batch[place, 7]) / 256
        assert np.abs(disparity - scene.disparity).max() <= 1 / 512 + 1e-6
    assert np.array_equal(SyntheticStereo(cache, SMALL, num_threads=3).batch(5, 2), batch)
    ahead = source.batches(2, first_step=5)
    assert np.array_equal(next(ahead), batch)
    ahead.close()  # type: ignore[attr-defined]


def test_textures_are_never_read_too_coarsely(cache: PictureCache) -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        maps = draw_surfaces(generator, cache, (72, 128), 40.0, SurfaceConfig()).maps
        steps = np.linalg.norm(maps[:, :, 1:], axis=1)
        assert steps.max() <= 1.0 + 1e-9
        assert steps.min() >= 0.35 - 1e-9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height_px": 0}, "sides must be"),
        ({"num_samples": 9}, "num_samples"),
        ({"max_disparity_px": 255.0}, "max_disparity_px"),
        ({"max_disparity_px": 1.5}, "max_disparity_px"),
    ],
)
def test_wrong_use_is_named(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(SMALL, **changes)  # type: ignore[arg-type]
