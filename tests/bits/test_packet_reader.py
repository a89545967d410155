"""Reading by parts: prefixes, chunks, byte ranges, reports."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.bits.byte_source import MemorySource
from smalto.bits.packet import PART_HYPER, PART_MAIN, Limits, Packet, PacketReader
from smalto.bits.packet_parts import MAX_CHUNK_BYTES
from smalto.errors import DamagedPacket, PacketError, SmaltoError, UsageError
from tests.bits.packet_examples import LITE, ONE_SECTION, TILES, TWO_SECTIONS, packets, section


class CountingSource(MemorySource):
    """Remembers which ranges were read."""

    def __init__(self, data: bytes, size_known: bool = True) -> None:
        super().__init__(data)
        self.reads: list[tuple[int, int]] = []
        if not size_known:
            self.size = None

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)


@given(packets(), st.data())
def test_a_prefix_gives_the_sections_that_are_whole(packet: Packet, data: st.DataObject) -> None:
    whole, header = packet.to_bytes(), packet.header
    size = data.draw(st.integers(header.header_bytes, len(whole)))
    with Packet.open(whole[:size]) as reader:
        assert reader.header == header
        for number, entry in enumerate(header.sections):
            assert reader.is_present(number) == (entry.end <= size)
            if entry.end <= size:
                assert reader.section(number) == packet.sections[number]
            else:
                with pytest.raises(DamagedPacket) as caught:
                    reader.section(number)
                assert f"bytes {max(entry.offset, size)}-{entry.end - 1} are missing" in str(caught.value)
        assert reader.verify().healthy == (size == len(whole))


def test_a_chunk_before_the_cut_can_be_read_though_its_section_is_not_whole() -> None:
    whole = TILES.to_bytes()
    entry = TILES.header.sections[1]
    reader = Packet.open(whole[: entry.end - 3])
    assert reader.chunk(1, 2) == TILES.sections[1].chunks[2]
    with pytest.raises(DamagedPacket, match=f"bytes {entry.end - 3}-{entry.end - 1} are missing"):
        reader.chunk(1, 3)


def test_a_prefix_shorter_than_the_header_names_what_is_missing() -> None:
    end = TILES.header.header_bytes
    with pytest.raises(DamagedPacket, match=f"bytes 50-{end - 1} of the header are missing"):
        Packet.open(TILES.to_bytes()[:50])


def test_chunk_ranges_are_true() -> None:
    data = TILES.to_bytes()
    reader = Packet.open(data)
    for number, written in enumerate(TILES.sections):
        for index, chunk in enumerate(written.chunks):
            first, length = reader.chunk_range(number, index)
            assert data[first : first + length] == chunk == reader.chunk(number, index)


def test_only_what_is_asked_for_is_read() -> None:
    chunks = tuple(bytes([index]) * 20_000 for index in range(10))
    packet = Packet(
        height=9000,
        width=1000,
        spaces=(LITE,),
        sections=(section(PART_HYPER, (bytes(9000),)), section(PART_MAIN, chunks)),
    )
    source = CountingSource(packet.to_bytes())
    reader = PacketReader(source)
    assert reader.chunk(1, 7) == chunks[7]
    first, length = reader.chunk_range(1, 7)
    entry = packet.header.sections[1]
    assert source.reads == [(0, 4096), (entry.offset, 44), (first, length + 4)]
    assert reader.section(0) == packet.sections[0]
    assert source.reads[3:] == [(packet.header.sections[0].offset, 9004)]


def test_many_chunks_are_fetched_together() -> None:
    chunks = tuple(bytes([index]) * 90_000 for index in range(250))
    packet = Packet(height=1000, width=1000, spaces=(LITE,), sections=(section(chunks=chunks),))
    source = CountingSource(packet.to_bytes())
    reader = PacketReader(source)
    assert reader.section(0) == packet.sections[0]
    assert len(source.reads) == 3
    assert max(length for _, length in source.reads) == 1 << 24
    assert reader.verify().healthy
    assert len(source.reads) <= 6


def test_a_whole_small_file_is_read_at_once() -> None:
    source = CountingSource(TILES.to_bytes())
    assert Packet.read(PacketReader(source)) == TILES
    assert source.reads == [(0, 4096)]


def test_a_header_longer_than_the_first_read() -> None:
    packet = Packet(height=1, width=1, spaces=(LITE,), sections=(section(),), metadata={"pad": bytes(30_000)})
    source = CountingSource(packet.to_bytes())
    assert Packet.read(PacketReader(source)) == packet
    assert source.reads[:2] == [(0, 4096), (0, packet.header.header_bytes)]


@pytest.mark.parametrize("more", [b"", b"x"])
def test_a_source_that_does_not_know_its_size(more: bytes) -> None:
    reader = PacketReader(CountingSource(TILES.to_bytes() + more, size_known=False))
    assert reader.is_present(3)
    assert reader.section(3) == TILES.sections[3]
    assert reader.verify().healthy == (more == b"")
    if more:
        with pytest.raises(DamagedPacket, match="after the last section"):
            Packet.read(reader)
    else:
        assert Packet.read(reader) == TILES
    cut = PacketReader(CountingSource(TILES.to_bytes()[:-1], size_known=False))
    with pytest.raises(DamagedPacket, match="are missing"):
        cut.section(3)


def test_verify_names_every_damaged_section_and_goes_on() -> None:
    data = bytearray(TILES.to_bytes())
    entries = TILES.header.sections
    data[entries[0].offset] ^= 1
    data[entries[1].offset] ^= 1
    report = Packet.open(bytes(data)).verify()
    assert not report.healthy
    assert [item.error is None for item in report.sections] == [False, False, True, True]
    assert "section 0, chunk 0" in report.errors[0]
    assert "section 1's chunk lengths" in report.errors[1]
    assert report.file_bytes == len(data)
    assert report.error is None


def test_verify_names_a_cut() -> None:
    report = Packet.open(TWO_SECTIONS.to_bytes()[:-1]).verify()
    assert [item.error is None for item in report.sections] == [True, False]
    assert report.error is not None
    assert len(report.errors) == 2


def test_verify_of_a_healthy_file() -> None:
    report = Packet.open(TILES.to_bytes()).verify()
    assert report.healthy
    assert report.errors == ()
    assert [item.entry for item in report.sections] == list(TILES.header.sections)


def test_sixty_five_thousand_empty_chunks() -> None:
    packet = Packet(height=1, width=1, spaces=(LITE,), sections=(section(chunks=(b"",) * 65536),))
    assert Packet.open(packet.to_bytes()).verify().healthy
    assert Packet.from_bytes(packet.to_bytes()) == packet


def test_little_is_held_before_checksums_hold(tmp_path: Path) -> None:
    path = tmp_path / "large.smalto"
    chunks = (bytes(MAX_CHUNK_BYTES), bytes(MAX_CHUNK_BYTES))
    Packet(height=1, width=1, spaces=(LITE,), sections=(section(chunks=chunks),)).save(path)
    with path.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"damage")
    tracemalloc.start()
    try:
        with Packet.open(path) as reader, pytest.raises(DamagedPacket, match="section 0, chunk 0"):
            Packet.read(reader)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_numbers_out_of_range_are_named() -> None:
    reader = Packet.open(ONE_SECTION.to_bytes())
    for number in (-1, 1):
        with pytest.raises(UsageError, match="no section"):
            reader.section(number)
        with pytest.raises(UsageError, match="no chunk"):
            reader.chunk(0, number)


def test_path_stream_and_memory_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.smalto"
    TILES.save(path)
    with path.open("rb") as stream:
        for target in (path, str(path), stream, io.BytesIO(path.read_bytes()), memoryview(path.read_bytes())):
            with Packet.open(target) as reader:
                assert reader.header == TILES.header
                assert reader.sections() == TILES.sections
        assert not stream.closed


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.smalto"
    path.write_bytes(TILES.to_bytes()[:-1])
    with pytest.raises(PacketError, match=r"cut\.smalto: "):
        Packet.load(path)
    with Packet.open(path) as reader, pytest.raises(PacketError, match=r"cut\.smalto: "):
        reader.section(3)
    with pytest.raises(SmaltoError, match=r"none\.smalto: cannot be opened"):
        Packet.open(tmp_path / "none.smalto")


def test_limits_reach_the_reader() -> None:
    with pytest.raises(PacketError, match="max_pixels"):
        Packet.open(TILES.to_bytes(), Limits(max_pixels=1000))
