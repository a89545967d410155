"""Mutants are repeatable and well labelled, and no reader of packets falls over one."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from smalto.bits.mutation import KINDS, mutant, mutants, reseal
from smalto.bits.packet import PART_HYPER, PART_MAIN, Packet
from smalto.errors import DamagedPacket, PacketError, SmaltoError, UsageError
from tests.bits.packet_examples import EXAMPLES, LITE, TILES, section

_NOISE = random.Random(7)
ORIGINALS = [packet.to_bytes() for packet in EXAMPLES.values()] + [
    Packet(
        height=300,
        width=200,
        spaces=(LITE,),
        sections=(
            section(PART_HYPER, (_NOISE.randbytes(150),)),
            section(PART_MAIN, (_NOISE.randbytes(900), _NOISE.randbytes(400))),
        ),
    ).to_bytes(),
    Packet(height=1, width=1, spaces=(), sections=()).to_bytes(),
]


def test_a_mutant_depends_on_its_number_and_seed_alone() -> None:
    first = list(mutants(ORIGINALS, 200))
    assert first == [mutant(ORIGINALS, number) for number in range(200)]
    assert [m.data for m in first] != [m.data for m in mutants(ORIGINALS, 200, seed=1)]


def test_kinds_and_seals_take_turns() -> None:
    count = Counter((m.kind, m.resealed) for m in mutants(ORIGINALS, 20 * len(KINDS)))
    assert count == {(kind, resealed): 10 for kind in KINDS for resealed in (False, True)}


def test_nothing_comes_of_nothing() -> None:
    with pytest.raises(UsageError):
        mutant([], 0)
    with pytest.raises(PacketError):
        mutant([b"not a packet"], list(KINDS).index("field"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_resealing_makes_checksums_hold_again(name: str) -> None:
    data = EXAMPLES[name].to_bytes()
    assert reseal(data) == data
    changed = bytearray(data)
    changed[-5] ^= 0xFF
    changed[8] ^= 0xFF
    with pytest.raises(DamagedPacket):
        Packet.from_bytes(changed)
    assert Packet.from_bytes(reseal(bytes(changed))).sections != EXAMPLES[name].sections


@pytest.mark.parametrize("seed", [0, 1])
def test_packet_readers_survive_four_thousand_mutants(seed: int) -> None:
    outcomes: Counter[tuple[bool, str]] = Counter()
    for item in mutants(ORIGINALS, 2000, seed):
        outcome = _outcome(item.data)
        assert item.resealed or outcome != "healthy", f"seed {seed}, mutant {item.number}, {item.kind}"
        outcomes[item.resealed, outcome] += 1
    assert outcomes[True, "healthy"] > 200
    assert {name for _, name in outcomes} == {
        "healthy",
        "NotAPacket",
        "DamagedPacket",
        "UnsupportedVersion",
        "LimitExceeded",
    }


def _caught(read: Callable[[], object]) -> PacketError | None:
    try:
        read()
    except PacketError as error:
        return error
    return None


def _outcome(data: bytes) -> str:
    """How reading ends; reading at once, by parts, and verifying must agree."""
    error = _caught(lambda: Packet.from_bytes(data))
    if error is None:
        packet = Packet.from_bytes(data)
        assert Packet.from_bytes(packet.to_bytes()) == packet
        assert packet.height * packet.width <= 1 << 26
        reader = Packet.open(data)
        assert reader.verify().healthy
        assert reader.sections() == packet.sections
        return "healthy"
    assert "\n" not in str(error)
    assert len(str(error)) < 500
    refusal = _caught(lambda: Packet.open(data))
    assert type(refusal) is type(error) or not Packet.open(data).verify().healthy
    return type(error).__name__


def test_lying_lengths_allocate_nothing_to_speak_of() -> None:
    bombs = [m.data for m in mutants(ORIGINALS, 3000, seed=5) if m.kind in ("lying length", "dimension bomb")]
    tracemalloc.start()
    try:
        for data in bombs:
            try:
                Packet.from_bytes(data)
            except SmaltoError:
                continue
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_truncated_tiles_are_resealed_as_far_as_they_go() -> None:
    cut = TILES.to_bytes()[:-1]
    assert reseal(cut) == cut
    assert reseal(cut[:20]) == cut[:20]
    assert reseal(b"\xf7SM") == b"\xf7SM"
