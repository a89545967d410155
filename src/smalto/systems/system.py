"""A System: one space's encoders, codec and heads, checked against each other. Everything that runs, runs one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
import torch
from torch import Tensor, nn

from smalto.bits.packet import FILE_SPACE, PART_HYPER, PART_MAIN, CodecNumber, Limits, Packet, Section, SpaceEntry
from smalto.codecs.factorized_codec import FrozenFactorized
from smalto.codecs.hyperprior_frozen import FrozenHyperprior, PlaneCode
from smalto.codecs.lossless import decode_plane, encode_plane
from smalto.data.photographs import MAX_PIXELS, MAX_SIDE_PX, as_image, image_planes, pixel_levels, unit_range
from smalto.errors import DamagedPacket, LimitExceeded, MissingSpace, UsageError
from smalto.systems.engine import Engine, StageTimes, pad_to_multiple
from smalto.types import Image, Latent, LatentSpec

QUALITIES = {"low": 20, "medium": 40, "high": 60}
TILE_PX = 1024
MAX_TILE_PX = 2048
_TILE_UNIT_PX = 64
_PLANE = "y"


class PictureHead(Protocol):
    """A head that answers with a picture ``scale`` times as large as the coded one."""

    scale: int

    @property
    def halo_cells(self) -> int:
        """Latent cells of context on each side that one output pixel can see."""
        ...

    def __call__(self, y: Tensor) -> Tensor:
        """(1, M, h, w) -> (1, 3, 16 scale h, 16 scale w) around [0, 1]."""
        ...


@dataclass(frozen=True)
class Parts:
    """What a System is made of.

    Args:
        spec: the space; one grid plane called ``y``.
        encoders: name -> network (1, 3, H, W) -> (1, M, h, w); the first is the default.
        codec: of plane ``y``.
        heads: task -> network; ``reconstruct`` is the frozen decoder.
        decoder_digest: first 8 bytes of the decoder's digest.
        codec_digest: first 8 bytes of the codec's.
    """

    spec: LatentSpec
    encoders: Mapping[str, nn.Module]
    codec: FrozenHyperprior | FrozenFactorized
    heads: Mapping[str, nn.Module]
    decoder_digest: bytes
    codec_digest: bytes


def quality_level(quality: str | float) -> int:
    """Quality ``low``, ``medium``, ``high`` or 0..100 as the level 0..255 that a section carries.

    Raises:
        UsageError: another word, or a number outside 0..100.
    """
    value = QUALITIES.get(quality) if isinstance(quality, str) else quality
    if value is None or not 0 <= value <= 100:
        raise UsageError(f"quality {quality!r} is none of low, medium, high or 0..100")
    return round(value * 255 / 100)


class System:
    """Encodes pictures into packets and answers tasks from them.

    Args:
        name: as ``smalto systems`` lists it.
        parts: networks and digests.
        engine: where and how they run.
        max_pixels: largest picture, height x width, that is read from a file.

    Raises:
        UsageError: the parts do not fit each other.
    """

    def __init__(self, name: str, parts: Parts, engine: Engine, max_pixels: int = MAX_PIXELS) -> None:
        self.name = name
        self.parts = parts
        self.engine = engine
        self.max_pixels = max_pixels
        self.plane = parts.spec.plane(_PLANE)
        if not parts.encoders or "reconstruct" not in parts.heads:
            raise UsageError(f"system {name}: needs an encoder and a head called 'reconstruct'")
        if parts.codec.config.latent_channels != self.plane.channels:
            raise UsageError(
                f"system {name}: its codec has {parts.codec.config.latent_channels} channels, "
                f"its plane {self.plane.channels}"
            )
        for network in (*parts.encoders.values(), *parts.heads.values(), parts.codec):
            network.to(engine.device).eval().requires_grad_(False)
            if network is not parts.codec:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # -- encoding ---------------------------------------------------------------------------------------------------

    def encode(
        self,
        image: object,
        *,
        quality: str | float = "medium",
        bpp: float | None = None,
        encoder: str | None = None,
        tile: int = TILE_PX,
        stages: StageTimes | None = None,
    ) -> Packet:
        """One picture as a packet.

        Args:
            image: Image, Pillow image, uint8 array (H, W[, 3 or 4]) or float tensor (3, H, W) in [0, 1].
            quality: ``low``, ``medium``, ``high`` or 0..100; rises in rate.
            bpp: bits per pixel of the whole file instead of a quality; met from below.
            encoder: name of the encoder; None takes the default one.
            tile: side of a chunk in pixels, a multiple of 64 up to 2048.
            stages: filled with the seconds of each stage.

        Raises:
            UsageError: an argument is out of range.
            ImageError: the picture is refused.
        """
        picture = as_image(image)  # type: ignore[arg-type]
        if tile % _TILE_UNIT_PX or not _TILE_UNIT_PX <= tile <= MAX_TILE_PX:
            raise UsageError(f"tile {tile} is not a multiple of {_TILE_UNIT_PX} in {_TILE_UNIT_PX}..{MAX_TILE_PX}")
        times = stages or StageTimes()
        with times.measure("encoder"):
            y = self.analyse(picture, encoder)
        with times.measure("codec"):
            writer = _Writer(self, picture, y, encoder, tile // self.plane.stride)
            return writer.at_quality(quality_level(quality)) if bpp is None else writer.at_rate(bpp)

    def encode_batch(self, images: Iterable[object], *, quality: str | float = "medium") -> list[Packet]:
        """Packets of several pictures, each the same as ``encode`` gives alone."""
        return [self.encode(image, quality=quality) for image in images]

    def analyse(self, picture: Image, encoder: str | None = None) -> Tensor:
        """The latent (1, M, h, w) of a picture, before quantisation; a border repeats its last row and column."""
        network = self._encoder(encoder)
        stride, window = self.plane.stride, self.engine.window_px
        x = pad_to_multiple(image_planes(picture), stride * self.plane.multiple)
        halo = int(network.halo_px)  # type: ignore[arg-type]
        return self.engine.run(lambda part: network(unit_range(part)), x, window, halo, (1, stride))

    def _encoder(self, name: str | None) -> nn.Module:
        encoders = self.parts.encoders
        chosen = next(iter(encoders)) if name is None else name
        if chosen not in encoders:
            raise UsageError(f"system {self.name} has no encoder {chosen!r}; it has {', '.join(encoders)}")
        return encoders[chosen]

    # -- decoding ---------------------------------------------------------------------------------------------------

    def latent(self, packet: Packet | bytes, stages: StageTimes | None = None) -> Latent:
        """The latent a packet holds, without decoding pixels.

        Raises:
            MissingSpace: the packet was written for another space or another decoder.
            PacketError: its bytes are damaged, or it holds more than ``max_pixels``.
        """
        times = stages or StageTimes()
        packet = self._packet(packet) if isinstance(packet, bytes) else packet
        if packet.height * packet.width > self.max_pixels:
            raise LimitExceeded(
                f"{packet.width} x {packet.height} pixels exceed the limit, {self.max_pixels}; raise max_pixels"
            )
        space = self._find_space(packet)
        hyper, main = packet.find(space, 0, PART_HYPER), packet.find(space, 0, PART_MAIN)
        number = self.parts.codec.number
        if main is None or (hyper is None) == (number == CodecNumber.HYPERPRIOR):
            raise DamagedPacket(f"the sections of space {self.parts.spec.space} are not whole; the file is damaged")
        if hyper is not None and (len(hyper.chunks) != 1 or hyper.q != main.q or hyper.codec != main.codec):
            raise DamagedPacket(f"the sections of space {self.parts.spec.space} do not agree; the file is damaged")
        if main.codec != number:
            raise DamagedPacket(
                f"codec {main.codec} is not the one of space {self.parts.spec.space}; the file is damaged"
            )
        tile = packet.metadata.get("tile", TILE_PX)
        if not isinstance(tile, int) or tile % _TILE_UNIT_PX or not _TILE_UNIT_PX <= tile <= MAX_TILE_PX:
            raise DamagedPacket(f"tile size {tile!r} is out of range; the file is damaged")
        rows, columns = self.plane.grid(packet.height, packet.width)
        with times.measure("codec"):
            code = PlaneCode(main.q, b"" if hyper is None else hyper.chunks[0], main.chunks)
            y = self.parts.codec.decode(code, rows, columns, tile // self.plane.stride)
        return Latent(self.parts.spec, {_PLANE: y}, packet.height, packet.width)

    def _packet(self, data: bytes) -> Packet:
        return Packet.from_bytes(data, Limits(max_pixels=self.max_pixels))

    def _find_space(self, packet: Packet) -> int:
        wanted = SpaceEntry(self.parts.spec.space, self.parts.decoder_digest, self.parts.codec_digest)
        for number, entry in enumerate(packet.spaces):
            if entry == wanted:
                return number
        shown = [f"{s.name} ({s.decoder_digest.hex()}, {s.codec_digest.hex()})" for s in packet.spaces[:3]]
        held = ", ".join(shown + ["..."] * (len(packet.spaces) > 3)) or "no space"
        raise MissingSpace(
            f"the file holds {held}; system {self.name} reads {wanted.name} "
            f"({wanted.decoder_digest.hex()}, {wanted.codec_digest.hex()}): install the weights with these digests"
        )

    @overload
    def run(self, task: str, source: Packet | bytes | Latent, stages: StageTimes | None = None) -> Image: ...
    @overload
    def run(
        self, task: Sequence[str], source: Packet | bytes | Latent, stages: StageTimes | None = None
    ) -> list[Image]: ...
    def run(
        self, task: str | Sequence[str], source: Packet | bytes | Latent, stages: StageTimes | None = None
    ) -> Image | list[Image]:
        """Answer one task or several from a packet or a latent; the packet is decoded once.

        Everything that is coded is decoded and found whole before the first picture is made.

        Raises:
            UsageError: the system has no head for a task.
            PacketError: the packet is damaged, or an answer would exceed 8192 pixels a side or 2^26 in all.
        """
        tasks = [task] if isinstance(task, str) else list(task)
        for name in tasks:
            if name not in self.parts.heads:
                raise UsageError(f"system {self.name} has no task {name!r}; it answers {', '.join(self.parts.heads)}")
        source = self._packet(source) if isinstance(source, bytes) else source
        for name in tasks:
            self._check_answer(name, source.height, source.width)
        latent = self.latent(source, stages) if isinstance(source, Packet) else source
        if latent.spec != self.parts.spec:
            own = self.parts.spec.space
            raise UsageError(f"the latent is of space {latent.spec.space}, system {self.name} reads {own}")
        packet = source if isinstance(source, Packet) else None
        grey = packet is not None and packet.metadata.get("grey") == 1
        alpha = None if packet is None else _alpha_of(packet)
        answers = [self._picture(name, latent, grey, alpha, stages or StageTimes()) for name in tasks]
        return answers[0] if isinstance(task, str) else answers

    def _check_answer(self, task: str, height: int, width: int) -> None:
        """Raise LimitExceeded when a task's picture would be larger than pictures may be."""
        head: PictureHead = self.parts.heads[task]  # type: ignore[assignment]
        height, width = height * head.scale, width * head.scale
        if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
            raise LimitExceeded(
                f"{task}: a picture of {width} x {height} pixels is over the limit, {MAX_SIDE_PX} a side "
                f"and {MAX_PIXELS} in all; ask for the latent, or for a task of smaller answers"
            )

    def _picture(self, task: str, latent: Latent, grey: bool, alpha: np.ndarray | None, stages: StageTimes) -> Image:
        head: PictureHead = self.parts.heads[task]  # type: ignore[assignment]
        stride, scale = self.plane.stride, head.scale
        with stages.measure(task):
            window = self.engine.window_px // (stride * scale)
            levels = self.engine.run(
                lambda part: pixel_levels(head(part), grey),
                latent.planes[_PLANE],
                window,
                head.halo_cells,
                (stride * scale, 1),
            )
            levels = levels[0, :, : latent.height * scale, : latent.width * scale]
            pixels = levels.permute(1, 2, 0).contiguous().cpu().numpy()  # (H, W, 3)
        if alpha is not None and scale > 1:
            alpha = _enlarged(alpha, scale)
        return Image(pixels, alpha, grey, task)


def _alpha_of(packet: Packet) -> np.ndarray | None:
    """(H, W) uint8 opacity, or None."""
    section = packet.find(FILE_SPACE, 0, PART_MAIN)
    if section is None or section.codec != CodecNumber.LOSSLESS:
        return None
    return decode_plane(section.chunks, packet.height, packet.width)


def _enlarged(alpha: np.ndarray, scale: int) -> np.ndarray:
    """(H, W) uint8 -> (scale H, scale W), bicubic."""
    from PIL import Image as Pil

    height, width = alpha.shape
    return np.asarray(Pil.fromarray(alpha).resize((width * scale, height * scale), Pil.Resampling.BICUBIC))


class _Writer:
    """One picture's latent, ready to be coded at any quality."""

    def __init__(self, system: System, picture: Image, y: Tensor, encoder: str | None, tile_cells: int) -> None:
        self._system = system
        self._picture = picture
        self._y = y
        self._z = system.parts.codec.hyper_latent(y)
        self._tile_cells = tile_cells
        tile_px = tile_cells * system.plane.stride
        facts: dict[str, str | int | bytes] = {}
        if picture.grey:
            facts["grey"] = 1
        if tile_px != TILE_PX and (picture.height > tile_px or picture.width > tile_px):
            facts["tile"] = tile_px
        if encoder is not None and encoder != next(iter(system.parts.encoders)):
            facts["encoder"] = encoder
        self._facts = facts
        self._extra: tuple[Section, ...] = ()
        if picture.alpha is not None:
            chunks = encode_plane(picture.alpha)
            self._extra = (Section(FILE_SPACE, 0, PART_MAIN, CodecNumber.LOSSLESS, 0, False, chunks),)

    def at_quality(self, q: int) -> Packet:
        """The packet at level q."""
        parts = self._system.parts
        code = parts.codec.encode(self._y, q, self._tile_cells, self._z)
        number = parts.codec.number
        main = Section(0, 0, PART_MAIN, number, q, True, code.main)
        hyper = Section(0, 0, PART_HYPER, number, q, True, (code.hyper,))
        sections = ((hyper,) if number == CodecNumber.HYPERPRIOR else ()) + (main, *self._extra)
        return Packet(
            height=self._picture.height,
            width=self._picture.width,
            spaces=(SpaceEntry(parts.spec.space, parts.decoder_digest, parts.codec_digest),),
            sections=sections,
            metadata=self._facts,
        )

    def at_rate(self, bpp: float) -> Packet:
        """The largest packet of at most ``bpp`` bits per pixel, by bisection over the levels."""
        limit_bytes = bpp * self._picture.height * self._picture.width / 8
        best, low, high = None, 0, 255
        while low <= high:
            middle = (low + high) // 2
            packet = self.at_quality(middle)
            if len(packet) <= limit_bytes:
                best, low = packet, middle + 1
            else:
                high = middle - 1
        if best is None:
            smallest = 8 * len(self.at_quality(0)) / (self._picture.height * self._picture.width)
            raise UsageError(f"{self._picture.source}: {bpp:g} bits per pixel are too few; the least is {smallest:.4f}")
        return best
