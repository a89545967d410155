"""Lossless 8-bit planes (alpha): differences to the left neighbour, deflated in bands of rows."""

from __future__ import annotations

import zlib

import numpy as np

from smalto.errors import DamagedPacket

MAX_CHUNK_SYMBOLS = 1 << 22


def band_rows(width: int) -> int:
    """Rows a chunk holds: as many as keep it within 2^22 values, at least one."""
    return max(1, MAX_CHUNK_SYMBOLS // width)


def encode_plane(plane: np.ndarray) -> tuple[bytes, ...]:
    """Code a plane.

    Args:
        plane: (H, W) uint8.

    Returns:
        One zlib stream per band of ``band_rows(W)`` rows, of ``plane[i, j] - plane[i, j - 1] mod 256``.
    """
    left = np.zeros_like(plane)
    left[:, 1:] = plane[:, :-1]
    differences = plane - left
    rows = band_rows(plane.shape[1])
    return tuple(zlib.compress(differences[top : top + rows].tobytes(), 9) for top in range(0, plane.shape[0], rows))


def decode_plane(chunks: tuple[bytes, ...], height: int, width: int) -> np.ndarray:
    """Inverse of ``encode_plane``: (height, width) uint8.

    Raises:
        DamagedPacket: the chunks do not hold exactly this plane.
    """
    rows = band_rows(width)
    tops = range(0, height, rows)
    if len(chunks) != len(tops):
        raise DamagedPacket(
            f"alpha plane: {len(chunks)} chunks where {height} rows need {len(tops)}; the file is damaged"
        )
    plane = np.empty((height, width), np.uint8)
    for top, chunk in zip(tops, chunks, strict=True):
        band = plane[top : top + rows]
        inflater = zlib.decompressobj()
        try:
            data = inflater.decompress(chunk, band.size + 1)
        except zlib.error as error:
            raise DamagedPacket(f"alpha plane: {error}; the file is damaged") from error
        if len(data) != band.size or not inflater.eof or inflater.unused_data:
            raise DamagedPacket("alpha plane: wrong number of values; the file is damaged")
        differences = np.frombuffer(data, np.uint8).reshape(band.shape)
        np.cumsum(differences, axis=1, dtype=np.uint8, out=band)
    return plane
