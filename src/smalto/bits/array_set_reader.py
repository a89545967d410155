"""Reads an array set by parts: its header and index first, then only the blocks and groups that are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType

from smalto.bits.array_set_entries import GroupEntries, SetEntries
from smalto.bits.array_set_file import PlacedLine, SetFile, SetLayout
from smalto.bits.array_set_header import PART, PROFILE, LastAppend
from smalto.bits.array_set_lookup import NameLookup, find_in_chain
from smalto.bits.array_set_parts import ArrayEntry, ArrayGroup, ArraySetInfo, ArraySetLimits
from smalto.bits.byte_source import ByteSource, Openable, open_source
from smalto.bits.packet_metadata import MetadataValue
from smalto.bits.packet_parts import CRC_BYTES
from smalto.errors import LimitExceeded, PacketError, UsageError

_MOST_ERRORS = 100


@dataclass(frozen=True)
class ArraySetReport:
    """What became of a file's checksums.

    Args:
        name: the file.
        file_bytes: how long it should be.
        num_groups: groups in it.
        num_entries: arrays in it.
        errors: what is wrong, one line each, the first hundred.
    """

    name: str
    file_bytes: int
    num_groups: int
    num_entries: int
    errors: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Every checksum holds and nothing is missing or left over."""
        return not self.errors


class ArraySetReader:
    """An array set whose header and index have been read; blocks of the table and groups come on demand.

    Use it in a ``with`` block, and in one thread at a time.

    Args:
        source: where the bytes come from; closed with the reader.
        limits: what to accept.

    Raises:
        NotAPacket: the file is something else.
        UnsupportedVersion: a later version or flag, or a file that is no array set.
        DamagedPacket: header or index are not whole or not healthy, or bytes stand behind the end although no append
            was left unfinished.
        LimitExceeded: the file is larger than ``limits``.
        SmaltoError: the file or server cannot be read.
    """

    def __init__(self, source: ByteSource, limits: ArraySetLimits | None = None) -> None:
        self._limits = limits or ArraySetLimits()
        self._file = SetFile(source, self._limits)
        self._lookup: NameLookup | None = None
        self._profile: bytes | None = None

    @classmethod
    def open(cls, target: Openable, limits: ArraySetLimits | None = None) -> ArraySetReader:
        """A reader over bytes, a path, a binary file object, or an http(s) URL (only the needed ranges are fetched).

        Raises:
            PacketError: header or index are not whole or not healthy.
            SmaltoError: the file or server cannot be read.
        """
        return cls(open_source(target), limits)

    def __enter__(self) -> ArraySetReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file when the reader opened it."""
        self._file.close()

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self._file.name

    @property
    def layout(self) -> SetLayout:
        """Where the pieces stand."""
        return self._file.layout

    @property
    def codec(self) -> int:
        """Who reads the parts, see CodecNumber."""
        return self.layout.header.info.codec

    @property
    def quality(self) -> int:
        """0..255, as the codec understands it."""
        return self.layout.header.info.quality

    @property
    def profile_digest(self) -> bytes:
        """8 bytes that name the profile."""
        return self.layout.header.info.profile_digest

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        """Small facts, key -> str, int or bytes."""
        return dict(self.layout.header.info.metadata)

    @property
    def profile(self) -> bytes | None:
        """The profile, or None when it does not travel inside.

        Raises:
            DamagedPacket: it is missing, or its checksum does not hold.
        """
        header = self.layout.header
        if header.profile_bytes is not None and self._profile is None:
            self._profile = self._file.piece(header.profile_offset, header.profile_bytes, PROFILE, 0)
        return self._profile

    @property
    def info(self) -> ArraySetInfo:
        """Codec, quality, digest, metadata and profile in one, as a writer takes them.

        Raises:
            DamagedPacket: the profile is missing, or its checksum does not hold.
        """
        return replace(self.layout.header.info, profile=self.profile)

    @property
    def num_groups(self) -> int:
        """Groups in the set."""
        return self._file.num_groups

    @property
    def num_entries(self) -> int:
        """Arrays in the set."""
        return self._file.num_entries

    @property
    def file_bytes(self) -> int:
        """How long the set is; more bytes stand in the file only after an append that did not finish."""
        return self.layout.end

    @property
    def unfinished(self) -> bool:
        """The file's last append did not finish, or its record is damaged; this is the set of before it."""
        return self.layout.last_append is not LastAppend.WHOLE

    @property
    def entries(self) -> SetEntries:
        """All arrays in order; blocks of the table are read as they are needed."""
        return SetEntries(self._file)

    def find(self, name: str) -> ArrayEntry | None:
        """The array of this name, the last of equal ones, or None. The first call reads the whole table.

        Raises:
            DamagedPacket: the table is damaged.
        """
        if not name:
            return None
        if self._lookup is None:
            lookup = NameLookup()
            for block in range(self._file.num_blocks):
                for chain in self._file.block(block).chains:
                    lookup.add(chain)
            self._lookup = lookup
        if self._lookup.overflowed:
            return self._search(name)
        number = self._lookup.find(name)
        return None if number is None else self.entries[number]

    def group_entries(self, group: int) -> GroupEntries:
        """The arrays of a group, without reading its parts.

        Raises:
            DamagedPacket: its block of the table is damaged.
            UsageError: there is no such group.
        """
        return GroupEntries(self._file.line(group).line)

    def group(self, group: int) -> ArrayGroup:
        """A group with all its parts; no other group's bytes are read.

        Raises:
            DamagedPacket: bytes are missing, or a checksum does not hold.
            LimitExceeded: it has more values or bytes than ``limits`` allow.
            UsageError: there is no such group.
        """
        placed = self._file.line(group)
        return self._whole(placed, placed.start + placed.line.num_bytes)

    def groups(self) -> Iterator[ArrayGroup]:
        """All groups in order; what follows is fetched along, up to 16 MiB at a time."""
        for block in range(self._file.num_blocks):
            for placed in self._file.placed_lines(block):
                yield self._whole(placed, placed.block_end)

    def num_parts(self, group: int) -> int:
        """How many parts a group has. Raises UsageError when there is no such group."""
        return len(self._file.line(group).line.lengths)

    def part(self, group: int, part: int) -> bytes:
        """One part of a group, without reading the others.

        Raises:
            DamagedPacket: bytes are missing, or its checksum does not hold.
            UsageError: there is no such part.
        """
        first, length = self.part_range(group, part)
        return self._file.piece(first, length, PART, group, part)

    def parts(self, group: int) -> Iterator[bytes]:
        """The parts of a group one after another, for groups that are too large to hold.

        Raises:
            DamagedPacket: bytes are missing, or a checksum does not hold.
            UsageError: there is no such group.
        """
        placed = self._file.line(group)
        return self._parts(placed, placed.start + placed.line.num_bytes)

    def part_range(self, group: int, part: int) -> tuple[int, int]:
        """First byte in the file, and length in bytes, of a part; its CRC follows it.

        Raises:
            UsageError: there is no such part.
        """
        placed = self._file.line(group)
        lengths = placed.line.lengths
        if not 0 <= part < len(lengths):
            raise UsageError(f"{self.name}: group {group} has no part {part}; it has {len(lengths)}")
        return placed.start + sum(lengths[:part]) + CRC_BYTES * part, lengths[part]

    def verify(self) -> ArraySetReport:
        """Check every checksum, holding 16 MiB at a time; those of header and index held when the file opened."""
        errors: list[str] = []
        for error in self._errors():
            if len(errors) == _MOST_ERRORS:
                break
            errors.append(error)
        return ArraySetReport(self.name, self.file_bytes, self.num_groups, self.num_entries, tuple(errors))

    def _errors(self) -> Iterator[str]:
        if self.layout.last_append is LastAppend.UNFINISHED:
            yield (
                f"{self.name}: an append did not finish; the {self.num_groups} groups of before it can be read, "
                "and appending again clears the rest"
            )
        elif self.layout.last_append is LastAppend.DAMAGED:
            yield (
                f"{self.name}: the record of an append is damaged; {self.num_groups} groups can be read, "
                "copy them into another file"
            )
        elif self._file.source.size is None and self._file.source.read(self.file_bytes, 1):
            yield self._file.surplus()
        try:
            _ = self.profile
        except PacketError as error:
            yield str(error)
        for block in range(self._file.num_blocks):
            try:
                for placed in self._file.placed_lines(block):
                    yield from self._group_errors(placed)
            except PacketError as error:
                yield str(error)

    def _group_errors(self, placed: PlacedLine) -> Iterator[str]:
        first = placed.start
        for part, length in enumerate(placed.line.lengths):
            self._file.fetch(first, length + CRC_BYTES, placed.block_end)
            try:
                self._file.piece(first, length, PART, placed.line.number, part)
            except PacketError as error:
                yield str(error)
            first += length + CRC_BYTES

    def _whole(self, placed: PlacedLine, end: int) -> ArrayGroup:
        line = placed.line
        for count, limit, what in (
            (line.arrays.num_values, self._limits.max_group_values, "values"),
            (line.num_bytes, self._limits.max_group_bytes, "bytes"),
        ):
            if count > limit:
                raise LimitExceeded(
                    f"{self.name}: group {line.number} has {count} {what}, over the limit of {limit}; "
                    f"raise max_group_{what} or read its parts one by one"
                )
        return ArrayGroup(line.number, GroupEntries(line), tuple(self._parts(placed, end)))

    def _parts(self, placed: PlacedLine, end: int) -> Iterator[bytes]:
        first = placed.start
        for part, length in enumerate(placed.line.lengths):
            self._file.fetch(first, length + CRC_BYTES, end)
            yield self._file.piece(first, length, PART, placed.line.number, part)
            first += length + CRC_BYTES

    def _search(self, name: str) -> ArrayEntry | None:
        for block in reversed(range(self._file.num_blocks)):
            for chain in reversed(self._file.block(block).chains):
                number = find_in_chain(chain, name)
                if number is not None:
                    return self.entries[number]
        return None
