"""One packet of several: the spaces of all of them over one picture, in one file.

::

    packet of lite-0   ─┐
    packet of neural-0 ─┴─► join_packets ─► spaces lite-0, neural-0 | lite-0's sections | neural-0's | the file's own
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from smalto.bits.packet import FILE_SPACE, Packet, Section, SpaceEntry
from smalto.bits.packet_metadata import MetadataValue
from smalto.bits.packet_parts import MAX_SECTIONS, MAX_SPACES
from smalto.errors import UsageError

_SHARED_KEYS = ("grey", "tile")
_PADDING = "pad"


def join_packets(packets: Sequence[Packet]) -> Packet:
    """The spaces of several packets of one picture in one packet; reading any of them gives what its own packet gave.

    Sections keep their order within a space; spaces follow each other as the packets do, and what belongs to the file
    itself (an alpha plane) stands once, at the end. ``grey`` and ``tile`` say how every space is read, so packets must
    agree on them. Any other fact stays as it is when all packets state the same one; else it is a fact of its packet's
    spaces and stands as ``KEY.SPACE``, where ``space_fact`` finds it. ``pad`` is left out.

    Args:
        packets: one or more, of one true size, each space in one of them alone.

    Raises:
        UsageError: there is none; they differ in size, in ``grey`` or ``tile``, or in a section of the file itself;
            they share a space; or the format cannot hold so many spaces, sections or facts.

    Example:
        >>> parts = [Section(0, 0, 0, 1, 128, True, (b"coded",))]
        >>> one, two = (
        ...     Packet(height=2, width=3, spaces=(SpaceEntry(name, bytes(8), bytes(8)),), sections=parts)
        ...     for name in ("lite-0", "neural-0")
        ... )
        >>> [section.space for section in join_packets([one, two]).sections]
        [0, 1]
    """
    if not packets:
        raise UsageError("no packet to join; encode the picture with one system or more")
    _check_one_picture(packets)
    spaces = tuple(entry for packet in packets for entry in packet.spaces)
    own, shared = _sections(packets)
    if len(spaces) > MAX_SPACES or len(own) + len(shared) > MAX_SECTIONS:
        raise UsageError(
            f"joined, {len(spaces)} spaces and {len(own) + len(shared)} sections are more than the {MAX_SPACES} and "
            f"{MAX_SECTIONS} a file holds; join fewer"
        )
    return Packet(
        height=packets[0].height,
        width=packets[0].width,
        spaces=spaces,
        sections=(*own, *shared),
        metadata=_metadata(packets),
    )


def space_fact(packet: Packet, space: str, key: str) -> MetadataValue | None:
    """What a packet's metadata says of one space: the value of ``KEY.SPACE``, else of ``KEY``; None without either.

    Example:
        >>> space_fact(Packet(height=1, width=1, spaces=(), sections=(), metadata={"grey": 1}), "lite-0", "grey")
        1
    """
    return packet.metadata.get(f"{key}.{space}", packet.metadata.get(key))


def _check_one_picture(packets: Sequence[Packet]) -> None:
    """Raise UsageError unless the packets can be of one picture and may stand in one file."""
    first = packets[0]
    holders: dict[str, SpaceEntry] = {}
    for packet in packets:
        if (packet.height, packet.width) != (first.height, first.width):
            raise UsageError(
                f"packets of {first.width} x {first.height} and {packet.width} x {packet.height} pixels are not of one "
                "picture; join what was encoded from one"
            )
        for entry in packet.spaces:
            if entry.name in holders:
                raise UsageError(f"two packets hold space {entry.name}; join each space once")
            holders[entry.name] = entry
        for key in _SHARED_KEYS:
            if packet.metadata.get(key) != first.metadata.get(key):
                told = [_told(key, one.metadata.get(key)) for one in (first, packet)]
                raise UsageError(
                    f"packets of {_names(first)} and {_names(packet)} differ in {key!r} ({told[0]}, {told[1]}); encode "
                    "the picture alike for both"
                )


def _told(key: str, value: MetadataValue | None) -> str:
    return f"no {key}" if value is None else repr(value)


def _names(packet: Packet) -> str:
    return ", ".join(entry.name for entry in packet.spaces) or "no space"


def _sections(packets: Sequence[Packet]) -> tuple[list[Section], list[Section]]:
    """Sections of the spaces, renumbered, and those of the file itself, each once."""
    own: list[Section] = []
    shared: dict[tuple[int, int], Section] = {}
    num_before = 0
    for packet in packets:
        for section in packet.sections:
            if section.space != FILE_SPACE:
                own.append(replace(section, space=section.space + num_before))
            elif shared.setdefault((section.plane, section.part), section) != section:
                raise UsageError(
                    f"packets hold different sections of the file itself (plane {section.plane}, an alpha plane when "
                    "0); join what was encoded from one picture"
                )
        num_before += len(packet.spaces)
    return own, list(shared.values())


def _metadata(packets: Sequence[Packet]) -> dict[str, MetadataValue]:
    """Facts that all packets share under their own keys, the others under ``KEY.SPACE``."""
    merged: dict[str, MetadataValue] = {}
    for packet in packets:
        for key, value in packet.metadata.items():
            if key == _PADDING:
                continue
            if _names_a_space(key, packet) or all(_same(other.metadata.get(key), value) for other in packets):
                merged[key] = value
            elif key.startswith("#"):
                raise UsageError(f"metadata {key!r} is of a later version and differs; join with a later smalto")
            else:
                merged |= {f"{key}.{entry.name}": value for entry in packet.spaces}
    return merged


def _same(one: MetadataValue | None, other: MetadataValue) -> bool:
    return type(one) is type(other) and one == other


def _names_a_space(key: str, packet: Packet) -> bool:
    """Whether a key is of the form ``KEY.SPACE`` for a space of its packet."""
    return any(key.endswith(f".{entry.name}") and key != f".{entry.name}" for entry in packet.spaces)
