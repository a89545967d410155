"""The growing end of an array set, and growing it again so that a crash at any moment leaves the old set readable.

::

    mark in the free slot ─ sync ─ parts, blocks, index behind the old end ─ sync ─ root in that slot ─ sync

Until the last step the other slot leads to the old index, and no byte of the old set has been written over.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from smalto.bits.array_set_header import (
    BLOCK,
    MAX_GENERATION,
    PART,
    SLOT_BYTES,
    BlockLine,
    LastAppend,
    Root,
    encode_index,
    piece_crc,
    sealed_piece,
)
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_table import TableEncoder
from smalto.bits.byte_source import FileSource
from smalto.bits.packet_parts import CRC_BYTES
from smalto.errors import DamagedPacket, SmaltoError, UsageError


class SetTail:
    """The end of a set whose table stands behind: parts, blocks, index.

    Args:
        stream: the file, at its end.
        file_id: 4 bytes that seed every checksum.
        slots: first byte of the two slots.
        blocks: the blocks that are there already.
        gap: bytes between the last of them and the stream's place.
    """

    def __init__(
        self, stream: BinaryIO, file_id: bytes, slots: int, blocks: Iterable[BlockLine] = (), gap: int = 0
    ) -> None:
        self._stream = stream
        self._file_id = file_id
        self._slots = slots
        self._blocks = list(blocks)
        self._gap = gap

    def part(self, group: int, part: int, payload: bytes) -> None:
        """Write one part of the group after the last."""
        self._stream.write(payload)
        self._stream.write(piece_crc(self._file_id, PART, group, part, payload).to_bytes(CRC_BYTES, "little"))

    def block(self, table: TableEncoder) -> None:
        """Write the table's lines, whose parts have been written, and begin another block."""
        if table.num_groups:
            data = sealed_piece(self._file_id, BLOCK, len(self._blocks), 0, bytes(table.lines))
            counts = table.num_groups, table.num_entries
            self._blocks.append(BlockLine(self._gap, table.part_bytes, len(data), *counts))
            self._stream.write(data)
            self._gap = 0
            table.clear()

    def finish(self, table: TableEncoder, generation: int) -> None:
        """Write the last block, the index and the root, each on the disk before the next that leads to it."""
        self.block(table)
        index = encode_index(self._blocks, self._file_id, generation)
        root = Root(generation, self._stream.tell(), len(index))
        self._stream.write(index)
        self.place(root)

    def place(self, root: Root) -> None:
        """Write a root into its slot."""
        _sync(self._stream)
        self._stream.seek(self._slots + root.slot * SLOT_BYTES)
        self._stream.write(root.to_bytes(self._file_id))
        _sync(self._stream)


class SetAppend:
    """A set that is about to grow in place.

    Args:
        target: a path, or a binary file that can be read, written and moved in.

    Attributes:
        reader: the set as it is.

    Raises:
        PacketError: the file is not a healthy array set.
        SmaltoError: it cannot be opened for writing.
    """

    def __init__(self, target: str | Path | BinaryIO) -> None:
        self._owned = isinstance(target, (str, Path))
        self._stream = _opened(target) if isinstance(target, (str, Path)) else target
        self._generation = 0
        self._tail: SetTail | None = None
        name = str(target) if isinstance(target, (str, Path)) else "stream"
        try:
            self._stream.seek(0)
            self.reader = ArraySetReader(FileSource(self._stream, name, owned=False))
        except BaseException:
            self.close()
            raise

    def begin(self) -> SetTail:
        """Mark that an append begins, and cut off what an unfinished one left.

        Raises:
            DamagedPacket: the record of an append before is damaged, so that newer groups could be lost.
            UsageError: the table stands in front.
        """
        layout, name = self.reader.layout, self.reader.name
        if layout.root is None:
            raise UsageError(f"{name}: a set with its table in front does not grow in place; write it anew")
        if layout.last_append is LastAppend.DAMAGED:
            raise DamagedPacket(f"{name}: the record of its last append is damaged; copy its groups into another file")
        self._generation = layout.root.generation + 1
        if self._generation > MAX_GENERATION:
            raise UsageError(f"{name}: it has been appended to {MAX_GENERATION} times; write it anew")
        header = layout.header
        self._tail = SetTail(self._stream, header.file_id, header.header_bytes, layout.blocks, layout.root.length)
        self._tail.place(Root(self._generation, layout.end, 0))
        self._cut()
        return self._tail

    def commit(self, table: TableEncoder) -> None:
        """Make the new groups part of the set."""
        if self._tail is None or (table.num_groups == 0 and self._stream.tell() == self.reader.file_bytes):
            return
        self._tail.finish(table, self._generation)
        self._tail = None

    def roll_back(self) -> None:
        """Cut off what was written since ``begin``."""
        if self._tail is not None:
            self._cut()
            _sync(self._stream)

    def close(self) -> None:
        """Close the file when it was opened here."""
        if self._owned:
            self._stream.close()

    def _cut(self) -> None:
        self._stream.seek(self.reader.file_bytes)
        self._stream.truncate()


def _opened(path: str | Path) -> BinaryIO:
    """A file for reading and writing that nobody else appends to, where the system has such locks."""
    try:
        stream = open(path, "r+b")  # noqa: SIM115 - SetAppend closes it
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SmaltoError(f"{path}: cannot be opened for writing ({reason}); check the path") from error
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise SmaltoError(f"{path}: another program is appending to it; wait until it has ended") from error
        except OSError:
            """A file system without locks: keeping to one program at a time is up to the caller."""
    return stream


def _sync(stream: BinaryIO) -> None:
    """What was written so far is on the disk before anything written later."""
    stream.flush()
    with contextlib.suppress(io.UnsupportedOperation):
        os.fsync(stream.fileno())
