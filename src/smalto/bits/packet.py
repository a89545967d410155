"""Packet: the .smalto file in memory. docs/format.md describes the bytes.

::

    Packet ─► to_bytes ─► header | section 0 | section 1 | ...        section: [chunk lengths, CRC] chunk, CRC, ...
    bytes, path, file, URL ─► Packet.open ─► PacketReader ─► header, then sections and chunks on demand
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smalto.bits.byte_source import MemorySource, Openable, open_source
from smalto.bits.packet_header import LENGTHS_BLOCK, chunk_crc, encode_header, parse_header
from smalto.bits.packet_metadata import MetadataValue
from smalto.bits.packet_parts import (
    CRC_BYTES,
    FILE_ID_BYTES,
    FILE_SPACE,
    FORMAT_CODECS,
    PART_HYPER,
    PART_MAIN,
    CodecNumber,
    Header,
    Limits,
    Section,
    SectionEntry,
    SpaceEntry,
    check_layout,
)
from smalto.bits.packet_reader import PacketReader, PacketReport, SectionReport
from smalto.errors import UsageError
from smalto.files import replacing

__all__ = [
    "FILE_SPACE",
    "FORMAT_CODECS",
    "PART_HYPER",
    "PART_MAIN",
    "CodecNumber",
    "Header",
    "Limits",
    "Packet",
    "PacketReader",
    "PacketReport",
    "Section",
    "SectionEntry",
    "SectionReport",
    "SpaceEntry",
]


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One picture's coded latents, with all that is needed to read them.

    Args:
        height: true height in pixels, 1..65535.
        width: true width in pixels, 1..65535.
        spaces: the spaces that sections are written in, at most 15.
        sections: at most 64, in order of usefulness; hyper sections before their main ones.
        metadata: small facts, key -> str, int or bytes; well-known keys are in packet_metadata.
        kind: ``image``.
        file_id: 4 bytes that seed every chunk's checksum; left out, they are derived from the contents, so that equal
            contents make equal files. (``dataclasses.replace`` keeps the old one: pass ``file_id=b""`` with it.)

    Raises:
        UsageError: the fields break a rule of the format.

    Example:
        >>> section = Section(space=0, plane=0, part=PART_MAIN, codec=1, q=128, critical=True, chunks=(b"coded",))
        >>> packet = Packet(height=2, width=3, spaces=(SpaceEntry("lite-0", bytes(8), bytes(8)),), sections=(section,))
        >>> Packet.from_bytes(packet.to_bytes()) == packet
        True
        >>> len(packet) - packet.payload_bytes
        50
    """

    height: int
    width: int
    spaces: tuple[SpaceEntry, ...]
    sections: tuple[Section, ...]
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict, hash=False)
    kind: str = "image"
    file_id: bytes = b""

    def __post_init__(self) -> None:
        if self.kind != "image":
            raise UsageError(f"packets of kind {self.kind!r} cannot be made; use 'image'")
        object.__setattr__(self, "spaces", tuple(self.spaces))
        object.__setattr__(self, "sections", tuple(self.sections))
        object.__setattr__(self, "metadata", dict(self.metadata))
        check_layout(self.height, self.width, self.spaces, self.sections)
        if not self.file_id:
            object.__setattr__(self, "file_id", self._content_id())
        if len(self.file_id) != FILE_ID_BYTES:
            raise UsageError(f"a file id has {FILE_ID_BYTES} bytes, not {len(self.file_id)}; leave it out to derive it")

    def __len__(self) -> int:
        return len(self._header_bytes()) + sum(section.length for section in self.sections)

    @property
    def payload_bytes(self) -> int:
        """Coded bytes alone: the whole file without header, chunk lengths and checksums."""
        return sum(section.payload_bytes for section in self.sections)

    @property
    def header(self) -> Header:
        """The header as a reader of the file sees it, with every section's byte range."""
        return parse_header(self._header_bytes(), "packet", _EVERYTHING)

    def find(self, space: int, plane: int, part: int = PART_MAIN) -> Section | None:
        """The section with this space, plane and part, or None."""
        for section in self.sections:
            if (section.space, section.plane, section.part) == (space, plane, part):
                return section
        return None

    def to_bytes(self) -> bytes:
        """The whole file."""
        return b"".join(self._pieces())

    def save(self, path: str | Path) -> None:
        """Write the file atomically.

        Raises:
            SmaltoError: the folder cannot be written.
        """
        with replacing(path) as stream:
            for piece in self._pieces():
                stream.write(piece)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview, limits: Limits | None = None) -> Packet:
        """The packet in ``data``, every checksum verified.

        Raises:
            PacketError: the bytes are not one whole, healthy .smalto file within ``limits``.
        """
        return cls.read(PacketReader(MemorySource(data), limits))

    @classmethod
    def read(cls, reader: PacketReader) -> Packet:
        """The whole packet behind ``reader``, every checksum verified; the reader is closed.

        Raises:
            PacketError: bytes are missing, left over or damaged.
        """
        with reader:
            header = reader.header
            reader.check_end()
            return cls(
                height=header.height,
                width=header.width,
                spaces=header.spaces,
                sections=reader.sections(),
                metadata=header.metadata,
                kind=header.kind,
                file_id=header.file_id,
            )

    @classmethod
    def load(cls, target: Openable, limits: Limits | None = None) -> Packet:
        """The whole packet in a path, file object, URL or bytes: ``Packet.read(Packet.open(target))``."""
        return cls.read(cls.open(target, limits))

    @classmethod
    def open(cls, target: Openable, limits: Limits | None = None) -> PacketReader:
        """A reader over bytes, a path, a binary file object, or an http(s) URL (only the needed ranges are fetched).

        Raises:
            PacketError: the header is not whole or not healthy, or bytes stand after the last section.
            SmaltoError: the file or server cannot be read.
        """
        return PacketReader(open_source(target), limits)

    def _header_bytes(self) -> bytes:
        return encode_header((self.height, self.width), self.spaces, self.metadata, self.sections, self.file_id)

    def _content_id(self) -> bytes:
        """First 4 bytes of SHA-256 over the header with a zero id, then every chunk after its 8-byte length."""
        zero = bytes(FILE_ID_BYTES)
        digest = hashlib.sha256(
            encode_header((self.height, self.width), self.spaces, self.metadata, self.sections, zero)
        )
        for section in self.sections:
            for chunk in section.chunks:
                digest.update(len(chunk).to_bytes(8, "little"))
                digest.update(chunk)
        return digest.digest()[:FILE_ID_BYTES]

    def _pieces(self) -> Iterator[bytes]:
        yield self._header_bytes()
        for number, section in enumerate(self.sections):
            if section.num_chunks > 1:
                lengths = struct.pack(f"<{section.num_chunks}I", *map(len, section.chunks))
                yield lengths
                yield chunk_crc(self.file_id, number, LENGTHS_BLOCK, lengths).to_bytes(CRC_BYTES, "little")
            for index, chunk in enumerate(section.chunks):
                yield chunk
                yield chunk_crc(self.file_id, number, index, chunk).to_bytes(CRC_BYTES, "little")


_EVERYTHING = Limits(max_pixels=1 << 32, max_file_bytes=1 << 62, codecs=frozenset(range(256)))
