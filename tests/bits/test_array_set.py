"""Array sets: inverse, size, and every way of damaging a small one."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.bits.array_set_header import parse_set_header
from smalto.bits.array_set_parts import MAX_PART_BYTES, ArrayEntry, ArraySetInfo, ArraySetLimits, ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.bits.packet import Packet
from smalto.bits.packet_header import file_kind
from smalto.errors import (
    DamagedPacket,
    LimitExceeded,
    NotAPacket,
    PacketError,
    SmaltoError,
    UnsupportedVersion,
    UsageError,
)
from tests.bits.array_set_examples import (
    DIGEST,
    EXAMPLE_GROUPS,
    EXAMPLES,
    INFO,
    MIXED,
    ONE_ARRAY,
    WITH_PROFILE,
    Group,
    contents,
    group_lists,
    infos,
    specs,
    trailing,
    written,
)
from tests.bits.packet_examples import ONE_SECTION


@given(infos, group_lists, st.booleans())
@settings(max_examples=150)
def test_reading_inverts_writing(info: ArraySetInfo, groups: list[Group], behind: bool) -> None:
    data = trailing(info, groups) if behind else written(info, groups)
    with ArraySetReader.open(data) as reader:
        assert reader.info == info
        assert (reader.codec, reader.quality, reader.profile_digest) == (info.codec, info.quality, info.profile_digest)
        assert reader.metadata == info.metadata
        assert contents(reader) == groups
        assert reader.num_groups == len(groups)
        assert reader.file_bytes == len(data)
        assert reader.verify().healthy
        assert (reader.layout.root is not None) == behind
    assert (trailing(info, groups) if behind else written(info, groups)) == data


@given(group_lists)
def test_entries_say_where_their_values_lie(groups: list[Group]) -> None:
    reader = ArraySetReader.open(written(INFO, groups))
    number = 0
    expected: list[ArrayEntry] = []
    for group, (entries, _) in enumerate(groups):
        first = 0
        for position, spec in enumerate(entries):
            expected.append(ArrayEntry(spec.dtype, spec.shape, spec.name, number, group, position, first))
            first += spec.num_values
            number += 1
    assert list(reader.entries) == expected
    assert [reader.entries[index] for index in range(len(reader.entries))] == expected
    assert len(reader.entries) == reader.num_entries == len(expected)
    assert reader.entries[1:3] == tuple(expected[1:3])
    for group in range(len(groups)):
        assert list(reader.group_entries(group)) == [entry for entry in expected if entry.group == group]
        assert reader.group_entries(group)[-1] == reader.group_entries(group)[:][-1]


@given(group_lists)
def test_find_gives_the_last_array_of_a_name(groups: list[Group]) -> None:
    reader = ArraySetReader.open(written(INFO, groups))
    last = {entry.name: entry for entry in reader.entries if entry.name}
    for name, entry in last.items():
        assert reader.find(name) == entry
    for name in ("", "not there", "img_1", "0"):
        assert reader.find(name) == last.get(name)


@pytest.mark.parametrize("name", ["", "features", "img_00017.png"])
@pytest.mark.parametrize("payload_bytes", [100, 500, 100_000])
def test_one_array_adds_at_most_60_bytes(name: str, payload_bytes: int) -> None:
    spec = ArraySpec("float16", (1, 257, 1536), name)
    assert len(written(INFO, [((spec,), (bytes(payload_bytes),))])) - payload_bytes <= 60
    assert len(written(INFO, [((spec,), (bytes(10), bytes(payload_bytes)))])) - payload_bytes - 10 <= 66


@pytest.mark.parametrize("stem", [None, "img_{:05}.png"])
@pytest.mark.parametrize(("per_group", "table_bytes"), [(1, 3.0), (16, 0.26), (100, 0.05)])
def test_ten_thousand_vectors_cost_little(stem: str | None, per_group: int, table_bytes: float) -> None:
    def groups() -> Iterator[Group]:
        for first in range(0, 10_000, per_group):
            names = [stem.format(number) if stem else "" for number in range(first, first + per_group)]
            yield tuple(ArraySpec("float16", (384,), name) for name in names), (bytes(150 * per_group),)

    data = written(INFO, groups())
    overhead = len(data) - 150 * 10_000 - 4 * (10_000 // per_group)
    assert overhead <= table_bytes * 10_000 + 150
    reader = ArraySetReader.open(data)
    assert reader.find("img_07777.png") == (reader.entries[7777] if stem else None)
    assert specs([reader.entries[9999]])[0].name == (stem.format(9999) if stem else "")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_single_bit_flip_is_detected(name: str) -> None:
    data, expected = EXAMPLES[name], EXAMPLE_GROUPS[name]
    gaps = _gap_bytes(data)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            with ArraySetReader.open(flipped) as reader:
                found, healthy = contents(reader), reader.verify().healthy
        except PacketError:
            continue
        assert found == expected[: len(found)]
        assert healthy == (bit // 8 in gaps)
        assert not healthy or found == expected


def _gap_bytes(data: bytes) -> set[int]:
    """Bytes of earlier indexes, which nothing reads."""
    layout, gaps = ArraySetReader.open(data).layout, set[int]()
    position = layout.header.body_offset
    for block in layout.blocks:
        gaps |= set(range(position, position + block.gap))
        position += block.length
    return gaps


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_truncation_and_extension_is_detected(name: str) -> None:
    data, expected = EXAMPLES[name], EXAMPLE_GROUPS[name]
    for length in range(len(data)):
        try:
            reader = ArraySetReader.open(data[:length])
        except PacketError:
            continue
        assert not reader.verify().healthy
        with pytest.raises(DamagedPacket, match="are missing"):
            contents(reader)
    for more in (b"\0", b"\xff", data):
        with pytest.raises(DamagedPacket, match="after the set"):
            ArraySetReader.open(data + more)
    assert contents(ArraySetReader.open(data)) == expected


def test_parts_of_equal_length_cannot_change_places() -> None:
    data = written(INFO, [((ArraySpec("float32", (1,)),), (b"aaaa", b"bbbb"))])
    swapped = data[:-16] + data[-8:] + data[-16:-8]
    with pytest.raises(DamagedPacket, match="group 0, part 0"):
        ArraySetReader.open(swapped).group(0)


def test_parts_of_another_set_are_damage() -> None:
    first, second = (written(INFO, [((ArraySpec("float32", (1,)),), (text,))]) for text in (b"aaaa", b"bbbb"))
    with pytest.raises(DamagedPacket, match="group 0, part 0"):
        ArraySetReader.open(first[:-8] + second[-8:]).group(0)


def test_kinds_are_told_from_the_first_bytes() -> None:
    for data in EXAMPLES.values():
        assert file_kind(data[:9], "a.smalto") == "array set"
        with pytest.raises(UnsupportedVersion, match="array set"):
            Packet.open(data)
    assert file_kind(ONE_SECTION.to_bytes(), "a.smalto") == "image"
    with pytest.raises(UnsupportedVersion, match="holds an image"):
        ArraySetReader.open(ONE_SECTION.to_bytes())
    with pytest.raises(NotAPacket):
        file_kind(b"\x89PNG....", "a.png")
    with pytest.raises(UnsupportedVersion, match="kind 2"):
        file_kind(b"\xf7SML\x01\x02\x20", "a.smalto")
    with pytest.raises(DamagedPacket):
        file_kind(b"\xf7SML\x01", "a.smalto")


def test_limits() -> None:
    data = EXAMPLES["front"]
    with pytest.raises(LimitExceeded, match="max_file_bytes"):
        ArraySetReader.open(data, ArraySetLimits(max_file_bytes=len(data) - 1))
    few = ArraySetReader.open(data, ArraySetLimits(max_group_values=6, max_group_bytes=18))
    with pytest.raises(LimitExceeded, match="max_group_values"):
        few.group(0)
    assert few.group(4).parts == (b"listed",)
    small = ArraySetReader.open(data, ArraySetLimits(max_group_bytes=10))
    with pytest.raises(LimitExceeded, match="max_group_bytes"):
        small.group(0)
    assert small.part(0, 1) == b"main"
    assert small.num_parts(0) == 2
    assert list(small.parts(0)) == [b"hyper", b"main"]


def test_numbers_out_of_range_are_named() -> None:
    reader = ArraySetReader.open(EXAMPLES["one"])
    for number in (-1, 1):
        for read in (reader.group, reader.num_parts, reader.group_entries, reader.parts):
            with pytest.raises(UsageError, match="no group"):
                read(number)
        with pytest.raises(UsageError, match="no part"):
            reader.part(0, number)
    with pytest.raises(IndexError):
        _ = reader.entries[1]
    with pytest.raises(IndexError):
        _ = reader.group_entries(0)[1]


_SPEC = ArraySpec("float32", (2,), "a")


@pytest.mark.parametrize(
    "fields",
    [
        ("float8", (1,), ""),
        ("float32", (-1,), ""),
        ("float32", (1,) * 33, ""),
        ("float32", (1 << 20, 1 << 21), ""),
        ("float32", (0, 1 << 20, 1 << 21), ""),
        ("float32", (1,), "x" * 1025),
        ("float32", (1,), "a\nb"),
        ("float32", (1,), "\ud800"),
    ],
)
def test_arrays_that_cannot_be_stored_are_named(fields: tuple[str, tuple[int, ...], str]) -> None:
    with pytest.raises(UsageError) as caught:
        ArraySpec(*fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "parts", "message"),
    [
        ([], [b""], "0 arrays"),
        ([ArraySpec("float32", ((1 << 22) + 1,))], [b""], "needs a part"),
        ([_SPEC], [], "needs a part"),
        ([_SPEC], [bytes(MAX_PART_BYTES + 1)], "cut it otherwise"),
        ([ArraySpec("float32", (1 + index % 2,)) for index in range(40_000)], [b""], "different shapes"),
        (
            [ArraySpec("float32", (1,), f"{index * index}{'y' * 900}{index}") for index in range(2000)],
            [b""],
            "names and shapes",
        ),
    ],
)
def test_groups_that_cannot_be_stored_are_named(entries: list[ArraySpec], parts: list[bytes], message: str) -> None:
    with pytest.raises(UsageError, match=message), ArraySetWriter(INFO) as writer:
        writer.add_group(entries, parts)


@pytest.mark.parametrize(
    "fields",
    [
        {"codec": 0},
        {"codec": 256},
        {"quality": -1},
        {"profile_digest": b"short"},
        {"profile": bytes((1 << 24) + 1)},
        {"metadata": {"A": 1}},
        {"metadata": {"a": "x" * 32768, "b": "y" * 32768}},
    ],
)
def test_headers_that_cannot_be_stored_are_named(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        ArraySetWriter(ArraySetInfo(**({"codec": 4, "profile_digest": DIGEST} | fields)))  # type: ignore[arg-type]


def test_reading_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, smalto.bits.array_set_writer, smalto.bits.array_set_reader;"
        "print([name for name in ('numpy', 'numba', 'torch', 'urllib.request') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_header_alone_says_what_the_set_is() -> None:
    header = parse_set_header(EXAMPLES["front"], "front")
    assert header.info == ArraySetInfo(2, DIGEST[::-1], 102, WITH_PROFILE.metadata)
    assert header.profile_bytes == len(b"a profile")
    assert header.num_groups == len(MIXED)


def test_little_is_held_before_checksums_hold(tmp_path: Path) -> None:
    path = tmp_path / "large.smalto"
    with ArraySetWriter(INFO, path) as writer:
        for _ in range(3):
            writer.add_group([ArraySpec("float32", (1 << 22,))], [bytes(MAX_PART_BYTES)] * 2)
    with path.open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"damage")
    tracemalloc.start()
    try:
        with ArraySetReader.open(path) as reader:
            with pytest.raises(DamagedPacket, match="group 0, part 0"):
                reader.group(0)
            assert len(reader.verify().errors) == 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.smalto"
    path.write_bytes(EXAMPLES["front"][:-1])
    with ArraySetReader.open(path) as reader, pytest.raises(PacketError, match=r"cut\.smalto: group 4, part 0: bytes"):
        reader.group(4)
    with pytest.raises(SmaltoError, match=r"none\.smalto: cannot be opened"):
        ArraySetReader.open(tmp_path / "none.smalto")
    assert ONE_ARRAY[0][1] == (b"coded",)
