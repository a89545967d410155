"""Reading array sets by parts: byte ranges, servers, sources of unknown size, many names."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from smalto.bits import array_set_lookup
from smalto.bits.array_set_parts import ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.bits.byte_source import MemorySource
from smalto.errors import DamagedPacket
from tests.bits.array_set_examples import EXAMPLES, INFO, MIXED, ONE_ARRAY, Group, appended, contents, trailing, written
from tests.bits.test_byte_source import Shelf


class CountingSource(MemorySource):
    """Remembers which ranges were read."""

    def __init__(self, data: bytes, size_known: bool = True) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []
        self.size: int | None = len(data) if size_known else None

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)


LARGE: list[Group] = [
    (tuple(ArraySpec("float16", (64,), f"v{first + index}") for index in range(8)), (os.urandom(40_000), b"exceptions"))
    for first in range(0, 80, 8)
]


def test_a_group_is_read_by_its_range_alone() -> None:
    source = CountingSource(trailing(INFO, LARGE))
    reader = ArraySetReader(source)
    root = reader.layout.root
    assert root is not None
    assert source.reads == [(0, 4096), (root.offset, root.length)]
    block = reader.layout.blocks[0].block_bytes
    assert reader.entries[31].name == "v31"
    assert source.reads[2:] == [(root.offset - block, block)]
    group = reader.group(3)
    assert (group.number, group.parts) == (3, LARGE[3][1])
    first, length = reader.part_range(3, 0)
    assert source.reads[3:] == [(first, length + 4 + len(b"exceptions") + 4)]
    assert reader.part(4, 1) == b"exceptions"
    assert source.reads[4:] == [(reader.part_range(4, 1)[0], len(b"exceptions") + 4)]


def test_groups_in_order_are_fetched_together() -> None:
    source = CountingSource(trailing(INFO, LARGE))
    reader = ArraySetReader(source)
    assert contents(reader) == LARGE
    assert len(source.reads) == 4
    assert reader.verify().healthy
    assert len(source.reads) <= 5


def test_a_small_set_is_read_at_once() -> None:
    source = CountingSource(EXAMPLES["front"])
    reader = ArraySetReader(source)
    assert contents(reader) == MIXED
    assert reader.profile == b"a profile"
    assert source.reads == [(0, 4096)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_source_that_does_not_know_its_size(name: str) -> None:
    data = EXAMPLES[name]
    assert ArraySetReader(CountingSource(data, size_known=False)).verify().healthy
    longer = ArraySetReader(CountingSource(data + b"x", size_known=False))
    assert "after the set" in longer.verify().errors[0]
    with pytest.raises(DamagedPacket):
        contents(ArraySetReader(CountingSource(data[:-1], size_known=False)))
    begun = appended(trailing(INFO, MIXED), [])
    assert ArraySetReader(CountingSource(begun, size_known=False)).verify().healthy
    assert ArraySetReader(CountingSource(begun + b"x", size_known=False)).unfinished


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Shelf()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("mode", ["ranges", "no ranges", "no size"])
def test_sets_behind_a_server(shelf: Shelf, mode: str) -> None:
    shelf.data, shelf.mode = trailing(INFO, LARGE), mode
    with ArraySetReader.open(shelf.url) as reader:
        assert reader.group(7).parts == LARGE[7][1]
        assert len(shelf.ranges) == (1 if mode == "no ranges" else 4)
        assert contents(reader) == LARGE


def test_path_stream_and_memory_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.smalto"
    path.write_bytes(EXAMPLES["appended"])
    with path.open("rb") as stream:
        for target in (path, str(path), stream, memoryview(EXAMPLES["appended"])):
            with ArraySetReader.open(target) as reader:
                assert contents(reader) == ONE_ARRAY + MIXED
        assert not stream.closed


def test_verify_names_every_damaged_piece_and_goes_on() -> None:
    data = bytearray(trailing(INFO, LARGE))
    reader = ArraySetReader.open(bytes(data))
    for group, part in ((0, 1), (5, 0)):
        data[reader.part_range(group, part)[0]] ^= 1
    report = ArraySetReader.open(bytes(data)).verify()
    assert [error.partition(": ")[2].partition(" does")[0] for error in report.errors] == [
        "the checksum of group 0, part 1",
        "the checksum of group 5, part 0",
    ]
    assert (report.num_groups, report.num_entries, report.file_bytes) == (10, 80, len(data))
    with ArraySetWriter(INFO) as writer:
        for _ in range(300):
            writer.add_group([ArraySpec("float16", ())], [b"a"])
    most = bytearray(writer.data)
    for group in range(300):
        most[ArraySetReader.open(writer.data).part_range(group, 0)[0]] ^= 1
    assert len(ArraySetReader.open(bytes(most)).verify().errors) == 100


def test_a_damaged_block_hides_its_groups_alone(tmp_path: Path) -> None:
    path = tmp_path / "set.smalto"
    path.write_bytes(trailing(INFO, LARGE))
    with ArraySetWriter.append(path) as writer:
        for entries, parts in MIXED:
            writer.add_group(entries, parts)
    data = bytearray(path.read_bytes())
    blocks = ArraySetReader.open(bytes(data)).layout.blocks
    start = ArraySetReader.open(bytes(data)).layout.header.body_offset
    data[start + blocks[0].length - 6] ^= 1
    reader = ArraySetReader.open(bytes(data))
    with pytest.raises(DamagedPacket, match="block 0"):
        reader.group(0)
    assert reader.group(len(LARGE)).parts == MIXED[0][1]
    assert len(reader.verify().errors) == 1


@pytest.mark.parametrize("most", [1, 3, 1 << 20])
def test_more_names_than_are_remembered(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_set_lookup, "MAX_REMEMBERED", most)
    reader = ArraySetReader.open(appended(trailing(INFO, MIXED), [*LARGE, *MIXED]))
    last = {entry.name: entry for entry in reader.entries if entry.name}
    assert len(last) == 90
    for name, entry in last.items():
        assert reader.find(name) == entry
    for name in ("v80", "v-1", "v01", "img_0098.png", "img_104.png", "fir", "größ", "first ", "layer.10", "9" * 40):
        assert reader.find(name) is None


def test_interleaved_names_are_found() -> None:
    groups = [
        (
            (ArraySpec("float16", (1,), f"{number:04}/cls"), ArraySpec("float16", (7,), f"{number:04}/tokens")),
            (bytes([number % 256]),),
        )
        for number in range(500)
    ]
    data = written(INFO, groups)
    reader = ArraySetReader.open(data)
    assert len(data) < 500 * 8 + 100
    for name, number in (("0000/cls", 0), ("0321/tokens", 643), ("0499/tokens", 999)):
        found = reader.find(name)
        assert found is not None
        assert (found.number, found.position) == (number, number % 2)
    assert reader.find("0500/cls") is None
