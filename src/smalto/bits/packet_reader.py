"""Reads a .smalto file header first, then only the sections and chunks that are asked for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType

from smalto.bits.byte_source import ByteSource
from smalto.bits.byte_window import FIRST_READ_BYTES, WINDOW_BYTES, ByteWindow, missing_bytes
from smalto.bits.packet_header import LENGTHS_BLOCK, chunk_crc, header_length, parse_header
from smalto.bits.packet_parts import CRC_BYTES, MAX_CHUNK_BYTES, Header, Limits, Section, SectionEntry
from smalto.errors import DamagedPacket, PacketError, UsageError


@dataclass(frozen=True)
class SectionReport:
    """What became of one section's checksums.

    Args:
        number: the section's number.
        entry: its line of the table.
        error: what is wrong, or None when every checksum holds.
    """

    number: int
    entry: SectionEntry
    error: str | None


@dataclass(frozen=True)
class PacketReport:
    """What became of a file's checksums.

    Args:
        name: the file.
        file_bytes: how long it should be.
        sections: one report a section.
        error: what is wrong with the file's length, or None.
    """

    name: str
    file_bytes: int
    sections: tuple[SectionReport, ...]
    error: str | None

    @property
    def healthy(self) -> bool:
        """Every checksum holds and nothing is missing or left over."""
        return self.error is None and all(report.error is None for report in self.sections)

    @property
    def errors(self) -> tuple[str, ...]:
        """Everything that is wrong, one line each."""
        found = [report.error for report in self.sections if report.error is not None]
        return tuple(found if self.error is None else [*found, self.error])


class PacketReader:
    """A .smalto file whose header has been read; sections and chunks come on demand.

    A file that is cut short opens as long as its header is whole: sections before the cut can be read, the others
    raise DamagedPacket and name the bytes that are missing. Use it in a ``with`` block, and in one
    thread at a time.

    Args:
        source: where the bytes come from; closed with the reader.
        limits: what to accept.

    Raises:
        NotAPacket: the file is something else.
        UnsupportedVersion: a later version, kind or flag, or an unknown codec in a critical section.
        DamagedPacket: the header is not whole or not healthy, or bytes stand after the last section.
        LimitExceeded: the picture or the file is larger than ``limits``.
        SmaltoError: the file or server cannot be read.
    """

    def __init__(self, source: ByteSource, limits: Limits | None = None) -> None:
        self._source = source
        self._window = ByteWindow(source)
        self._ranges: dict[int, tuple[tuple[int, int], ...]] = {}
        try:
            self.header: Header = self._read_header(limits or Limits())
            if source.size is not None and source.size > self.header.file_bytes:
                raise DamagedPacket(f"{self.name}: {self._surplus()}")
        except BaseException:
            source.close()
            raise

    def __enter__(self) -> PacketReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file when the reader opened it."""
        self._source.close()

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self._source.name

    @property
    def file_bytes(self) -> int:
        """How long the whole file is by its header; a cut file is shorter."""
        return self.header.file_bytes

    def is_present(self, section: int) -> bool:
        """True when the section lies wholly before the end of the file (or the end is not known yet)."""
        return self._source.size is None or self._entry(section).end <= self._source.size

    def section(self, section: int) -> Section:
        """Section number ``section`` with all its chunks.

        Raises:
            DamagedPacket: bytes are missing, or a checksum does not hold.
            UsageError: there is no such section.
        """
        entry = self._entry(section)
        self._require(section, entry.offset, entry.length)
        chunks = tuple(self._chunks_in_order(section))
        return Section(entry.space, entry.plane, entry.part, entry.codec, entry.q, entry.critical, chunks)

    def sections(self) -> tuple[Section, ...]:
        """All sections; a file of up to 16 MiB is fetched in one read.

        Raises:
            DamagedPacket: bytes are missing, or a checksum does not hold.
        """
        body_bytes = self.file_bytes - self.header.header_bytes
        if body_bytes <= WINDOW_BYTES:
            self._window.fetch(self.header.header_bytes, body_bytes, self.file_bytes)
        return tuple(self.section(number) for number in range(len(self.header.sections)))

    def chunk(self, section: int, chunk: int) -> bytes:
        """One chunk's payload, without reading the others.

        Raises:
            DamagedPacket: bytes are missing, or a checksum does not hold.
            UsageError: there is no such chunk.
        """
        first, length = self.chunk_range(section, chunk)
        data = self._read(section, first, length + CRC_BYTES)
        payload = data[:-CRC_BYTES]
        if chunk_crc(self.header.file_id, section, chunk, payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise self._damaged(f"the checksum of section {section}, chunk {chunk} does not hold")
        return bytes(payload)

    def chunk_range(self, section: int, chunk: int) -> tuple[int, int]:
        """First byte in the file, and length in bytes, of a chunk's payload; its CRC follows it.

        Raises:
            DamagedPacket: the section's chunk lengths are missing or not healthy.
            UsageError: there is no such chunk.
        """
        entry = self._entry(section)
        if not 0 <= chunk < entry.num_chunks:
            raise UsageError(f"{self.name}: section {section} has no chunk {chunk}; it has {entry.num_chunks}")
        if entry.num_chunks == 1:
            return entry.offset, entry.payload_bytes
        return self._chunk_ranges(section)[chunk]

    def verify(self) -> PacketReport:
        """Check every checksum and the file's length, holding one chunk at a time; the header's held when it opened."""
        reports = tuple(
            SectionReport(number, entry, self._section_error(number))
            for number, entry in enumerate(self.header.sections)
        )
        return PacketReport(self.name, self.file_bytes, reports, self._length_error())

    def _chunks_in_order(self, section: int) -> Iterator[bytes]:
        """Every chunk, with the bytes after it fetched along, up to 16 MiB at a time."""
        entry = self._entry(section)
        if entry.num_chunks > 1:
            self._window.fetch(entry.offset, CRC_BYTES * (entry.num_chunks + 1), entry.end)
        for number in range(entry.num_chunks):
            first, length = self.chunk_range(section, number)
            self._window.fetch(first, length + CRC_BYTES, entry.end)
            yield self.chunk(section, number)

    def _section_error(self, section: int) -> str | None:
        try:
            for _ in self._chunks_in_order(section):
                pass
        except PacketError as error:
            return str(error)
        return None

    def _length_error(self) -> str | None:
        size = self._source.size
        if size is None:
            return f"{self.name}: {self._surplus()}" if self._source.read(self.file_bytes, 1) else None
        if size < self.file_bytes:
            return f"{self.name}: {missing_bytes(size, self.file_bytes)}"
        return None

    def check_end(self) -> None:
        """Raise DamagedPacket when the file does not end where its last section does."""
        error = self._length_error()
        if error is not None:
            raise DamagedPacket(error)

    def _chunk_ranges(self, section: int) -> tuple[tuple[int, int], ...]:
        if section not in self._ranges:
            entry = self._entry(section)
            data = self._read(section, entry.offset, CRC_BYTES * (entry.num_chunks + 1))
            block, crc = data[:-CRC_BYTES], int.from_bytes(data[-CRC_BYTES:], "little")
            if chunk_crc(self.header.file_id, section, LENGTHS_BLOCK, block) != crc:
                raise self._damaged(f"the checksum of section {section}'s chunk lengths does not hold")
            lengths = struct.unpack(f"<{entry.num_chunks}I", block)
            if sum(lengths) != entry.payload_bytes or max(lengths) > MAX_CHUNK_BYTES:
                raise self._damaged(f"the chunk lengths of section {section} do not add up to its length")
            start = entry.offset + CRC_BYTES * (entry.num_chunks + 1)
            firsts = accumulate((length + CRC_BYTES for length in lengths[:-1]), initial=start)
            self._ranges[section] = tuple(zip(firsts, lengths, strict=True))
        return self._ranges[section]

    def _entry(self, section: int) -> SectionEntry:
        if not 0 <= section < len(self.header.sections):
            raise UsageError(f"{self.name}: there is no section {section}; the file has {len(self.header.sections)}")
        return self.header.sections[section]

    def _read_header(self, limits: Limits) -> Header:
        length = header_length(self._window.head(FIRST_READ_BYTES), self.name)
        return parse_header(self._window.head(length), self.name, limits)

    def _require(self, section: int, first: int, length: int) -> None:
        size = self._source.size
        if size is not None and first + length > size:
            raise DamagedPacket(f"{self.name}: section {section}: {missing_bytes(max(first, size), first + length)}")

    def _read(self, section: int, first: int, length: int) -> memoryview:
        self._require(section, first, length)
        data = self._window.read(first, length)
        if len(data) < length:
            missing = missing_bytes(first + len(data), first + length)
            raise DamagedPacket(f"{self.name}: section {section}: {missing}")
        return data

    def _damaged(self, what: str) -> DamagedPacket:
        return DamagedPacket(f"{self.name}: {what}; the file is damaged, fetch or encode it again")

    def _surplus(self) -> str:
        return f"bytes stand after the last section, which ends at {self.file_bytes}; fetch or encode the file again"
