"""Pictures save what they hold; specifications find their planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PilImages

from smalto.errors import UsageError
from smalto.types import Affine, Image, Latent, LatentSpec, PlaneSpec


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


GRIDS = LatentSpec("grids-0", (PlaneSpec("fine", "grid", 2, 2, 2), PlaneSpec("coarse", "grid", 3, 4)))


def _latent(height: int, width: int, batch: int = 1) -> Latent:
    generator = torch.Generator().manual_seed(0)
    planes = {
        plane.name: torch.rand(batch, plane.channels, *plane.grid(height, width), generator=generator)
        for plane in GRIDS.planes
    }
    return Latent(GRIDS, planes, height, width)


@given(rows=st.integers(-2, 2), columns=st.integers(-2, 2), height=st.integers(13, 24), width=st.integers(13, 24))
def test_a_latent_shifts_by_whole_cells_exactly(rows: int, columns: int, height: int, width: int) -> None:
    """Shifts by multiples of 4 px are shifts of every plane, border repeated, in pictures of any size."""
    latent = _latent(height, width, batch=2)
    moved = latent.transform(Affine(shift_x_px=4.0 * columns, shift_y_px=4.0 * rows))
    assert (moved.spec, moved.height, moved.width) == (GRIDS, height, width)
    for plane in GRIDS.planes:
        values = latent.planes[plane.name]
        step = 4 // plane.stride
        down = (torch.arange(values.shape[2]) - step * rows).clamp(0, values.shape[2] - 1)
        right = (torch.arange(values.shape[3]) - step * columns).clamp(0, values.shape[3] - 1)
        torch.testing.assert_close(moved.planes[plane.name], values[:, :, down][:, :, :, right], rtol=0, atol=2e-5)


def test_a_latent_turns_about_the_middle_of_its_picture() -> None:
    latent = _latent(24, 24)
    for turns, degrees in ((1, 90.0), (2, 180.0), (3, -90.0)):
        moved = latent.transform(Affine(rotation_degrees=degrees))
        for name, values in latent.planes.items():
            torch.testing.assert_close(moved.planes[name], torch.rot90(values, turns, (2, 3)), rtol=0, atol=2e-5)
    padded = _latent(22, 24)  # its planes reach two pixels further down than the picture
    moved = padded.transform(Affine(rotation_degrees=180.0)).planes["fine"]
    expected = torch.rot90(padded.planes["fine"][:, :, :11], 2, (2, 3))
    torch.testing.assert_close(moved[:, :, :11], expected, rtol=0, atol=2e-5)


def test_a_latent_with_padding_before_its_picture_turns_about_the_pictures_middle() -> None:
    """A half turn maps the picture's cells onto each other; the padding before them is no part of the picture."""
    generator = torch.Generator().manual_seed(0)
    planes = {
        p.name: torch.rand(1, p.channels, 28 // p.stride, 32 // p.stride, generator=generator) for p in GRIDS.planes
    }
    offset = Latent(GRIDS, planes, 24, 24, offset_px=(4, 8))
    moved = offset.transform(Affine(rotation_degrees=180.0))
    assert moved.offset_px == (4, 8)
    for plane in GRIDS.planes:
        row, column = 4 // plane.stride, 8 // plane.stride
        picture = planes[plane.name][:, :, row:, column:]
        torch.testing.assert_close(
            moved.planes[plane.name][:, :, row:, column:], torch.rot90(picture, 2, (2, 3)), rtol=0, atol=2e-5
        )
    plain = Latent(GRIDS, planes, 28, 32).transform(Affine(rotation_degrees=180.0))
    assert not torch.allclose(plain.planes["fine"], moved.planes["fine"], atol=0.1)


def test_enlarging_a_ramp_flattens_it() -> None:
    latent = Latent(
        LatentSpec("s", (PlaneSpec("y", "grid", 1, 4),)), {"y": torch.arange(8.0).expand(1, 1, 8, 8)}, 32, 32
    )
    large = latent.transform(Affine(scale=2.0)).planes["y"]
    torch.testing.assert_close(large[0, 0, 0], 3.5 + (torch.arange(8.0) - 3.5) / 2, rtol=0, atol=1e-5)


@given(
    affine=st.builds(Affine, st.floats(-360, 360), st.floats(0.1, 10), st.floats(-50, 50), st.floats(-50, 50)),
    stride=st.sampled_from([1, 2, 4, 16]),
)
def test_inverse_affines_undo_each_other(affine: Affine, stride: int) -> None:
    """Sources of sources: from a cell forwards by the inverse's sources of the affine's own sources."""
    back = affine.inverse().inverse()
    grid, size = (5, 7), (33, 41)
    torch.testing.assert_close(back.sources(grid, stride, size), affine.sources(grid, stride, size), rtol=0, atol=1e-6)
    nothing = Affine().sources(grid, stride, size)
    assert nothing[0, 0].tolist() == [stride / 2, stride / 2]
    centre = torch.tensor([size[1] / 2, size[0] / 2], dtype=torch.float64)
    there = affine.sources(grid, stride, size) - centre
    undone = affine.inverse()
    x, y = undone._turned_back(there[..., 0] - undone.shift_x_px, there[..., 1] - undone.shift_y_px)
    torch.testing.assert_close(torch.stack([x, y], -1) + centre, nothing, rtol=0, atol=1e-6)


def test_affines_and_planes_that_cannot_be_are_named() -> None:
    for wrong in ({"scale": 0.0}, {"scale": -1.0}, {"rotation_degrees": float("nan")}, {"shift_x_px": float("inf")}):
        with pytest.raises(UsageError, match="has no inverse"):
            Affine(**wrong)
    spec = LatentSpec("v-0", (PlaneSpec("v", "vector", 4),))
    with pytest.raises(UsageError, match="plane v is no grid"):
        Latent(spec, {"v": torch.zeros(1, 4)}, 8, 8).transform(Affine())
