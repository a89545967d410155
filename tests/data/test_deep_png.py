"""16-bit PNG: every colour type, filter and interlacing against a plain encoder and against Pillow's top bytes."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from smalto.data.deep_png import read_deep_png
from smalto.data.photographs import read_image
from smalto.errors import ImageError

COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(lines: list[bytes], pixel_bytes: int, kinds: list[int]) -> bytes:
    """PNG filtering, byte by byte as the standard writes it."""
    result = bytearray()
    previous = bytes(len(lines[0]))
    for line, kind in zip(lines, kinds, strict=True):
        result.append(kind)
        for k, value in enumerate(line):
            a = line[k - pixel_bytes] if k >= pixel_bytes else 0
            b = previous[k]
            c = previous[k - pixel_bytes] if k >= pixel_bytes else 0
            p = a + b - c
            nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            result.append((value - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
        previous = line
    return bytes(result)


def encode(samples: np.ndarray, seed: int = 0, interlaced: bool = False, extra: bytes = b"") -> bytes:
    height, width, channels = samples.shape
    generator = np.random.default_rng(seed)
    raw = b""
    for top, left, down, right in PASSES if interlaced else ((0, 0, 1, 1),):
        part = samples[top::down, left::right]
        if part.size:
            lines = [row.astype(">u2").tobytes() for row in part]
            raw += filtered(lines, channels * 2, generator.integers(0, 5, len(lines)).tolist())
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPE[channels], 0, 0, int(interlaced))
    packed = zlib.compress(raw)
    body = chunk(b"IDAT", packed[: len(packed) // 2]) + chunk(b"IDAT", packed[len(packed) // 2 :])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + body + chunk(b"IEND", b"")


def levels(values: np.ndarray) -> np.ndarray:
    return np.round(values.astype(np.float64) * 65535).astype(np.uint16)


@given(st.integers(1, 19), st.integers(1, 19), st.sampled_from([1, 2, 3, 4]), st.booleans(), st.integers(0, 2**31 - 1))
@settings(max_examples=80, deadline=None)
def test_every_kind_comes_back_exactly(height: int, width: int, channels: int, interlaced: bool, seed: int) -> None:
    samples = np.random.default_rng(seed).integers(0, 65536, (height, width, channels)).astype(np.uint16)
    image = read_image(BytesIO(encode(samples, seed, interlaced)))
    assert image.pixels.dtype == np.float32
    colours = samples[:, :, : 1 if channels < 3 else 3]
    assert np.array_equal(levels(image.pixels), np.broadcast_to(colours, (height, width, 3)))
    assert image.grey == (channels < 3)
    assert (image.alpha is not None) == (channels in (2, 4))
    if image.alpha is not None:
        assert np.array_equal(image.alpha, np.round(samples[:, :, -1] / 257).astype(np.uint8))


@pytest.mark.parametrize("interlaced", [False, True])
def test_top_bytes_agree_with_pillow(interlaced: bool) -> None:
    samples = np.random.default_rng(1).integers(0, 65536, (13, 17, 3)).astype(np.uint16)
    data = encode(samples, 1, interlaced)
    pixels, _, _ = read_deep_png(data, "a.png")
    assert np.array_equal(levels(pixels) >> 8, np.asarray(Pil.open(BytesIO(data))))


def test_a_file_of_pillows_own() -> None:
    values = np.random.default_rng(2).integers(0, 65536, (30, 50)).astype(np.uint16)
    buffer = BytesIO()
    Pil.fromarray(values).save(buffer, "PNG")
    pixels, alpha, grey = read_deep_png(buffer.getvalue(), "a.png")
    assert grey
    assert alpha is None
    assert np.array_equal(levels(pixels[:, :, 0]), values)


def test_transparent_colour() -> None:
    samples = np.array([[[1, 2, 3], [1, 2, 4]]], dtype=np.uint16)
    image = read_image(BytesIO(encode(samples, extra=chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)))))
    assert image.alpha is not None
    assert image.alpha.tolist() == [[0, 255]]


def test_damage_is_named() -> None:
    data = encode(np.full((9, 9, 3), 777, dtype=np.uint16))
    for cut in range(len(data) - 1):
        with pytest.raises(ImageError):
            read_deep_png(data[:cut], "a.png")
    for place in range(33, len(data) - 12):
        broken = bytearray(data)
        broken[place] ^= 0x41
        with pytest.raises(ImageError):
            read_deep_png(bytes(broken), "a.png")


def test_a_stream_that_is_too_short_or_has_a_wrong_filter() -> None:
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 0, 0, 0, 0))
    for raw, message in ((bytes(9), "truncated"), (b"\x05" + bytes(9), "filter 5")):
        with pytest.raises(ImageError, match=message):
            read_deep_png(head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""), "a.png")


def test_eight_bit_files_are_not_for_this_reader() -> None:
    buffer = BytesIO()
    Pil.new("RGB", (2, 2)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="16-bit"):
        read_deep_png(buffer.getvalue(), "a.png")
