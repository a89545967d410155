"""What it would cost to code table indexes outright instead of computing them from the hyper-symbols.

Run: ``python -m smalto.bench.explicit_index PICTURES`` (a folder), optionally ``--system NAME``.

The explicit code is idealised in its favour: one index for each channel of each tile, chosen by the sender to minimise
bits, coded as a difference to a prediction from its neighbours and the channel's own usual index at the entropy of the
differences over all pictures, without coder overhead and with the usual indexes for free. See docs/decisions/0002.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smalto.errors import UsageError

if TYPE_CHECKING:
    from smalto.bits.cdf import CdfTables
    from smalto.systems.system import System
    from smalto.types import Image

LEVELS = (26, 51, 102, 153)
TILES = (4, 8, 16)
_REACH = 400
_ROUNDS = 6
_MAX_SIDE_PX = 512


@dataclass(frozen=True)
class ExplicitCost:
    """Bits per pixel at one level with computed indexes, and with explicit ones by side of the tiles in cells."""

    level: int
    hyper_bpp: float
    computed_bpp: float
    unrounded_bpp: float
    explicit_bpp: dict[int, float]
    side_bpp: dict[int, float]

    def loss(self, bpp: float) -> float:
        """Rate with main symbols at ``bpp``, over the rate with computed indexes, less one."""
        return (bpp + self.hyper_bpp) / (self.computed_bpp + self.hyper_bpp) - 1


def symbol_costs(tables: CdfTables) -> np.ndarray:
    """Bits of the symbols -400..400 in each table, (64, 801)."""
    first = np.cumsum(tables.size.astype(int) + 1) - (tables.size.astype(int) + 1)
    costs = np.empty((tables.num_tables, 2 * _REACH + 1))
    symbols = np.arange(-_REACH, _REACH + 1)
    for k, (low, size) in enumerate(zip(tables.low.astype(int), tables.size.astype(int), strict=True)):
        bits = 16 - np.log2(tables.frequency[first[k] : first[k] + size + 1].astype(float))
        entry = symbols - low
        beyond = np.maximum(np.maximum(-entry, entry - size + 1), 1)
        escaped = bits[size] + 6 + np.floor(np.log2(beyond))
        costs[k] = np.where((entry >= 0) & (entry < size), bits[np.clip(entry, 0, size - 1)], escaped)
    return costs


def tile_costs(symbols: np.ndarray, costs: np.ndarray, side: int) -> np.ndarray:
    """Bits of symbols (C, h, w) by channel, tile and table: (C, rows, columns, 64)."""
    channels, height, width = symbols.shape
    rows, columns = -(-height // side), -(-width // side)
    found = np.empty((channels, rows, columns, len(costs)))
    border = ((0, 0), (0, rows * side - height), (0, columns * side - width))
    for k, line in enumerate(costs):
        bits = np.pad(line[symbols + _REACH], border).reshape(channels, rows, side, columns, side)
        found[..., k] = bits.sum(axis=(2, 4))
    return found


def explicit_bits(planes: Sequence[np.ndarray]) -> tuple[float, float]:
    """(bits of symbols, bits of indexes) for ``tile_costs`` of several pictures, indexes chosen tile by tile."""
    num_tables = planes[0].shape[-1]
    usual = np.asarray(sum(plane.sum(axis=(1, 2)) for plane in planes)).argmin(1)
    price = 0.05 * np.abs(np.arange(1 - num_tables, num_tables))
    main = side = 0.0
    for _ in range(_ROUNDS):
        counts = np.full(2 * num_tables - 1, 0.5)
        main = sum(_choose(plane, price, usual, counts) for plane in planes)
        price = -np.log2(counts / counts.sum())
        side = float((counts * price).sum())
    return main, side


def _choose(plane: np.ndarray, price: np.ndarray, usual: np.ndarray, counts: np.ndarray) -> float:
    """Choose every index of one picture; counts the differences, returns the bits of the symbols."""
    channels, rows, columns, num_tables = plane.shape
    chosen = np.empty((channels, rows, columns), int)
    tables = np.arange(num_tables)
    bits = 0.0
    for row in range(rows):
        for column in range(columns):
            near = [usual]
            near += [chosen[:, row, column - 1]] * 2 if column else []
            near += [chosen[:, row - 1, column]] if row else []
            expected = np.rint(np.mean(near, axis=0)).astype(int)
            together = plane[:, row, column] + price[tables[None] - expected[:, None] + num_tables - 1]
            best = together.argmin(1)
            chosen[:, row, column] = best
            np.add.at(counts, best - expected + num_tables - 1, 1)
            bits += float(plane[np.arange(channels), row, column, best].sum())
    return bits


def measure(
    system: System, pictures: Iterable[Image], levels: Sequence[int] = LEVELS, tiles: Sequence[int] = TILES
) -> list[ExplicitCost]:
    """Costs at several levels over all pictures together."""
    latents = [system.analyse(picture) for picture in pictures]
    pixels = sum(y.shape[2] * y.shape[3] for y in latents) * system.plane.stride**2
    return [_at_level(system, latents, level, tiles, pixels) for level in levels]


def _at_level(system: System, latents: list, level: int, tiles: Sequence[int], pixels: int) -> ExplicitCost:
    import torch

    from smalto.codecs.hyperprior_frozen import FrozenHyperprior
    from smalto.codecs.tiles import Tile

    codec = system.parts.codec
    if not isinstance(codec, FrozenHyperprior):
        raise UsageError(f"system {system.name} computes no indexes; name one with a hyperprior")
    costs = symbol_costs(codec.y_tables)
    hyper = computed = unrounded = 0.0
    planes = []
    for y in latents:
        step = int(codec.z_gain[level])
        z = torch.floor(codec.hyper_latent(y) / step + 0.5).double() * step
        index, mean = codec.parameters_of(z, level, Tile(0, y.shape[2], 0, y.shape[3]))
        symbols = torch.floor((y - mean) * codec.gain[level][None, :, None, None] + 0.5)[0]
        coded = symbols.clamp(-_REACH, _REACH).cpu().numpy().astype(int)
        planes.append(coded)
        hyper += 8 * len(codec.encode(y, level).hyper)
        computed += float(costs[index.cpu().numpy().astype(int), coded + _REACH].sum())
        unrounded += _unrounded_bits(codec, z, level, symbols.double())
    main, side = {}, {}
    for tile in tiles:
        bits, indexes = explicit_bits([tile_costs(plane, costs, tile) for plane in planes])
        main[tile], side[tile] = (bits + indexes) / pixels, indexes / pixels
    return ExplicitCost(level, hyper / pixels, computed / pixels, unrounded / pixels, main, side)


def _unrounded_bits(codec, z, level: int, symbols) -> float:  # type: ignore[no-untyped-def]
    """Bits with the scale path in real numbers: the same weights, no rounding of activations, index or scale."""
    import torch
    from torch.nn import functional as F

    from smalto.codecs.hyperprior import INDEX_STEPS, LOG_STEP, MIN_SCALE, NUM_SCALES, gaussian_bits
    from smalto.codecs.scale_path import ACTIVATION_LIMIT, INPUT_LIMIT

    path, x = codec.scale_path, z.clamp(*INPUT_LIMIT)
    for k, layer in enumerate(path.layers):
        rows = getattr(path, f"weight{k}") * 2.0**-layer.shift
        kernel = rows.view(layer.kernel, layer.kernel, layer.channels_in, -1).permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, getattr(path, f"bias{k}") * 2.0**-layer.shift, padding=layer.kernel // 2)
        if layer.up > 1:
            x = F.pixel_shuffle(x.clamp(*ACTIVATION_LIMIT), layer.up)
    x = x[0, :, : symbols.shape[1], : symbols.shape[2]] / INDEX_STEPS
    x = x + codec.gain[level].double().log()[:, None, None] / LOG_STEP
    sigma = MIN_SCALE * torch.exp(LOG_STEP * (x - 0.5).clamp(0, NUM_SCALES - 1))  # tables stand for their middle
    return float(gaussian_bits(symbols, sigma).sum())


def report(costs: Sequence[ExplicitCost]) -> str:
    """A Markdown table: rates in bits per pixel, losses against computed indexes."""
    tiles = list(costs[0].explicit_bpp)
    head = ["level", "computed, whole", "of it hyper", "in real numbers", *(f"explicit, {t} x {t}" for t in tiles)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for cost in costs:
        whole = cost.computed_bpp + cost.hyper_bpp
        explicit = [f"{cost.loss(bpp):+.1%} (indexes {cost.side_bpp[t]:.3f})" for t, bpp in cost.explicit_bpp.items()]
        cells = [
            str(cost.level),
            f"{whole:.4f}",
            f"{cost.hyper_bpp:.4f}",
            f"{cost.loss(cost.unrounded_bpp):+.2%}",
            *explicit,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the pictures of a folder, cut to 512 x 512, and write the table."""
    import smalto
    from smalto.data.photographs import EXTENSIONS
    from smalto.types import Image

    parser = argparse.ArgumentParser(description="cost of explicit table indexes")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--system", default="default")
    parser.add_argument("--count", type=int, default=8)
    chosen = parser.parse_args(arguments)
    files = sorted(path for path in chosen.pictures.iterdir() if path.suffix.lower() in EXTENSIONS)
    step = max(1, math.floor(len(files) / chosen.count))
    pictures = [smalto.read_image(path) for path in files[::step][: chosen.count]]
    cut = [Image(picture.pixels[:_MAX_SIDE_PX, :_MAX_SIDE_PX]) for picture in pictures]
    sys.stdout.write(report(measure(smalto.load(chosen.system), cut)))


if __name__ == "__main__":
    main()
