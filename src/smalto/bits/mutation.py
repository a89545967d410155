"""Damaged and hostile .smalto files made from healthy ones, for tests of every reader.

Each mutant depends only on the originals, the seed and its number, so a failure is repeated by its number alone.
Half of them have their checksums recomputed: those get past the checksums and meet the parser and the decoders.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from smalto.bits.packet import Packet
from smalto.bits.packet_header import LENGTHS_BLOCK, chunk_crc, encode_header, header_length, parse_header, seal_header
from smalto.bits.packet_parts import CRC_BYTES, Limits, SpaceEntry, section_overhead_bytes
from smalto.bits.varint import MAX_VARINT, varint
from smalto.errors import PacketError, UsageError

_ANYTHING = Limits(max_pixels=1 << 62, max_file_bytes=1 << 62, codecs=frozenset(range(256)))
_SIDES = (0, 1, 2, 63, 64, 65, 4096, 8191, 8192, 8193, 65535, 65536, 1 << 20, 1 << 31, 1 << 32, MAX_VARINT)
_LENGTHS = (0, 1, 3, 4, 5, 127, 128, 255, 1 << 16, 1 << 24, 1 << 26, 1 << 31, (1 << 32) - 1, 1 << 40, MAX_VARINT)
_FACTS: tuple[dict[str, str | int | bytes], ...] = (
    *({"encoder": text} for text in ("", "x" * 20000, "\u00e9", "nobody")),
    *({"tile": side} for side in (-64, 0, 1, 64, 128, 1024, 2048, 4096, 1 << 61, "64", b"64")),
    *({"grey": value} for value in (-1, 1, 2)),
    *({"offset": value} for value in (b"", b"\x01\x00", b"\x03\x03", b"\x04\x00", b"\x01\x01\x01", 1, "xx")),
)


@dataclass(frozen=True)
class Mutant:
    """One mutated file.

    Args:
        number: its number in the sequence of its seed.
        kind: what was done, a key of KINDS.
        resealed: checksums were recomputed after the change, as far as the bytes still have a place for them. A mutant
            that is not resealed differs from every original and must be refused.
        data: the bytes.
    """

    number: int
    kind: str
    resealed: bool
    data: bytes


@dataclass
class _LooseSection:
    """A section that need not be true: its table line may lie about length and chunk count."""

    space: int
    plane: int
    part: int
    codec: int
    q: int
    critical: bool
    chunks: list[bytes]
    length: int = -1
    num_chunks: int = -1

    def settle(self) -> None:
        """Make length and chunk count true where no lie was told."""
        self.num_chunks = len(self.chunks) if self.num_chunks < 0 else self.num_chunks
        if self.length < 0:
            self.length = sum(map(len, self.chunks)) + section_overhead_bytes(max(len(self.chunks), 1))


@dataclass
class _LoosePacket:
    shape: tuple[int, int]
    spaces: tuple[SpaceEntry, ...]
    metadata: dict[str, str | int | bytes]
    sections: list[_LooseSection]
    file_id: bytes
    header_crc: bytes
    chunk_crcs: dict[bytes, bytes]


def reseal(data: bytes) -> bytes:
    """``data`` with its header's, chunk lengths' and chunks' checksums recomputed, as far as they can be found."""
    try:
        end = header_length(data, "mutant")
    except PacketError:
        return data
    if len(data) < end:
        return data
    sealed = bytearray(seal_header(data[: end - CRC_BYTES]) + data[end:])
    try:
        header = parse_header(bytes(sealed), "mutant", _ANYTHING)
    except PacketError:
        return bytes(sealed)
    for number, entry in enumerate(header.sections):
        position = entry.offset
        lengths = [entry.payload_bytes]
        if entry.num_chunks > 1:
            stop = position + CRC_BYTES * entry.num_chunks
            if stop + CRC_BYTES > len(sealed):
                break
            lengths = list(struct.unpack(f"<{entry.num_chunks}I", sealed[position:stop]))
            _place_crc(sealed, stop, chunk_crc(header.file_id, number, LENGTHS_BLOCK, bytes(sealed[position:stop])))
            position = stop + CRC_BYTES
        for index, length in enumerate(lengths):
            stop = position + length
            if stop + CRC_BYTES > len(sealed):
                break
            _place_crc(sealed, stop, chunk_crc(header.file_id, number, index, bytes(sealed[position:stop])))
            position = stop + CRC_BYTES
    return bytes(sealed)


def _place_crc(data: bytearray, position: int, crc: int) -> None:
    data[position : position + CRC_BYTES] = crc.to_bytes(CRC_BYTES, "little")


def _loosen(data: bytes) -> _LoosePacket:
    packet = Packet.from_bytes(data, _ANYTHING)
    sections = [
        _LooseSection(s.space, s.plane, s.part, s.codec, s.q, s.critical, list(s.chunks)) for s in packet.sections
    ]
    end = header_length(data, "original")
    crcs = {
        chunk: chunk_crc(packet.file_id, number, index, chunk).to_bytes(CRC_BYTES, "little")
        for number, section in enumerate(packet.sections)
        for index, chunk in enumerate(section.chunks)
    }
    shape, metadata = (packet.height, packet.width), dict(packet.metadata)
    return _LoosePacket(shape, packet.spaces, metadata, sections, packet.file_id, data[end - CRC_BYTES : end], crcs)


def _write(packet: _LoosePacket) -> bytes:
    """The bytes of a packet that need not be true; its checksums are those from before the change."""
    for section in packet.sections:
        section.settle()
    out = bytearray(encode_header(packet.shape, packet.spaces, packet.metadata, packet.sections, packet.file_id))
    out[-CRC_BYTES:] = packet.header_crc
    for section in packet.sections:
        if len(section.chunks) > 1:
            out += struct.pack(f"<{len(section.chunks)}I", *map(len, section.chunks)) + bytes(CRC_BYTES)
        for chunk in section.chunks:
            out += chunk + packet.chunk_crcs.get(chunk, bytes(CRC_BYTES))
    return bytes(out)


def _bit_flips(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    data = bytearray(rng.choice(originals))
    span = len(data) if rng.random() < 0.5 else min(len(data), 96)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 32))):
        data[rng.randrange(span)] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncation(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """A healthy file cut short."""
    data = rng.choice(originals)
    return data[: rng.randrange(len(data))]


def _extension(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    data, other = rng.choice(originals), rng.choice(originals)
    return data + rng.choice((b"\0", rng.randbytes(rng.randrange(1, 300)), other))


def _splice(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    first, second = rng.choice(originals), rng.choice(originals)
    cut = rng.randrange(len(first) + 1)
    if rng.random() < 0.5:
        start = rng.randrange(len(second))
        return first[:cut] + second[start:]
    start = rng.randrange(len(second))
    piece = second[start : start + rng.randrange(1, 257)]
    return first[:cut] + piece + first[cut + len(piece) * rng.randrange(2) :]


def _random_bytes(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    data = rng.choice(originals)
    how = rng.randrange(3)
    if how == 0:
        return rng.randbytes(rng.randrange(0, 512))
    if how == 1:
        keep = rng.randrange(min(len(data), 64) + 1)
        return data[:keep] + rng.randbytes(rng.randrange(0, 512))
    start = rng.randrange(len(data))
    noise = rng.randbytes(rng.randrange(1, 65))
    return data[:start] + noise + data[start + len(noise) :]


def _lying_length(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    data = rng.choice(originals)
    lie = rng.choice(_LENGTHS)
    how = rng.randrange(4)
    packet = _loosen(data)
    if how == 0 or not packet.sections:
        end = header_length(data, "original")
        opening = 6 + len(varint(end))
        return data[:6] + varint(lie) + data[min(opening, len(data)) :]
    section = rng.choice(packet.sections)
    if how == 1:
        section.length = max(lie if rng.random() < 0.5 else len(data) + rng.randrange(-8, 9), 0)
    elif how == 2:
        section.num_chunks = rng.choice((0, 1, 2, 3, 255, 65535, 65536, 1 << 20, 1 << 32))
    else:
        return _lying_chunk_lengths(rng, packet, section, lie)
    return _write(packet)


def _lying_chunk_lengths(rng: random.Random, packet: _LoosePacket, section: _LooseSection, lie: int) -> bytes:
    """Chunk lengths that may keep their sum while the cuts move, or hold any number."""
    whole = b"".join(section.chunks)
    cut = rng.randrange(len(whole) + 1)
    section.chunks = [whole[:cut], whole[cut:]]
    data = bytearray(_write(packet))
    if rng.random() < 0.7:
        start = data.rfind(struct.pack("<2I", cut, len(whole) - cut))
        data[start : start + 4] = struct.pack("<I", lie & 0xFFFFFFFF)
    return bytes(data)


def _dimension_bomb(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    packet = _loosen(rng.choice(originals))
    height, width = packet.shape
    sides = rng.choice(((rng.choice(_SIDES), width), (height, rng.choice(_SIDES)), (rng.choice(_SIDES),) * 2))
    packet.shape = (sides[0], sides[1])
    return _write(packet)


def _field(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """Another space, plane, part, codec, q, critical bit, digest or metadata value."""
    packet = _loosen(rng.choice(originals))
    how = rng.randrange(8)
    if how == 6 and packet.spaces:
        packet.spaces = (replace(packet.spaces[0], codec_digest=rng.randbytes(8)), *packet.spaces[1:])
    elif how == 7 or not packet.sections:
        facts = rng.choice(_FACTS)
        of_space = rng.choice(packet.spaces).name if packet.spaces and rng.random() < 0.5 else None
        packet.metadata |= facts if of_space is None else {f"{key}.{of_space}": value for key, value in facts.items()}
    else:
        section = rng.choice(packet.sections)
        if how == 0:
            section.space = rng.choice((0, 1, 2, 14, 15))
        elif how == 1:
            section.plane = rng.randrange(256)
        elif how == 2:
            section.part ^= 1
        elif how == 3:
            section.codec = rng.choice((1, 2, 3, 4, 5, 6, 200, 255, 0))
        elif how == 4:
            section.q = rng.randrange(256)
        else:
            section.critical = not section.critical
    return _write(packet)


def _moved_chunk(rng: random.Random, originals: Sequence[bytes]) -> bytes:
    """A chunk cut short, lengthened, repeated, dropped, or taken from another place or file; lengths stay true."""
    packet, other = _loosen(rng.choice(originals)), _loosen(rng.choice(originals))
    chunks = [chunk for section in other.sections for chunk in section.chunks]
    if not packet.sections or not chunks:
        return _bit_flips(rng, originals)
    packet.chunk_crcs = other.chunk_crcs | packet.chunk_crcs
    section = rng.choice(packet.sections)
    index = rng.randrange(len(section.chunks))
    chunk, how = section.chunks[index], rng.randrange(6)
    if how == 0:
        section.chunks[index] = chunk[: rng.randrange(len(chunk) + 1)]
    elif how == 1:
        section.chunks[index] = chunk + rng.randbytes(rng.randrange(1, 65))
    elif how == 2:
        section.chunks.append(chunk)
    elif how == 3:
        rng.shuffle(packet.sections)
    elif how == 4:
        packet.sections.remove(section)
    else:
        section.chunks[index] = rng.choice(chunks)
    return _write(packet)


@dataclass(frozen=True)
class MutantMaker:
    """Makes mutants of one sort of file.

    Args:
        kinds: kind -> how one mutant of that kind is made from healthy files; they take turns.
        reseal: recomputes checksums.
        sealed: kinds made of true pieces, whose checksums hold in any case.
    """

    kinds: Mapping[str, Callable[[random.Random, Sequence[bytes]], bytes]]
    reseal: Callable[[bytes], bytes]
    sealed: tuple[str, ...] = ()

    def mutant(self, originals: Sequence[bytes], number: int, seed: int = 0) -> Mutant:
        """Mutant ``number``: kinds take turns, and odd rounds are resealed.

        Args:
            originals: healthy files, at least one.
            number: 0, 1, 2, ...
            seed: another seed, another sequence.

        Raises:
            UsageError: there are no originals.
            PacketError: an original is not healthy.
        """
        if not originals:
            raise UsageError("mutants are made from healthy files; give at least one")
        kind = list(self.kinds)[number % len(self.kinds)]
        resealed = number // len(self.kinds) % 2 == 1
        rng = random.Random(f"{seed}:{number}")
        while True:
            data = self.kinds[kind](rng, originals)
            data = self.reseal(data) if resealed else data
            if resealed or data not in originals:
                return Mutant(number, kind, resealed or kind in self.sealed, data)

    def mutants(self, originals: Sequence[bytes], count: int, seed: int = 0) -> Iterator[Mutant]:
        """Mutants 0 .. count-1 of ``seed``; see ``mutant``."""
        for number in range(count):
            yield self.mutant(originals, number, seed)


KINDS: dict[str, Callable[[random.Random, Sequence[bytes]], bytes]] = {
    "bit flips": _bit_flips,
    "truncation": truncation,
    "extension": _extension,
    "splice": _splice,
    "random bytes": _random_bytes,
    "lying length": _lying_length,
    "dimension bomb": _dimension_bomb,
    "field": _field,
    "moved chunk": _moved_chunk,
}
"""Kind -> how one mutant of that kind is made from healthy files."""


_MAKER = MutantMaker(KINDS, reseal)


def mutant(originals: Sequence[bytes], number: int, seed: int = 0) -> Mutant:
    """Mutant ``number`` of packets; see ``MutantMaker.mutant``."""
    return _MAKER.mutant(originals, number, seed)


def mutants(originals: Sequence[bytes], count: int, seed: int = 0) -> Iterator[Mutant]:
    """Mutants 0 .. count-1 of ``seed``; see ``MutantMaker.mutant``.

    Example:
        >>> healthy = Packet(height=1, width=1, spaces=(), sections=()).to_bytes()
        >>> [m.kind for m in mutants([healthy], 3)]
        ['bit flips', 'truncation', 'extension']
    """
    return _MAKER.mutants(originals, count, seed)
