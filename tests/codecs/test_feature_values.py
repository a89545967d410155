"""Values by dtype: exact conversions of every float16 pattern, exact values kept beside the symbols."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smalto.codecs.feature_values import (
    bits_of,
    dtype_name_of,
    narrowed,
    pack_exceptions,
    unpack_exceptions,
    widened,
)
from smalto.errors import DamagedPacket, UsageError

PATTERNS = np.arange(1 << 16, dtype=np.uint16)


def test_every_finite_half_is_widened_exactly() -> None:
    halves = PATTERNS.view(np.float16)
    wide = widened(halves, "float16")
    finite = np.isfinite(halves)
    assert np.array_equal(wide[finite].view(np.uint32), halves[finite].astype(np.float32).view(np.uint32))
    assert not np.isfinite(wide[~finite]).any()


def test_halves_are_rounded_to_nearest_even() -> None:
    """Every half, every middle between two neighbours, and the float32 on either side of it."""
    wide = PATTERNS[:0x7C00].view(np.float16).astype(np.float32)
    middle = (wide[:-1] + wide[1:]) / 2
    values = np.concatenate([wide, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(9e9))])
    values = np.concatenate([values, -values])
    assert np.array_equal(narrowed(values.copy(), "float16").view(np.uint16), values.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32"])
def test_too_large_becomes_the_largest(name: str) -> None:
    largest = {"float16": 65504.0, "bfloat16": float.fromhex("0x1.fep127"), "float32": float(np.finfo("f4").max)}[name]
    back = widened(narrowed(np.array([1e300, -1e300]), name), name)
    assert back.tolist() == [largest, -largest]


@given(arrays(np.uint32, 50))
def test_bfloat16_is_rounded_to_nearest_even(patterns: np.ndarray) -> None:
    values = patterns.view(np.float32)
    values = np.where(np.abs(values) < 3e38, values, np.float32(1))
    got = narrowed(values.copy(), "bfloat16").astype(np.uint32) << 16
    low = values.view(np.uint32) & ~np.uint32(0xFFFF)
    high = low + np.uint32(0x10000)
    down, up = np.abs(values - low.view(np.float32)), np.abs(high.view(np.float32) - values)
    even = np.where(low & 0x10000, high, low)
    assert np.array_equal(got, np.where(down < up, low, np.where(up < down, high, even)))


@given(st.sampled_from(["float16", "bfloat16", "float32", "float64"]), st.data())
def test_exact_values_come_back(name: str, data: st.DataObject) -> None:
    positions = np.array(sorted(data.draw(st.sets(st.integers(0, 999), max_size=30))), np.int64)
    dtype = {"float32": np.uint32, "float64": np.uint64}.get(name, np.uint16)
    patterns = data.draw(arrays(dtype, len(positions)))
    back = unpack_exceptions(pack_exceptions(positions, patterns), 1000, name)
    assert np.array_equal(back[0], positions)
    assert np.array_equal(back[1], patterns)


@given(st.binary(max_size=60), st.integers(0, 100))
def test_noise_is_damage(noise: bytes, count: int) -> None:
    try:
        positions, patterns = unpack_exceptions(noise, count, "float32")
    except DamagedPacket:
        return
    assert len(positions) == len(patterns) <= count


def test_a_place_outside_and_a_bomb_are_damage() -> None:
    data = pack_exceptions(np.array([1, 7]), np.array([3, 4], np.uint16))
    assert unpack_exceptions(data, 8, "float16")[0].tolist() == [1, 7]
    for damaged in (data[:-1], data + b"\0", b"\xff\xff\xff\xff" + data[4:], b"\0\0\0\0", data[:3]):
        with pytest.raises(DamagedPacket):
            unpack_exceptions(damaged, 8, "float16")
    with pytest.raises(DamagedPacket):
        unpack_exceptions(data, 7, "float16")


def test_big_endian_arrays_have_the_same_bits() -> None:
    values = np.array([1.5, -2.25, np.inf], ">f4")
    assert np.array_equal(bits_of(values, "float32"), values.astype("<f4").view(np.uint32))


def test_names() -> None:
    assert dtype_name_of(np.zeros(2, np.float16)) == "float16"
    assert dtype_name_of(np.zeros(2, np.uint16), "bfloat16") == "bfloat16"
    for array, name in [(np.zeros(2, int), None), (np.zeros(2, np.uint16), None), (np.zeros(2, np.float32), "float16")]:
        with pytest.raises(UsageError):
            dtype_name_of(array, name)
