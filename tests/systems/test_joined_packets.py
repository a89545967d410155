"""Joined packets: every space reads back to the sections its own packet had, and what cannot be joined is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.bits.packet import FILE_SPACE, PART_HYPER, PART_MAIN, CodecNumber, Packet, Section, SpaceEntry
from smalto.errors import UsageError
from smalto.systems.joined_packets import join_packets, space_fact
from tests.tiny_models import scene, tiny_system

ALPHA = Section(FILE_SPACE, 0, PART_MAIN, CodecNumber.LOSSLESS, 0, False, (b"alpha band", b"another"))
chunks = st.lists(st.binary(max_size=12), min_size=1, max_size=3).map(tuple)


def _packet(*names: str, alpha: bool = False, height: int = 20, facts: dict[str, str | int | bytes] | None = None):  # type: ignore[no-untyped-def]
    sections = [
        section
        for number, name in enumerate(names)
        for section in (
            Section(number, 0, PART_HYPER, CodecNumber.HYPERPRIOR, 7, True, (name.encode() + b" hyper",)),
            Section(number, 0, PART_MAIN, CodecNumber.HYPERPRIOR, 7, True, (name.encode(), b"2nd")),
        )
    ]
    spaces = tuple(SpaceEntry(name, name.encode().ljust(8, b"d")[:8], bytes(8)) for name in names)
    return Packet(
        height=height,
        width=30,
        spaces=spaces,
        sections=(*sections, *([ALPHA] if alpha else [])),
        metadata=facts or {},
    )


@st.composite
def packets_of_one_picture(draw: st.DrawFn) -> list[Packet]:
    """Up to four packets over one size, of one to three spaces each, with whatever sections."""
    shared = {key: value for key, value in (("grey", 1), ("tile", 512)) if draw(st.booleans())}
    packets, num_before = [], 0
    for _ in range(draw(st.integers(1, 4))):
        names = [f"space{num_before + k}-0" for k in range(draw(st.integers(1, 3)))]
        num_before += len(names)
        keys = st.tuples(st.integers(0, len(names) - 1), st.integers(0, 3))
        places = draw(st.lists(keys, unique=True, max_size=5))
        sections = [
            Section(*place, PART_MAIN, draw(st.sampled_from(CodecNumber)), 9, True, draw(chunks)) for place in places
        ]
        facts = draw(st.dictionaries(st.sampled_from(["encoder", "software", "note"]), st.sampled_from(["a", "b"])))
        packets.append(
            Packet(
                height=11,
                width=13,
                spaces=tuple(SpaceEntry(name, draw(st.binary(min_size=8, max_size=8)), bytes(8)) for name in names),
                sections=(*sections, *([ALPHA] if draw(st.booleans()) else [])),
                metadata=shared | facts,
            )
        )
    return packets


@given(packets_of_one_picture())
def test_every_space_reads_back_to_its_own_sections_and_facts(packets: list[Packet]) -> None:
    joined = Packet.from_bytes(join_packets(packets).to_bytes())
    places = {entry: number for number, entry in enumerate(joined.spaces)}
    for packet in packets:
        for number, entry in enumerate(packet.spaces):
            own = [replace(section, space=0) for section in packet.sections if section.space == number]
            back = [replace(section, space=0) for section in joined.sections if section.space == places[entry]]
            assert back == own
            for key in ("encoder", "software", "note", "grey", "tile"):
                assert space_fact(joined, entry.name, key) == packet.metadata.get(key)
    alphas = [section for section in joined.sections if section.space == FILE_SPACE]
    assert alphas == [ALPHA] * any(section == ALPHA for packet in packets for section in packet.sections)
    assert len(joined.spaces) == sum(len(packet.spaces) for packet in packets)


@given(packets_of_one_picture())
def test_joining_one_by_one_gives_the_same_spaces(packets: list[Packet]) -> None:
    joined = packets[0]
    for packet in packets[1:]:
        joined = join_packets([joined, packet])
    at_once = join_packets(packets)
    assert joined.spaces == at_once.spaces
    assert joined.sections == at_once.sections
    for packet in packets:
        for entry in packet.spaces:
            for key in ("encoder", "software", "note"):
                assert space_fact(joined, entry.name, key) == packet.metadata.get(key)


def test_one_packet_joined_is_itself() -> None:
    packet = _packet("a-0", alpha=True, facts={"encoder": "x", "tile": 64})
    assert join_packets([packet]).to_bytes() == packet.to_bytes()


def test_systems_read_their_own_space_of_a_joined_packet() -> None:
    system = tiny_system()
    picture = scene(70, 50)
    alone = system.encode(picture, tile=64)
    joined = Packet.from_bytes(join_packets([_packet_like(alone), alone]).to_bytes())
    assert system.run("reconstruct", joined).pixels.tolist() == system.run("reconstruct", alone).pixels.tolist()


def _packet_like(packet: Packet) -> Packet:
    """Another space over the same picture."""
    other = _packet("other-0", height=packet.height)
    return replace(other, width=packet.width, metadata=packet.metadata, file_id=b"")


def test_facts_that_differ_are_kept_by_space() -> None:
    joined = join_packets(
        [_packet("a-0", facts={"encoder": "x", "pad": b"zz"}), _packet("9b", "c-0", facts={"note": 3})]
    )
    assert dict(joined.metadata) == {"encoder.a-0": "x", "note.9b": 3, "note.c-0": 3}
    again = join_packets([joined, _packet("d-0", facts={"encoder": "y"})])
    assert dict(again.metadata) == {"encoder.a-0": "x", "note.9b": 3, "note.c-0": 3, "encoder.d-0": "y"}
    assert space_fact(again, "9b", "encoder") is None


@pytest.mark.parametrize(
    ("packets", "message"),
    [
        ([], "no packet to join"),
        ([_packet("a-0"), _packet("b-0", height=21)], "30 x 20 and 30 x 21 pixels"),
        ([_packet("a-0"), _packet("b-0", "a-0")], "two packets hold space a-0"),
        ([_packet("a-0"), _packet("b-0", facts={"grey": 1})], "differ in 'grey'"),
        ([_packet("a-0", facts={"tile": 64}), _packet("b-0", facts={"tile": 128})], r"differ in 'tile' \(64, 128\)"),
        ([_packet("a-0"), _packet("b-0", facts={"tile": 128})], r"differ in 'tile' \(no tile, 128\)"),
        ([_packet("a-0"), _packet("b-0", facts={"#9": 1})], "of a later version"),
        ([_packet(f"s{n}") for n in range(16)], "16 spaces and 32 sections are more than the 15 and 64"),
    ],
)
def test_what_cannot_be_joined_is_named(packets: list[Packet], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        join_packets(packets)


def test_more_sections_than_a_file_holds_are_named() -> None:
    def full(name: str) -> Packet:
        sections = [Section(0, plane, PART_MAIN, 1, 0, True, (b"x",)) for plane in range(33)]
        return Packet(height=2, width=2, spaces=(SpaceEntry(name, bytes(8), bytes(8)),), sections=tuple(sections))

    with pytest.raises(UsageError, match="2 spaces and 66 sections"):
        join_packets([full("a-0"), full("b-0")])


def test_another_alpha_plane_is_another_picture() -> None:
    other = replace(ALPHA, chunks=(b"something else",))
    second = replace(_packet("b-0"), sections=(other,), file_id=b"")
    with pytest.raises(UsageError, match="different sections of the file itself"):
        join_packets([_packet("a-0", alpha=True), second])
