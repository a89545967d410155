"""What the shared space costs: the paper's tables 5 and 6 on this machine, times and multiply-adds of every network.

Multiply-adds stand in two conventions. ``printed`` is that of the counting tool whose figures the paper prints: a
transposed convolution over its output, BatchNorm four times a value, pools once a value; matrix products not at all.
``computed`` is what is done: a transposed convolution over its input, matrix products too, norms folded away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from smalto.bench.results import Table
from smalto.bench.space_speed import described, multiply_adds, seconds_in_turns, shapes_only
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads import segment, stereo
from smalto.heads.denoise import Denoiser, LightDenoiser
from smalto.heads.pixel_denoise import PixelDenoiser
from smalto.heads.shared_decoder import SharedDecoder
from smalto.layers.shared_planes import BOTTOM_STRIDE, CHANNELS, TOP_STRIDE, SharedPlanes
from smalto.systems.engine import Engine

NUM_CLASSES = 19  # of Cityscapes, which the paper's figures are for
PAPER_SECONDS = {
    ("encoder", 720): 0.015,
    ("encoder", 1080): 0.033,
    ("segment L on pixels", 720): 0.00887,
    ("segment L on planes", 720): 0.00845,
    ("segment L on pixels", 1080): 0.00927,
    ("segment L on planes", 1080): 0.00894,
}
PAPER_GMAC = {
    ("encoder", 720): 95.55,
    ("encoder", 1080): 214.99,
    ("segment L on pixels", 720): 121.85,
    ("segment L on planes", 720): 121.39,
    ("segment L on pixels", 1080): 273.66,
    ("segment L on planes", 1080): 272.63,
}
_COLUMNS = (
    "part", "size", "milliseconds", "paper_a100_ms", "printed_gmac", "paper_gmac", "computed_gmac", "parameters",
)  # fmt: skip


@dataclass(frozen=True)
class CostSettings:
    """What to time and count.

    Args:
        engine: where, and in which precision.
        sizes: (height, width) in pixels, multiples of 4.
        rounds: of taking turns.
        quick: sizes M and L are counted and not timed.

    Raises:
        UsageError: no rounds, or a size that is none.
    """

    engine: Engine
    sizes: tuple[tuple[int, int], ...] = ((720, 1280), (1080, 1920))
    rounds: int = 3
    quick: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1 or any(side < TOP_STRIDE or side % TOP_STRIDE for size in self.sizes for side in size):
            raise UsageError(f"costs: rounds must be 1 or more, sides multiples of {TOP_STRIDE}")


@dataclass(frozen=True)
class CostPart:
    """One network.

    Args:
        name: as in tables.
        build: makes it, untrained.
        reads_planes: or pictures.
        num_views: inputs of a call.
        is_large: not timed when in a hurry.
    """

    name: str
    build: Callable[[], nn.Module]
    reads_planes: bool
    num_views: int = 1
    is_large: bool = False

    def inputs(self, height: int, width: int, device: torch.device | None) -> list[Tensor | SharedPlanes]:
        """Random pictures or planes for one call."""
        kind = planes_like if self.reads_planes else picture_like
        return [kind(height, width, device) for _ in range(self.num_views)]


class Counts(NamedTuple):
    """Of one call: multiply-adds by both conventions; of the network: trained values."""

    printed: int
    computed: int
    parameters: int


def cost_parts() -> tuple[CostPart, ...]:
    """Every network of the space, and those on pixels that tasks are compared with."""
    return tuple(_parts())


def cost_table(settings: CostSettings) -> Table:
    """Times and multiply-adds of every part at every size, beside the paper's."""
    rows = []
    for height, width in settings.sizes:
        seconds = _seconds(settings, height, width)
        for part in cost_parts():
            key = (part.name, height)
            taken, counts = seconds.get(part.name), counted(part, height, width)
            rows.append(
                (
                    part.name,
                    f"{width}x{height}",
                    None if taken is None else 1e3 * taken,
                    1e3 * PAPER_SECONDS[key] if key in PAPER_SECONDS else None,
                    counts.printed / 1e9,
                    PAPER_GMAC.get(key),
                    counts.computed / 1e9,
                    counts.parameters,
                )
            )
    note = (
        f"{described(settings.engine)}; untrained networks, one call of the network alone, median of {settings.rounds} "
        "rounds in which parts take turns. Stereo is a pair. The paper's times are of an A100, its figures for "
        "segmentation of size L; it prints 270.63 G on pixels at 1080p, probably a misprint of 273.66."
    )
    return Table("costs", _COLUMNS, tuple(rows), note)


def counted(part: CostPart, height: int, width: int) -> Counts:
    """Multiply-adds of one call, in both conventions, and trained values; nothing is computed."""
    printed = 0

    def count(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal printed
        if isinstance(module, nn.ConvTranspose2d | nn.Conv2d):
            rows, columns = module.kernel_size
            printed += out.numel() * module.in_channels // module.groups * rows * columns
        elif isinstance(module, nn.BatchNorm2d):
            printed += 4 * given[0].numel()
        elif isinstance(module, nn.AvgPool2d):
            printed += out.numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            printed += out.numel() * (given[0].shape[2] * given[0].shape[3] + 1)

    with shapes_only():
        network, inputs = on_device(part.build(), None), part.inputs(height, width, None)
        for module in network.modules():
            module.register_forward_hook(count)
        computed = multiply_adds(lambda: network(*inputs))
        return Counts(printed, computed, sum(parameter.numel() for parameter in network.parameters()))


def picture_like(height: int, width: int, device: torch.device | None) -> Tensor:
    """A random picture (1, 3, H, W), channels last."""
    return torch.rand(1, 3, height, width, device=device).to(memory_format=torch.channels_last)


def planes_like(height: int, width: int, device: torch.device | None) -> SharedPlanes:
    """Random planes of a picture of that size, channels last."""
    z_b, z_t = (
        torch.randn(1, CHANNELS, height // stride, width // stride, device=device)
        for stride in (BOTTOM_STRIDE, TOP_STRIDE)
    )
    return SharedPlanes(z_b.to(memory_format=torch.channels_last), z_t.to(memory_format=torch.channels_last))


def on_device(network: nn.Module, device: torch.device | None) -> nn.Module:
    """The network ready to run, in channels last; with no device as it was built."""
    network.eval().requires_grad_(False)
    if device is None:
        return network
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _parts() -> Iterator[CostPart]:
    yield CostPart("encoder", SharedEncoder, False)
    yield CostPart("decoder", SharedDecoder, True)
    yield CostPart("denoise, exact head", Denoiser, True)
    yield CostPart("denoise, light head", LightDenoiser, True)
    yield CostPart("DnCNN on pixels", PixelDenoiser, False)
    for size in segment.SIZES:
        large = size != "s"
        on_planes, on_pixels = segment.Segmenter, segment.PixelSegmenter
        yield CostPart(f"segment {size.upper()} on planes", _sized(on_planes, size), True, is_large=large)
        yield CostPart(f"segment {size.upper()} on pixels", _sized(on_pixels, size), False, is_large=large)
    for size, config in stereo.SIZES.items():
        large = size != "S"
        on_planes, on_pixels = _configured(stereo.StereoHead, config), _configured(stereo.PixelStereo, config)
        yield CostPart(f"stereo {size} on planes", on_planes, True, 2, large)
        yield CostPart(f"stereo {size} on pixels", on_pixels, False, 2, large)


def _sized(kind: Callable[..., nn.Module], size: segment.Size) -> Callable[[], nn.Module]:
    return lambda: kind(size, NUM_CLASSES)


def _configured(kind: Callable[..., nn.Module], config: stereo.StereoConfig) -> Callable[[], nn.Module]:
    return lambda: kind(config)


def _seconds(settings: CostSettings, height: int, width: int) -> dict[str, float]:
    """Median seconds of the parts that are timed."""
    device = settings.engine.device
    calls: dict[str, Callable[[], object]] = {}
    for part in cost_parts():
        if not (settings.quick and part.is_large):
            calls[part.name] = _call(on_device(part.build(), device), part.inputs(height, width, device))
    taken = seconds_in_turns(calls, settings.rounds, settings.engine)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def _call(network: nn.Module, inputs: list[Tensor | SharedPlanes]) -> Callable[[], object]:
    return lambda: network(*inputs)
