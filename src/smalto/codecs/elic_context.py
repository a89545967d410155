"""ELIC's space-channel context, split in two: symbols choose tables in integers, values give means in float32.

::

    for each group of channels, for its anchors and then for the others:

    z symbols ─► hyper ────────────┐
    symbols of earlier groups ─► channel ─┼─► gather ─► table index       integers only: ElicScalePath
    symbols of the anchors ─► spatial ────┘

    z_hat ─► hyper ────────────────┐
    y_hat of earlier groups ─► channel ───┼─► gather ─► mean              float32: ElicMeanPath
    y_hat of the anchors ─► spatial ──────┘

Anchors are the cells of a tile whose row + column is even, counted from the tile's first cell. The others see them,
they see nothing of their own group. Outside the tile everything is zero.

Legend: y latent, z hyper-latent, M channels of y, M_k channels of group k, n cells of one half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from smalto.codecs.hific_hyperprior import HificSynthesis
from smalto.codecs.hyperprior import INDEX_STEPS, LOG_STEP, HyperpriorConfig
from smalto.codecs.scale_path import INPUT_LIMIT, IntegerScalePath, ScaleLayer, ScalePath, scale_layers
from smalto.layers import straight_through

MAGNITUDE_LIMIT = 127
EVIDENCE_SHIFT = 3
_ZERO_MAGNITUDE = 0.25  # typical of what rounds to 0


@dataclass(frozen=True)
class ElicConfig:
    """Layers and rate range of an ELIC entropy model.

    Args:
        groups: channels of y in each group, in coding order; their sum is M.
        hyper_channels: channels of z.
        analysis_widths: channels between the three layers of the hyper-analysis.
        analysis_kernels: sides of its three kernels; the second and third have stride 2.
        mean_widths: hyper part of the mean path: channels after the first and the second doubling, and of its result.
        channel_widths: channels between the three layers of the mean path's channel context.
        gather_widths: channels between the three layers that give the mean.
        scale_widths: hyper part of the scale path: likewise.
        scale_context_widths: channels between the layers of the scale path's channel and spatial context, and of
            their results.
        scale_gather_widths: channels between the three layers that give the table index.
        num_anchors: gains are learned at this many qualities and interpolated between.
        gain_range: gain at q = 0 and at q = 255 when training starts, in symbols per unit of y.
        z_gains: z gain for four equal ranges of q, from the lowest on.
        z_unit: the hyper-analysis' output is multiplied by this to give z.
    """

    groups: tuple[int, ...] = (16, 16, 32, 64, 192)
    hyper_channels: int = 192
    analysis_widths: tuple[int, int] = (192, 192)
    analysis_kernels: tuple[int, int, int] = (3, 5, 5)
    mean_widths: tuple[int, int, int] = (192, 288, 640)
    channel_widths: tuple[int, int] = (224, 128)
    gather_widths: tuple[int, int] = (640, 512)
    scale_widths: tuple[int, int, int] = (128, 96, 192)
    scale_context_widths: tuple[int, int] = (96, 64)
    scale_gather_widths: tuple[int, int] = (256, 192)
    num_anchors: int = 9
    gain_range: tuple[float, float] = (0.36, 3.6)
    z_gains: tuple[int, int, int, int] = (6, 4, 3, 2)
    z_unit: float = 16.0

    @property
    def latent_channels(self) -> int:
        """M, channels of y."""
        return sum(self.groups)

    @property
    def analysis(self) -> HyperpriorConfig:
        """The hyper-analysis as a HyperpriorConfig."""
        return HyperpriorConfig(
            latent_channels=self.latent_channels,
            hyper_channels=self.hyper_channels,
            analysis_widths=self.analysis_widths,
            analysis_kernels=self.analysis_kernels,
            z_unit=self.z_unit,
        )


ELIC = ElicConfig()
ELIC_SMALL = ElicConfig(
    groups=(8, 8, 16, 32, 64),
    hyper_channels=64,
    analysis_widths=(96, 96),
    analysis_kernels=(3, 3, 3),
    mean_widths=(96, 96, 128),
    channel_widths=(64, 48),
    gather_widths=(160, 128),
    scale_widths=(64, 48, 96),
    scale_context_widths=(48, 32),
    scale_gather_widths=(96, 64),
)


class Step(NamedTuple):
    """One of the steps of a tile.

    Args:
        number: its place in the order of coding.
        channels: of the group, in y.
        cells: (n,) numbers of its cells, row by row.
    """

    number: int
    channels: slice
    cells: Tensor


def coding_steps(groups: tuple[int, ...], height: int, width: int, device: torch.device) -> list[Step]:
    """The steps of a tile of height x width cells: each group's anchors, then its other cells."""
    parity = torch.arange(height, device=device)[:, None] + torch.arange(width, device=device)
    halves = [torch.nonzero(parity.flatten() % 2 == half).flatten() for half in (0, 1)]
    bounds = pairwise(accumulate(groups, initial=0))
    return [
        Step(2 * k + half, slice(first, end), cells)
        for k, (first, end) in enumerate(bounds)
        for half, cells in enumerate(halves)
    ]


def _at(plane: Tensor, cells: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, n)."""
    return plane.flatten(2).index_select(2, cells)


def _on(values: Tensor, cells: Tensor, like: Tensor) -> Tensor:
    """(B, C, n) -> (B, C, h, w) with zeros on the other cells; sides of ``like``."""
    plane = values.new_zeros(*values.shape[:2], like.shape[2] * like.shape[3])
    return plane.index_copy(2, cells, values).unflatten(2, like.shape[2:])


def _pointwise(network: nn.Module, parts: list[Tensor], cells: Tensor, channels: int) -> Tensor:
    """A network of 1x1 layers to ``channels`` on parts (B, C_i, h, w) at some cells: (B, channels, n)."""
    if not len(cells):
        return parts[0].new_zeros(len(parts[0]), channels, 0)
    return network(torch.cat([_at(part, cells) for part in parts], dim=1)[:, :, None])[:, :, 0]


def _zeros(like: Tensor, channels: int) -> Tensor:
    """A plane of zeros, (B, channels, h, w)."""
    return like.new_zeros(len(like), channels, *like.shape[2:])


class ElicMeanPath(nn.Module):
    """Means from values, float32.

    Source: ELIC (He et al. 2022), figure 5 and section 3.2. Layers and widths are the paper's, but the last layer gives
    means only; the scales have a network of their own.
    """

    def __init__(self, config: ElicConfig) -> None:
        super().__init__()
        self.groups, self.unit = config.groups, config.z_unit
        first, second = config.channel_widths
        self.hyper = HificSynthesis((config.hyper_channels, *config.mean_widths))
        self.channel, self.spatial, self.gather = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for k, channels in enumerate(config.groups):
            sizes = ((sum(config.groups[:k]), first), (first, second), (second, 2 * channels))
            self.channel.append(_stack([nn.Conv2d(*size, 5, padding=2) for size in sizes]) if k else nn.Identity())
            self.spatial.append(_checkerboard(channels, 2 * channels))
            features = config.mean_widths[2] + (4 if k else 2) * channels
            widths = pairwise((features, *config.gather_widths, channels))
            self.gather.append(_stack([nn.Conv2d(*size, 1) for size in widths]))

    def features(self, z_hat: Tensor) -> Tensor:
        """z_hat (B, Cz, hz, wz) -> what every step reads of it, (B, F, 4 hz, 4 wz)."""
        return self.hyper(z_hat / self.unit)

    def forward(self, features: Tensor, values_of: Callable[[Step, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """All steps in order.

        Args:
            features: (B, F, h, w).
            values_of: gives y_hat (B, M_k, n) at a step's cells for the means there.

        Returns:
            Means and y_hat, (B, M, h, w) both.
        """
        means, known = [], []
        steps = coding_steps(self.groups, features.shape[2], features.shape[3], features.device)
        for k, pair in enumerate(zip(steps[::2], steps[1::2], strict=True)):
            parts = [features, self.channel[k](torch.cat(known, dim=1))] if k else [features]
            size = self.groups[k]
            group_mean = seen = _zeros(features, size)
            for half, step in enumerate(pair):
                context = self.spatial[k](seen) if half else _zeros(features, 2 * size)
                mean = _pointwise(self.gather[k], [*parts, context], step.cells, size)
                seen = seen + _on(values_of(step, mean), step.cells, features)
                group_mean = group_mean + _on(mean, step.cells, features)
            means.append(group_mean)
            known.append(seen)
        return torch.cat(means, dim=1), torch.cat(known, dim=1)


class ElicScalePath(nn.Module):
    """Table indexes from symbols alone, integers throughout.

    Every part is a scale path of its own: features between them are cut to -128..127 as symbols are. Both forms are
    this class, so that training simulates what coding does.

    Args:
        config: layers.
        integer: parts of the coding form; otherwise of the training form.
    """

    magnitude: Tensor

    def __init__(self, config: ElicConfig, integer: bool = False) -> None:
        super().__init__()
        self.config = config

        def path(layers: tuple[ScaleLayer, ...], input_gain: float, first_index: float = 0.0) -> nn.Module:
            return IntegerScalePath(layers) if integer else ScalePath(layers, first_index, input_gain)

        inner, context = config.scale_context_widths
        width = config.scale_widths[2]
        self.hyper = path(scale_layers(config.hyper_channels, config.scale_widths[:2], width), 12.0)
        self.channel, self.spatial, self.gather = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for k, channels in enumerate(config.groups):
            if k:
                sizes = ((sum(config.groups[:k]), inner), (inner, inner), (inner, context))
                self.channel.append(path(tuple(ScaleLayer(3, *size, 1) for size in sizes), 2.0))
            else:
                self.channel.append(nn.Identity())
            self.spatial.append(path(tuple(ScaleLayer(3, *s, 1) for s in ((channels, inner), (inner, context))), 2.0))
            widths = pairwise((width + (2 if k else 1) * context, *config.scale_gather_widths, channels))
            self.gather.append(path(tuple(ScaleLayer(1, *size, 1) for size in widths), 1.0, 20.0))
        self.register_buffer("magnitude", magnitude_table())

    def features(self, z: Tensor) -> Tensor:
        """Hyper-symbols times z gain (B, Cz, hz, wz) -> what every step reads of them, (B, F, 4 hz, 4 wz)."""
        return straight_through.clamp(self.hyper(z), *INPUT_LIMIT)

    def evidence(self, symbols: Tensor, offset: Tensor) -> Tensor:
        """Magnitudes of symbols on the scale of table indexes, in half table steps, freed of the gain.

        Math: ``floor((magnitude[min(|s|, 127)] - offset) / 8)``.

        Args:
            symbols: (B, C, n) integers of any type.
            offset: (B or 1, C, 1) index offset of each channel.
        """
        size = symbols.clamp(-MAGNITUDE_LIMIT, MAGNITUDE_LIMIT).abs().long()
        steps = self.magnitude[size].to(offset.dtype) - offset
        return torch.floor(steps * 2.0**-EVIDENCE_SHIFT).clamp(*INPUT_LIMIT)

    def forward(self, features: Tensor, offset: Tensor, symbols_of: Callable[[Step, Tensor], Tensor]) -> Tensor:
        """All steps in order.

        Args:
            features: (B, F, h, w), integers as floats.
            offset: (B or 1, M, 1) index offset of each channel, integers of the same type.
            symbols_of: gives the symbols (B, M_k, n) at a step's cells for the indexes there.

        Returns:
            Index in 1/16 table steps at gain 1, (B, M, h, w), integers as floats.
        """
        indexes, known = [], []
        steps = coding_steps(self.config.groups, features.shape[2], features.shape[3], features.device)
        for k, pair in enumerate(zip(steps[::2], steps[1::2], strict=True)):
            parts, size = [features], self.config.groups[k]
            if k:
                parts.append(straight_through.clamp(self.channel[k](torch.cat(known, dim=1)), *INPUT_LIMIT))
            group_index = seen = _zeros(features, size)
            context = _zeros(features, self.config.scale_context_widths[1])
            for half, step in enumerate(pair):
                if half:
                    context = straight_through.clamp(self.spatial[k](seen), *INPUT_LIMIT)
                index = _pointwise(self.gather[k], [*parts, context], step.cells, size)
                evidence = self.evidence(symbols_of(step, index), offset[:, step.channels])
                seen = seen + _on(evidence, step.cells, features)
                group_index = group_index + _on(index, step.cells, features)
            indexes.append(group_index)
            known.append(seen)
        return torch.cat(indexes, dim=1)

    def parts(self) -> dict[str, ScalePath | IntegerScalePath]:
        """The scale paths it is made of, by name."""
        kinds = (ScalePath, IntegerScalePath)
        return {name.replace(".", ""): part for name, part in self.named_modules() if isinstance(part, kinds)}

    @torch.no_grad()
    def frozen(self) -> ElicScalePath:
        """The integer form of the current weights.

        Raises:
            WeightsError: a weight does not fit its integers.
        """
        path = ElicScalePath(self.config, integer=True).to(self.magnitude.device)
        own = self.parts()
        for name, part in path.parts().items():
            trained = own[name]
            if isinstance(trained, ScalePath) and isinstance(part, IntegerScalePath):
                part.load_state_dict(trained.frozen().state_dict())
        return path


def magnitude_table() -> Tensor:
    """(128,) int16: ln(m) in 1/16 table steps for the magnitudes m = 0..127, 0 standing for what rounds to 0.

    The table is stored with the codec and read ever after.
    """
    sizes = [_ZERO_MAGNITUDE, *range(1, MAGNITUDE_LIMIT + 1)]
    return torch.tensor([math.floor(INDEX_STEPS * math.log(size) / LOG_STEP + 0.5) for size in sizes]).to(torch.int16)


def _stack(convs: list[nn.Module]) -> nn.Sequential:
    """Layers with rectifiers between them."""
    layers: list[nn.Module] = []
    for conv in convs:
        layers += [nn.ReLU(), conv] if layers else [conv]
    return nn.Sequential(*layers)


def _checkerboard(channels_in: int, channels_out: int) -> nn.Conv2d:
    """The 5x5 convolution that reads anchors for the other cells.

    Anchors lie at an odd distance from the other cells, so half of the taps only ever meet zeros; they are zero
    themselves and get no gradient.
    """
    conv = nn.Conv2d(channels_in, channels_out, 5, padding=2)
    parity = torch.arange(5)[:, None] + torch.arange(5)
    with torch.no_grad():
        conv.weight.mul_(parity % 2)
    return conv
