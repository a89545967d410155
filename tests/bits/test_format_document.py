"""docs/format.md is enough: a reader written from the page alone agrees with the library, and its example is true."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings

from smalto.bits.packet import Packet
from tests.bits.packet_examples import EXAMPLES, GOLDEN, packets

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
CODES = {1: "encoder", 2: "grey", 3: "software", 4: "pad"}


class Reader:
    """A second reader. It shares no code with the library and knows only what the page says."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, length: int) -> bytes:
        self.at += length
        return self.data[self.at - length : self.at]

    def u(self, length: int) -> int:
        return int.from_bytes(self.raw(length), "little")

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.u(1)) & 128:
            value += (byte - 128) << shift
            shift += 7
        return value + (byte << shift)

    def crc(self, data: bytes) -> None:
        assert zlib.crc32(data) == self.u(4)

    def metadata(self) -> dict[str, object]:
        entries: dict[str, object] = {}
        for _ in range(self.varint()):
            tag = self.u(1)
            code, kind = tag >> 2, tag & 3
            key = self.raw(self.u(1)).decode() if code == 0 else CODES.get(code, f"#{code}")
            value = self.varint()
            if kind == 0:
                entries[key] = value // 2 if value % 2 == 0 else -(value + 1) // 2
            else:
                entries[key] = self.raw(value).decode() if kind == 1 else self.raw(value)
        return entries

    def table(self) -> list[tuple[int, ...]]:
        lines: list[tuple[int, ...]] = []
        plane = codec = q = 0
        for _ in range(self.u(1)):
            bits = self.u(1)
            if not bits & 64:
                plane, codec, q = self.raw(3)
            count = self.varint() if bits & 128 else 1
            lines.append((bits & 15, plane, bits >> 4 & 1, codec, q, bits >> 5 & 1, count, self.varint()))
        return lines

    def section(self, number: int, count: int, length: int) -> tuple[bytes, ...]:
        start, lengths = self.at, [length - 4]
        seed = self.data[self.id_at : self.id_at + 4] + bytes([number])
        if count > 1:
            block = self.raw(4 * count)
            self.crc(seed + b"\xff\xff\xff\xff" + block)
            lengths = [int.from_bytes(block[i : i + 4], "little") for i in range(0, len(block), 4)]
        chunks = []
        for index, size in enumerate(lengths):
            chunks.append(self.raw(size))
            self.crc(seed + index.to_bytes(4, "little") + chunks[-1])
        assert self.at == start + length
        return tuple(chunks)

    def file(self) -> tuple[object, ...]:
        assert self.raw(4) == b"\xf7SML"
        assert self.u(1) == 1
        flags = self.u(1)
        assert flags & 7 == 0
        length = self.varint()
        end = self.at + length
        self.id_at = self.at
        self.raw(4)
        size = (self.varint(), self.varint())
        spaces = [(self.raw(self.u(1)).decode(), self.raw(8), self.raw(8)) for _ in range(flags >> 4)]
        metadata = self.metadata() if flags & 8 else {}
        lines = self.table()
        self.crc(self.data[: self.at])
        assert self.at == end
        sections = [(*line[:6], self.section(number, *line[6:])) for number, line in enumerate(lines)]
        assert self.at == len(self.data)
        return size, spaces, metadata, sections


def _by_the_library(packet: Packet) -> tuple[object, ...]:
    return (
        (packet.height, packet.width),
        [(space.name, space.decoder_digest, space.codec_digest) for space in packet.spaces],
        packet.metadata,
        [(s.space, s.plane, s.part, s.codec, s.q, s.critical, s.chunks) for s in packet.sections],
    )


@given(packets())
@settings(max_examples=100)
def test_a_reader_written_from_the_page_agrees(packet: Packet) -> None:
    assert Reader(packet.to_bytes()).file() == _by_the_library(packet)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_reader_written_from_the_page_reads_the_golden_files(name: str) -> None:
    data = (GOLDEN / f"packet-{name}.smalto").read_bytes()
    assert Reader(data).file() == _by_the_library(Packet.from_bytes(data))


def test_the_example_on_the_page_is_the_golden_file() -> None:
    example = PAGE.read_text("utf-8").partition("## Example")[2].split("```")[1]
    pairs = [re.match(r"(?:[0-9a-f]{2} )*[0-9a-f]{2}(?=   )", line) for line in example.strip().splitlines()]
    data = b"".join(bytes.fromhex(pair.group()) for pair in pairs if pair)
    assert data == (GOLDEN / "packet-one-section.smalto").read_bytes()
