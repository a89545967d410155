"""Opening the .smalto files a command names: a path, a web address, or the pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smalto.cli.outputs import open_source
from smalto.cli.registry import system_for

if TYPE_CHECKING:
    from smalto.bits.packet import Packet, PacketReader
    from smalto.systems import System


def read_packet(source: str) -> Packet:
    """The whole packet, every checksum verified."""
    from smalto.bits.packet import Packet

    return Packet.load(open_source(source))


def open_packet(source: str) -> PacketReader:
    """A reader that has read the header and fetches the rest on demand."""
    from smalto.bits.packet import Packet

    return Packet.open(open_source(source))


class LoadedSystems:
    """Systems that read files, each loaded when its first file comes.

    Args:
        name: the system for every file, or None for the one each file names.
        device: where networks run.
    """

    def __init__(self, name: str | None, device: str) -> None:
        self._name = name
        self._device = device
        self._loaded: dict[str, System] = {}

    def reading(self, packet: Packet) -> System:
        """The system for ``packet``."""
        from smalto import load

        name = self._name if self._name is not None else system_for(packet.spaces)
        if name not in self._loaded:
            self._loaded[name] = load(name, device=self._device)
        return self._loaded[name]
