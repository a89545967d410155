"""Variable-length integers: inverse, shortest form, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.bits.varint import MAX_VARINT, Cursor, unzigzag, varint, zigzag
from smalto.errors import DamagedPacket, UsageError


@given(st.integers(0, MAX_VARINT))
def test_reading_inverts_writing(value: int) -> None:
    data = varint(value)
    cursor = Cursor(data, "test")
    assert cursor.varint() == value
    assert cursor.remaining == 0
    assert len(data) == max(1, -(-value.bit_length() // 7))


@pytest.mark.parametrize(("value", "length"), [(0, 1), (127, 1), (128, 2), (16383, 2), (16384, 3), (MAX_VARINT, 9)])
def test_lengths(value: int, length: int) -> None:
    assert len(varint(value)) == length


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_out_of_range_is_refused(value: int) -> None:
    with pytest.raises(UsageError, match="2\\^63-1"):
        varint(value)


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff\x80\x00", b"\xff" * 9, b"\xff" * 20])
def test_cut_long_and_endless_forms_are_damage(data: bytes) -> None:
    with pytest.raises(DamagedPacket, match="test: "):
        Cursor(data, "test").varint()


def test_a_maximum_is_kept() -> None:
    assert Cursor(varint(64), "test").varint(64) == 64
    with pytest.raises(DamagedPacket, match="is 65, at most 64"):
        Cursor(varint(65), "test").varint(64)


@given(st.integers(-(1 << 62) + 1, (1 << 62) - 1))
def test_zigzag_is_inverted(value: int) -> None:
    assert unzigzag(zigzag(value)) == value
    assert 0 <= zigzag(value) <= MAX_VARINT


def test_a_cursor_never_passes_the_end() -> None:
    cursor = Cursor(b"abc", "test")
    assert cursor.take(2) == b"ab"
    with pytest.raises(DamagedPacket, match="wants 2 bytes and 1 are left"):
        cursor.take(2)
    assert cursor.byte() == ord("c")
