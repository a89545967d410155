"""Packets that several tests share: fixed ones, the golden ones, and hypothesis strategies for any other."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from smalto.bits.packet import FILE_SPACE, PART_HYPER, PART_MAIN, CodecNumber, Packet, Section, SpaceEntry
from smalto.bits.packet_metadata import MAX_INT

GOLDEN = Path(__file__).parents[1] / "golden"

LITE = SpaceEntry("lite-0", bytes(range(8)), bytes(range(8, 16)))
SECOND = SpaceEntry("huvr_b.16-1", b"\xff" * 8, b"\x80" * 8)


def section(part: int = PART_MAIN, chunks: tuple[bytes, ...] = (b"coded",), **fields: int) -> Section:
    """A critical section of plane 0 in space 0 unless ``fields`` say otherwise."""
    return Section(
        space=fields.get("space", 0),
        plane=fields.get("plane", 0),
        part=part,
        codec=fields.get("codec", CodecNumber.HYPERPRIOR),
        q=fields.get("q", 102),
        critical=bool(fields.get("critical", True)),
        chunks=chunks,
    )


ONE_SECTION = Packet(height=16, width=24, spaces=(LITE,), sections=(section(codec=1),))
TWO_SECTIONS = Packet(
    height=512,
    width=768,
    spaces=(LITE,),
    sections=(section(PART_HYPER, (b"hyper symbols",)), section(PART_MAIN, (b"main symbols, somewhat longer",))),
)
TILES = Packet(
    height=2000,
    width=1500,
    spaces=(LITE, SECOND),
    metadata={"encoder": "lite", "grey": 1, "software": "smalto 0.1.0", "taken": -1_600_000_000, "thumb": b"\0\xff"},
    sections=(
        section(PART_HYPER, (b"hyper",)),
        section(PART_MAIN, (b"tile 0,0", b"", b"tile 1,0 is longer", b"t")),
        section(PART_MAIN, (b"tokens",), space=1, plane=3, codec=CodecNumber.LLOYD_MAX, q=0),
        section(PART_MAIN, (b"opacity",), space=FILE_SPACE, codec=CodecNumber.LOSSLESS, q=0),
    ),
)
UNKNOWN_SKIPPED = Packet(
    height=8192,
    width=8192,
    spaces=(LITE,),
    metadata={"#17": "a key of a later version"},
    sections=(
        section(codec=77, critical=False, chunks=(b"a codec of a later version",)),
        section(plane=1, codec=1),
    ),
)
EXAMPLES = {
    "one-section": ONE_SECTION,
    "two-sections": TWO_SECTIONS,
    "tiles": TILES,
    "unknown-skipped": UNKNOWN_SKIPPED,
}

_KEYS = st.from_regex(r"[a-z][a-z0-9._-]{0,20}", fullmatch=True) | st.sampled_from(("encoder", "grey", "#20", "#63"))
_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=40)
_VALUES = st.integers(-MAX_INT, MAX_INT) | _TEXT | st.binary(max_size=40)
metadata = st.dictionaries(_KEYS, _VALUES, max_size=8)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Any packet of up to six sections and three spaces."""
    names = draw(st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}", fullmatch=True), max_size=3, unique=True))
    digest = st.binary(min_size=8, max_size=8)
    spaces = tuple(SpaceEntry(name, draw(digest), draw(digest)) for name in names)
    space_index = st.sampled_from([*range(len(spaces)), FILE_SPACE])
    places = draw(st.lists(st.tuples(space_index, st.integers(0, 255)), max_size=3, unique=True))
    sections: list[Section] = []
    for space, plane in places:
        for part in draw(st.sampled_from(((PART_MAIN,), (PART_HYPER,), (PART_HYPER, PART_MAIN)))):
            chunks = tuple(draw(st.lists(st.binary(max_size=30), min_size=1, max_size=4)))
            codec = draw(st.sampled_from(CodecNumber))
            sections.append(Section(space, plane, part, codec, draw(st.integers(0, 255)), draw(st.booleans()), chunks))
    side = st.integers(1, 8192)
    return Packet(height=draw(side), width=draw(side), spaces=spaces, sections=tuple(sections), metadata=draw(metadata))
