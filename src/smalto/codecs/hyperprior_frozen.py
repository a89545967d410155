"""The mean-scale hyperprior as it codes: integer tables, integer scale path, real bytes.

::

    y ─► h_a ─► round(/ z gain) ─► z symbols ──► [rANS, z tables] ─────────────► hyper bytes
    │                                 │ x z gain
    │              ┌── scale path ◄───┤
    │              ▼ + offset(q) >> 4 ▼ mean path
    └─(- mu) x gain(q) ─► round ─► y symbols ──► [rANS, Gaussian table[index]] ─► main bytes, a chunk a tile

Symbols of a chunk stand in the order row, column, channel. Legend as in ``hyperprior``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from smalto.bits.cdf import CdfTables
from smalto.bits.packet import CodecNumber
from smalto.bits.rans import decode, encode
from smalto.codecs.hyper_coder import (
    HALO_CELLS,
    HyperCoder,
    PlaneCode,
    PlaneConfig,
    bounded,
    flat_symbols,
    integer_arrays,
    load_integer_arrays,
    stored_tables,
    table_numbers,
    to_symbols,
)
from smalto.codecs.hyperprior import HyperAnalysis, HyperpriorConfig, MeanPath
from smalto.codecs.scale_path import SHIFT_BITS, IntegerScalePath, scale_layers
from smalto.codecs.tiles import Tile, window_grid, within
from smalto.errors import UsageError


class CodingNetworks(NamedTuple):
    """The networks of a coding form: y -> z, z_hat -> mu, and z_hat -> index in 1/16 table steps.

    y has four times the rows and columns of z, and one cell of y depends on cells of z at most two beyond its own.
    """

    analysis: nn.Module
    mean_path: nn.Module
    scale_path: IntegerScalePath


def _lite_networks(config: HyperpriorConfig) -> CodingNetworks:
    layers = scale_layers(config.hyper_channels, config.scale_widths, config.latent_channels)
    return CodingNetworks(HyperAnalysis(config), MeanPath(config), IntegerScalePath(layers))


class FrozenHyperprior(HyperCoder):
    """A mean-scale hyperprior that writes and reads bytes.

    The decode side (scale path, mean path, tables, offsets, inverse gains, z gains) is the standard; the encode side
    (hyper-analysis, gains) may be replaced by any other.

    Args:
        config: layers.
        z_tables: CDF tables of the hyper-symbols, number ``z_level * hyper_channels + channel``.
        y_tables: CDF tables of the 64 scales.
        networks: None builds those of a HyperpriorConfig.
    """

    scale_path: IntegerScalePath

    number = CodecNumber.HYPERPRIOR
    has_context = False

    def __init__(
        self, config: PlaneConfig, z_tables: CdfTables, y_tables: CdfTables, networks: CodingNetworks | None = None
    ) -> None:
        if networks is None:
            if not isinstance(config, HyperpriorConfig):
                raise UsageError(f"{type(config).__name__} says no networks; pass them")
            networks = _lite_networks(config)
        super().__init__(config, z_tables, y_tables, networks.analysis, networks.mean_path)
        self.scale_path = networks.scale_path

    # -- what both sides compute ------------------------------------------------------------------------------------

    @torch.no_grad()
    def parameters_of(self, z: Tensor, q: int, tile: Tile) -> tuple[Tensor, Tensor]:
        """Table index and mean of a tile's cells.

        Args:
            z: (1, Cz, hz, wz) hyper-symbols times z gain, float64.
            q: quality level.
            tile: in cells of y.

        Returns:
            index (M, h, w) uint8 and mean (1, M, h, w) float32.
        """
        rows = slice(max(tile.top // 4 - HALO_CELLS, 0), min(-(-tile.bottom // 4) + HALO_CELLS, z.shape[2]))
        columns = slice(max(tile.left // 4 - HALO_CELLS, 0), min(-(-tile.right // 4) + HALO_CELLS, z.shape[3]))
        window = z[:, :, rows, columns]
        cells = (
            slice(tile.top - 4 * rows.start, tile.bottom - 4 * rows.start),
            slice(tile.left - 4 * columns.start, tile.right - 4 * columns.start),
        )
        sixteenths = self.scale_path(window)[0, :, cells[0], cells[1]].to(torch.int32)
        index = table_numbers(sixteenths, self.index_offset[q].int()[:, None, None])
        with torch.autocast(z.device.type, enabled=False):
            mean = self.mean_path(window.float())[:, :, cells[0], cells[1]]
        return index, mean

    def _gains(self, q: int) -> tuple[Tensor, Tensor]:
        return self.gain[q][None, :, None, None], self.inverse_gain[q][None, :, None, None]

    # -- sender -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, y: Tensor, q: int, tile_cells: int = 64, z: Tensor | None = None) -> PlaneCode:
        """Code one latent.

        Args:
            y: (1, M, h, w).
            q: quality level 0..255.
            tile_cells: side of the tiles; tile_cells^2 M may not exceed 2^22.
            z: ``hyper_latent(y)`` when it is already known.

        Raises:
            UsageError: q or the tile is out of range.
        """
        self._check_call(q, tile_cells)
        z = self.hyper_latent(y) if z is None else z
        hyper, z_hat = self.encode_hyper(z, q)
        gain, _ = self._gains(q)
        chunks = [b""] * (-(-y.shape[2] // tile_cells) * -(-y.shape[3] // tile_cells))
        for window in window_grid(y.shape[2], y.shape[3], tile_cells):
            area = window.area
            index, mean = self.parameters_of(z_hat, q, area)
            part = y[:, :, area.top : area.bottom, area.left : area.right]
            symbols = to_symbols((part - mean) * gain)[0]
            for number, tile in window.tiles:
                cells = within(area, tile)
                chunks[number] = encode(flat_symbols(symbols[:, *cells]), flat_symbols(index[:, *cells]), self.y_tables)
        return PlaneCode(q, hyper, tuple(chunks))

    # -- receiver ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, code: PlaneCode, height: int, width: int, tile_cells: int = 64) -> Tensor:
        """The latent (1, M, height, width) in units of the space, float32.

        Raises:
            DamagedPacket: the number of chunks does not fit the size.
            DecodeMismatch: a chunk does not end in the coder's first state.
            LimitExceeded: the plane has more hyper-symbols than a chunk may have.
        """
        self._check_chunks(code, height, width, tile_cells)
        z_hat = self.decode_hyper(code, height, width)
        shape = (1, self.config.latent_channels, height, width)
        y_hat = torch.empty(shape, device=z_hat.device, memory_format=torch.channels_last)
        _, inverse = self._gains(code.q)
        for window in window_grid(height, width, tile_cells):
            area = window.area
            index, mean = self.parameters_of(z_hat, code.q, area)
            values = torch.empty_like(mean)
            for number, tile in window.tiles:
                cells = within(area, tile)
                symbols = decode(code.main[number], flat_symbols(index[:, *cells]), self.y_tables)
                shape = (tile.bottom - tile.top, tile.right - tile.left, self.config.latent_channels)
                values[0, :, *cells] = torch.from_numpy(symbols.reshape(shape)).permute(2, 0, 1)
            y_hat[:, :, area.top : area.bottom, area.left : area.right] = bounded(values.mul_(inverse).add_(mean))
        return y_hat

    # -- the standard -----------------------------------------------------------------------------------------------

    def _scale_arrays(self) -> dict[str, np.ndarray]:
        arrays = integer_arrays(self.scale_path)
        if any(layer.shift != SHIFT_BITS for layer in self.scale_path.layers):
            arrays["shift"] = np.array([layer.shift for layer in self.scale_path.layers], np.uint8)
        if self.scale_path.num_thresholds:
            arrays["thresholds"] = self.scale_path.thresholds.cpu().numpy().astype(np.int32)
        return arrays

    def _load_scale(self, arrays: Mapping[str, np.ndarray]) -> None:
        load_integer_arrays(self.scale_path, arrays)
        if self.scale_path.num_thresholds:
            self.scale_path.thresholds.copy_(torch.from_numpy(arrays["thresholds"].astype(np.int64)))

    @classmethod
    def from_arrays(
        cls, config: PlaneConfig, arrays: Mapping[str, np.ndarray], networks: CodingNetworks | None = None
    ) -> FrozenHyperprior:
        """The codec whose ``decode_arrays`` and ``encode_arrays`` these are, in networks of these sizes."""
        return cls(config, *stored_tables(arrays), networks).filled(arrays)
