"""Opening the .smalto files a command names: a path, a web address, or the pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smalto.cli.outputs import display_name, open_source
from smalto.cli.registry import find_system, system_for

if TYPE_CHECKING:
    from smalto.bits.array_set_reader import ArraySetReader
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


def open_any(source: str) -> PacketReader | ArraySetReader:
    """A reader of a picture's packet or of a set of features, whichever the file is."""
    from smalto.bits.array_set_reader import ArraySetReader
    from smalto.bits.byte_source import open_source as open_bytes
    from smalto.bits.packet import PacketReader
    from smalto.bits.packet_header import PREAMBLE_BYTES, file_kind

    stored = open_bytes(open_source(source))
    try:
        kind = file_kind(stored.read(0, PREAMBLE_BYTES), display_name(source))
        return PacketReader(stored) if kind == "image" else ArraySetReader(stored)
    except BaseException:
        stored.close()
        raise


class LoadedSystems:
    """Systems that read files, each loaded when its first file comes.

    Args:
        name: the system for every file, as ``find_system`` takes it, or None for one that each file names.
        device: where networks run.

    Raises:
        UsageError: no system of that name is installed.
    """

    def __init__(self, name: str | None, device: str) -> None:
        self._name = None if name is None else find_system(name).name
        self._device = device
        self._loaded: dict[str, System] = {}

    def reading(self, packets: Sequence[Packet], task: str) -> System:
        """The system that answers a task from packets, one for each view.

        Raises:
            UsageError: systems read the packets, and none of them answers the task.
        """
        from smalto import load

        name = self._name if self._name is not None else system_for([packet.spaces for packet in packets], task)
        if name not in self._loaded:
            self._loaded[name] = load(name, device=self._device)
        return self._loaded[name]
