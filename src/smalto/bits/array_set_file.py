"""The bytes of an array set: which pieces stand where, and reading them with their checksums."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from smalto.bits.array_set_block import TableBlock
from smalto.bits.array_set_header import (
    BLOCK,
    INDEX,
    MAX_INDEX_BYTES,
    SLOT_BYTES,
    BlockLine,
    LastAppend,
    Root,
    SetHeader,
    parse_index,
    parse_roots,
    parse_set_header,
    piece_crc,
)
from smalto.bits.array_set_parts import ArraySetLimits
from smalto.bits.array_set_table import GroupLine
from smalto.bits.byte_source import ByteSource
from smalto.bits.byte_window import FIRST_READ_BYTES, ByteWindow, missing_bytes
from smalto.bits.packet_header import header_length
from smalto.bits.packet_parts import CRC_BYTES
from smalto.bits.varint import Cursor
from smalto.errors import DamagedPacket, LimitExceeded, UsageError

_MAX_KEPT_BYTES = 1 << 25
_PIECES = ("group", "block", "index", "profile", "root")


@dataclass(frozen=True)
class SetLayout:
    """Where the pieces of an array set stand.

    Args:
        header: its header.
        root: the record of its index; None when the table stands in front.
        blocks: a line for every block of the table; one when the table stands in front.
        end: first byte after the set.
        last_append: how the last append ended; unless WHOLE, bytes may stand behind the end.
    """

    header: SetHeader
    root: Root | None
    blocks: tuple[BlockLine, ...]
    end: int
    last_append: LastAppend


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """A group's line of the table, and where its parts stand.

    Args:
        line: the line.
        start: first byte of its first part in the file.
        block_end: first byte after the parts of its block.
    """

    line: GroupLine
    start: int
    block_end: int


class SetFile:
    """Pieces of an array set, read and checked on demand.

    Args:
        source: where the bytes come from; closed with this and when opening fails.
        limits: what to accept.

    Raises:
        NotAPacket: the file is something else.
        UnsupportedVersion: a later version or flag, or a file that is no array set.
        DamagedPacket: header or index are not whole, or bytes are missing or left over.
        LimitExceeded: the file is larger than ``limits``.
    """

    def __init__(self, source: ByteSource, limits: ArraySetLimits) -> None:
        self.source = source
        self.name = source.name
        self._window = ByteWindow(source)
        self._kept_bytes = 0
        self._parsed: OrderedDict[int, TableBlock] = OrderedDict()
        try:
            self.layout = self._read_layout()
            self._check_size(limits)
        except BaseException:
            source.close()
            raise
        blocks = self.layout.blocks
        self._ends = list(accumulate((block.length for block in blocks), initial=self.layout.header.body_offset))
        self._groups = list(accumulate((block.num_groups for block in blocks), initial=0))
        self._entries = list(accumulate((block.num_entries for block in blocks), initial=0))

    @property
    def num_groups(self) -> int:
        """Groups in the set."""
        return self._groups[-1]

    @property
    def num_entries(self) -> int:
        """Arrays in the set."""
        return self._entries[-1]

    @property
    def num_blocks(self) -> int:
        """Blocks of the table."""
        return len(self.layout.blocks)

    def close(self) -> None:
        """Close the file when it was opened here."""
        self.source.close()

    def block(self, block: int) -> TableBlock:
        """One block of the table; the last ones used are kept, up to 32 MiB of them.

        Raises:
            DamagedPacket: the block is damaged, or says other than the index.
        """
        if block not in self._parsed:
            data = self.piece(self._block_offset(block), self.layout.blocks[block].block_bytes, BLOCK, block)
            parsed = self._parse_block(Cursor(data, self.name), block)
            self._kept_bytes += parsed.kept_bytes
            while self._parsed and self._kept_bytes > _MAX_KEPT_BYTES:
                self._kept_bytes -= self._parsed.popitem(last=False)[1].kept_bytes
            self._parsed[block] = parsed
        self._parsed.move_to_end(block)
        return self._parsed[block]

    def placed_lines(self, block: int) -> Iterator[PlacedLine]:
        """The lines of one block, and where their parts stand."""
        first, end = self._ends[block] + self.layout.blocks[block].gap, self._block_offset(block)
        for line in self.block(block):
            yield PlacedLine(line, first + line.offset, end)

    def line(self, group: int) -> PlacedLine:
        """The line of one group. Raises UsageError when there is no such group."""
        if not 0 <= group < self.num_groups:
            raise UsageError(f"{self.name}: there is no group {group}; the set has {self.num_groups}")
        block = bisect_right(self._groups, group) - 1
        line = self.block(block).line(group - self._groups[block])
        start = self._ends[block] + self.layout.blocks[block].gap + line.offset
        return PlacedLine(line, start, self._block_offset(block))

    def entry_line(self, number: int) -> GroupLine:
        """The line of the group that holds an array. Raises UsageError when there is no such array."""
        if not 0 <= number < self.num_entries:
            raise UsageError(f"{self.name}: there is no array {number}; the set has {self.num_entries}")
        return self.block(bisect_right(self._entries, number) - 1).line_of_entry(number)

    def fetch(self, first: int, length: int, end: int) -> None:
        """Hold at least ``length`` bytes from ``first`` on, and more towards ``end``, up to 16 MiB."""
        self._window.fetch(first, length, end)

    def piece(self, first: int, length: int, role: int, number: int, part: int = 0) -> bytes:
        """``length`` bytes without the checksum behind them, which holds; blocks and indexes count it in ``length``.

        Raises:
            DamagedPacket: bytes are missing, or the checksum does not hold.
        """
        total = length if role in (BLOCK, INDEX) else length + CRC_BYTES
        what = f"{_PIECES[role]} {number}" + ("" if role in (BLOCK, INDEX) else f", part {part}")
        data = self._read(first, total, what)
        payload = data[:-CRC_BYTES]
        if piece_crc(self._file_id, role, number, part, payload) != int.from_bytes(data[-CRC_BYTES:], "little"):
            raise DamagedPacket(
                f"{self.name}: the checksum of {what} does not hold; the file is damaged, fetch or encode it again"
            )
        return bytes(payload)

    def surplus(self) -> str:
        """The message for bytes behind the end."""
        return f"{self.name}: bytes stand after the set, which ends at {self.layout.end}; fetch or encode it again"

    def _read_layout(self) -> SetLayout:
        length = header_length(self._window.head(FIRST_READ_BYTES), self.name)
        data = self._window.head(length + 2 * SLOT_BYTES)
        header = parse_set_header(data, self.name)
        self._file_id = header.file_id
        if not header.trailing:
            table = TableBlock(Cursor(header.table, self.name), header.num_groups, 0, 0)
            self._parsed[0] = table
            block = BlockLine(0, table.part_bytes, 0, table.num_groups, table.num_entries)
            return SetLayout(header, None, (block,), header.body_offset + table.part_bytes, LastAppend.WHOLE)
        root, last_append = parse_roots(data[length : length + 2 * SLOT_BYTES], header.file_id, self.name)
        if root.length > MAX_INDEX_BYTES or root.length <= CRC_BYTES:
            raise DamagedPacket(f"{self.name}: an index of {root.length} bytes cannot be; encode the file again")
        index = self.piece(root.offset, root.length, INDEX, root.generation)
        blocks = parse_index(Cursor(index, self.name), root.generation)
        if header.body_offset + sum(block.length for block in blocks) != root.offset:
            raise DamagedPacket(
                f"{self.name}: the blocks of the table do not add up; the file is damaged, encode again"
            )
        if last_append is LastAppend.UNFINISHED and not self._has_surplus(root.end):
            last_append = LastAppend.WHOLE
        return SetLayout(header, root, blocks, root.end, last_append)

    def _has_surplus(self, end: int) -> bool:
        size = self.source.size
        return bool(self.source.read(end, 1)) if size is None else size > end

    def _check_size(self, limits: ArraySetLimits) -> None:
        size, end = self.source.size, self.layout.end
        if end > limits.max_file_bytes:
            raise LimitExceeded(
                f"{self.name}: {end} bytes are over the limit of {limits.max_file_bytes}; raise max_file_bytes"
            )
        if size is not None and size > end and self.layout.last_append is LastAppend.WHOLE:
            raise DamagedPacket(self.surplus())

    def _parse_block(self, cursor: Cursor, block: int) -> TableBlock:
        said = self.layout.blocks[block]
        parsed = TableBlock(cursor, said.num_groups, self._groups[block], self._entries[block])
        if (parsed.num_entries, parsed.part_bytes) != (said.num_entries, said.part_bytes):
            raise cursor.damaged(f"block {block} of the table says other than the index")
        return parsed

    def _block_offset(self, block: int) -> int:
        return self._ends[block + 1] - self.layout.blocks[block].block_bytes

    def _read(self, first: int, length: int, what: str) -> memoryview:
        data = self._window.read(first, length)
        if len(data) < length:
            missing = missing_bytes(first + len(data), first + length)
            raise DamagedPacket(f"{self.name}: {what}: {missing}")
        return data
