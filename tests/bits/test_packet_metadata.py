"""Header metadata: inverse, well-known keys, every rule of the block."""

from __future__ import annotations

import pytest
from hypothesis import given

from smalto.bits.packet_metadata import MAX_ENTRIES, WELL_KNOWN_KEYS, MetadataValue, decode_metadata, encode_metadata
from smalto.bits.varint import Cursor
from smalto.errors import DamagedPacket, UsageError
from tests.bits.packet_examples import metadata


@given(metadata)
def test_decoding_inverts_encoding(entries: dict[str, MetadataValue]) -> None:
    cursor = Cursor(encode_metadata(entries), "test")
    decoded = decode_metadata(cursor)
    assert decoded == entries
    assert list(decoded) == list(entries)
    assert {key: type(value) for key, value in decoded.items()} == {key: type(value) for key, value in entries.items()}
    assert cursor.remaining == 0


def test_well_known_keys_take_one_byte() -> None:
    assert encode_metadata({"encoder": "lite"}) == b"\x01\x05\x04lite"
    assert encode_metadata({"grey": True}) == b"\x01\x08\x02"
    assert encode_metadata({"pad": b""}) == b"\x01\x12\x00"
    assert sorted(WELL_KNOWN_KEYS.values()) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "entries",
    [
        {"": 1},
        {"Encoder": 1},
        {"k" * 64: 1},
        {"#1": 1},
        {"#64": 1},
        {"a": 1 << 62},
        {"a": -(1 << 62)},
        {"a": "two\nlines"},
        {"a": "\x9b"},
        {"a": "\u202e"},
        {"a": "\u2067"},
        {"a": "\ud800"},
        {"a": "x" * 32769},
        {"a": 1.5},
        {"a": None},
        {f"k{number}": 0 for number in range(MAX_ENTRIES + 1)},
    ],
)
def test_what_cannot_be_stored_is_refused(entries: dict[str, MetadataValue]) -> None:
    with pytest.raises(UsageError):
        encode_metadata(entries)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x41",
        b"\x01",
        b"\x01\x07",
        b"\x01\x00",
        b"\x01\x00\x00\x00",
        b"\x01\x00\x01A\x00",
        b"\x01\x00\x04grey\x00",
        b"\x01\x05\x05lite",
        b"\x01\x05\x01\xff",
        b"\x01\x05\x01\x1b",
        b"\x01\x05\x02\xc2\x9b",
        b"\x01\x05\x03\xe2\x80\xa8",
        b"\x01\x05\x80\x80\x04",
        b"\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x02\x08\x02\x08\x02",
    ],
)
def test_a_block_that_breaks_a_rule_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedPacket, match=r"^test: .*damaged"):
        decode_metadata(Cursor(data, "test"))


def test_later_keys_are_kept_under_their_number() -> None:
    data = b"\x01\xfd\x01a"
    assert decode_metadata(Cursor(data, "test")) == {"#63": "a"}
    assert encode_metadata({"#63": "a"}) == data
