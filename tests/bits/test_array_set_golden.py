"""Old array sets are read for ever: every golden file, and what it says."""

from __future__ import annotations

import pytest

from smalto.bits.array_set_header import LastAppend
from smalto.bits.array_set_parts import ArraySetInfo, ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.errors import UnsupportedVersion
from tests.bits.array_set_examples import contents
from tests.bits.packet_examples import GOLDEN

# Written out once more: another way of making examples must not touch what these files say.
ONE = ((ArraySpec("float32", (2, 3), "weights"),), (b"coded",))
MIXED = [
    (tuple(ArraySpec("float16", (384,), f"img_{name}.png") for name in ("098", "099", "100")), (b"hyper", b"main")),
    (tuple(ArraySpec("float16", (384,), f"img_{name}.png") for name in ("101", "102", "103")), (b"", b"symbols")),
    ((ArraySpec("bfloat16", (1, 257, 1536), "layer.9"), ArraySpec("float64", (), "größe")), (b"two shapes",)),
    ((ArraySpec("float32", (0, 7)), ArraySpec("float32", (0, 7))), ()),
    ((ArraySpec("float32", (3,), "first"), ArraySpec("float32", (3,), "fourth")), (b"listed",)),
]
PLAIN = ArraySetInfo(codec=4, profile_digest=bytes(range(8)))
FULL = ArraySetInfo(
    codec=2,
    profile_digest=bytes(range(7, -1, -1)),
    quality=102,
    metadata={"software": "smalto", "rate": 2},
    profile=b"a profile",
)
FILES = {
    "one": (PLAIN, [ONE], LastAppend.WHOLE),
    "front": (FULL, MIXED, LastAppend.WHOLE),
    "trailing": (FULL, MIXED, LastAppend.WHOLE),
    "appended": (PLAIN, [ONE, *MIXED], LastAppend.WHOLE),
    "unfinished": (PLAIN, MIXED, LastAppend.UNFINISHED),
}


@pytest.mark.parametrize("name", FILES)
def test_a_golden_set_reads_as_it_always_did(name: str) -> None:
    info, groups, last_append = FILES[name]
    with ArraySetReader.open(GOLDEN / f"array-set-{name}.smalto") as reader:
        assert reader.info == info
        assert contents(reader) == groups
        assert reader.layout.last_append is last_append
        assert reader.verify().healthy == (last_append is LastAppend.WHOLE)
        for group in reader.groups():
            for entry in group.entries:
                assert reader.entries[entry.number] == entry
                assert not entry.name or reader.find(entry.name) == entry


def test_a_golden_set_of_a_later_version_is_refused() -> None:
    with pytest.raises(UnsupportedVersion, match="flags 0x21") as caught:
        ArraySetReader.open(GOLDEN / "array-set-later-flag.smalto")
    assert caught.value.exit_code == 3
