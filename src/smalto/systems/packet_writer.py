"""A picture's packets at any quality, and what packets say beside their sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from smalto.bits.packet import FILE_SPACE, PART_MAIN, CodecNumber, Packet, Section, SpaceEntry
from smalto.codecs.lossless import decode_plane, encode_plane
from smalto.errors import DamagedPacket, UsageError
from smalto.systems.joined_packets import space_fact

TILE_PX = 1024
MAX_TILE_PX = 2048
TILE_UNIT_PX = 64
_MAX_OFFSET_PX = 3


@dataclass(frozen=True)
class PictureFacts:
    """What a packet says of its picture.

    Args:
        height: true height in pixels.
        width: true width in pixels.
        source: for messages.
        tile_px: side of the tiles.
        offset_px: rows and columns of padding before the picture, in the planes.
        grey: one colour channel.
        encoder: name of the encoder; None for the default one.
        alpha: (H, W) uint8 opacity, or None.
    """

    height: int
    width: int
    source: str
    tile_px: int = TILE_PX
    offset_px: tuple[int, int] = (0, 0)
    grey: bool = False
    encoder: str | None = None
    alpha: np.ndarray | None = None

    @property
    def metadata(self) -> dict[str, str | int | bytes]:
        """The facts that are not what a reader takes for granted."""
        facts: dict[str, str | int | bytes] = {}
        if self.grey:
            facts["grey"] = 1
        if self.tile_px != TILE_PX and max(self.height, self.width) > min(self.tile_px, TILE_PX):
            facts["tile"] = self.tile_px
        if self.offset_px != (0, 0):
            facts["offset"] = bytes(self.offset_px)
        if self.encoder is not None:
            facts["encoder"] = self.encoder
        return facts


class PacketWriter:
    """One picture's planes, ready to be written at any quality.

    Args:
        facts: of the picture.
        space: name and digests.
        sections: the space's sections at a level.
    """

    def __init__(self, facts: PictureFacts, space: SpaceEntry, sections: Callable[[int], tuple[Section, ...]]) -> None:
        self._facts = facts
        self._space = space
        self._sections = sections
        self._extra: tuple[Section, ...] = ()
        if facts.alpha is not None:
            self._extra = (
                Section(FILE_SPACE, 0, PART_MAIN, CodecNumber.LOSSLESS, 0, False, encode_plane(facts.alpha)),
            )

    def at_quality(self, q: int) -> Packet:
        """The packet at level q."""
        metadata: Mapping[str, str | int | bytes] = self._facts.metadata
        return Packet(
            height=self._facts.height,
            width=self._facts.width,
            spaces=(self._space,),
            sections=(*self._sections(q), *self._extra),
            metadata=metadata,
        )

    def at_rate(self, bpp: float) -> Packet:
        """The largest packet of at most ``bpp`` bits per pixel, by bisection over the levels."""
        limit_bytes = bpp * self._facts.height * self._facts.width / 8
        best, low, high = None, 0, 255
        while low <= high:
            middle = (low + high) // 2
            packet = self.at_quality(middle)
            if len(packet) <= limit_bytes:
                best, low = packet, middle + 1
            else:
                high = middle - 1
        if best is None:
            smallest = 8 * len(self.at_quality(0)) / (self._facts.height * self._facts.width)
            raise UsageError(f"{self._facts.source}: {bpp:g} bits per pixel are too few; the least is {smallest:.4f}")
        return best


def tile_of(packet: Packet, space: str) -> int:
    """Side of the tiles of a space in pixels. Raises DamagedPacket."""
    tile = space_fact(packet, space, "tile")
    tile = TILE_PX if tile is None else tile
    if not isinstance(tile, int) or tile % TILE_UNIT_PX or not TILE_UNIT_PX <= tile <= MAX_TILE_PX:
        raise DamagedPacket(f"tile size {tile!r} is out of range; the file is damaged")
    return tile


def offset_of(packet: Packet, space: str) -> tuple[int, int]:
    """Rows and columns of padding before the picture in a space's planes. Raises DamagedPacket."""
    offset = space_fact(packet, space, "offset")
    if offset is None:
        return 0, 0
    if not isinstance(offset, bytes) or len(offset) != 2 or max(offset) > _MAX_OFFSET_PX:
        raise DamagedPacket(f"offset {offset!r} is out of range; the file is damaged")
    return offset[0], offset[1]


def alpha_of(packet: Packet) -> np.ndarray | None:
    """(H, W) uint8 opacity, or None."""
    section = packet.find(FILE_SPACE, 0, PART_MAIN)
    if section is None or section.codec != CodecNumber.LOSSLESS:
        return None
    return decode_plane(section.chunks, packet.height, packet.width)
