"""No reader of array sets falls over a mutant, whatever it claims, and none takes much memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest

from smalto.bits.array_set_mutation import KINDS, mutant, mutants, reseal
from smalto.bits.array_set_parts import ArraySetLimits
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.packet import Packet
from smalto.errors import DamagedPacket, PacketError, SmaltoError, UsageError
from tests.bits.array_set_examples import EXAMPLES, INFO, contents, trailing, written
from tests.bits.packet_examples import GOLDEN

ORIGINALS = [*EXAMPLES.values(), written(INFO, []), trailing(INFO, [])]
FEW = ArraySetLimits(max_group_values=1 << 26)


def test_a_mutant_depends_on_its_number_and_seed_alone() -> None:
    first = list(mutants(ORIGINALS, 200))
    assert first == [mutant(ORIGINALS, number) for number in range(200)]
    assert [m.data for m in first] != [m.data for m in mutants(ORIGINALS, 200, seed=1)]
    assert {m.kind for m in first} == set(KINDS)
    with pytest.raises(UsageError):
        mutant([], 0)


@pytest.mark.parametrize("name", EXAMPLES)
def test_resealing_makes_checksums_hold_again(name: str) -> None:
    data = EXAMPLES[name]
    assert reseal(data) == data
    layout = ArraySetReader.open(data).layout
    changed = bytearray(data)
    changed[layout.header.header_bytes - 20] ^= 0x10
    changed[layout.end - 20] ^= 0x01
    with pytest.raises(DamagedPacket):
        contents(ArraySetReader.open(bytes(changed)))
    assert reseal(b"\xf7SM") == b"\xf7SM"
    assert reseal(reseal(bytes(changed))) == reseal(bytes(changed))


@pytest.mark.parametrize("seed", [0, 1])
def test_readers_survive_four_thousand_mutants(seed: int) -> None:
    outcomes: Counter[tuple[bool, str]] = Counter()
    for item in mutants(ORIGINALS, 2000, seed):
        outcome = _outcome(item.data)
        gaps = item.kind in ("bit flips", "random bytes", "splice")
        assert item.resealed or outcome != "healthy" or gaps, f"seed {seed}, mutant {item.number}, {item.kind}"
        outcomes[item.resealed, outcome] += 1
    assert outcomes[True, "healthy"] > 50
    assert outcomes[False, "healthy"] < 20
    names = {name for _, name in outcomes}
    assert names >= {"healthy", "unfinished", "NotAPacket", "DamagedPacket", "UnsupportedVersion"}


def _outcome(data: bytes) -> str:
    """How reading ends."""
    try:
        return _read(data)
    except PacketError as refusal:
        error = refusal
    assert "\n" not in str(error)
    assert len(str(error)) < 700
    return type(error).__name__


def _read(data: bytes) -> str:
    """Everything, part by part and by group; what is read must agree with the table."""
    with ArraySetReader.open(data, FEW) as reader:
        report = reader.verify()
        for number in range(reader.num_groups):
            entries = reader.group_entries(number)
            assert entries[0].group == number
            assert entries[-1].position == len(entries) - 1
            assert reader.entries[entries[-1].number] == entries[-1]
            parts = reader.group(number).parts
            assert [reader.part(number, part) for part in range(len(parts))] == list(parts)
        for name in ("img_100.png", "layer.9", "\ud800", "9" * 30):
            reader.find(name)
    assert all("\n" not in line for line in report.errors)
    return "healthy" if report.healthy else "unfinished"


def test_lying_numbers_allocate_nothing_to_speak_of() -> None:
    kinds = ("lying table", "lying index", "dimension bomb")
    bombs = [m.data for m in mutants(ORIGINALS, 1500, seed=5) if m.kind in kinds]
    tracemalloc.start()
    try:
        for data in bombs:
            try:
                reader = ArraySetReader.open(data)
                reader.verify()
                if reader.num_groups:
                    reader.group(reader.num_groups - 1)
            except SmaltoError:
                continue
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_picture_that_claims_to_be_an_array_set_is_damage() -> None:
    with pytest.raises(DamagedPacket):
        ArraySetReader.open(GOLDEN / "packet-array-set.smalto").verify()
    with pytest.raises(PacketError):
        Packet.load(GOLDEN / "packet-array-set.smalto")
