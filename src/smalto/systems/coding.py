"""How a System's planes become sections of a packet and come back.

::

    learned   carrier ─► [analysis] ─► y ─► hyperprior ─► hyper section, main section       every quality
    archive   planes  ─► quantised, rotated, context coded ─► a section a plane             one quality

The carrier is one tensor that holds every plane of the space: y itself where y is the only plane. Analysis and
synthesis stand around the hyperprior in spaces of several planes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import Tensor, nn

from smalto.bits.packet import PART_HYPER, PART_MAIN, CodecNumber, Packet, Section
from smalto.codecs.factorized_codec import FrozenFactorized
from smalto.codecs.hyperprior_frozen import FrozenHyperprior, PlaneCode
from smalto.errors import DamagedPacket, UsageError
from smalto.systems.engine import Engine, pad_to_multiple
from smalto.types import LatentSpec, PlaneSpec


class PlaneForm(Protocol):
    """How the planes of a space travel in one tensor, the carrier."""

    @property
    def plane(self) -> PlaneSpec:
        """Channels and stride of the carrier."""
        ...

    def fold(self, planes: Mapping[str, Tensor]) -> Tensor:
        """Planes (B, C, h, w) -> carrier (B, C', h', w')."""
        ...

    def unfold(self, carrier: Tensor) -> dict[str, Tensor]:
        """What ``fold`` joined."""
        ...


@dataclass(frozen=True)
class SinglePlane:
    """The form of a space of one plane: it is its own carrier."""

    plane: PlaneSpec

    def fold(self, planes: Mapping[str, Tensor]) -> Tensor:
        """The plane."""
        return planes[self.plane.name]

    def unfold(self, carrier: Tensor) -> dict[str, Tensor]:
        """The plane under its name."""
        return {self.plane.name: carrier}


@dataclass(frozen=True)
class PlaneTransform:
    """The learned transform around a hyperprior.

    Args:
        analysis: carrier (1, C, ratio h, ratio w) -> y (1, M, h, w); ``halo_cells`` of the carrier, multiples of ratio.
        synthesis: y -> carrier; ``halo_cells`` of y.
        ratio: cells of the carrier per cell of y along each side.
        latent_channels: M.
    """

    analysis: nn.Module
    synthesis: nn.Module
    ratio: int
    latent_channels: int


@dataclass(frozen=True)
class LearnedCoding:
    """The hyperprior, with the transform around it where there is one.

    Args:
        space: for messages.
        codec: of y.
        transform: None codes the carrier itself.
        plane: the carrier.
        engine: runs the transform.
    """

    space: str
    codec: FrozenHyperprior | FrozenFactorized
    transform: PlaneTransform | None
    plane: PlaneSpec
    engine: Engine

    quality: ClassVar[str | None] = None  # has levels

    @property
    def stride_px(self) -> int:
        """Pixels per cell of y."""
        return self.plane.stride * (1 if self.transform is None else self.transform.ratio)

    def prepare(self, carrier: Tensor, tile_px: int) -> _LearnedPlanes:
        """A picture's carrier, ready to be coded at any level."""
        y = carrier
        if self.transform is not None:
            analysis, ratio = self.transform.analysis, self.transform.ratio
            window = self.engine.window_px // self.plane.stride
            halo = int(analysis.halo_cells)  # type: ignore[arg-type]
            y = self.engine.run(analysis, pad_to_multiple(carrier, ratio), window, halo, (1, ratio))
        return _LearnedPlanes(self.codec, y, self.codec.hyper_latent(y), tile_px // self.stride_px)

    def decode(self, packet: Packet, space: int, size_px: tuple[int, int], tile_px: int) -> Tensor:
        """The carrier that the sections of a space hold, for a picture of ``size_px`` rows and columns.

        Raises:
            DamagedPacket: sections are missing, or do not agree.
        """
        hyper, main = packet.find(space, 0, PART_HYPER), packet.find(space, 0, PART_MAIN)
        number = self.codec.number
        if main is None or (hyper is None) == (number == CodecNumber.HYPERPRIOR):
            raise DamagedPacket(f"the sections of space {self.space} are not whole; the file is damaged")
        if hyper is not None and (len(hyper.chunks) != 1 or hyper.q != main.q or hyper.codec != main.codec):
            raise DamagedPacket(f"the sections of space {self.space} do not agree; the file is damaged")
        if main.codec != number:
            raise DamagedPacket(f"codec {main.codec} is not the one of space {self.space}; the file is damaged")
        rows, columns = self.plane.grid(*size_px)
        ratio = 1 if self.transform is None else self.transform.ratio
        code = PlaneCode(main.q, b"" if hyper is None else hyper.chunks[0], main.chunks)
        y = self.codec.decode(code, -(-rows // ratio), -(-columns // ratio), tile_px // self.stride_px)
        if self.transform is None:
            return y
        synthesis = self.transform.synthesis
        window = self.engine.window_px // self.stride_px
        halo = int(synthesis.halo_cells)  # type: ignore[arg-type]
        return self.engine.run(synthesis, y, window, halo, (ratio, 1))[:, :, :rows, :columns]


@dataclass(frozen=True)
class _LearnedPlanes:
    """One picture's latent, before it is coded."""

    codec: FrozenHyperprior | FrozenFactorized
    y: Tensor
    z: Tensor | None
    tile_cells: int

    def sections(self, q: int) -> tuple[Section, ...]:
        """Sections of space 0 at level q."""
        code = self.codec.encode(self.y, q, self.tile_cells, self.z)
        number = self.codec.number
        main = Section(0, 0, PART_MAIN, number, q, True, code.main)
        hyper = Section(0, 0, PART_HYPER, number, q, True, (code.hyper,))
        return (hyper, main) if number == CodecNumber.HYPERPRIOR else (main,)


class ArchiveCodec(Protocol):
    """Codes the planes themselves, finely, at one quality.

    ``plane_names`` is the order of the sections: a plane may be predicted from those before it.
    """

    number: ClassVar[CodecNumber]

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The planes, coarse ones first."""
        ...

    def encode(self, planes: Mapping[str, Tensor], tile_px: int) -> dict[str, tuple[bytes, ...]]:
        """Planes (1, C, h, w) -> the chunks of each, one a tile, row by row."""
        ...

    def decode(
        self, chunks: Mapping[str, tuple[bytes, ...]], grids: Mapping[str, tuple[int, int]], tile_px: int
    ) -> dict[str, Tensor]:
        """Planes (1, C, rows, columns) float32 of what ``encode`` gave; PacketError when it is damaged."""
        ...


@dataclass(frozen=True)
class ArchiveCoding:
    """The planes themselves.

    Args:
        spec: the space.
        codec: of its planes.
        form: of the carrier.
    """

    spec: LatentSpec
    codec: ArchiveCodec
    form: PlaneForm

    quality: ClassVar[str | None] = "archive"

    def prepare(self, carrier: Tensor, tile_px: int) -> _ArchivePlanes:
        """A picture's carrier, ready to be coded."""
        numbers = {plane.name: number for number, plane in enumerate(self.spec.planes)}
        return _ArchivePlanes(self.codec, self.form.unfold(carrier), numbers, tile_px)

    def decode(self, packet: Packet, space: int, size_px: tuple[int, int], tile_px: int) -> Tensor:
        """The carrier that the sections of a space hold, for a picture of ``size_px`` rows and columns.

        Raises:
            DamagedPacket: sections are missing, or of another codec.
        """
        chunks, grids = {}, {}
        for number, plane in enumerate(self.spec.planes):
            section = packet.find(space, number, PART_MAIN)
            if section is None or section.codec != self.codec.number:
                raise DamagedPacket(f"the sections of space {self.spec.space} are not whole; the file is damaged")
            chunks[plane.name], grids[plane.name] = section.chunks, plane.grid(*size_px)
        return self.form.fold(self.codec.decode(chunks, grids, tile_px))


@dataclass(frozen=True)
class _ArchivePlanes:
    """One picture's planes, before they are coded."""

    codec: ArchiveCodec
    planes: Mapping[str, Tensor]
    numbers: Mapping[str, int]
    tile_px: int

    def sections(self, q: int) -> tuple[Section, ...]:
        """Sections of space 0; q is not used, there is one quality."""
        del q
        coded = self.codec.encode(self.planes, self.tile_px)
        number = self.codec.number
        return tuple(
            Section(0, self.numbers[name], PART_MAIN, number, 255, True, coded[name]) for name in self.codec.plane_names
        )


Coding = LearnedCoding | ArchiveCoding
Prepared = _LearnedPlanes | _ArchivePlanes


def check_fit(system: str, plane: PlaneSpec, codec: nn.Module, transform: PlaneTransform | None) -> None:
    """Raise UsageError unless codec, transform and carrier have the same channels."""
    wanted = plane.channels if transform is None else transform.latent_channels
    channels = codec.config.latent_channels  # type: ignore[union-attr]
    if channels != wanted:
        raise UsageError(f"system {system}: its codec has {channels} channels, its plane {wanted}")
