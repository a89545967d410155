"""The fixed places of an array set: its header, its two root slots, and the index of its table's blocks.

::

    table in front:    header(with table) profile? part*
    table at the end:  header slot slot profile? (part* block)* index
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from smalto.bits.array_set_parts import MAX_GROUPS, MAX_PROFILE_BYTES, ArraySetInfo
from smalto.bits.array_set_table import MAX_BLOCK_BYTES, MAX_BLOCK_GROUPS
from smalto.bits.packet_header import (
    ARRAY_SET,
    HAS_METADATA,
    MAGIC,
    MAX_HEADER_BYTES,
    TRAILING_TABLE,
    VERSION,
    file_kind,
    open_header,
    seal_header,
)
from smalto.bits.packet_metadata import decode_metadata, encode_metadata
from smalto.bits.packet_parts import CRC_BYTES, DIGEST_BYTES, FILE_ID_BYTES
from smalto.bits.varint import MAX_VARINT, Cursor, varint
from smalto.errors import DamagedPacket, UnsupportedVersion, UsageError

PART, BLOCK, INDEX, PROFILE, ROOT = range(5)
"""What a checksum belongs to."""

HAS_PROFILE = 0x10
_UNKNOWN_FLAGS = 0xE0
_ROOT = struct.Struct("<IQI")
SLOT_BYTES = _ROOT.size + CRC_BYTES
MAX_INDEX_BYTES = 1 << 20
MAX_GENERATION = (1 << 32) - 1


def piece_crc(file_id: bytes, role: int, number: int, part: int, payload: bytes | memoryview) -> int:
    """A checksum of an array set: CRC-32 over file id, role (1 byte), number and part (4 bytes each) and payload.

    Example:
        >>> hex(piece_crc(bytes(4), PART, 0, 0, b"abc"))
        '0x26ded385'
    """
    return zlib.crc32(payload, zlib.crc32(file_id + struct.pack("<BII", role, number, part)))


def sealed_piece(file_id: bytes, role: int, number: int, part: int, payload: bytes) -> bytes:
    """``payload`` with its checksum behind it."""
    return payload + piece_crc(file_id, role, number, part, payload).to_bytes(CRC_BYTES, "little")


@dataclass(frozen=True)
class SetHeader:
    """What stands before the first part.

    Args:
        info: codec, quality, digest, metadata; its profile is not read yet.
        file_id: 4 bytes that seed every checksum behind the header.
        trailing: the table stands at the end.
        profile_bytes: length of the profile, or None when it does not travel inside.
        header_bytes: length of the header, magic and checksum included.
        num_groups: groups, when the table stands in front.
        table: the table's lines, when it stands in front.
    """

    info: ArraySetInfo
    file_id: bytes
    trailing: bool
    profile_bytes: int | None
    header_bytes: int
    num_groups: int = 0
    table: bytes = b""

    @property
    def profile_offset(self) -> int:
        """First byte of the profile."""
        return self.header_bytes + (2 * SLOT_BYTES if self.trailing else 0)

    @property
    def body_offset(self) -> int:
        """First byte after header, slots and profile."""
        return self.profile_offset + (0 if self.profile_bytes is None else self.profile_bytes + CRC_BYTES)


def encode_set_header(info: ArraySetInfo, file_id: bytes, table: tuple[int, bytes] | None) -> bytes:
    """The header, from the magic to its CRC.

    Args:
        info: what it says; of the profile only the length is written.
        file_id: 4 bytes.
        table: number of groups and the lines, or None when the table stands at the end.

    Raises:
        UsageError: the header would be longer than 64 KiB, or metadata cannot be stored.
    """
    flags = ARRAY_SET | (TRAILING_TABLE if table is None else 0)
    flags |= (HAS_METADATA if info.metadata else 0) | (0 if info.profile is None else HAS_PROFILE)
    body = bytearray(file_id + bytes([info.codec, info.quality]) + info.profile_digest)
    if info.metadata:
        body += encode_metadata(info.metadata)
    if info.profile is not None:
        body += varint(len(info.profile))
    if table is not None:
        body += varint(table[0]) + table[1]
    header = seal_header(MAGIC + bytes([VERSION, flags]) + varint(len(body) + CRC_BYTES) + body)
    if len(header) > MAX_HEADER_BYTES:
        raise UsageError(f"a header of {len(header)} bytes is over {MAX_HEADER_BYTES}; keep less metadata")
    return header


def parse_set_header(data: bytes, name: str) -> SetHeader:
    """The header, once its checksum holds.

    Raises:
        NotAPacket: another magic.
        UnsupportedVersion: another format version, kind or flag.
        DamagedPacket: the header is cut, its checksum does not hold, or it breaks a rule of the format.
    """
    cursor = open_header(data, name)
    kind = file_kind(data, name)
    cursor.take(len(MAGIC) + 1)
    flags = cursor.byte()
    if kind != "array set":
        raise UnsupportedVersion(f"{name}: the file holds an {kind}, not an array set; use smalto decode")
    if flags & _UNKNOWN_FLAGS:
        raise UnsupportedVersion(f"{name}: the header's flags {flags:#x} are not known here; install a later smalto")
    cursor.varint()
    file_id, (codec, quality) = cursor.take(FILE_ID_BYTES), cursor.take(2)
    digest = cursor.take(DIGEST_BYTES)
    metadata = decode_metadata(cursor) if flags & HAS_METADATA else {}
    profile_bytes = cursor.varint(MAX_PROFILE_BYTES) if flags & HAS_PROFILE else None
    try:
        info = ArraySetInfo(codec, digest, quality, metadata)
    except UsageError as error:
        raise cursor.damaged(str(error)) from error
    header_bytes = len(cursor.data) + CRC_BYTES
    trailing = flags & TRAILING_TABLE != 0
    num_groups = 0 if trailing else cursor.varint(MAX_BLOCK_GROUPS)
    table = cursor.take(cursor.remaining)
    if trailing and table:
        raise cursor.damaged(f"{len(table)} bytes stand after the header's last field")
    return SetHeader(info, file_id, trailing, profile_bytes, header_bytes, num_groups, table)


@dataclass(frozen=True)
class Root:
    """Where the newest index stands, or that an append has begun.

    Args:
        generation: 1 for a new set, one more with every append.
        offset: first byte of the index; of an append that has begun, the end of the set before it.
        length: bytes of the index with its checksum; 0 for an append that has begun.
    """

    generation: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """First byte after the index."""
        return self.offset + self.length

    @property
    def slot(self) -> int:
        """The slot it belongs in: generations take turns."""
        return (self.generation - 1) % 2

    def to_bytes(self, file_id: bytes) -> bytes:
        """The slot's bytes."""
        fields = _ROOT.pack(self.generation, self.offset, self.length)
        return sealed_piece(file_id, ROOT, self.slot, 0, fields)


class LastAppend(Enum):
    """How the last append to a file ended.

    WHOLE: it ended, or there was none. UNFINISHED: it was broken off, and the set of before it is read. DAMAGED: the
    slot that would tell is damaged; the set that is read may be the one of before it.
    """

    WHOLE = "whole"
    UNFINISHED = "unfinished"
    DAMAGED = "damaged"


def parse_roots(data: bytes, file_id: bytes, name: str) -> tuple[Root, LastAppend]:
    """The newest whole root of the two slots, and what the other slot says.

    Raises:
        DamagedPacket: there is none.
    """
    slots = [data[:SLOT_BYTES], data[SLOT_BYTES : 2 * SLOT_BYTES]]
    roots = [_parse_root(raw, slot, file_id) for slot, raw in enumerate(slots)]
    whole = [root for root in roots if root is not None and root.length > 0]
    if not whole:
        raise DamagedPacket(f"{name}: no record of the index is whole; the file is damaged, fetch or encode it again")
    newest = max(whole, key=lambda root: root.generation)
    other, raw = roots[1 - newest.slot], slots[1 - newest.slot]
    if other is None:
        empty = newest.generation == 1 and raw == bytes(SLOT_BYTES)
        return newest, LastAppend.WHOLE if empty else LastAppend.DAMAGED
    if other.length == 0 and (other.generation, other.offset) == (newest.generation + 1, newest.end):
        return newest, LastAppend.UNFINISHED
    whole_before = other.length > 0 and other.generation == newest.generation - 1
    return newest, LastAppend.WHOLE if whole_before else LastAppend.DAMAGED


def _parse_root(raw: bytes, slot: int, file_id: bytes) -> Root | None:
    if len(raw) < SLOT_BYTES:
        return None
    root = Root(*_ROOT.unpack(raw[:-CRC_BYTES]))
    crc = int.from_bytes(raw[-CRC_BYTES:], "little")
    whole = piece_crc(file_id, ROOT, slot, 0, raw[:-CRC_BYTES]) == crc
    return root if whole and root.generation > 0 and root.slot == slot else None


@dataclass(frozen=True, slots=True)
class BlockLine:
    """One line of the index.

    Args:
        gap: bytes of earlier indexes before the block's first part.
        part_bytes: bytes of the parts of its groups, checksums included.
        block_bytes: bytes of the block, checksum included.
        num_groups: groups in it.
        num_entries: arrays in it.
    """

    gap: int
    part_bytes: int
    block_bytes: int
    num_groups: int
    num_entries: int

    @property
    def length(self) -> int:
        """Bytes from the end of the block before to the end of this one."""
        return self.gap + self.part_bytes + self.block_bytes


def encode_index(blocks: Sequence[BlockLine], file_id: bytes, generation: int) -> bytes:
    """The index with its checksum.

    Raises:
        UsageError: it would be longer than 1 MiB.
    """
    out = bytearray(varint(len(blocks)))
    for block in blocks:
        for field in (block.gap, block.part_bytes, block.block_bytes, block.num_groups, block.num_entries):
            out += varint(field)
    if len(out) + CRC_BYTES > MAX_INDEX_BYTES:
        raise UsageError(f"an index of {len(blocks)} blocks is over {MAX_INDEX_BYTES} bytes; begin another file")
    return sealed_piece(file_id, INDEX, generation, 0, bytes(out))


def parse_index(cursor: Cursor, generation: int) -> tuple[BlockLine, ...]:
    """The lines of an index whose checksum holds.

    Raises:
        DamagedPacket: it breaks a rule of the format.
    """
    blocks = tuple(_parse_block_line(cursor) for _ in range(cursor.varint(MAX_INDEX_BYTES)))
    if cursor.remaining:
        raise cursor.damaged(f"{cursor.remaining} bytes stand after the index")
    if generation == 1 and any(block.gap for block in blocks):
        raise cursor.damaged("a set that was never appended to has gaps")
    if sum(block.num_groups for block in blocks) > MAX_GROUPS:
        raise cursor.damaged(f"the set has more than {MAX_GROUPS} groups")
    return blocks


def _parse_block_line(cursor: Cursor) -> BlockLine:
    gap, part_bytes = cursor.varint(), cursor.varint()
    block_bytes = cursor.varint(MAX_BLOCK_BYTES)
    line = BlockLine(gap, part_bytes, block_bytes, cursor.varint(MAX_BLOCK_GROUPS), cursor.varint(MAX_VARINT >> 20))
    if line.num_groups == 0 or block_bytes <= CRC_BYTES:
        raise cursor.damaged("a block without groups stands in the index")
    return line
