"""Lossless planes: what goes in comes out, damage is named."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.codecs import lossless
from smalto.codecs.lossless import band_rows, decode_plane, encode_plane
from smalto.errors import DamagedPacket


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31 - 1))
def test_planes_come_back(height: int, width: int, seed: int) -> None:
    plane = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    assert np.array_equal(decode_plane(encode_plane(plane), height, width), plane)


def test_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless, "MAX_CHUNK_SYMBOLS", 64)
    plane = np.arange(10 * 16, dtype=np.uint8).reshape(10, 16)
    chunks = encode_plane(plane)
    assert len(chunks) == 3
    assert np.array_equal(decode_plane(chunks, 10, 16), plane)
    assert band_rows(100) == 1


def test_a_uniform_plane_is_tiny() -> None:
    assert sum(map(len, encode_plane(np.full((512, 512), 255, np.uint8)))) < 1024


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (b"not deflate",),
        (zlib.compress(bytes(11)),),
        (zlib.compress(bytes(13)),),
        (zlib.compress(bytes(12)) + b"x",),
        (zlib.compress(bytes(12))[:-2],),
    ],
    ids=["none", "garbage", "short", "long", "trailing", "cut"],
)
def test_damage_is_named(chunks: tuple[bytes, ...]) -> None:
    with pytest.raises(DamagedPacket, match="alpha plane"):
        decode_plane(chunks, 3, 4)


def test_a_bomb_is_not_inflated() -> None:
    with pytest.raises(DamagedPacket, match="wrong number of values"):
        decode_plane((zlib.compress(bytes(1 << 24), 9),), 3, 4)
