"""Pictures save what they hold; specifications find their planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImages

from smalto.errors import UsageError
from smalto.types import Image, LatentSpec, PlaneSpec


def _pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 1000), has_alpha=st.booleans())
def test_png_holds_every_pixel(
    tmp_path_factory: pytest.TempPathFactory, height: int, width: int, seed: int, has_alpha: bool
) -> None:
    pixels = _pixels(height, width, seed)
    alpha = _pixels(height, width, seed + 1)[:, :, 0].copy() if has_alpha else None
    path = tmp_path_factory.mktemp("p") / "p.png"
    image = Image(pixels, alpha)
    image.save(path)
    assert (image.height, image.width) == (height, width)
    with PilImages.open(path) as back:
        array = np.asarray(back)
    assert np.array_equal(array[:, :, :3], pixels)
    assert array.shape[2] == (4 if has_alpha else 3)
    if alpha is not None:
        assert np.array_equal(array[:, :, 3], alpha)


@pytest.mark.parametrize(("has_alpha", "mode"), [(False, "L"), (True, "LA")])
def test_grey_is_written_as_one_channel(tmp_path: Path, has_alpha: bool, mode: str) -> None:
    grey = _pixels(4, 5)[:, :, :1].repeat(3, axis=2)
    Image(grey, grey[:, :, 0].copy() if has_alpha else None, grey=True).save(tmp_path / "p.png")
    with PilImages.open(tmp_path / "p.png") as back:
        assert back.mode == mode
        assert np.array_equal(np.asarray(back.getchannel("L")), grey[:, :, 0])


def test_floats_are_rounded_to_eight_bits_and_kept_in_npy(tmp_path: Path) -> None:
    values = np.array([[[0.0, 1.0, 0.5], [-0.1, 1.1, 100.4 / 255]]], np.float32)
    image = Image(values)
    assert np.asarray(image.to_pil()).tolist() == [[[0, 255, 128], [0, 255, 100]]]
    image.save(tmp_path / "p.npy")
    assert np.array_equal(np.load(tmp_path / "p.npy"), values)


def test_jpeg_has_no_alpha_and_webp_keeps_it(tmp_path: Path) -> None:
    image = Image(_pixels(8, 8), np.full((8, 8), 7, np.uint8))
    image.save(tmp_path / "p.jpg")
    image.save(tmp_path / "p.webp")
    with PilImages.open(tmp_path / "p.jpg") as jpeg, PilImages.open(tmp_path / "p.webp") as webp:
        assert (jpeg.mode, webp.mode) == ("RGB", "RGBA")


@pytest.mark.parametrize("name", ["p.docx", "p", "p.smalto"])
def test_an_extension_nobody_writes_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"use \.png"):
        Image(_pixels(2, 2)).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_planes_are_found_by_name() -> None:
    plane = PlaneSpec("y", "grid", 4, 16)
    spec = LatentSpec("space-0", (plane, PlaneSpec("v", "vector", 8)))
    assert spec.plane("y") is plane
    with pytest.raises(KeyError):
        spec.plane("z")
