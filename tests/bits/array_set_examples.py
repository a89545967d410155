"""Array sets that several tests share: fixed ones, the golden ones, and hypothesis strategies for any other."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from smalto.bits.array_set_parts import ArrayEntry, ArraySetInfo, ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.bits.dtypes import DTYPES

Group = tuple[tuple[ArraySpec, ...], tuple[bytes, ...]]

DIGEST = bytes(range(8))
INFO = ArraySetInfo(codec=4, profile_digest=DIGEST)
WITH_PROFILE = ArraySetInfo(
    codec=2, profile_digest=DIGEST[::-1], quality=102, metadata={"software": "smalto", "rate": 2}, profile=b"a profile"
)

ONE_ARRAY: list[Group] = [((ArraySpec("float32", (2, 3), "weights"),), (b"coded",))]
MIXED: list[Group] = [
    (tuple(ArraySpec("float16", (384,), f"img_{number:03}.png") for number in range(98, 101)), (b"hyper", b"main")),
    (tuple(ArraySpec("float16", (384,), f"img_{number:03}.png") for number in range(101, 104)), (b"", b"symbols")),
    ((ArraySpec("bfloat16", (1, 257, 1536), "layer.9"), ArraySpec("float64", (), "größe")), (b"two shapes",)),
    ((ArraySpec("float32", (0, 7)), ArraySpec("float32", (0, 7))), ()),
    ((ArraySpec("float32", (3,), "first"), ArraySpec("float32", (3,), "fourth")), (b"listed",)),
]


def written(info: ArraySetInfo, groups: Iterable[Group]) -> bytes:
    """The set with these groups, as the writer chooses its form."""
    with ArraySetWriter(info) as writer:
        for entries, parts in groups:
            writer.add_group(entries, parts)
    return writer.data


def trailing(info: ArraySetInfo, groups: Sequence[Group]) -> bytes:
    """The set with its table at the end, however small."""
    writer = ArraySetWriter(info)
    writer._spill()  # pyright: ignore[reportPrivateUsage]
    with writer:
        for entries, parts in groups:
            writer.add_group(entries, parts)
    return writer.data


def appended(data: bytes, groups: Iterable[Group]) -> bytes:
    """The set in ``data``, whose table stands at the end, with more groups behind."""
    stream = io.BytesIO(data)
    with ArraySetWriter.append(stream) as writer:
        for entries, parts in groups:
            writer.add_group(entries, parts)
    return stream.getvalue()


def contents(reader: ArraySetReader) -> list[Group]:
    """All groups, with specs in the place of entries."""
    return [(specs(group.entries), group.parts) for group in reader.groups()]


def specs(entries: Iterable[ArrayEntry]) -> tuple[ArraySpec, ...]:
    """Entries without their places."""
    return tuple(ArraySpec(entry.dtype, entry.shape, entry.name) for entry in entries)


EXAMPLES: dict[str, bytes] = {
    "one": written(INFO, ONE_ARRAY),
    "front": written(WITH_PROFILE, MIXED),
    "trailing": trailing(WITH_PROFILE, MIXED),
    "appended": appended(appended(trailing(INFO, ONE_ARRAY), MIXED[:2]), MIXED[2:]),
}
EXAMPLE_GROUPS: dict[str, list[Group]] = {
    "one": ONE_ARRAY,
    "front": MIXED,
    "trailing": MIXED,
    "appended": ONE_ARRAY + MIXED,
}

_TEXT = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=12)
_SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@st.composite
def _name_lists(draw: st.DrawFn, count: int) -> list[str]:
    form = draw(st.integers(0, 3))
    if form == 0:
        return [""] * count
    prefix, suffix = draw(_TEXT), draw(_TEXT)
    if form == 1:
        start, step = draw(st.integers(0, 10**12)), draw(st.integers(1, 1000))
        width = draw(st.integers(1, 18))
        return [f"{prefix}{start + index * step:0{width}d}{suffix}" for index in range(count)]
    if form == 2:
        return [prefix + draw(_TEXT) + suffix for _ in range(count)]
    return [draw(_TEXT) for _ in range(count)]


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """Any group of up to three runs and four parts."""
    entries: list[ArraySpec] = []
    for _ in range(draw(st.integers(1, 3))):
        dtype, shape, count = draw(st.sampled_from(sorted(DTYPES))), draw(_SHAPES), draw(st.integers(1, 4))
        entries += [ArraySpec(dtype, shape, name) for name in draw(_name_lists(count))]
    parts = draw(st.lists(st.binary(max_size=20), min_size=1, max_size=4))
    return tuple(entries), tuple(parts)


group_lists = st.lists(groups(), max_size=5)
infos = st.builds(
    ArraySetInfo,
    codec=st.integers(1, 255),
    profile_digest=st.binary(min_size=8, max_size=8),
    quality=st.integers(0, 255),
    metadata=st.dictionaries(st.sampled_from(("software", "rate", "source")), st.integers(-9, 9) | _TEXT, max_size=3),
    profile=st.none() | st.binary(max_size=30),
)
