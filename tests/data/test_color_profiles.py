"""ICC profiles: sRGB leaves pixels alone, others are converted, at 8 bits as at 16; damage is named."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image as Pil
from PIL import ImageCms

from smalto.data.color_profiles import deep_to_srgb
from smalto.data.photographs import read_image
from smalto.errors import ImageError

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))  # D50, rows r g b
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
PARAMETRIC_SRGB = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(v * 65536) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


def profile(primaries: tuple[tuple[float, ...], ...], curve: bytes, space: bytes = b"RGB ") -> bytes:
    """A small matrix profile, or a grey one when ``space`` says so."""

    def fixed(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    white = fixed((0.9642, 1.0, 0.8249))
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67)
    tags = [(b"desc", text), (b"cprt", b"text\0\0\0\0free\0\0\0\0"), (b"wtpt", white)]
    if space == b"GRAY":
        tags.append((b"kTRC", curve))
    else:
        tags += [(kind, fixed(value)) for kind, value in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)]
        tags += [(kind, curve) for kind in (b"rTRC", b"gTRC", b"bTRC")]
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for kind, value in tags:
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", kind, offset + len(body), len(value))
        body += value
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"\0\0\0\0", 0x02400000, b"mntr", space, b"XYZ ").ljust(36, b"\0") + b"acsp"
    return head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body


def png(pixels: np.ndarray, icc: bytes) -> BytesIO:
    buffer = BytesIO()
    Pil.fromarray(pixels).save(buffer, "PNG", icc_profile=icc)
    return BytesIO(buffer.getvalue())


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    "icc",
    [ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), profile(SRGB, PARAMETRIC_SRGB)],
    ids=["lcms", "own"],
)
def test_srgb_leaves_every_pixel_alone(icc: bytes) -> None:
    pixels = noise(20, 20, 3)
    assert np.array_equal(read_image(png(pixels, icc)).pixels, pixels)


def test_display_p3_is_converted_and_8_and_16_bits_agree() -> None:
    icc = profile(P3, PARAMETRIC_SRGB)
    pixels = noise(20, 20, 3)
    eight = read_image(png(pixels, icc)).pixels
    assert np.abs(eight.astype(int) - pixels).max() > 10
    sixteen = deep_to_srgb((pixels / 255.0).astype(np.float32), icc, "a.png")
    assert np.abs(sixteen * 255 - eight).max() < 1.5


def test_p3_red_and_neutral_by_hand() -> None:
    icc = profile(P3, PARAMETRIC_SRGB)
    neutral = read_image(png(np.full((1, 1, 3), 119, np.uint8), icc)).pixels
    assert np.abs(neutral.astype(int) - 119).max() <= 1
    # Display P3 (200, 100, 50) is sRGB (214.1, 95.0, 32.6): CSS Color 4 matrices, worked out by hand
    moved = read_image(png(np.array([[[200, 100, 50]]], np.uint8), icc)).pixels[0, 0]
    assert moved.astype(int) == pytest.approx(_p3_to_srgb((200, 100, 50)), abs=1.5)


def _p3_to_srgb(color: tuple[int, ...]) -> np.ndarray:
    """CSS Color 4: linear-light Display P3 to linear-light sRGB, both D65."""
    value = np.array(color) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = [[1.2249401, -0.2249404, 0.0], [-0.0420569, 1.0420571, 0.0], [-0.0196376, -0.0786361, 1.0982735]]
    light = np.clip(np.array(matrix) @ linear, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_grey_with_a_grey_profile_stays_grey() -> None:
    image = read_image(png(noise(9, 9), profile((), gamma(1.0), b"GRAY")))
    assert image.grey
    assert np.array_equal(image.pixels[:, :, 0], image.pixels[:, :, 2])
    linear = noise(9, 9) / 255
    expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(image.pixels[:, :, 1] - expected).max() < 2


def test_grey_with_an_rgb_profile_is_converted_too() -> None:
    image = read_image(png(noise(9, 9), profile(SRGB, gamma(1.0))))
    assert image.grey
    assert image.pixels.astype(int).mean() > noise(9, 9).mean() + 20


def test_alpha_survives_a_conversion() -> None:
    pixels = noise(9, 9, 4)
    image = read_image(png(pixels, profile(P3, PARAMETRIC_SRGB)))
    assert image.alpha is not None
    assert np.array_equal(image.alpha, pixels[:, :, 3])


@pytest.mark.parametrize(
    "curve",
    [
        gamma(2.2),
        b"curv\0\0\0\0\0\0\0\0",
        PARAMETRIC_SRGB,
        b"curv\0\0\0\0" + struct.pack(">I5H", 5, 0, 4000, 16000, 36000, 65535) + b"\0\0",
        b"para\0\0\0\0\0\4\0\0" + struct.pack(">7i", *(round(v * 65536) for v in (2.2, 0.9, 0.1, 0.3, 0.05, 0.0, 0.0))),
    ],
)
def test_curves_agree_with_little_cms(curve: bytes) -> None:
    icc = profile(P3, curve)
    pixels = noise(30, 30, 3)
    eight = read_image(png(pixels, icc)).pixels
    sixteen = deep_to_srgb((pixels / 255.0).astype(np.float32), icc, "a.png") * 255
    off = np.abs(sixteen - eight)
    assert np.median(off) < 0.6
    assert np.quantile(off, 0.98) < 2.0


def test_deep_grey() -> None:
    pixels = np.repeat(np.linspace(0, 1, 16, dtype=np.float32)[None, :, None], 3, axis=2)
    converted = deep_to_srgb(pixels, profile((), gamma(1.0), b"GRAY"), "a.png")
    assert converted[0, 8, 0] == pytest.approx(1.055 * (8 / 15) ** (1 / 2.4) - 0.055, abs=1e-4)
    assert np.array_equal(converted[..., 0], converted[..., 2])


def test_damaged_or_mismatched_profiles_are_named() -> None:
    with pytest.raises(ImageError, match="ICC profile"):
        read_image(png(noise(4, 4, 3), b"not a profile"))
    with pytest.raises(ImageError, match="ICC profile"):
        read_image(png(noise(4, 4, 3), profile((), gamma(2.2), b"GRAY")))
    good = profile(P3, gamma(2.2))
    for cut in (0, 100, 140, 200, 300):
        with pytest.raises(ImageError, match="ICC profile"):
            deep_to_srgb(np.zeros((2, 2, 3), np.float32), good[:cut], "a.png")
