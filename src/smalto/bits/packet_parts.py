"""What a .smalto file is made of: spaces, sections, the header, and what a reader accepts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from smalto.bits.packet_metadata import MetadataValue
from smalto.errors import LimitExceeded, UsageError

PART_MAIN = 0
PART_HYPER = 1
FILE_SPACE = 15
MAX_SPACES = 15
MAX_SECTIONS = 64
MAX_SIDE_PX = 65535
MAX_CHUNKS = 1 << 16
"""Most chunks in one file, all sections together."""
MAX_CHUNK_BYTES = 1 << 24
CRC_BYTES = 4
FILE_ID_BYTES = 4
DIGEST_BYTES = 8

_SPACE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)


class CodecNumber(IntEnum):
    """Codecs that format 1 names; 7..127 are kept for later ones, 128..255 are free for private use."""

    FACTORIZED = 1
    HYPERPRIOR = 2
    ELIC = 3
    LLOYD_MAX = 4
    LOSSLESS = 5
    ARCHIVE = 6


FORMAT_CODECS: frozenset[int] = frozenset(int(number) for number in CodecNumber)


@dataclass(frozen=True)
class Limits:
    """What a reader accepts.

    Args:
        max_pixels: largest height x width.
        max_file_bytes: largest whole file.
        codecs: codec numbers the reader can handle; another one in a critical section is refused.
    """

    max_pixels: int = 1 << 26
    max_file_bytes: int = 1 << 30
    codecs: frozenset[int] = FORMAT_CODECS


@dataclass(frozen=True)
class SpaceEntry:
    """A space that sections of the file are written in.

    Args:
        name: 1 to 63 characters of a-z, 0-9, dot, hyphen and underscore, first a letter or digit.
        decoder_digest: first 8 bytes of the frozen decoder's SHA-256 digest.
        codec_digest: first 8 bytes of the digest of the codec's decode side.

    Raises:
        UsageError: a field is out of its bounds.
    """

    name: str
    decoder_digest: bytes
    codec_digest: bytes

    def __post_init__(self) -> None:
        if not _SPACE_NAME.fullmatch(self.name):
            raise UsageError(f"{self.name!r} is no space name; use 1..63 characters of a-z, 0-9, '.', '-', '_'")
        if len(self.decoder_digest) != DIGEST_BYTES or len(self.codec_digest) != DIGEST_BYTES:
            raise UsageError(f"space {self.name}: its digests must have {DIGEST_BYTES} bytes each")


def _check_section(space: int, plane: int, part: int, codec: int, q: int) -> None:
    if not (0 <= space <= FILE_SPACE and 0 <= plane <= 255 and part in (PART_MAIN, PART_HYPER)):
        raise UsageError(f"no section can have space {space}, plane {plane}, part {part}; use 0..15, 0..255 and 0 or 1")
    if not (1 <= codec <= 255 and 0 <= q <= 255):
        raise UsageError(f"no section can have codec {codec} and q {q}; use 1..255 and 0..255")


@dataclass(frozen=True)
class Section:
    """One plane's symbols, or a part of them, as coded bytes.

    Args:
        space: index into the packet's spaces, or 15 for the file itself (an alpha plane).
        plane: number of the plane in its space.
        part: 0 main symbols (y), 1 hyper symbols (z), which stand before their main section.
        codec: who reads it, see CodecNumber.
        q: quality 0..255.
        critical: a reader that does not know the codec must refuse the file rather than skip the section.
        chunks: at least one; each is coded by itself and at most 16 MiB long.

    Raises:
        UsageError: a field is out of its bounds.
    """

    space: int
    plane: int
    part: int
    codec: int
    q: int
    critical: bool
    chunks: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _check_section(self.space, self.plane, self.part, self.codec, self.q)
        object.__setattr__(self, "chunks", tuple(bytes(chunk) for chunk in self.chunks))
        if not 1 <= len(self.chunks) <= MAX_CHUNKS:
            raise UsageError(f"a section with {len(self.chunks)} chunks cannot be written; use 1..{MAX_CHUNKS}")
        if max(map(len, self.chunks)) > MAX_CHUNK_BYTES:
            raise UsageError(f"a chunk may have {MAX_CHUNK_BYTES} bytes at most; cut the plane into more chunks")

    @property
    def num_chunks(self) -> int:
        """Chunks in the section."""
        return len(self.chunks)

    @property
    def payload_bytes(self) -> int:
        """Coded bytes alone: chunks without their checksums."""
        return sum(map(len, self.chunks))

    @property
    def length(self) -> int:
        """Bytes the section takes in the file: chunk lengths (of more than one chunk), chunks and checksums."""
        return self.payload_bytes + section_overhead_bytes(len(self.chunks))


def section_overhead_bytes(num_chunks: int) -> int:
    """Bytes of a section that are not payload: a CRC a chunk; with several, 4 bytes a chunk and one CRC more."""
    return CRC_BYTES * num_chunks + (0 if num_chunks == 1 else CRC_BYTES * (num_chunks + 1))


@dataclass(frozen=True)
class SectionEntry:
    """A line of the section table; see Section for the first six fields.

    Args:
        offset: first byte of the section in the file.
        length: bytes of the section, checksums and chunk lengths included.
        num_chunks: chunks in it.
    """

    space: int
    plane: int
    part: int
    codec: int
    q: int
    critical: bool
    offset: int
    length: int
    num_chunks: int

    def __post_init__(self) -> None:
        _check_section(self.space, self.plane, self.part, self.codec, self.q)
        if not 1 <= self.num_chunks <= MAX_CHUNKS:
            raise UsageError(f"a section has {self.num_chunks} chunks, 1..{MAX_CHUNKS} are allowed")
        payload = self.length - section_overhead_bytes(self.num_chunks)
        if not 0 <= payload <= self.num_chunks * MAX_CHUNK_BYTES:
            raise UsageError(f"a section of {self.num_chunks} chunks cannot be {self.length} bytes long")

    @property
    def end(self) -> int:
        """First byte after the section."""
        return self.offset + self.length

    @property
    def payload_bytes(self) -> int:
        """Coded bytes alone: chunks without their checksums."""
        return self.length - section_overhead_bytes(self.num_chunks)


@dataclass(frozen=True)
class Header:
    """Everything that stands before the first section.

    Args:
        kind: ``image``.
        height: true height in pixels.
        width: true width in pixels.
        spaces: at most 15.
        metadata: key -> str, int or bytes; see packet_metadata.
        sections: the table, in file order.
        file_id: 4 bytes that seed every chunk's checksum.
        header_bytes: length of the header, magic and CRC included.
    """

    kind: str
    height: int
    width: int
    spaces: tuple[SpaceEntry, ...]
    metadata: Mapping[str, MetadataValue] = field(hash=False)
    sections: tuple[SectionEntry, ...]
    file_id: bytes
    header_bytes: int

    @property
    def file_bytes(self) -> int:
        """Length of the whole file."""
        return self.sections[-1].end if self.sections else self.header_bytes

    @property
    def payload_bytes(self) -> int:
        """Coded bytes alone, of all sections."""
        return sum(entry.payload_bytes for entry in self.sections)

    def find(self, space: int, plane: int, part: int = PART_MAIN) -> int | None:
        """Number of the section with this space, plane and part, or None."""
        for number, entry in enumerate(self.sections):
            if (entry.space, entry.plane, entry.part) == (space, plane, part):
                return number
        return None

    def check_limits(self, name: str, limits: Limits) -> None:
        """Raise LimitExceeded when the picture or the file is larger than ``limits``."""
        if self.height * self.width > limits.max_pixels:
            raise LimitExceeded(
                f"{name}: {self.width} x {self.height} pixels exceed the limit, {limits.max_pixels}; raise max_pixels"
            )
        if self.file_bytes > limits.max_file_bytes:
            raise LimitExceeded(
                f"{name}: {self.file_bytes} bytes are over the limit of {limits.max_file_bytes}; raise max_file_bytes"
            )


def check_layout(
    height: int,
    width: int,
    spaces: tuple[SpaceEntry, ...],
    sections: tuple[Section, ...] | tuple[SectionEntry, ...],
) -> None:
    """The rules between fields, for writers and readers alike.

    Raises:
        UsageError: a side or a count is out of bounds, a section stands twice or without its space, or a hyper section
            stands after its main one.
    """
    if not (1 <= height <= MAX_SIDE_PX and 1 <= width <= MAX_SIDE_PX):
        raise UsageError(
            f"a picture of {width} x {height} pixels cannot be stored; each side must lie in 1..{MAX_SIDE_PX}"
        )
    if len(spaces) > MAX_SPACES or len(sections) > MAX_SECTIONS:
        raise UsageError(
            f"{len(spaces)} spaces and {len(sections)} sections are more than {MAX_SPACES} and {MAX_SECTIONS}"
        )
    num_chunks = sum(section.num_chunks for section in sections)
    if num_chunks > MAX_CHUNKS:
        raise UsageError(f"{num_chunks} chunks are more than the {MAX_CHUNKS} a file may have; use larger tiles")
    if len({entry.name for entry in spaces}) != len(spaces):
        raise UsageError("a space is listed twice; list each once")
    seen: set[tuple[int, int, int]] = set()
    for section in sections:
        key = (section.space, section.plane, section.part)
        if section.space != FILE_SPACE and section.space >= len(spaces):
            raise UsageError(f"a section names space {section.space} and the packet has {len(spaces)}")
        if key in seen:
            raise UsageError(f"space {key[0]}, plane {key[1]}, part {key[2]} has two sections; one is allowed")
        if section.part == PART_HYPER and (*key[:2], PART_MAIN) in seen:
            raise UsageError(f"space {key[0]}, plane {key[1]}: the hyper section must stand before the main one")
        seen.add(key)
