"""A codec with nothing but a factorised prior: the simplest one over any grid plane.

::

    y ──► x gain(q) ──► round ──► symbols ──► [rANS, table of (level, channel)] ──► bytes, a chunk a tile
                                     └──────► x inverse gain(q) ──► y_hat

Gains and tables are per channel and one for each sixteen neighbouring qualities, so that all tables fit one set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from smalto.bits.cdf import CdfTables, tables_from_pmfs
from smalto.bits.packet import CodecNumber
from smalto.bits.rans import decode, encode
from smalto.codecs.factorized import REACH, FactorizedPrior, table_entry
from smalto.codecs.hyper_coder import MAX_CHUNK_SYMBOLS, VALUE_LIMIT, PlaneCode, check_quality, to_symbols
from smalto.codecs.hyperprior import NUM_LEVELS, Estimate, GainTable
from smalto.codecs.tiles import tile_grid
from smalto.errors import DamagedPacket, UsageError
from smalto.layers import straight_through

NUM_TABLE_SETS = 16


@dataclass(frozen=True)
class FactorizedConfig:
    """Sizes of a factorised codec.

    Args:
        latent_channels: M, channels of y.
        num_anchors: gains are learned at this many qualities and interpolated between.
        gain_range: gain at q = 0 and at q = 255 when training starts, in symbols per unit of y.
    """

    latent_channels: int = 256
    num_anchors: int = 9
    gain_range: tuple[float, float] = (0.36, 3.6)


def table_set(q: Tensor) -> Tensor:
    """The quality whose gains and tables level q uses: the middle of its group of sixteen."""
    return q.long() // NUM_TABLE_SETS * NUM_TABLE_SETS + NUM_TABLE_SETS // 2


class FactorizedCodec(nn.Module):
    """Trainable factorised codec, one set of weights for all rates.

    Source: Balle et al. 2018 (bmshj2018-factorized's entropy model), gain units Cui et al. 2021.
    """

    def __init__(self, config: FactorizedConfig | None = None) -> None:
        super().__init__()
        self.config = config or FactorizedConfig()
        first, last = self.config.gain_range
        self.prior = FactorizedPrior(self.config.latent_channels)
        self.gain = GainTable(self.config.latent_channels, self.config.num_anchors, first, last)
        self.inverse_gain = GainTable(self.config.latent_channels, self.config.num_anchors, 1 / first, 1 / last)

    def estimate(self, y: Tensor, q: Tensor) -> Estimate:
        """Differentiable rate and the latent after coding.

        Math: ``y_hat = round(y g) / g'``; rate ``-log2 (F(y + 1/2g) - F(y - 1/2g))`` with uniform noise for its
        gradient, of the rounded symbols for its value.

        Args:
            y: (B, M, h, w).
            q: (B,) quality level 0..255.
        """
        level = table_set(q)
        gain, inverse = self.gain(level), self.inverse_gain(level)
        symbols = straight_through.round_half_up(y * gain)
        noisy = y + (torch.rand_like(y) - 0.5) / gain
        estimated = self.prior.bits(noisy, 1 / gain)
        with torch.no_grad():
            real = self.prior.bits(symbols / gain, 1 / gain)
        return Estimate(symbols * inverse, real + estimated - estimated.detach(), torch.zeros_like(real))


class FrozenFactorized(nn.Module):
    """A factorised codec that writes and reads bytes.

    Args:
        config: sizes.
        tables: CDF tables, number ``set * M + channel`` for the sixteen sets.
    """

    number = CodecNumber.FACTORIZED
    has_context = False

    def __init__(self, config: FactorizedConfig, tables: CdfTables) -> None:
        super().__init__()
        self.config = config
        self.tables = tables
        self.register_buffer("gain", torch.ones(NUM_LEVELS, config.latent_channels))
        self.register_buffer("inverse_gain", torch.ones(NUM_LEVELS, config.latent_channels))

    def _indexes(self, q: int, num_cells: int) -> np.ndarray:
        channels = self.config.latent_channels
        first = q // NUM_TABLE_SETS * channels
        return np.tile(np.arange(first, first + channels, dtype=np.uint16), num_cells)

    def hyper_latent(self, y: Tensor) -> None:
        """Nothing: there are no hyper-symbols."""

    @torch.no_grad()
    def encode(self, y: Tensor, q: int, tile_cells: int = 64, z: Tensor | None = None) -> PlaneCode:
        """Code one latent (1, M, h, w); ``z`` is not used, it is there for the interface.

        Raises:
            UsageError: q or the tile is out of range.
        """
        check_quality(q)
        if not 1 <= tile_cells**2 * self.config.latent_channels <= MAX_CHUNK_SYMBOLS:
            raise UsageError(f"a tile of {tile_cells} x {tile_cells} cells has over {MAX_CHUNK_SYMBOLS} symbols")
        symbols = to_symbols(y * self.gain[q][None, :, None, None])  # type: ignore[index]
        chunks = []
        for tile in tile_grid(y.shape[2], y.shape[3], tile_cells):
            part = symbols[0, :, tile.top : tile.bottom, tile.left : tile.right].permute(1, 2, 0)  # (h, w, M)
            flat = np.ascontiguousarray(part.cpu().numpy()).reshape(-1)
            chunks.append(encode(flat, self._indexes(q, part.shape[0] * part.shape[1]), self.tables))
        return PlaneCode(q, b"", tuple(chunks))

    @torch.no_grad()
    def decode(self, code: PlaneCode, height: int, width: int, tile_cells: int = 64) -> Tensor:
        """The latent (1, M, height, width), float32.

        Raises:
            DamagedPacket: the number of chunks does not fit the size.
            DecodeMismatch: a chunk does not end in the coder's first state.
        """
        check_quality(code.q)
        num_tiles = -(-height // tile_cells) * -(-width // tile_cells)
        if num_tiles != len(code.main):
            raise DamagedPacket(
                f"{len(code.main)} chunks where {width} x {height} cells need {num_tiles}; the file is damaged"
            )
        inverse = self.inverse_gain[code.q]  # type: ignore[index]
        y_hat = torch.empty(1, self.config.latent_channels, height, width, device=inverse.device)
        for tile, data in zip(tile_grid(height, width, tile_cells), code.main, strict=True):
            h, w = tile.bottom - tile.top, tile.right - tile.left
            symbols = decode(data, self._indexes(code.q, h * w), self.tables)
            values = torch.from_numpy(symbols.reshape(h, w, -1)).to(inverse.device).float() * inverse
            y_hat[0, :, tile.top : tile.bottom, tile.left : tile.right] = values.permute(2, 0, 1)
        return y_hat.clamp_(-VALUE_LIMIT, VALUE_LIMIT)

    def decode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the decode side, by name: what the codec's digest is taken over."""
        arrays = {f"tables.{name}": array for name, array in self.tables.to_arrays().items()}
        return {**arrays, "inverse_gain": self.inverse_gain.cpu().half().numpy()}  # type: ignore[operator]


@torch.no_grad()
def freeze_factorized(trained: FactorizedCodec) -> FrozenFactorized:
    """The coding form of a trained factorised codec, every float rounded to half precision as it ships."""
    levels = table_set(torch.arange(NUM_LEVELS))
    gain = trained.gain(levels)[:, :, 0, 0].half().float()
    prior = trained.prior.double_copy()
    entries = []
    for row in gain[NUM_TABLE_SETS // 2 :: NUM_TABLE_SETS].double():
        symbols = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
        grid = symbols[None, None, None] / row[None, :, None, None]  # (1, M, 1, 2 reach + 1)
        masses = prior.probability(grid, 1 / row[None, :, None, None])[0, :, 0].numpy()  # (M, 2 reach + 1)
        entries += [table_entry(pmf) for pmf in masses]
    codec = FrozenFactorized(trained.config, tables_from_pmfs(entries))
    codec.gain.copy_(gain)  # type: ignore[operator]
    codec.inverse_gain.copy_(trained.inverse_gain(levels)[:, :, 0, 0].half().float())  # type: ignore[operator]
    return codec.eval()
