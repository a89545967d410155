"""The .smalto file: inverse, size, and every way of damaging a small one."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from smalto.bits.packet import FILE_SPACE, PART_HYPER, PART_MAIN, Limits, Packet, Section, SpaceEntry
from smalto.bits.packet_parts import MAX_CHUNK_BYTES
from smalto.errors import DamagedPacket, LimitExceeded, NotAPacket, PacketError, UnsupportedVersion, UsageError
from tests.bits.packet_examples import EXAMPLES, LITE, ONE_SECTION, SECOND, TILES, TWO_SECTIONS, packets, section


@given(packets())
@settings(max_examples=200)
def test_from_bytes_inverts_to_bytes(packet: Packet) -> None:
    data = packet.to_bytes()
    assert Packet.from_bytes(data) == packet
    assert Packet.from_bytes(data).to_bytes() == data
    assert len(packet) == len(data) == packet.header.file_bytes
    assert packet.header.payload_bytes == packet.payload_bytes


@given(packets())
def test_the_header_names_every_byte_range(packet: Packet) -> None:
    data, header = packet.to_bytes(), packet.header
    end = header.header_bytes
    for entry, written in zip(header.sections, packet.sections, strict=True):
        assert entry.offset == end
        assert entry.payload_bytes == written.payload_bytes
        assert entry.length == written.length
        end = entry.end
        assert data[entry.offset : end].endswith(written.chunks[-1] + data[end - 4 : end])
    assert end == len(data)


@pytest.mark.parametrize("payload_bytes", [0, 100, 5000, 300_000, MAX_CHUNK_BYTES])
def test_one_section_of_one_chunk_adds_at_most_55_bytes(payload_bytes: int) -> None:
    one = section(chunks=(bytes(payload_bytes),))
    packet = Packet(height=8192, width=8192, spaces=(LITE,), sections=(one,))
    assert len(LITE.name) == 6
    assert len(packet.to_bytes()) - payload_bytes <= 55


@pytest.mark.parametrize(
    ("hyper_bytes", "main_bytes", "added"), [(60, 2000, 59), (400, 10_000, 60), (3000, 50_000, 61)]
)
def test_hyper_and_main_sections_add_about_60_bytes(hyper_bytes: int, main_bytes: int, added: int) -> None:
    pair = (section(PART_HYPER, (bytes(hyper_bytes),)), section(PART_MAIN, (bytes(main_bytes),)))
    packet = Packet(height=512, width=768, spaces=(LITE,), sections=pair)
    assert len(packet.to_bytes()) - hyper_bytes - main_bytes == added
    assert packet.payload_bytes == hyper_bytes + main_bytes


@pytest.mark.parametrize("packet", EXAMPLES.values(), ids=EXAMPLES)
def test_every_single_bit_flip_is_detected(packet: Packet) -> None:
    data = packet.to_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PacketError):
            Packet.from_bytes(flipped)


@pytest.mark.parametrize("packet", EXAMPLES.values(), ids=EXAMPLES)
def test_every_truncation_and_extension_is_detected(packet: Packet) -> None:
    data = packet.to_bytes()
    for length in range(len(data)):
        with pytest.raises(PacketError):
            Packet.from_bytes(data[:length])
    for more in (b"\0", b"\xff", data):
        with pytest.raises(DamagedPacket, match="after the last section"):
            Packet.from_bytes(data + more)


@given(packets(), packets())
def test_a_section_of_another_file_is_damage(first: Packet, second: Packet) -> None:
    whole, other = first.to_bytes(), second.to_bytes()
    body = other[second.header.header_bytes :]
    mixed = whole[: first.header.header_bytes] + body
    if mixed != whole and body:
        with pytest.raises(DamagedPacket):
            Packet.from_bytes(mixed)


def test_chunks_of_equal_length_cannot_change_places() -> None:
    packet = Packet(height=9, width=9, spaces=(LITE,), sections=(section(chunks=(b"aaaa", b"bbbb")),))
    data = packet.to_bytes()
    first, second = data[-16:-8], data[-8:]
    with pytest.raises(DamagedPacket, match="section 0, chunk 0"):
        Packet.from_bytes(data[:-16] + second + first)


def test_sections_of_equal_length_cannot_change_places() -> None:
    pair = (section(PART_HYPER, (b"aaaa",)), section(PART_MAIN, (b"bbbb",)))
    data = Packet(height=9, width=9, spaces=(LITE,), sections=pair).to_bytes()
    with pytest.raises(DamagedPacket, match="section 0, chunk 0"):
        Packet.from_bytes(data[:-16] + data[-8:] + data[-16:-8])


def test_equal_contents_make_equal_files_and_other_contents_other_ids() -> None:
    again = replace(ONE_SECTION, file_id=b"")
    assert again.to_bytes() == ONE_SECTION.to_bytes()
    assert replace(ONE_SECTION, width=25, file_id=b"").file_id != ONE_SECTION.file_id
    other = replace(ONE_SECTION, sections=(section(codec=1, chunks=(b"codes",)),), file_id=b"")
    assert other.file_id != ONE_SECTION.file_id
    moved = [
        replace(TILES, sections=(section(chunks=chunks),), file_id=b"") for chunks in ((b"ab", b"c"), (b"a", b"bc"))
    ]
    assert moved[0].file_id != moved[1].file_id


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAPacket),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), NotAPacket),
        (b"SML", NotAPacket),
        (b"\xf7SM", DamagedPacket),
        (b"\xf7SML\x02" + bytes(100), UnsupportedVersion),
        (b"\xf7SML\x01\x00\x07" + bytes(100), DamagedPacket),
        (b"\xf7SML\x01\x00\xff\xff\x7f" + bytes(100), DamagedPacket),
        (b"\xf7SML\x01\x00\xff\xff\x03" + bytes(100), DamagedPacket),
        (b"\xf7SML\x01\x00\x80\x00" + bytes(100), DamagedPacket),
    ],
)
def test_openings_that_are_not_ours(data: bytes, error: type[PacketError]) -> None:
    with pytest.raises(error) as caught:
        Packet.from_bytes(data)
    assert type(caught.value) is error
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_pixel_and_file_limits() -> None:
    large = replace(TWO_SECTIONS, height=8192, width=8193)
    with pytest.raises(LimitExceeded, match="max_pixels"):
        Packet.from_bytes(large.to_bytes())
    assert Packet.from_bytes(large.to_bytes(), Limits(max_pixels=1 << 27)) == large
    with pytest.raises(LimitExceeded, match="max_file_bytes"):
        Packet.from_bytes(TWO_SECTIONS.to_bytes(), Limits(max_file_bytes=len(TWO_SECTIONS) - 1))


def test_unknown_sections_are_skipped_or_refused_by_their_critical_bit() -> None:
    skipped = EXAMPLES["unknown-skipped"]
    assert Packet.from_bytes(skipped.to_bytes()).sections[0].codec == 77
    needed = replace(skipped, sections=(section(codec=77),))
    with pytest.raises(UnsupportedVersion, match="codec 77"):
        Packet.from_bytes(needed.to_bytes())
    assert Packet.from_bytes(needed.to_bytes(), Limits(codecs=frozenset({77}))) == needed


_A = section()
_WRONG: dict[str, Callable[[], object]] = {
    "height 0": lambda: Packet(height=0, width=1, spaces=(LITE,), sections=()),
    "width 65536": lambda: Packet(height=1, width=65536, spaces=(LITE,), sections=()),
    "kind": lambda: Packet(height=1, width=1, spaces=(LITE,), sections=(), kind="array set"),
    "file id": lambda: Packet(height=1, width=1, spaces=(LITE,), sections=(), file_id=b"123"),
    "space twice": lambda: Packet(height=1, width=1, spaces=(LITE, LITE), sections=()),
    "16 spaces": lambda: Packet(
        height=1, width=1, spaces=tuple(replace(LITE, name=f"s{i}") for i in range(16)), sections=()
    ),
    "65 sections": lambda: Packet(
        height=1, width=1, spaces=(LITE,), sections=tuple(section(plane=i) for i in range(65))
    ),
    "section twice": lambda: Packet(height=1, width=1, spaces=(LITE,), sections=(_A, _A)),
    "no such space": lambda: Packet(height=1, width=1, spaces=(LITE,), sections=(section(space=1),)),
    "main before hyper": lambda: Packet(height=1, width=1, spaces=(LITE,), sections=(_A, section(PART_HYPER))),
    "metadata": lambda: Packet(height=1, width=1, spaces=(), sections=(), metadata={"a": 1.5}),  # type: ignore[dict-item]
    "long header": lambda: Packet(
        height=1, width=1, spaces=(), sections=(), metadata={"a": "x" * 32768, "b": "y" * 32768}
    ),
    "space name": lambda: SpaceEntry("Lite 0", bytes(8), bytes(8)),
    "long space name": lambda: SpaceEntry("a" * 64, bytes(8), bytes(8)),
    "digest": lambda: SpaceEntry("lite-0", bytes(7), bytes(8)),
    "space 16": lambda: section(space=16),
    "plane 256": lambda: section(plane=256),
    "part 2": lambda: section(part=2),
    "codec 0": lambda: section(codec=0),
    "q 256": lambda: section(q=256),
    "no chunks": lambda: section(chunks=()),
    "chunk too long": lambda: section(chunks=(bytes(MAX_CHUNK_BYTES + 1),)),
    "too many chunks": lambda: section(chunks=(b"",) * 65537),
    "too many chunks in all": lambda: Packet(
        height=1,
        width=1,
        spaces=(LITE,),
        sections=(section(chunks=(b"",) * 40000), section(plane=1, chunks=(b"",) * 40000)),
    ),
}


@pytest.mark.parametrize("build", _WRONG.values(), ids=_WRONG)
def test_what_cannot_be_stored_is_refused_when_built(build: Callable[[], object]) -> None:
    with pytest.raises(UsageError) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_find_names_a_section_by_its_place() -> None:
    assert TILES.find(0, 0) == TILES.sections[1]
    assert TILES.find(0, 0, PART_HYPER) == TILES.sections[0]
    assert TILES.find(FILE_SPACE, 0) == TILES.sections[3]
    assert TILES.find(1, 0) is None
    assert TILES.header.find(1, 3) == 2
    assert TILES.header.find(1, 4) is None
    assert TILES.spaces == (LITE, SECOND)


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "a.smalto"
    path.write_bytes(b"an older file")
    TILES.save(path)
    assert path.read_bytes() == TILES.to_bytes()
    assert Packet.load(path) == TILES
    assert [child.name for child in tmp_path.iterdir()] == ["a.smalto"]


def test_packets_are_values() -> None:
    assert pickle.loads(pickle.dumps(TILES)) == TILES == copy.deepcopy(TILES)
    assert hash(TILES) == hash(replace(TILES))
    assert isinstance(TILES.sections[0], Section)


def test_reading_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, smalto.bits.packet, smalto.bits.mutation;"
        "print([name for name in ('numpy', 'numba', 'torch', 'urllib.request') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
