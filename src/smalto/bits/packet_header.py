"""The header of a .smalto file: fields to bytes and back. docs/format.md describes the same bytes in words."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from smalto.bits.packet_metadata import MetadataValue, decode_metadata, encode_metadata
from smalto.bits.packet_parts import (
    CRC_BYTES,
    DIGEST_BYTES,
    FILE_ID_BYTES,
    MAX_CHUNKS,
    MAX_SECTIONS,
    MAX_SIDE_PX,
    Header,
    Limits,
    SectionEntry,
    SpaceEntry,
    check_layout,
)
from smalto.bits.varint import Cursor, varint
from smalto.errors import DamagedPacket, NotAPacket, UnsupportedVersion, UsageError

MAGIC = b"\xf7SML"
VERSION = 1
MAX_HEADER_BYTES = 1 << 16
PREAMBLE_BYTES = len(MAGIC) + 2 + 3
"""The longest opening: magic, version, flags and a header length of three bytes."""

_KINDS = ("image", "array set")
ARRAY_SET = 1
_KIND_MASK, TRAILING_TABLE, HAS_METADATA, _SPACES_SHIFT = 0x03, 0x04, 0x08, 4
_PART, _CRITICAL, _SAME, _CHUNKED = 0x10, 0x20, 0x40, 0x80
LENGTHS_BLOCK = 0xFFFFFFFF
"""Stands in the place of the chunk number in the checksum of a section's chunk lengths."""


class TableLine(Protocol):
    """What the section table says of a section: Section and SectionEntry have it."""

    @property
    def space(self) -> int: ...
    @property
    def plane(self) -> int: ...
    @property
    def part(self) -> int: ...
    @property
    def codec(self) -> int: ...
    @property
    def q(self) -> int: ...
    @property
    def critical(self) -> bool: ...
    @property
    def length(self) -> int: ...
    @property
    def num_chunks(self) -> int: ...


def chunk_crc(file_id: bytes, section: int, chunk: int, payload: bytes | memoryview) -> int:
    """A chunk's checksum: CRC-32 over file id, section number (1 byte), chunk number (4 bytes) and payload.

    Example:
        >>> hex(chunk_crc(bytes(4), 0, 0, b"abc"))
        '0xb1b05ebf'
    """
    return zlib.crc32(payload, zlib.crc32(file_id + bytes([section]) + chunk.to_bytes(4, "little")))


def encode_header(
    shape: tuple[int, int],
    spaces: tuple[SpaceEntry, ...],
    metadata: Mapping[str, MetadataValue],
    sections: Sequence[TableLine],
    file_id: bytes,
) -> bytes:
    """The header of an image packet, from the magic to its CRC.

    Args:
        shape: height and width in pixels.
        spaces: at most 15.
        metadata: key -> str, int or bytes.
        sections: at most 64; of each only what the table says is read.
        file_id: 4 bytes.

    Raises:
        UsageError: the header would be longer than 64 KiB, or metadata cannot be stored.
    """
    flags = len(spaces) << _SPACES_SHIFT | (HAS_METADATA if metadata else 0)
    body = bytearray(file_id + varint(shape[0]) + varint(shape[1]))
    for entry in spaces:
        body += bytes([len(entry.name)]) + entry.name.encode("ascii") + entry.decoder_digest + entry.codec_digest
    if metadata:
        body += encode_metadata(metadata)
    body += _encode_table(sections)
    opening = MAGIC + bytes([VERSION, flags]) + varint(len(body) + CRC_BYTES)
    header = seal_header(opening + body)
    if len(header) > MAX_HEADER_BYTES:
        raise UsageError(f"a header of {len(header)} bytes is over {MAX_HEADER_BYTES}; keep less metadata")
    return header


def seal_header(header: bytes) -> bytes:
    """``header`` with its CRC-32 behind it."""
    return header + zlib.crc32(header).to_bytes(CRC_BYTES, "little")


def _encode_table(sections: Sequence[TableLine]) -> bytes:
    table = bytearray([len(sections)])
    before: tuple[int, ...] | None = None
    for section in sections:
        shared = (section.space, section.plane, section.codec, section.q)
        same = _SAME if shared == before else 0
        part, critical = section.part * _PART, section.critical * _CRITICAL
        table.append(section.space | part | critical | same | (_CHUNKED if section.num_chunks > 1 else 0))
        if not same:
            table += bytes([section.plane, section.codec, section.q])
        if section.num_chunks > 1:
            table += varint(section.num_chunks)
        table += varint(section.length)
        before = shared
    return bytes(table)


def header_length(data: bytes, name: str) -> int:
    """How long the whole header is, from a file's first PREAMBLE_BYTES (or all of it, when shorter).

    Raises:
        NotAPacket: another magic.
        UnsupportedVersion: another format version.
        DamagedPacket: cut short, or the length is out of bounds.
    """
    if not data or not MAGIC.startswith(data[: len(MAGIC)]):
        raise NotAPacket(f"{name}: not a .smalto file; make one with smalto encode")
    cursor = Cursor(data, name)
    cursor.take(len(MAGIC))
    version = cursor.byte()
    if version != VERSION:
        raise UnsupportedVersion(f"{name}: format version {version} is not known here; install a later smalto")
    cursor.byte()
    length = cursor.varint(MAX_HEADER_BYTES)
    if cursor.position + length > MAX_HEADER_BYTES or length < FILE_ID_BYTES + CRC_BYTES:
        raise cursor.damaged(f"a header of {cursor.position + length} bytes cannot be")
    return cursor.position + length


def file_kind(data: bytes, name: str) -> str:
    """What kind of .smalto file this is, ``image`` or ``array set``, from its first PREAMBLE_BYTES.

    Nothing but the opening is looked at: Packet.open and ArraySetReader.open judge the rest.

    Raises:
        NotAPacket: another magic.
        UnsupportedVersion: another format version, or a kind of a later version.
        DamagedPacket: cut short, or the header's length is out of bounds.

    Example:
        >>> file_kind(bytes.fromhex("f7534d4c011027"), "a.smalto")
        'image'
    """
    header_length(data[:PREAMBLE_BYTES], name)
    kind = data[len(MAGIC) + 1] & _KIND_MASK
    if kind >= len(_KINDS):
        raise UnsupportedVersion(f"{name}: files of kind {kind} are not known here; install a later smalto")
    return _KINDS[kind]


def open_header(data: bytes, name: str) -> Cursor:
    """The whole header without its checksum, which holds.

    Args:
        data: a file's first bytes, at least the whole header.
        name: the file, for messages.

    Raises:
        NotAPacket: another magic.
        UnsupportedVersion: another format version.
        DamagedPacket: the header is cut, or its checksum does not hold.
    """
    length = header_length(data[:PREAMBLE_BYTES], name)
    if len(data) < length:
        raise DamagedPacket(
            f"{name}: bytes {len(data)}-{length - 1} of the header are missing, the file is cut short; fetch it again"
        )
    data = data[:length]
    if zlib.crc32(data[:-CRC_BYTES]) != int.from_bytes(data[-CRC_BYTES:], "little"):
        raise DamagedPacket(
            f"{name}: the header's checksum does not hold; the file is damaged, fetch or encode it again"
        )
    return Cursor(data[:-CRC_BYTES], name)


def parse_header(data: bytes, name: str, limits: Limits | None = None) -> Header:
    """The header, once its checksum holds.

    Args:
        data: a file's first bytes, at least the whole header.
        name: the file, for messages.
        limits: what to accept.

    Raises:
        NotAPacket: another magic.
        UnsupportedVersion: another format version, kind or flag, or an unknown codec in a critical section.
        DamagedPacket: the header is cut, its checksum does not hold, or it breaks a rule of the format.
        LimitExceeded: the picture or the file is larger than ``limits``.
    """
    limits = limits or Limits()
    cursor = open_header(data, name)
    try:
        header = _parse_fields(cursor, len(cursor.data) + CRC_BYTES)
    except UsageError as error:
        raise cursor.damaged(str(error)) from error
    header.check_limits(name, limits)
    for number, entry in enumerate(header.sections):
        if entry.critical and entry.codec not in limits.codecs:
            raise UnsupportedVersion(
                f"{name}: section {number} needs codec {entry.codec}, which is not known here; install a later smalto"
            )
    return header


def _parse_fields(cursor: Cursor, header_bytes: int) -> Header:
    cursor.take(len(MAGIC) + 1)
    flags = cursor.byte()
    cursor.varint()
    kind = flags & _KIND_MASK
    if kind != 0 or flags & TRAILING_TABLE:
        what = _KINDS[kind] if kind < len(_KINDS) else f"kind {kind}"
        table = " with its table at the end" if flags & TRAILING_TABLE else ""
        if kind == ARRAY_SET:
            raise UnsupportedVersion(
                f"{cursor.name}: files of array set are not known to readers of pictures; use smalto features decode"
            )
        raise UnsupportedVersion(f"{cursor.name}: files of {what}{table} are not known here; install a later smalto")
    file_id = cursor.take(FILE_ID_BYTES)
    height, width = cursor.varint(MAX_SIDE_PX), cursor.varint(MAX_SIDE_PX)
    spaces = tuple(_parse_space(cursor) for _ in range(flags >> _SPACES_SHIFT))
    metadata = decode_metadata(cursor) if flags & HAS_METADATA else {}
    sections = _parse_table(cursor, header_bytes)
    if cursor.remaining:
        raise cursor.damaged(f"{cursor.remaining} bytes stand after the section table")
    check_layout(height, width, spaces, sections)
    return Header(_KINDS[kind], height, width, spaces, metadata, sections, file_id, header_bytes)


def _parse_space(cursor: Cursor) -> SpaceEntry:
    name = cursor.take(cursor.byte()).decode("latin-1")
    return SpaceEntry(name, cursor.take(DIGEST_BYTES), cursor.take(DIGEST_BYTES))


def _parse_table(cursor: Cursor, offset: int) -> tuple[SectionEntry, ...]:
    entries: list[SectionEntry] = []
    count = cursor.byte()
    if count > MAX_SECTIONS:
        raise cursor.damaged(f"{count} sections are more than {MAX_SECTIONS}")
    for _ in range(count):
        bits = cursor.byte()
        space = bits & 0x0F
        if not bits & _SAME:
            plane, codec, q = cursor.take(3)
        elif entries and entries[-1].space == space:
            plane, codec, q = entries[-1].plane, entries[-1].codec, entries[-1].q
        else:
            raise cursor.damaged("a section repeats fields of a section before it that is not there")
        num_chunks = cursor.varint(MAX_CHUNKS) if bits & _CHUNKED else 1
        if bits & _CHUNKED and num_chunks < 2:
            raise cursor.damaged(f"a section of several chunks cannot have {num_chunks}")
        part, critical = int(bits & _PART != 0), bits & _CRITICAL != 0
        entry = SectionEntry(space, plane, part, codec, q, critical, offset, cursor.varint(), num_chunks)
        entries.append(entry)
        offset = entry.end
    return tuple(entries)
