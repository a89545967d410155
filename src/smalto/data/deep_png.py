"""PNG of 16 bits a channel, read in full.

Pillow reads 16-bit RGB PNG as 8 bits, so this small reader does the work for colour types 0, 2, 4 and 6, plain and
interlaced. Memory is bounded by the size that the header declares, which the caller has checked.

Source: Portable Network Graphics (PNG) Specification, third edition, W3C: sections 5 (chunks), 9 (filtering),
8.1 (Adam7 interlacing), 11.3.1 (tRNS).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from smalto.errors import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> channels at 16 bits; 3 (palette) has none
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def read_deep_png(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Decode a 16-bit PNG.

    Args:
        data: the whole file.
        name: the file's name, for messages.

    Returns:
        Pixels (H, W, 3) float32 in [0, 1]; alpha (H, W) uint8 or None; whether the file is grey.

    Raises:
        ImageError: damaged, truncated, or not a 16-bit PNG.
    """
    header, compressed, transparent = _chunks(data, name)
    width, height, depth, colour, method, filters, interlace = header
    if depth != 16 or colour not in _CHANNELS or method or filters or interlace > 1 or not width or not height:
        raise ImageError(f"{name}: not a 16-bit PNG that follows the standard; save it again")
    channels = _CHANNELS[colour]
    passes = _passes(width, height, interlace)
    expected = sum(rows * (1 + columns * channels * 2) for _, rows, columns in passes)
    lines = _inflate(compressed, expected, name)
    samples = np.empty((height, width, channels), dtype=np.uint16)
    start = 0
    for (top, left, down, right), rows, columns in passes:
        stop = start + rows * (1 + columns * channels * 2)
        block = lines[start:stop].reshape(rows, 1 + columns * channels * 2)
        values = _unfilter(block, columns, channels * 2, name)  # (rows, columns, channels * 2) uint8
        samples[top::down, left::right] = values.view(">u2")
        start = stop
    return _picture(samples, colour, transparent)


def _picture(
    samples: np.ndarray, colour: int, transparent: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray | None, bool]:
    grey = colour in (0, 4)
    alpha = None
    if colour in (4, 6):
        alpha = ((samples[:, :, -1].astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        samples = samples[:, :, :-1]
    elif transparent:
        matches = (samples == np.array(transparent, dtype=np.uint16)).all(axis=2)
        alpha = np.where(matches, 0, 255).astype(np.uint8)
    pixels = samples.astype(np.float32) / np.float32(65535.0)
    return (np.repeat(pixels, 3, axis=2) if grey else pixels), alpha, grey


def _chunks(data: bytes, name: str) -> tuple[tuple[int, ...], bytes, tuple[int, ...]]:
    """IHDR fields, the joined IDAT bytes, and the transparent colour of tRNS (empty when there is none)."""
    header: tuple[int, ...] | None = None
    pieces: list[memoryview] = []
    transparent: tuple[int, ...] = ()
    view = memoryview(data)
    offset = len(_SIGNATURE)
    while True:
        if data[: len(_SIGNATURE)] != _SIGNATURE or offset + 12 > len(data):
            raise ImageError(f"{name}: truncated PNG; get a fresh copy")
        length, kind = struct.unpack_from(">I4s", data, offset)
        if offset + 12 + length > len(data):
            raise ImageError(f"{name}: truncated PNG; get a fresh copy")
        body = view[offset + 8 : offset + 8 + length]
        (crc,) = struct.unpack_from(">I", data, offset + 8 + length)
        if zlib.crc32(view[offset + 4 : offset + 8 + length]) != crc and kind[:1].isupper():
            raise ImageError(f"{name}: damaged PNG (checksum of {kind!r}); get a fresh copy")
        offset += 12 + length
        if kind == b"IHDR" and length == 13:
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"tRNS" and length in (2, 6):
            transparent = struct.unpack(f">{length // 2}H", body)
        elif kind == b"IDAT":
            pieces.append(body)
        elif kind == b"IEND":
            break
    if header is None:
        raise ImageError(f"{name}: PNG without a header; get a fresh copy")
    if transparent and len(transparent) != _CHANNELS.get(header[3]):
        transparent = ()
    return header, b"".join(pieces), transparent


def _inflate(compressed: bytes, expected: int, name: str) -> np.ndarray:
    """Exactly ``expected`` bytes of scan lines; never more is allocated, whatever the stream holds."""
    try:
        raw = zlib.decompressobj().decompress(compressed, expected)
    except zlib.error as error:
        raise ImageError(f"{name}: damaged PNG ({error}); get a fresh copy") from error
    if len(raw) != expected:
        raise ImageError(f"{name}: truncated PNG ({len(raw)} of {expected} bytes); get a fresh copy")
    return np.frombuffer(raw, dtype=np.uint8)


def _passes(width: int, height: int, interlace: int) -> list[tuple[tuple[int, int, int, int], int, int]]:
    """((top, left, row step, column step), rows, columns) of every pass that is not empty."""
    grids = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = [((t, l, d, r), -(-(height - t) // d), -(-(width - l) // r)) for t, l, d, r in grids]  # noqa: E741
    return [entry for entry in sizes if entry[1] > 0 and entry[2] > 0]


def _unfilter(block: np.ndarray, columns: int, pixel_bytes: int, name: str) -> np.ndarray:
    """Undo the scan-line filters along anti-diagonals, where every pixel's three neighbours are already known.

    Math: with a = left, b = above, c = above left, all 0 outside the picture, the byte is x + p mod 256;
    p = 0 (none), a (sub), b (up), floor((a + b) / 2) (average), or whichever of a, b, c is nearest to
    a + b - c, ties in that order (Paeth).

    Args:
        block: (rows, 1 + columns * pixel_bytes) uint8; the first byte of a line is its filter.

    Returns:
        (rows, columns, pixel_bytes) uint8.
    """
    rows = block.shape[0]
    filters = block[:, 0]
    if filters.max(initial=0) > 4:
        raise ImageError(f"{name}: damaged PNG (filter {int(filters.max())}); get a fresh copy")
    stride = columns + 1  # one zero column at the left, one zero row at the top
    padded = np.zeros((rows + 1, stride, pixel_bytes), dtype=np.uint8)
    padded[1:, 1:] = block[:, 1:].reshape(rows, columns, pixel_bytes)
    if not filters.any():
        return np.ascontiguousarray(padded[1:, 1:])
    flat = padded.reshape(-1, pixel_bytes)
    for diagonal in range(rows + columns - 1):
        top = max(0, diagonal - columns + 1)
        bottom = min(rows - 1, diagonal)
        first = (top + 1) * stride + diagonal - top + 1
        here = slice(first, first + (bottom - top) * (stride - 1) + 1, max(stride - 1, 1))
        kinds = filters[top : bottom + 1, None]
        left, above, corner = (_shifted(flat, here, -by) for by in (1, stride, stride + 1))
        flat[here] += _predicted(kinds, left, above, corner)
    return np.ascontiguousarray(padded[1:, 1:])


def _shifted(flat: np.ndarray, where: slice, by: int) -> np.ndarray:
    return flat[where.start + by : where.stop + by : where.step].astype(np.int16)


def _predicted(kinds: np.ndarray, left: np.ndarray, above: np.ndarray, corner: np.ndarray) -> np.ndarray:
    toward_left = np.abs(above - corner)
    toward_above = np.abs(left - corner)
    toward_corner = np.abs(left + above - 2 * corner)
    paeth = np.where(toward_above <= toward_corner, above, corner)
    paeth = np.where((toward_left <= toward_above) & (toward_left <= toward_corner), left, paeth)
    choices = (np.zeros_like(left), left, above, (left + above) >> 1, paeth)
    return np.choose(kinds, choices).astype(np.uint8)
