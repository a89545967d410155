"""A System: one space's encoders, codecs and heads, checked against each other. Everything that runs, runs one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor, nn

from smalto.bits.packet import Limits, Packet, SpaceEntry
from smalto.codecs.factorized_codec import FrozenFactorized
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.data.photographs import MAX_PIXELS, as_image, image_planes, unit_range
from smalto.data.raw_mosaic import Mosaic
from smalto.errors import LimitExceeded, MissingSpace, UsageError
from smalto.systems.coding import (
    ArchiveCodec,
    ArchiveCoding,
    Coding,
    LearnedCoding,
    PlaneForm,
    PlaneTransform,
    SinglePlane,
    check_fit,
)
from smalto.systems.engine import Engine, StageTimes, pad_to_multiple
from smalto.systems.joined_packets import space_fact
from smalto.systems.packet_writer import (
    MAX_TILE_PX,
    TILE_PX,
    TILE_UNIT_PX,
    PacketWriter,
    PictureFacts,
    alpha_of,
    offset_of,
    tile_of,
)
from smalto.systems.raw_pictures import encoder_input
from smalto.systems.tasks import Answer, PictureTask, Task, View
from smalto.types import DisparityMap, Image, LabelMap, Latent, LatentSpec

QUALITIES = {"low": 20, "medium": 40, "high": 60}
RAW_ENCODER = "raw"
Source: TypeAlias = Packet | bytes | Latent


@dataclass(frozen=True)
class Parts:
    """What a System is made of.

    Args:
        spec: the space.
        encoders: name -> network (1, 3, H, W) -> carrier (1, C, h, w); the first is the default.
        codec: of the space's plane, or of the latent that ``transform`` makes of its planes.
        heads: task -> network; ``reconstruct`` is the frozen decoder.
        decoder_digest: first 8 bytes of the decoder's digest.
        codec_digest: first 8 bytes of the codec's, its synthesis with it.
        form: how the planes travel in one tensor, the carrier; None in spaces of one plane.
        transform: around the codec; None codes the carrier.
        archive: codes the planes themselves (``quality="archive"``), where there is one.
        archive_digest: first 8 bytes of its digest.
        tasks: task -> what answers it, for heads that answer with no picture of their own; by default every head
            answers with the picture it gives.
    """

    spec: LatentSpec
    encoders: Mapping[str, nn.Module]
    codec: FrozenHyperprior | FrozenFactorized
    heads: Mapping[str, nn.Module]
    decoder_digest: bytes
    codec_digest: bytes
    form: PlaneForm | None = None
    transform: PlaneTransform | None = None
    archive: ArchiveCodec | None = None
    archive_digest: bytes = b""
    tasks: Mapping[str, Task] = field(default_factory=dict)


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
        self.form = parts.form or SinglePlane(parts.spec.planes[0])
        self.plane = self.form.plane
        if not parts.encoders or "reconstruct" not in parts.heads:
            raise UsageError(f"system {name}: needs an encoder and a head called 'reconstruct'")
        check_fit(name, self.plane, parts.codec, parts.transform)
        learned = LearnedCoding(parts.spec.space, parts.codec, parts.transform, self.plane, engine)
        self.codings: dict[bytes, Coding] = {parts.codec_digest: learned}
        if parts.archive is not None:
            self.codings[parts.archive_digest] = ArchiveCoding(parts.spec, parts.archive, self.form)
        stride = self.plane.stride
        made = {name: PictureTask(name, head, stride) for name, head in parts.heads.items() if name not in parts.tasks}  # type: ignore[arg-type]
        self.tasks: dict[str, Task] = {name: parts.tasks.get(name) or made[name] for name in parts.heads}
        around = () if parts.transform is None else (parts.transform.analysis, parts.transform.synthesis)
        for network in (*parts.encoders.values(), *parts.heads.values(), *around):
            network.to(engine.device).eval().requires_grad_(False)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts.codec.to(engine.device).eval().requires_grad_(False)

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
            image: Image, Pillow image, uint8 array (H, W[, 3 or 4]) or float tensor (3, H, W) in [0, 1]; a RAW Mosaic
                where the system has an encoder for it.
            quality: ``low``, ``medium``, ``high`` or 0..100, which rises in rate; ``archive`` stores the planes
                themselves, in systems that can.
            bpp: bits per pixel of the whole file instead of a quality; met from below.
            encoder: name of the encoder; None takes the default one.
            tile: side of a chunk in pixels, a multiple of 64 up to 2048.
            stages: filled with the seconds of each stage.

        Raises:
            UsageError: an argument is out of range.
            ImageError: the picture is refused.
        """
        if tile % TILE_UNIT_PX or not TILE_UNIT_PX <= tile <= MAX_TILE_PX:
            raise UsageError(f"tile {tile} is not a multiple of {TILE_UNIT_PX} in {TILE_UNIT_PX}..{MAX_TILE_PX}")
        coding, digest = self._coding("archive" if quality == "archive" and bpp is None else None)
        level = 0 if bpp is not None or coding.quality is not None else quality_level(quality)
        times = stages or StageTimes()
        with times.measure("encoder"):
            carrier, facts = self._analysed(image, encoder)
        with times.measure("codec"):
            prepared = coding.prepare(carrier, tile)
            space = SpaceEntry(self.parts.spec.space, self.parts.decoder_digest, digest)
            writer = PacketWriter(replace(facts, tile_px=tile), space, prepared.sections)
            return writer.at_quality(level) if bpp is None else writer.at_rate(bpp)

    def _coding(self, quality: str | None) -> tuple[Coding, bytes]:
        """The coding of a named quality and its digest; None is the one that has levels."""
        for digest, coding in self.codings.items():
            if coding.quality == quality:
                return coding, digest
        raise UsageError(f"system {self.name} has no quality {quality!r}; use low, medium, high or 0..100")

    def encode_batch(self, images: Iterable[object], *, quality: str | float = "medium") -> list[Packet]:
        """Packets of several pictures, each the same as ``encode`` gives alone."""
        return [self.encode(image, quality=quality) for image in images]

    def analyse(self, picture: Image, encoder: str | None = None) -> Tensor:
        """The carrier (1, C, h, w) of a picture, before quantisation; a border repeats its last row and column."""
        network = self._encoder(encoder)
        stride, window = self.plane.stride, self.engine.window_px
        x = pad_to_multiple(image_planes(picture), stride * self.plane.multiple)
        halo = int(network.halo_px)  # type: ignore[arg-type]
        return self.engine.run(lambda part: network(unit_range(part)), x, window, halo, (1, stride))

    def latent_of(self, image: object, encoder: str | None = None) -> Latent:
        """The latent of a picture as its encoder gives it, before any codec.

        Args:
            image: as for ``encode``.
            encoder: name of the encoder; None takes the default one.

        Raises:
            UsageError, ImageError: as for ``encode``.
        """
        carrier, facts = self._analysed(image, encoder)
        planes = self.form.unfold(carrier)
        return Latent(self.parts.spec, planes, facts.height, facts.width, facts.offset_px)

    def _analysed(self, image: object, encoder: str | None) -> tuple[Tensor, PictureFacts]:
        """The carrier of a picture or a RAW mosaic, and what its packet says of it."""
        if isinstance(image, Mosaic):
            return self._analysed_mosaic(image, encoder)
        if encoder == RAW_ENCODER:
            raise UsageError(f"encoder {RAW_ENCODER!r} takes RAW mosaics; pass what smalto.systems.raw_pictures reads")
        picture = as_image(image)  # type: ignore[arg-type]
        carrier = self.analyse(picture, encoder)
        named = None if encoder in (None, next(iter(self.parts.encoders))) else encoder
        facts = PictureFacts(
            picture.height, picture.width, picture.source, grey=picture.grey, encoder=named, alpha=picture.alpha
        )
        return carrier, facts

    def _analysed_mosaic(self, mosaic: Mosaic, encoder: str | None) -> tuple[Tensor, PictureFacts]:
        if RAW_ENCODER not in self.parts.encoders or encoder not in (None, RAW_ENCODER):
            raise UsageError(
                f"{mosaic.source}: system {self.name} has no RAW encoder{'' if encoder is None else f' {encoder!r}'}; "
                "develop the picture first, or use a system that has one"
            )
        padded = encoder_input(mosaic)
        network, stride = self.parts.encoders[RAW_ENCODER], self.plane.stride
        x = pad_to_multiple(padded.values, stride * self.plane.multiple)
        carrier = self.engine.run(network, x, self.engine.window_px, int(network.halo_px), (1, stride))  # type: ignore[arg-type]
        facts = PictureFacts(padded.height, padded.width, mosaic.source, offset_px=padded.offset, encoder=RAW_ENCODER)
        return carrier, facts

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
        packet = self._packet(packet) if isinstance(packet, bytes) else packet
        carrier = self._carrier(packet, stages or StageTimes())
        offset = offset_of(packet, self.parts.spec.space)
        return Latent(self.parts.spec, self.form.unfold(carrier), packet.height, packet.width, offset)

    def _carrier(self, packet: Packet, stages: StageTimes) -> Tensor:
        """The carrier a packet holds."""
        if packet.height * packet.width > self.max_pixels:
            raise LimitExceeded(
                f"{packet.width} x {packet.height} pixels exceed the limit, {self.max_pixels}; raise max_pixels"
            )
        space, coding = self._find_space(packet)
        name = self.parts.spec.space
        tile, (rows, columns) = tile_of(packet, name), offset_of(packet, name)
        with stages.measure("codec"):
            return coding.decode(packet, space, (packet.height + rows, packet.width + columns), tile)

    def _packet(self, data: bytes) -> Packet:
        return Packet.from_bytes(data, Limits(max_pixels=self.max_pixels))

    def _find_space(self, packet: Packet) -> tuple[int, Coding]:
        own = self.parts.spec.space
        for number, entry in enumerate(packet.spaces):
            if entry.name == own and entry.decoder_digest == self.parts.decoder_digest:
                coding = self.codings.get(entry.codec_digest)
                if coding is not None:
                    return number, coding
        shown = [f"{s.name} ({s.decoder_digest.hex()}, {s.codec_digest.hex()})" for s in packet.spaces[:3]]
        held = ", ".join(shown + ["..."] * (len(packet.spaces) > 3)) or "no space"
        codecs = " or ".join(digest.hex() for digest in self.codings)
        raise MissingSpace(
            f"the file holds {held}; system {self.name} reads {own} "
            f"({self.parts.decoder_digest.hex()}, {codecs}): install the weights with these digests"
        )

    # -- answers ----------------------------------------------------------------------------------------------------

    def num_views(self, task: str) -> int:
        """Pictures that one answer to a task needs: 2 for depth, else 1.

        Raises:
            UsageError: the system has no head for the task.
        """
        if task not in self.tasks:
            raise UsageError(f"system {self.name} has no task {task!r}; it answers {', '.join(self.tasks)}")
        return self.tasks[task].num_views

    @overload
    def run(
        self,
        task: Literal["reconstruct", "upscale", "denoise"],
        source: Source | Sequence[Source],
        stages: StageTimes | None = None,
    ) -> Image: ...
    @overload
    def run(
        self, task: Literal["segment"], source: Source | Sequence[Source], stages: StageTimes | None = None
    ) -> LabelMap: ...
    @overload
    def run(
        self, task: Literal["depth"], source: Source | Sequence[Source], stages: StageTimes | None = None
    ) -> DisparityMap: ...
    @overload
    def run(
        self, task: str, source: Source | Sequence[Source], stages: StageTimes | None = None
    ) -> Image | LabelMap | DisparityMap: ...
    @overload
    def run(
        self, task: Sequence[str], source: Source | Sequence[Source], stages: StageTimes | None = None
    ) -> list[Any]: ...
    def run(
        self, task: str | Sequence[str], source: Source | Sequence[Source], stages: StageTimes | None = None
    ) -> Answer | list[Any]:
        """Answer one task or several from a packet or a latent; the packet is decoded once.

        Everything that is coded is decoded and found whole before the first answer is made.

        Args:
            task: a name of ``tasks``, or several.
            source: packet, its bytes or a latent; for a task of several views a sequence of them (depth: left, right).
                Tasks of one view beside it answer from the first.
            stages: filled with the seconds of each stage.

        Raises:
            UsageError: the system has no head for a task, or the views do not fit it.
            PacketError: the packet is damaged, or an answer would exceed 8192 pixels a side or 2^26 in all.
        """
        tasks = [task] if isinstance(task, str) else list(task)
        needed = max((self.num_views(name) for name in tasks), default=1)
        sources = [source] if isinstance(source, Packet | bytes | Latent) else list(source)
        if len(sources) != needed:
            raise UsageError(f"{', '.join(tasks)}: takes {needed} view{'s' * (needed > 1)}, got {len(sources)}")
        packets = [self._packet(one) if isinstance(one, bytes) else one for one in sources]
        sizes = {(one.height, one.width) for one in packets}
        if len(sizes) > 1:
            shown = " and ".join(f"{width} x {height}" for height, width in sorted(sizes))
            raise UsageError(
                f"{', '.join(tasks)}: views of {shown} pixels are no rectified pair; use views of one size"
            )
        for name in tasks:
            self.tasks[name].check(packets[0].height, packets[0].width)
        times = stages or StageTimes()
        views = [self._view(one, times) for one in packets]
        answers = []
        for name in tasks:
            with times.measure(name):
                answers.append(self.tasks[name].answer(views[: self.num_views(name)], self.engine))
        return answers[0] if isinstance(task, str) else answers

    def _view(self, source: Packet | Latent, stages: StageTimes) -> View:
        """One source as tasks see it."""
        if isinstance(source, Packet):
            carrier = self._carrier(source, stages)
            name = self.parts.spec.space
            grey, offset = space_fact(source, name, "grey") == 1, offset_of(source, name)
            return View(carrier, source.height, source.width, grey=grey, offset_px=offset, alpha=alpha_of(source))
        if source.spec != self.parts.spec:
            own = self.parts.spec.space
            raise UsageError(f"the latent is of space {source.spec.space}, system {self.name} reads {own}")
        carrier = self.form.fold(source.planes)
        if len(carrier) != 1:
            raise UsageError(f"the latent holds {len(carrier)} pictures; run them one by one")
        return View(carrier, source.height, source.width, source.offset_px)
