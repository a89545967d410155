"""Every kind of picture file comes out upright, in sRGB, and whole, or as one ImageError."""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pil
from PIL import ImageOps

from smalto.data.photographs import (
    as_image,
    image_planes,
    image_tensor,
    picture_files,
    pixel_levels,
    read_image,
    tensor_image,
    unit_range,
)
from smalto.errors import ImageError, UsageError
from smalto.types import Image


def photograph(height: int = 24, width: int = 40, channels: int = 3) -> np.ndarray:
    """Smooth colour with some texture."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [128 + 90 * np.sin(rows / (5 + k) + k) + 30 * np.cos(columns / (3 + k)) for k in range(channels)]
    return np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def stored(picture: Pil.Image, kind: str, **options: object) -> BytesIO:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return BytesIO(buffer.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_kinds_come_back_exactly(kind: str) -> None:
    pixels = photograph()
    image = read_image(stored(Pil.fromarray(pixels), kind))
    assert image.pixels.dtype == np.uint8
    assert np.array_equal(image.pixels, pixels)
    assert image.alpha is None
    assert not image.grey


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_kinds_come_back_alike(kind: str) -> None:
    pixels = photograph()
    image = read_image(stored(Pil.fromarray(pixels), kind, quality=95))
    assert np.abs(image.pixels.astype(int) - pixels).mean() < 6


def test_a_path_names_the_source(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Pil.fromarray(photograph()).save(path)
    assert read_image(path).source == str(path)
    assert read_image(str(path)).height == 24


def test_one_pixel() -> None:
    image = read_image(stored(Pil.new("RGB", (1, 1), (1, 2, 3)), "PNG"))
    assert image.pixels.tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Pil.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data = stored(Pil.fromarray(photograph()), kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Pil.open(BytesIO(data.getvalue()))))
    assert np.array_equal(read_image(data).pixels, expected)


@given(st.binary(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_exif_block_leaves_a_readable_picture(block: bytes) -> None:
    data = stored(Pil.fromarray(photograph(4, 6)), "WEBP", lossless=True, exif=b"Exif\0\0II*\0" + block)
    assert sorted(read_image(data).pixels.shape) == [3, 4, 6]


def test_grey_flag_is_kept() -> None:
    grey = photograph()[:, :, 0]
    image = read_image(stored(Pil.fromarray(grey), "PNG"))
    assert image.grey
    assert np.array_equal(image.pixels, np.repeat(grey[:, :, None], 3, axis=2))


def test_bilevel_is_grey() -> None:
    image = read_image(stored(Pil.fromarray(photograph()[:, :, 0] > 128), "PNG"))
    assert image.grey
    assert set(np.unique(image.pixels)) == {0, 255}


def test_alpha_is_kept() -> None:
    pixels = np.concatenate([photograph(), photograph()[:, :, :1]], axis=2)
    image = read_image(stored(Pil.fromarray(pixels), "PNG"))
    assert image.alpha is not None
    assert np.array_equal(image.alpha, pixels[:, :, 3])
    assert np.array_equal(image.pixels, pixels[:, :, :3])


def test_grey_with_alpha() -> None:
    pixels = photograph(channels=2)
    image = read_image(stored(Pil.fromarray(pixels, "LA"), "PNG"))
    assert image.grey
    assert image.alpha is not None
    assert np.array_equal(image.alpha, pixels[:, :, 1])
    assert np.array_equal(image.pixels[:, :, 0], pixels[:, :, 0])


def test_palette_with_a_transparent_entry() -> None:
    picture = Pil.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    image = read_image(stored(picture, "PNG", transparency=1))
    assert image.pixels.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert image.alpha is not None
    assert image.alpha.tolist() == [[255, 0, 255]]
    assert not image.grey


def test_rgb_with_a_transparent_colour() -> None:
    picture = Pil.fromarray(np.array([[[9, 9, 9], [1, 2, 3]]], dtype=np.uint8))
    image = read_image(stored(picture, "PNG", transparency=(1, 2, 3)))
    assert image.alpha is not None
    assert image.alpha.tolist() == [[255, 0]]
    assert image.pixels.tolist() == [[[9, 9, 9], [1, 2, 3]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Pil.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = read_image(stored(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options))
    assert image.pixels[0, 0].tolist() == [255, 0, 0]


def test_cmyk_jpeg_becomes_rgb() -> None:
    picture = Pil.fromarray(photograph()).convert("CMYK")
    image = read_image(stored(picture, "JPEG", quality=98))
    assert np.abs(image.pixels.astype(int) - np.asarray(picture.convert("RGB"))).mean() < 4


def test_sixteen_bit_grey_tiff_is_read_in_full() -> None:
    values = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 68
    image = read_image(stored(Pil.fromarray(values), "TIFF"))
    assert image.pixels.dtype == np.float32
    assert image.grey
    assert np.array_equal(np.round(image.pixels[:, :, 0] * 65535).astype(np.uint16), values)


def test_sixteen_bit_pgm_is_read_in_full() -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
    image = read_image(BytesIO(b"P5 3 2 65535\n" + values.astype(">u2").tobytes()))
    assert np.array_equal(np.round(image.pixels[:, :, 2] * 65535).astype(np.uint16), values)


def test_sixteen_bit_ppm_is_refused() -> None:
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_image(BytesIO(b"P6 2 2 65535\n" + bytes(24)))


def test_sixteen_bit_rgb_tiff_is_refused() -> None:
    samples = struct.pack("<HHH", 16, 16, 16)
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 128)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)
    data = data.ljust(122, b"\0") + samples + bytes(6)
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_image(BytesIO(data))


def test_float_tiff_is_refused() -> None:
    with pytest.raises(ImageError, match="more than 8 bits"):
        read_image(stored(Pil.fromarray(np.zeros((4, 4), dtype=np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM"])
def test_a_truncated_file_is_an_image_error(kind: str) -> None:
    data = stored(Pil.fromarray(photograph(64, 64)), kind).getvalue()
    for share in (0.02, 0.3, 0.7):
        with pytest.raises(ImageError) as caught:
            read_image(BytesIO(data[: int(len(data) * share)]))
        assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
@settings(max_examples=80, deadline=None)
def test_arbitrary_bytes_are_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        read_image(BytesIO(data))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: cannot be read"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)


def test_other_formats_are_not_tried() -> None:
    with pytest.raises(ImageError, match="known kind"):
        read_image(stored(Pil.fromarray(photograph()), "ICO"))


def test_size_limits() -> None:
    with pytest.raises(ImageError, match="8193x1 is too large"):
        read_image(stored(Pil.new("L", (8193, 1)), "PNG"))
    with pytest.raises(ImageError, match="too large"):
        read_image(stored(Pil.new("L", (64, 64)), "PNG"), max_pixels=4095)
    assert read_image(stored(Pil.new("L", (8192, 1)), "PNG")).width == 8192


@pytest.mark.parametrize("side", [12000, 60000])
def test_a_lying_header_allocates_nothing(side: int) -> None:
    data = bytearray(stored(Pil.new("L", (1, 1)), "BMP").getvalue())
    data[18:26] = struct.pack("<ii", side, side)
    with pytest.raises(ImageError):
        read_image(BytesIO(bytes(data)))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
@settings(max_examples=40, deadline=None)
def test_tensor_and_back(pixels: np.ndarray) -> None:
    tensor = image_tensor(Image(pixels))
    assert tensor.shape == (1, 3, *pixels.shape[:2])
    assert tensor.dtype == torch.float32
    assert float(tensor.max()) <= 1.0
    assert np.array_equal(tensor_image(tensor).pixels, pixels)


def test_tensor_image_clamps_and_greys() -> None:
    tensor = torch.tensor([-1.0, 0.5, 2.0]).reshape(3, 1, 1)
    assert tensor_image(tensor).pixels.tolist() == [[[0, 128, 255]]]
    grey = tensor_image(torch.tensor([0.0, 0.3, 0.6]).reshape(3, 1, 1), grey=True)
    assert grey.grey
    assert grey.pixels.tolist() == [[[77, 77, 77]]]


def test_as_image_takes_what_callers_hold() -> None:
    pixels = photograph()
    image = Image(pixels)
    assert as_image(image) is image
    assert np.array_equal(as_image(Pil.fromarray(pixels)).pixels, pixels)
    assert np.array_equal(as_image(pixels).pixels, pixels)
    assert as_image(pixels[:, :, 0]).grey
    with_alpha = as_image(np.dstack([pixels, pixels[:, :, 0]]))
    assert with_alpha.alpha is not None
    assert np.array_equal(as_image(image_tensor(image)[0]).pixels, pixels)


@pytest.mark.parametrize(
    "value", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), torch.zeros(1, 4, 4), torch.zeros(3, 4, 4).int(), 3]
)
def test_as_image_refuses_the_rest(value: object) -> None:
    with pytest.raises(UsageError):
        as_image(value)  # type: ignore[arg-type]


def test_picture_files_are_sorted_and_found_below(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.png", "a.JPG", "sub/c.webp", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in picture_files(tmp_path)] == ["a.JPG", "b.png", "c.webp"]
    with pytest.raises(UsageError, match="not a folder"):
        picture_files(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no pictures"):
        picture_files(tmp_path / "empty")


def test_levels_are_clamped_rounded_and_always_numbers() -> None:
    values = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0, torch.inf, -torch.inf, torch.nan])
    levels = pixel_levels(values.expand(1, 3, 1, 9))
    assert levels[0, 0, 0].tolist() == [0, 0, 0, 1, 255, 255, 255, 0, 128]
    grey = pixel_levels(torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1), grey=True)
    assert grey.flatten().tolist() == [128, 128, 128]


def test_planes_are_the_pictures_own_numbers() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    planes = image_planes(Image(pixels))
    assert planes.data_ptr() == pixels.ctypes.data
    assert torch.equal(unit_range(planes), image_tensor(Image(pixels)))
    assert unit_range(image_planes(Image(np.full((1, 1, 3), 0.25, np.float32)))).flatten().tolist() == [0.25] * 3


def test_a_read_only_array_is_taken_without_a_warning() -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels.flags.writeable = False
    assert image_tensor(as_image(pixels)).shape == (1, 3, 3, 4)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (Image(np.zeros((1, 8193, 3), np.uint8), source="a.png"), ImageError, "8193x1 is too large"),
        (Image(np.zeros((0, 4, 3), np.uint8)), ImageError, "no pixels"),
        (Image(np.zeros((4, 4), np.uint8)), UsageError, "(H, W, 3)"),
        (Image(np.zeros((4, 4, 3), np.float64)), UsageError, "float64"),
        (Image(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8)), UsageError, "alpha"),
        (Image(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)), UsageError, "alpha"),
    ],
)
def test_images_made_by_callers_are_checked(image: Image, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        as_image(image)
    good = Image(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8))
    assert as_image(good) is good
