"""The chapter on array sets in docs/format.md is enough: a reader written from it alone agrees with the library."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings

from smalto.bits.array_set_parts import ArraySetInfo
from smalto.bits.array_set_reader import ArraySetReader
from tests.bits.array_set_examples import INFO, Group, appended, contents, group_lists, infos, trailing, written
from tests.bits.packet_examples import GOLDEN
from tests.bits.test_array_set_golden import FILES
from tests.bits.test_format_document import Reader

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
DTYPES = {1: "float16", 2: "bfloat16", 3: "float32", 4: "float64"}
Array = tuple[str, tuple[int, ...], str]


class SetReader(Reader):
    """A second reader. Of the other one it takes numbers and metadata, which the page shares too."""

    def seeded(self, role: int, number: int, part: int, data: bytes) -> bytes:
        self.crc(self.file_id + bytes([role]) + number.to_bytes(4, "little") + part.to_bytes(4, "little") + data)
        return data

    def text(self) -> str:
        return self.raw(self.varint()).decode()

    def names(self, form: int, count: int) -> tuple[object, ...]:
        if form == 0:
            return ("none",)
        prefix, suffix = self.text(), self.text()
        if form == 1:
            return ("counted", prefix, suffix, self.varint(), self.varint(), self.varint())
        return ("listed", [prefix + self.text() + suffix for _ in range(count)])

    def runs(self) -> list[tuple[int, str, tuple[int, ...], tuple[object, ...]]]:
        runs = []
        for _ in range(self.varint()):
            count, bits = self.varint(), self.u(1)
            shape = tuple(self.varint() for _ in range(self.varint()))
            runs.append((count, DTYPES[bits & 7], shape, self.names(bits >> 3, count)))
        return runs

    def lines(self, num_groups: int) -> list[tuple[list[Array], list[int]]]:
        lines, runs, repeat = [], [], 0
        for _ in range(num_groups):
            bits = self.u(1)
            repeat = repeat + 1 if bits & 1 else 0
            runs = runs if bits & 1 else self.runs()
            arrays = []
            for count, dtype, shape, names in runs:
                for i in range(repeat * count, (repeat + 1) * count):
                    arrays.append((dtype, shape, self.name(names, i)))
            num_parts = 1 if bits & 2 else self.varint()
            lines.append((arrays, [self.varint() for _ in range(num_parts)]))
        return lines

    @staticmethod
    def name(names: tuple, i: int) -> str:
        if names[0] == "counted":
            _, prefix, suffix, width, start, step = names
            return prefix + str(start + i * step).rjust(width, "0") + suffix
        return "" if names[0] == "none" else names[1][i]

    def parts(self, first_group: int, lines: list[tuple[list[Array], list[int]]]) -> list[object]:
        groups = []
        for group, (arrays, lengths) in enumerate(lines, first_group):
            groups.append((arrays, [self.seeded(0, group, j, self.raw(n)) for j, n in enumerate(lengths)]))
        return groups

    def slot(self, number: int) -> tuple[int, int, int]:
        data = self.raw(16)
        if data == bytes(16):
            assert self.u(4) == 0
            return 0, 0, 0
        self.seeded(4, number, 0, data)
        generation, offset, length = (int.from_bytes(piece, "little") for piece in (data[:4], data[4:12], data[12:]))
        assert number == (generation - 1) % 2
        return generation, offset, length

    def behind(self, roots: list[tuple[int, int, int]]) -> list[object]:
        start = self.at
        generation, offset, length = max(root for root in roots if root[2])
        self.at = offset
        index = [tuple(self.varint() for _ in range(5)) for _ in range(self.varint())]
        self.seeded(2, generation, 0, self.data[offset : self.at])
        assert self.at == offset + length
        groups: list[object] = []
        self.at = start
        for number, (gap, part_bytes, block_bytes, num_groups, num_arrays) in enumerate(index):
            first = self.at = self.at + gap
            self.at = block = first + part_bytes
            lines = self.lines(num_groups)
            self.seeded(1, number, 0, self.data[block : self.at])
            assert self.at == block + block_bytes
            assert sum(len(arrays) for arrays, _ in lines) == num_arrays
            end, self.at = self.at, first
            groups += self.parts(len(groups), lines)
            assert self.at == block
            self.at = end
        assert self.at == offset
        self.at = offset + length
        assert self.at == len(self.data) or any(root == (generation + 1, self.at, 0) for root in roots)
        return groups

    def set(self) -> tuple[object, ...]:
        assert self.raw(5) == b"\xf7SML\x01"
        flags = self.u(1)
        assert flags & 0xE3 == 1
        length = self.varint()
        end = self.at + length
        self.file_id = self.raw(4)
        facts = (self.u(1), self.u(1), self.raw(8))
        metadata = self.metadata() if flags & 8 else {}
        profile_length = self.varint() if flags & 16 else None
        lines = [] if flags & 4 else self.lines(self.varint())
        assert zlib.crc32(self.data[: self.at]) == self.u(4)
        assert self.at == end
        slots = [self.slot(0), self.slot(1)] if flags & 4 else []
        profile = None if profile_length is None else self.seeded(3, 0, 0, self.raw(profile_length))
        if flags & 4:
            return facts, metadata, profile, self.behind(slots)
        groups = self.parts(0, lines)
        assert self.at == len(self.data)
        return facts, metadata, profile, groups


def _by_the_library(data: bytes) -> tuple[object, ...]:
    with ArraySetReader.open(data) as reader:
        groups = [
            ([(spec.dtype, spec.shape, spec.name) for spec in specs], list(parts)) for specs, parts in contents(reader)
        ]
        return (reader.codec, reader.quality, reader.profile_digest), reader.metadata, reader.profile, groups


@given(infos, group_lists, group_lists)
@settings(max_examples=60)
def test_a_reader_written_from_the_page_agrees(info: ArraySetInfo, first: list[Group], second: list[Group]) -> None:
    for data in (written(info, first), trailing(info, first), appended(trailing(info, first), second)):
        assert SetReader(data).set() == _by_the_library(data)


@pytest.mark.parametrize("name", FILES)
def test_a_reader_written_from_the_page_reads_the_golden_files(name: str) -> None:
    data = (GOLDEN / f"array-set-{name}.smalto").read_bytes()
    assert SetReader(data).set() == _by_the_library(data)


def test_the_example_on_the_page_is_the_golden_file() -> None:
    example = PAGE.read_text("utf-8").partition("### Example of an array set")[2].split("```")[1]
    pairs = [re.match(r"(?:[0-9a-f]{2} )*[0-9a-f]{2}(?=   )", line) for line in example.strip().splitlines()]
    data = b"".join(bytes.fromhex(pair.group()) for pair in pairs if pair)
    assert data == (GOLDEN / "array-set-one.smalto").read_bytes()
    assert contents(ArraySetReader.open(data)) == FILES["one"][1]
    assert ArraySetReader.open(data).info == INFO
