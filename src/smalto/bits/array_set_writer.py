"""Array sets written in one pass: small ones with the table in front, others part by part with the table behind.

::

    add_group ─► kept in memory ─(over 1 MiB)─► parts to the file, a block of the table whenever one is full
    end       ─► header with table, parts       ─► last block, index, root
    append    ─► a mark in the free slot, then parts, blocks and index behind the old end, then the root in that slot
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from smalto.bits.array_set_append import SetAppend, SetTail
from smalto.bits.array_set_header import PART, PROFILE, SLOT_BYTES, encode_set_header, sealed_piece
from smalto.bits.array_set_parts import (
    MAX_GROUPS,
    MAX_PART_BYTES,
    MAX_PART_VALUES,
    MAX_PARTS,
    ArraySetInfo,
    ArraySpec,
)
from smalto.bits.array_set_table import TableEncoder
from smalto.bits.packet_header import MAX_HEADER_BYTES
from smalto.bits.packet_parts import FILE_ID_BYTES
from smalto.errors import UsageError
from smalto.files import replacing

_MAX_KEPT_BYTES = 1 << 20
_MAX_KEPT_TABLE_BYTES = 1 << 15
_NO_ID = bytes(FILE_ID_BYTES)
_COUNT_BYTES = 4
"""Room for the number of groups, and for a longer header length."""


class ArraySetWriter:
    """Writes an array set, to a file that appears whole or not at all, or to bytes.

    Memory stays bounded whatever the set's size: about 2 MiB and the part at hand.

    Args:
        info: what the header says.
        path: the file to write or replace; None collects ``data``.

    Raises:
        UsageError: metadata cannot be stored.

    Example:
        >>> with ArraySetWriter(ArraySetInfo(codec=4, profile_digest=bytes(8))) as writer:
        ...     writer.add_group([ArraySpec("float32", (2, 3), "a")], [b"coded"])
        0
        >>> len(writer.data)
        47
    """

    def __init__(self, info: ArraySetInfo, path: str | Path | None = None) -> None:
        encode_set_header(info, _NO_ID, None)
        self.info = info
        self.num_groups = 0
        self.num_entries = 0
        self._path = path
        self._data: bytes | None = None
        self._open = False
        self._broken = False
        self._stack = contextlib.ExitStack()
        self._table = TableEncoder()
        self._kept: list[tuple[int, int, bytes]] = []
        self._kept_bytes = 0
        self._append: SetAppend | None = None
        self._tail: SetTail | None = None
        self._stream: BinaryIO | None = None

    @classmethod
    def append(cls, target: str | Path | BinaryIO) -> ArraySetWriter:
        """A writer that adds groups behind those of a set; one at a time may append to a file.

        A set with its table at the end grows in place, and whatever happens meanwhile its old groups can be read. A
        set with its table in front is small and is written anew beside.

        Args:
            target: a path, or a binary file that can be read, written and moved in.

        Raises:
            PacketError: the file is not a healthy array set.
            SmaltoError: it cannot be opened.
            UsageError: a set with its table in front was not given by its path.
        """
        append = SetAppend(target)
        try:
            path = target if isinstance(target, (str, Path)) else None
            writer = cls(append.reader.info, path)
            if append.reader.layout.root is None and path is None:
                raise UsageError(f"{append.reader.name}: a set this small is written anew; give its path")
        except BaseException:
            append.close()
            raise
        writer._append = append
        writer._stack.callback(append.close)
        return writer

    @property
    def data(self) -> bytes:
        """The whole set, once the ``with`` block has ended, when there is no path."""
        if self._data is None:
            raise UsageError("an array set's bytes are there after its with block has ended, when it has no path")
        return self._data

    def __enter__(self) -> ArraySetWriter:
        self._open = True
        try:
            if self._append is not None:
                self._begin_append(self._append)
        except BaseException:
            self._open = False
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            if self._broken:
                raise UsageError("a group was not finished, so nothing is written; begin again")
            self._finish()

    def add_group(self, entries: Sequence[ArraySpec], parts: Iterable[bytes]) -> int:
        """Write arrays that were coded together.

        Args:
            entries: the arrays in order; where they lie in another set does not matter.
            parts: their coded bytes as the codec cuts them, at most 16 MiB each and at least one for every 2^22
                values; taken one at a time.

        Returns:
            The group's number.

        Raises:
            UsageError: something cannot be stored; unless it is the entries, the set cannot be finished any more.
        """
        if not self._open or self._broken:
            raise UsageError("groups are added inside the writer's with block, and not after one has failed")
        if self.num_groups >= MAX_GROUPS:
            raise UsageError(f"a set has at most {MAX_GROUPS} groups; begin another file")
        entries = tuple(entries)
        arrays = self._table.describe(entries)
        self._broken = True
        lengths = [self._add_part(number, part) for number, part in enumerate(parts)]
        if arrays.num_values > MAX_PART_VALUES * len(lengths):
            raise UsageError(f"a group of {arrays.num_values} values needs a part for every {MAX_PART_VALUES}")
        self._table.add(arrays, lengths)
        if self._tail is None and (self._table.full or len(self._table.lines) > _MAX_KEPT_TABLE_BYTES):
            self._spill()
        if self._tail is not None and self._table.full:
            self._tail.block(self._table)
        self._broken = False
        self.num_groups += 1
        self.num_entries += len(entries)
        return self.num_groups - 1

    def _add_part(self, number: int, part: bytes) -> int:
        payload = bytes(part)
        if len(payload) > MAX_PART_BYTES or number >= MAX_PARTS:
            raise UsageError(f"a part may have {MAX_PART_BYTES} bytes and a group {MAX_PARTS} parts; cut it otherwise")
        if self._tail is not None:
            self._tail.part(self.num_groups, number, payload)
        else:
            self._kept.append((self.num_groups, number, payload))
            self._kept_bytes += len(payload)
            if self._kept_bytes > _MAX_KEPT_BYTES:
                self._spill()
        return len(payload)

    def _content_id(self, header: bytes) -> bytes:
        """First 4 bytes of SHA-256 over a header with a zero id, the profile and the parts kept so far."""
        digest = hashlib.sha256(header)
        for payload in (self.info.profile or b"", *(payload for _, _, payload in self._kept)):
            digest.update(len(payload).to_bytes(8, "little"))
            digest.update(payload)
        return digest.digest()[:FILE_ID_BYTES]

    def _target(self) -> BinaryIO:
        if self._stream is None:
            stream = io.BytesIO() if self._path is None else self._stack.enter_context(replacing(self._path))
            self._stream = stream
        return self._stream

    def _spill(self) -> None:
        """Go over to the form with the table at the end, and write what was kept."""
        file_id = self._content_id(encode_set_header(self.info, _NO_ID, None))
        stream = self._target()
        header = encode_set_header(self.info, file_id, None)
        stream.write(header + bytes(2 * SLOT_BYTES))
        self._write_kept(stream, file_id)
        self._tail = SetTail(stream, file_id, len(header))

    def _write_kept(self, stream: BinaryIO, file_id: bytes) -> None:
        if self.info.profile is not None:
            stream.write(sealed_piece(file_id, PROFILE, 0, 0, self.info.profile))
        for group, part, payload in self._kept:
            stream.write(sealed_piece(file_id, PART, group, part, payload))
        self._kept.clear()

    def _begin_append(self, append: SetAppend) -> None:
        if append.reader.layout.root is not None:
            self._stack.push(self._undo)
            self._tail = append.begin()
            self.num_groups, self.num_entries = append.reader.num_groups, append.reader.num_entries
            return
        self._append = None
        for group in range(append.reader.num_groups):
            self.add_group(append.reader.group_entries(group), append.reader.parts(group))
        append.close()

    def _finish(self) -> None:
        header = encode_set_header(self.info, _NO_ID, None)
        if self._tail is None and len(header) + len(self._table.lines) + _COUNT_BYTES > MAX_HEADER_BYTES:
            self._spill()
        if self._append is not None:
            self._append.commit(self._table)
        elif self._tail is not None:
            self._tail.finish(self._table, 1)
        else:
            table = (self._table.num_groups, bytes(self._table.lines))
            file_id = self._content_id(encode_set_header(self.info, _NO_ID, table))
            stream = self._target()
            stream.write(encode_set_header(self.info, file_id, table))
            self._write_kept(stream, file_id)
        if isinstance(self._stream, io.BytesIO):
            self._data = self._stream.getvalue()

    def _undo(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Take back an append that failed."""
        if error is not None and self._append is not None:
            self._append.roll_back()
        return False
