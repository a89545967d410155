"""Array sets written in one pass and grown in place: forms, crashes at every moment, damage in between."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.bits import array_set_append
from smalto.bits.array_set_header import LastAppend
from smalto.bits.array_set_parts import ArraySetInfo, ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.errors import DamagedPacket, NotAPacket, SmaltoError, UsageError
from tests.bits.array_set_examples import (
    INFO,
    MIXED,
    ONE_ARRAY,
    WITH_PROFILE,
    Group,
    appended,
    contents,
    group_lists,
    trailing,
    written,
)

Write = tuple[int, bytes | None]
"""Where something was written and what, or None: the file was cut there."""


class RecordingStream(io.BytesIO):
    """Remembers every write and cut, in epochs that end where everything had to be on the disk."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.epochs: list[list[Write]] = [[]]

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.epochs[-1].append((self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        self.epochs[-1].append((self.tell(), None))
        return super().truncate(size)

    def flush(self) -> None:
        self.epochs.append([])


def _after(data: bytes, writes: list[Write]) -> bytes:
    stream = io.BytesIO(data)
    for place, payload in writes:
        stream.seek(place)
        if payload is None:
            stream.truncate()
        else:
            stream.write(payload)
    return stream.getvalue()


def _crashes(old: bytes, epochs: list[list[Write]]) -> Iterator[bytes]:
    """The file after a crash at every moment, a write cut at every byte."""
    done = old
    for epoch in epochs:
        for number, (place, payload) in enumerate(epoch):
            before = _after(done, epoch[:number])
            for length in range(len(payload or b"") + 1):
                yield _after(before, [(place, payload[:length] if payload is not None else None)])
        done = _after(done, epoch)


def _recorded(old: bytes, groups: list[Group]) -> RecordingStream:
    stream = RecordingStream(old)
    with ArraySetWriter.append(stream) as writer:
        for entries, parts in groups:
            writer.add_group(entries, parts)
    return stream


OLD = {
    "new": (trailing(WITH_PROFILE, MIXED[:2]), MIXED[:2]),
    "grown": (appended(appended(trailing(INFO, ONE_ARRAY), MIXED[:1]), MIXED[1:2]), ONE_ARRAY + MIXED[:2]),
    "empty": (trailing(INFO, []), []),
}


@pytest.mark.parametrize("name", OLD)
def test_a_crash_at_any_moment_leaves_the_old_set_or_the_new_one(name: str) -> None:
    old, before = OLD[name]
    stream = _recorded(old, MIXED[2:])
    seen = set[int]()
    for data in _crashes(old, stream.epochs):
        reader = ArraySetReader.open(data)
        found = contents(reader)
        assert found in (before, before + MIXED[2:])
        assert reader.verify().healthy == (reader.layout.last_append is LastAppend.WHOLE)
        assert found == before or reader.verify().healthy
        seen.add(len(found))
        if reader.layout.last_append is not LastAppend.DAMAGED:
            again = appended(data, MIXED[:1])
            assert contents(ArraySetReader.open(again)) == found + MIXED[:1]
            assert ArraySetReader.open(again).verify().healthy
    assert seen == {len(before), len(before) + 3}
    assert contents(ArraySetReader.open(stream.getvalue())) == before + MIXED[2:]


@given(st.data())
@settings(max_examples=200)
def test_writes_that_reach_the_disk_in_any_order(data: st.DataObject) -> None:
    """Between two syncs any of the writes may be there and any may be missing or cut."""
    old, before = OLD[data.draw(st.sampled_from(sorted(OLD)))]
    epochs = _recorded(old, MIXED[2:]).epochs
    crash = data.draw(st.integers(0, len(epochs) - 1))
    state = _after(old, [write for epoch in epochs[:crash] for write in epoch])
    for place, payload in data.draw(st.permutations(epochs[crash])):
        keep = data.draw(st.integers(0, len(payload or b"")))
        if keep or payload is None:
            state = _after(state, [(place, payload[:keep] if payload is not None else None)])
    assert contents(ArraySetReader.open(state)) in (before, before + MIXED[2:])


@given(group_lists, group_lists, group_lists)
@settings(max_examples=60)
def test_appending_adds_behind(first: list[Group], second: list[Group], third: list[Group]) -> None:
    data = appended(appended(trailing(INFO, first), second), third)
    reader = ArraySetReader.open(data)
    assert contents(reader) == first + second + third
    assert reader.info == INFO
    assert reader.verify().healthy
    assert [entry.number for entry in reader.entries] == list(range(reader.num_entries))


def test_old_bytes_are_never_written_over() -> None:
    old = trailing(INFO, MIXED)
    new = appended(old, ONE_ARRAY)
    slots = ArraySetReader.open(old).layout.header.header_bytes
    assert new[:slots] == old[:slots]
    assert new[slots + 40 : len(old)] == old[slots + 40 :]


def test_an_append_of_nothing_changes_nothing_that_is_read() -> None:
    old = trailing(INFO, MIXED)
    again = appended(old, [])
    assert len(again) == len(old)
    assert ArraySetReader.open(again).verify().healthy
    assert contents(ArraySetReader.open(appended(again, ONE_ARRAY))) == MIXED + ONE_ARRAY


def test_an_append_that_fails_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "set.smalto"
    path.write_bytes(trailing(INFO, MIXED))

    def broken_off() -> None:
        with ArraySetWriter.append(path) as writer:
            assert writer.num_groups == len(MIXED)
            writer.add_group(*ONE_ARRAY[0])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken_off()
    assert path.stat().st_size == len(trailing(INFO, MIXED))
    with ArraySetReader.open(path) as reader:
        assert contents(reader) == MIXED
        assert reader.verify().healthy
    with ArraySetWriter.append(path) as writer:
        assert writer.add_group(*ONE_ARRAY[0]) == len(MIXED)
    with ArraySetReader.open(path) as reader:
        assert contents(reader) == MIXED + ONE_ARRAY


def test_a_group_that_fails_halfway_ends_the_set(tmp_path: Path) -> None:
    path = tmp_path / "set.smalto"
    path.write_bytes(trailing(INFO, MIXED))

    def parts() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("no second")

    def goes_on() -> None:
        with ArraySetWriter.append(path) as writer:
            with pytest.raises(RuntimeError):
                writer.add_group([ArraySpec("float32", (1,))], parts())
            with pytest.raises(UsageError, match="not after one has failed"):
                writer.add_group([ArraySpec("float32", (1,))], [b""])

    with pytest.raises(UsageError, match="not finished"):
        goes_on()
    with ArraySetReader.open(path) as reader:
        assert contents(reader) == MIXED


def test_small_sets_are_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "set.smalto"
    path.write_bytes(written(WITH_PROFILE, MIXED))
    with ArraySetWriter.append(path) as writer:
        assert writer.num_groups == len(MIXED)
        writer.add_group(*ONE_ARRAY[0])
    with ArraySetReader.open(path) as reader:
        assert contents(reader) == MIXED + ONE_ARRAY
        assert reader.info == WITH_PROFILE
    assert path.read_bytes() == written(WITH_PROFILE, MIXED + ONE_ARRAY)
    assert [child.name for child in tmp_path.iterdir()] == ["set.smalto"]
    with pytest.raises(UsageError, match="give its path"):
        ArraySetWriter.append(io.BytesIO(path.read_bytes()))


def test_a_damaged_record_of_an_append_keeps_what_is_there() -> None:
    data = bytearray(appended(trailing(INFO, MIXED), ONE_ARRAY))
    slots = ArraySetReader.open(data).layout.header.header_bytes
    data[slots + 25] ^= 1
    reader = ArraySetReader.open(data)
    assert reader.unfinished
    assert contents(reader) == MIXED
    assert "copy them into another file" in reader.verify().errors[0]
    with pytest.raises(DamagedPacket, match="copy its groups"):
        appended(bytes(data), ONE_ARRAY)


def test_no_record_of_an_index_is_damage() -> None:
    data = bytearray(trailing(INFO, MIXED))
    data[ArraySetReader.open(data).layout.header.header_bytes] ^= 1
    with pytest.raises(DamagedPacket, match="no record of the index"):
        ArraySetReader.open(data)


def test_one_program_appends_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "set.smalto"
    path.write_bytes(trailing(INFO, MIXED))
    with ArraySetWriter.append(path), pytest.raises(SmaltoError, match="another program"):
        ArraySetWriter.append(path)


def test_what_cannot_be_appended_to(tmp_path: Path) -> None:
    with pytest.raises(SmaltoError, match="cannot be opened for writing"):
        ArraySetWriter.append(tmp_path / "none.smalto")
    path = tmp_path / "text.smalto"
    path.write_bytes(b"text")
    with pytest.raises(NotAPacket):
        ArraySetWriter.append(path)
    path.write_bytes(trailing(INFO, MIXED)[:-1])
    with pytest.raises(DamagedPacket):
        ArraySetWriter.append(path)


def test_the_last_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_set_append, "MAX_GENERATION", 2)
    data = appended(trailing(INFO, MIXED), ONE_ARRAY)
    with pytest.raises(UsageError, match="write it anew"):
        appended(data, ONE_ARRAY)
    assert contents(ArraySetReader.open(data)) == MIXED + ONE_ARRAY


def test_a_set_larger_than_memory_is_written_with_little(tmp_path: Path) -> None:
    path = tmp_path / "large.smalto"
    part = bytes(1 << 18)
    tracemalloc.start()
    try:
        with ArraySetWriter(INFO, path) as writer:
            for number in range(400):
                writer.add_group([ArraySpec("float16", (1 << 20,), f"sample {number}")], [part])
        with ArraySetReader.open(path) as reader:
            assert sum(len(group.parts) for group in reader.groups()) == 400
            assert reader.verify().healthy
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 100 << 20
    assert peak < 64 << 20


def test_many_small_groups_make_several_blocks(tmp_path: Path) -> None:
    path = tmp_path / "many.smalto"
    with ArraySetWriter(INFO, path) as writer:
        for number in range(40_000):
            writer.add_group([ArraySpec("float16", (8,), f"{number}/x" if number % 2 else "")], [b"abc"])
    with ArraySetReader.open(path) as reader:
        assert len(reader.layout.blocks) > 4
        found = reader.find("22221/x")
        assert found is not None
        assert (found.number, found.group) == (22221, 22221)
        assert reader.find("22222/x") is None
        assert reader.group(39_999).entries[0].name == "39999/x"
        assert reader.entries[12_345].name == "12345/x"
        assert reader.entries[12_346].name == ""


@pytest.mark.parametrize("fail", [False, True])
def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, fail: bool) -> None:
    path = tmp_path / "set.smalto"
    try:
        with ArraySetWriter(INFO, path) as writer:
            writer.add_group([ArraySpec("float16", (8,))], [bytes(2 << 20)])
            assert not path.exists()
            if fail:
                raise RuntimeError
    except RuntimeError:
        pass
    assert [child.name for child in tmp_path.iterdir()] == ([] if fail else ["set.smalto"])


def test_groups_belong_into_the_with_block() -> None:
    writer = ArraySetWriter(ArraySetInfo(4, bytes(8)))
    with pytest.raises(UsageError, match="with block"):
        writer.add_group([ArraySpec("float16", ())], [b""])
    with pytest.raises(UsageError, match="has ended"):
        _ = writer.data
