"""A system's networks as devices run them: plain tensors in and out, each with a name, axes and a meaning.

::

    picture (B, 3, H, W) ─► encoder ─────► z_b, z_t ─┬► decoder ─► picture
    mosaic (B, 1, H, W) ──► raw-encoder ─► z_b, z_t  ├► denoise ─► z_b, z_t
                                                     ├► segment ─► class logits at 1/8
                                                     └► stereo, with the planes of a second view ─► disparity

    picture (B, 3, H, W) ─► encoder ─► y ─┬► decoder ─► picture               (lite systems)
                                          └► upscale ─► picture of twice the sides
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from smalto.encoders.hific import Encoder
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.image import Decoder
from smalto.heads.segment import Segmenter
from smalto.heads.shared_decoder import SharedDecoder
from smalto.heads.stereo import StereoHead
from smalto.heads.super_resolve import SuperResolver
from smalto.layers.shared_planes import BOTTOM_STRIDE, CHANNELS, TOP_STRIDE, SharedPlanes

if TYPE_CHECKING:
    from smalto.systems.system import System

PICTURE, MOSAIC = "sRGB in 0..1", "RGGB mosaic of sRGB-coded values in 0..1"
PICTURE_OUT = "sRGB around 0..1; clamp it"
DETAIL, STRUCTURE, LATENT = "detail plane", "structure plane", "latent in the space's own units"
PICTURE_SNR_DB, LOGITS_SNR_DB = 30.0, 20.0
_RANDOM_DEVIATION = 0.5  # of planes made up to compare two runtimes


@dataclass(frozen=True)
class Port:
    """An input or output: float32 (batch, channels, rows, columns).

    Args:
        name: in the graph.
        channels: its second axis.
        meaning: of its values, for people.
        stride: pixels of the picture per cell along each side, rounded up.
        scale: cells per pixel, for answers that are larger than the picture.
    """

    name: str
    channels: int
    meaning: str
    stride: int = 1
    scale: int = 1

    @property
    def axes(self) -> tuple[str | int, ...]:
        """Names of the free axes, in pixels of the picture, and the number of channels."""
        forms = {1: "{}" if self.scale == 1 else f"{self.scale}*{{}}"}
        form = forms.get(self.stride, f"{{}}/{self.stride}")
        return ("batch", self.channels, form.format("height"), form.format("width"))

    def shape(self, batch: int, height: int, width: int) -> tuple[int, int, int, int]:
        """Its shape over pictures of height x width."""
        rows, columns = (-(-side * self.scale // self.stride) for side in (height, width))
        return batch, self.channels, rows, columns


@dataclass(frozen=True)
class DeviceNetwork:
    """One network, to become one file.

    Args:
        name: of the file, and of the task where it answers one.
        module: called with a tensor per input; gives a tensor or a tuple of them.
        inputs: in the order of the call.
        outputs: in the order of the answer.
        multiple: the picture's sides are multiples of this many pixels.
        snr_db: least ratio of signal to the noise that int8 may add to the answers.
        facts: what else a reader of the file needs, such as the classes' names.
    """

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    multiple: int
    snr_db: float = PICTURE_SNR_DB
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)

    def example(self, batch: int, height: int, width: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Random inputs over pictures of at least height x width: uniform in 0..1, planes normal."""
        height, width = (-(-side // self.multiple) * self.multiple for side in (height, width))
        generator = torch.Generator().manual_seed(seed)
        shapes = [port.shape(batch, height, width) for port in self.inputs]
        return tuple(
            torch.rand(shape, generator=generator)
            if port.meaning in (PICTURE, MOSAIC)
            else _RANDOM_DEVIATION * torch.randn(shape, generator=generator)
            for port, shape in zip(self.inputs, shapes, strict=True)
        )

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The module's answers, always a tuple."""
        answer = self.module(*inputs)
        return (answer,) if isinstance(answer, Tensor) else tuple(answer)


class ToPlanes(nn.Module):
    """An encoder whose ``SharedPlanes`` come as a plain pair, which every exporter takes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> z_b, z_t."""
        planes = self.network(x)
        return planes.z_b, planes.z_t


class OnPlanes(nn.Module):
    """A network of ``SharedPlanes``, called with the planes one by one; planes come as a plain pair."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z_b: Tensor, z_t: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, 64, H/2, W/2) and (B, 64, H/4, W/4) -> the network's answer."""
        answer = self.network(SharedPlanes(z_b, z_t))
        return answer if isinstance(answer, Tensor) else tuple(answer)


class OnDetail(nn.Module):
    """A network of ``SharedPlanes`` that reads z_b alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z_b: Tensor) -> Tensor:
        """(B, 64, H/2, W/2) -> the network's answer."""
        return self.network(SharedPlanes(z_b, z_b))


class OnViews(nn.Module):
    """The stereo network, called with four planes; gives its fine answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, left_z_b: Tensor, left_z_t: Tensor, right_z_b: Tensor, right_z_t: Tensor) -> Tensor:
        """Planes of the left and the right view -> (B, 1, H, W) disparity of the left one."""
        return self.network(SharedPlanes(left_z_b, left_z_t), SharedPlanes(right_z_b, right_z_t)).fine


def _planes(before: str = "", after: str = "") -> tuple[Port, Port]:
    return (
        Port(f"{before}z_b{after}", CHANNELS, DETAIL, BOTTOM_STRIDE),
        Port(f"{before}z_t{after}", CHANNELS, STRUCTURE, TOP_STRIDE),
    )


def _shared_encoder(network: SharedEncoder) -> DeviceNetwork:
    module = ToPlanes(network)
    if network.channels_in == 1:
        return DeviceNetwork("raw-encoder", module, (Port("mosaic", 1, MOSAIC),), _planes(), TOP_STRIDE)
    return DeviceNetwork("encoder", module, (Port("picture", 3, PICTURE),), _planes(), TOP_STRIDE)


def _shared_decoder(network: SharedDecoder) -> DeviceNetwork:
    return DeviceNetwork("decoder", OnPlanes(network), _planes(), (Port("picture", 3, PICTURE_OUT),), TOP_STRIDE)


def _denoiser(network: Denoiser | LightDenoiser) -> DeviceNetwork:
    return DeviceNetwork("denoise", OnPlanes(network), _planes(), _planes(after="_clean"), TOP_STRIDE)


def _segmenter(network: Segmenter) -> DeviceNetwork:
    from smalto.data.segmentation import CLASSES

    num = network.network.out.out.out_channels
    logits = Port("logits", num, "class logits; enlarge bilinearly, then take the largest", 2 * TOP_STRIDE)
    facts = {"classes": ", ".join(CLASSES)} if num == len(CLASSES) else {}
    return DeviceNetwork("segment", OnDetail(network), _planes()[:1], (logits,), TOP_STRIDE, LOGITS_SNR_DB, facts)


def _stereo(network: StereoHead) -> DeviceNetwork:
    answer = Port("disparity", 1, "pixels, column in the left view minus column in the right one")
    inputs = (*_planes("left_"), *_planes("right_"))
    facts = {"max_disparity_px": str(network.config.max_disparity_px)}
    return DeviceNetwork("stereo", OnViews(network), inputs, (answer,), TOP_STRIDE, facts=facts)


def _lite_encoder(network: Encoder) -> DeviceNetwork:
    stride = network.config.stride
    latent = Port("y", network.config.latent_channels, LATENT, stride)
    return DeviceNetwork("encoder", network, (Port("picture", 3, PICTURE),), (latent,), stride)


def _lite_decoder(network: Decoder) -> DeviceNetwork:
    stride = network.config.stride
    latent = Port("y", network.config.latent_channels, LATENT, stride)
    return DeviceNetwork("decoder", network, (latent,), (Port("picture", 3, PICTURE_OUT),), stride)


def _super_resolver(network: SuperResolver) -> DeviceNetwork:
    stride = network.config.decoder.stride
    latent = Port("y", network.config.decoder.latent_channels, LATENT, stride)
    picture = Port("picture", 3, PICTURE_OUT, scale=network.scale)
    return DeviceNetwork("upscale", network, (latent,), (picture,), stride)


_KINDS: tuple[tuple[type[nn.Module], Callable[..., DeviceNetwork]], ...] = (
    (SuperResolver, _super_resolver),
    (SharedEncoder, _shared_encoder),
    (SharedDecoder, _shared_decoder),
    (Denoiser, _denoiser),
    (LightDenoiser, _denoiser),
    (Segmenter, _segmenter),
    (StereoHead, _stereo),
    (Encoder, _lite_encoder),
    (Decoder, _lite_decoder),
)


def device_networks(parts: Iterable[nn.Module]) -> tuple[DeviceNetwork, ...]:
    """What can be exported of a system's parts, each name once, in the order of the parts.

    Args:
        parts: encoders and heads, or modules that hold some; others are left out.
    """
    found: dict[str, DeviceNetwork] = {}
    for part in parts:
        for network in _known(part):
            found.setdefault(network.name, network)
    return tuple(found.values())


def _known(part: nn.Module) -> Iterator[DeviceNetwork]:
    """The networks in a module, not looking inside those that are known."""
    build = next((build for kind, build in _KINDS if isinstance(part, kind)), None)
    if build is not None:
        network = build(part)
        network.module.eval()
        yield network
        return
    for child in part.children():
        yield from _known(child)


def system_networks(system: System) -> tuple[DeviceNetwork, ...]:
    """What can be exported of a loaded system."""
    return device_networks((*system.parts.encoders.values(), *system.parts.heads.values()))


def chosen_networks(
    networks: Iterable[DeviceNetwork], names: Iterable[str] | None, system: str
) -> tuple[DeviceNetwork, ...]:
    """The networks of these names; all when none is named.

    Raises:
        UsageError: the system lacks one, or has none at all.
    """
    held = {network.name: network for network in networks}
    if not held:
        raise UsageError(f"system {system} has no network that can be exported; name another system")
    wanted = tuple(held) if names is None else tuple(dict.fromkeys(names))
    for name in wanted:
        if name not in held:
            raise UsageError(f"system {system} has no {name!r} to export; it has {', '.join(held)}")
    return tuple(held[name] for name in wanted)
