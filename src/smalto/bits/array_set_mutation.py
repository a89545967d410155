"""Damaged and hostile array sets made from healthy ones, for tests of every reader; mutation.py does it for pictures.

Each mutant depends only on the originals, the seed and its number. Half of them have their checksums recomputed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from smalto.bits.array_set_block import TableBlock
from smalto.bits.array_set_header import (
    BLOCK,
    INDEX,
    PART,
    PROFILE,
    ROOT,
    SLOT_BYTES,
    BlockLine,
    Root,
    SetHeader,
    encode_index,
    encode_set_header,
    parse_index,
    parse_roots,
    parse_set_header,
    piece_crc,
    sealed_piece,
)
from smalto.bits.array_set_parts import ArraySetInfo
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_table import FORM_SHIFT, ONE_PART, TableEncoder
from smalto.bits.mutation import Mutant, MutantMaker, truncation
from smalto.bits.packet_header import header_length, seal_header
from smalto.bits.packet_parts import CRC_BYTES
from smalto.bits.varint import MAX_VARINT, Cursor, varint
from smalto.errors import PacketError

_NUMBERS = (0, 1, 2, 4, 127, 128, 1 << 15, 1 << 16, 1 << 22, 1 << 24, 1 << 26, 1 << 31, 1 << 40, 1 << 41, MAX_VARINT)


class _Seal:
    """Recomputes checksums in place, as far as the bytes go."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.file_id = b""

    def all(self) -> None:
        """Every checksum. Raises PacketError where the way to further ones is lost."""
        end = header_length(bytes(self.data[:16]), "mutant")
        if len(self.data) < end:
            return
        self.data[:end] = seal_header(bytes(self.data[: end - CRC_BYTES]))
        header = parse_set_header(bytes(self.data[:end]), "mutant")
        self.file_id = header.file_id
        if header.profile_bytes is not None:
            self._piece(PROFILE, 0, 0, header.profile_offset, header.profile_bytes)
        if header.trailing:
            self._trailing(header)
        else:
            self._parts(TableBlock(Cursor(header.table, "mutant"), header.num_groups, 0, 0), header.body_offset)

    def _trailing(self, header: SetHeader) -> None:
        for slot in range(2):
            first = header.header_bytes + slot * SLOT_BYTES
            if any(self.data[first : first + SLOT_BYTES]):
                self._piece(ROOT, slot, 0, first, SLOT_BYTES - CRC_BYTES)
        slots = bytes(self.data[header.header_bytes : header.header_bytes + 2 * SLOT_BYTES])
        root, _ = parse_roots(slots, self.file_id, "mutant")
        self._piece(INDEX, root.generation, 0, root.offset, root.length - CRC_BYTES)
        index = bytes(self.data[root.offset : root.end - CRC_BYTES])
        position, group, entry = header.body_offset, 0, 0
        for number, line in enumerate(parse_index(Cursor(index, "mutant"), root.generation)):
            start, position = position + line.gap, position + line.length
            self._piece(BLOCK, number, 0, position - line.block_bytes, line.block_bytes - CRC_BYTES)
            lines = bytes(self.data[position - line.block_bytes : position - CRC_BYTES])
            self._parts(TableBlock(Cursor(lines, "mutant"), line.num_groups, group, entry), start)
            group, entry = group + line.num_groups, entry + line.num_entries

    def _parts(self, table: TableBlock, start: int) -> None:
        for line in table:
            first = start + line.offset
            for part, length in enumerate(line.lengths):
                self._piece(PART, line.number, part, first, length)
                first += length + CRC_BYTES

    def _piece(self, role: int, number: int, part: int, first: int, length: int) -> None:
        end = first + length
        if length >= 0 and end + CRC_BYTES <= len(self.data):
            crc = piece_crc(self.file_id, role, number, part, bytes(self.data[first:end]))
            self.data[end : end + CRC_BYTES] = crc.to_bytes(CRC_BYTES, "little")


def reseal(data: bytes) -> bytes:
    """``data`` with every checksum recomputed, as far as they can be found."""
    seal = _Seal(data)
    try:
        seal.all()
    except PacketError:
        return bytes(seal.data)
    return bytes(seal.data)


@dataclass
class _LooseSet:
    """A set of one generation and one block that need not be true."""

    info: ArraySetInfo
    file_id: bytes
    trailing: bool
    num_groups: int
    num_entries: int
    table: bytes
    parts: list[tuple[int, int, bytes]]
    gap: int = 0
    part_bytes: int = -1
    index_lie: int = -1

    def to_bytes(self) -> bytes:
        """The file; what it says of itself may be a lie, its checksums are not."""
        body = b"".join(sealed_piece(self.file_id, PART, group, part, data) for group, part, data in self.parts)
        profile = b"" if self.info.profile is None else sealed_piece(self.file_id, PROFILE, 0, 0, self.info.profile)
        if not self.trailing:
            return encode_set_header(self.info, self.file_id, (self.num_groups, self.table)) + profile + body
        header = encode_set_header(self.info, self.file_id, None)
        block = sealed_piece(self.file_id, BLOCK, 0, 0, self.table)
        part_bytes = len(body) if self.part_bytes < 0 else self.part_bytes
        line = BlockLine(self.gap, part_bytes, len(block), self.num_groups, self.num_entries)
        index = encode_index([line], self.file_id, 1)
        offset = len(header) + 2 * SLOT_BYTES + len(profile) + len(body) + len(block)
        length = len(index) if self.index_lie < 0 else self.index_lie & 0xFFFFFFFF
        slots = Root(1, offset, length).to_bytes(self.file_id) + bytes(SLOT_BYTES)
        return header + slots + profile + body + block + index


def _loosen(data: bytes) -> _LooseSet:
    with ArraySetReader.open(data) as reader:
        table = TableEncoder()
        parts: list[tuple[int, int, bytes]] = []
        for group in reader.groups():
            table.add(table.describe(group.entries), [len(part) for part in group.parts])
            parts += [(group.number, number, part) for number, part in enumerate(group.parts)]
        header = reader.layout.header
        counts = table.num_groups, table.num_entries
        return _LooseSet(reader.info, header.file_id, header.trailing, *counts, bytes(table.lines), parts)


def _bit_flips(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    data = bytearray(rng.choice(originals))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 32))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _extension(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    return rng.choice(originals) + rng.choice((b"\0", rng.randbytes(rng.randrange(1, 300)), rng.choice(originals)))


def _splice(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    first, second = rng.choice(originals), rng.choice(originals)
    cut, start = rng.randrange(len(first) + 1), rng.randrange(len(second))
    piece = second[start : start + rng.randrange(1, 257)]
    return first[:cut] + piece + first[cut + len(piece) * rng.randrange(2) :]


def _random_bytes(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    data = rng.choice(originals)
    start = rng.randrange(len(data))
    noise = rng.randbytes(rng.randrange(1, 65))
    return data[:start] + noise + data[start + len(noise) * rng.randrange(2) :]


def _lying_table(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """Bytes of the table replaced by large numbers: counts, sides, lengths, bits of lines."""
    loose = _loosen(rng.choice(originals))
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(loose.table) + 1)
        lie = varint(rng.choice(_NUMBERS)) if rng.random() < 0.8 else rng.randbytes(2)
        loose.table = loose.table[:at] + lie + loose.table[at + rng.randrange(1, 4) :]
    return loose.to_bytes()


def _lying_index(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """Counts and lengths of the index, or of the header, that are not those of the table."""
    loose = _loosen(rng.choice(originals))
    lie, how = rng.choice(_NUMBERS), rng.randrange(5)
    if how == 0:
        loose.num_groups = lie
    elif how == 1:
        loose.num_entries = lie
    elif how == 2:
        loose.gap = lie
    elif how == 3:
        loose.part_bytes = lie
    else:
        loose.index_lie = lie
    return loose.to_bytes()


def _dimension_bomb(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """One group that is whole, of arrays far more or far larger than its empty parts are likely to hold."""
    loose = _loosen(rng.choice(originals))
    count = rng.choice((1, 2, 1 << 20, 1 << 22, (1 << 22) + 1, 1 << 30))
    sides = [rng.choice((0, 1, 2, 1 << 11, 1 << 22, 1 << 40, MAX_VARINT)) for _ in range(rng.randrange(4))]
    sides *= rng.choice((1, 1, 1, 11, 12))
    dtype, form, num_parts = rng.randrange(1, 5), rng.choice((0, 0, 1, 2, 3)), rng.choice((0, 1, 2, 1 << 10))
    names = (
        rng.choice((bytes(2) + b"\x01\x07\x01", b"\x01a\x01b\x12" + varint(MAX_VARINT) + b"\x01")) if form == 1 else b""
    )
    run = (
        varint(count) + bytes([dtype | form << FORM_SHIFT]) + varint(len(sides)) + b"".join(map(varint, sides)) + names
    )
    opening = bytes([ONE_PART]) if num_parts == 1 else b"\0"
    lengths = (b"" if num_parts == 1 else varint(num_parts)) + bytes(num_parts)
    loose.table = opening + varint(1) + run + lengths
    loose.parts = [(0, part, b"") for part in range(num_parts)]
    loose.num_groups, loose.num_entries = 1, count
    return loose.to_bytes()


def _moved_part(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """Parts cut, repeated, dropped, or in another order; the table stays as it was."""
    loose = _loosen(rng.choice(originals))
    if not loose.parts:
        return _bit_flips(rng, originals)
    index, how = rng.randrange(len(loose.parts)), rng.randrange(4)
    if how == 0:
        group, part, data = loose.parts[index]
        loose.parts[index] = (group, part, data[: rng.randrange(len(data) + 1)])
    elif how == 1:
        loose.parts.insert(index, rng.choice(loose.parts))
    elif how == 2:
        loose.parts.pop(index)
    else:
        rng.shuffle(loose.parts)
    return loose.to_bytes()


KINDS: dict[str, Callable[[random.Random, Sequence[bytes]], bytes]] = {
    "bit flips": _bit_flips,
    "truncation": truncation,
    "extension": _extension,
    "splice": _splice,
    "random bytes": _random_bytes,
    "lying table": _lying_table,
    "lying index": _lying_index,
    "dimension bomb": _dimension_bomb,
    "moved part": _moved_part,
}
"""Kind -> how one mutant of that kind is made from healthy array sets."""

_MAKER = MutantMaker(KINDS, reseal, ("lying table", "lying index", "dimension bomb", "moved part"))


def mutant(originals: Sequence[bytes], number: int, seed: int = 0) -> Mutant:
    """Mutant ``number`` of array sets; see ``MutantMaker.mutant``."""
    return _MAKER.mutant(originals, number, seed)


def mutants(originals: Sequence[bytes], count: int, seed: int = 0) -> Iterator[Mutant]:
    """Mutants 0 .. count-1 of ``seed``; see ``MutantMaker.mutant``."""
    return _MAKER.mutants(originals, count, seed)
