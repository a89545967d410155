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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.bits.cdf import CdfTables
from smalto.bits.packet import CodecNumber
from smalto.bits.rans import decode, encode
from smalto.codecs.hyperprior import INDEX_STEPS, NUM_LEVELS, NUM_SCALES, HyperAnalysis, HyperpriorConfig, MeanPath
from smalto.codecs.scale_path import SHIFT_BITS, IntegerScalePath, scale_layers
from smalto.errors import DamagedPacket, LimitExceeded, UsageError
from smalto.weights.store import under

MAX_CHUNK_SYMBOLS = 1 << 22
VALUE_LIMIT = 4096.0
_HALO_CELLS = 2  # hyper cells that one cell of the scale or mean path can see beyond its own
_HYPER_STRIDE = 4
_INDEX_SHIFT = INDEX_STEPS.bit_length() - 1
_WINDOW_CELLS = 64  # side of the windows whose parameters are computed together, unless tiles are larger


@dataclass(frozen=True)
class PlaneCode:
    """A plane as coded bytes.

    Args:
        q: quality level 0..255.
        hyper: the chunk of hyper-symbols.
        main: chunks of main symbols, one a tile, row by row.
    """

    q: int
    hyper: bytes
    main: tuple[bytes, ...]


class PlaneConfig(Protocol):
    """What the coding form must know of a configuration; any frozen dataclass with these two."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def latent_channels(self) -> int:
        """M, channels of y."""
        ...

    @property
    def hyper_channels(self) -> int:
        """Channels of z."""
        ...


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


@dataclass(frozen=True)
class Tile:
    """A rectangle of latent cells: rows top..bottom, columns left..right (ends excluded)."""

    top: int
    bottom: int
    left: int
    right: int


def tile_grid(height: int, width: int, side: int) -> Iterator[Tile]:
    """Cut a plane of height x width cells into tiles of at most side x side, row by row."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield Tile(top, min(top + side, height), left, min(left + side, width))


@dataclass(frozen=True)
class Window:
    """Cells whose parameters are computed together.

    Args:
        area: the cells.
        tiles: every tile in the area, after the number of its chunk.
    """

    area: Tile
    tiles: tuple[tuple[int, Tile], ...]


def window_grid(height: int, width: int, side: int) -> Iterator[Window]:
    """Group the tiles of ``tile_grid`` into windows, so that many small tiles cost hardly more than a large one."""
    columns = -(-width // side)
    for area in tile_grid(height, width, max(_WINDOW_CELLS // side, 1) * side):
        tiles = []
        for part in tile_grid(area.bottom - area.top, area.right - area.left, side):
            tile = Tile(area.top + part.top, area.top + part.bottom, area.left + part.left, area.left + part.right)
            tiles.append((tile.top // side * columns + tile.left // side, tile))
        yield Window(area, tuple(tiles))


def _padded(y: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of 4."""
    down, right = -y.shape[2] % _HYPER_STRIDE, -y.shape[3] % _HYPER_STRIDE
    return F.pad(y, (0, right, 0, down), mode="replicate") if down or right else y


def check_quality(q: int) -> None:
    """Raise UsageError unless q is in 0..255."""
    if not 0 <= q < NUM_LEVELS:
        raise UsageError(f"quality level {q} is outside 0..{NUM_LEVELS - 1}")


def to_symbols(x: Tensor) -> Tensor:
    """Round half up to int32 within +-2^30; what is no number becomes 0."""
    return torch.floor(x + 0.5).nan_to_num(0.0, 2.0**30, -(2.0**30)).clamp(-(2.0**30), 2.0**30).to(torch.int32)


class HyperCoder(nn.Module):
    """What coding forms with hyper-symbols share: quality tables, hyper-symbols to bytes and back, checks of a call.

    Args:
        config: sizes.
        z_tables: CDF tables of the hyper-symbols, number ``z_level * hyper_channels + channel``.
        y_tables: CDF tables of the 64 scales.
        analysis: y -> z.
    """

    gain: Tensor
    inverse_gain: Tensor
    index_offset: Tensor
    z_gain: Tensor
    z_level: Tensor

    def __init__(self, config: PlaneConfig, z_tables: CdfTables, y_tables: CdfTables, analysis: nn.Module) -> None:
        super().__init__()
        channels = config.latent_channels
        self.config = config
        self.z_tables, self.y_tables = z_tables, y_tables
        self.analysis = analysis
        self.register_buffer("gain", torch.ones(NUM_LEVELS, channels))
        self.register_buffer("inverse_gain", torch.ones(NUM_LEVELS, channels))
        self.register_buffer("index_offset", torch.zeros(NUM_LEVELS, channels, dtype=torch.int16))
        self.register_buffer("z_gain", torch.ones(NUM_LEVELS, dtype=torch.int16))
        self.register_buffer("z_level", torch.zeros(NUM_LEVELS, dtype=torch.int16))

    def _z_indexes(self, q: int, num_cells: int) -> np.ndarray:
        """Table number of every hyper-symbol in the order row, column, channel."""
        channels = self.config.hyper_channels
        first = int(self.z_level[q]) * channels
        return np.tile(np.arange(first, first + channels, dtype=np.uint16), num_cells)

    @torch.no_grad()
    def hyper_latent(self, y: Tensor) -> Tensor:
        """z (1, Cz, ceil(h/4), ceil(w/4)) of y (1, M, h, w), before rounding: the same for every quality."""
        return self.analysis(_padded(y))

    def encode_hyper(self, z: Tensor, q: int) -> tuple[bytes, Tensor]:
        """The chunk of hyper-symbols, and hyper-symbols times z gain as ``decode_hyper`` gives them."""
        step = int(self.z_gain[q])
        symbols = to_symbols(z / step)
        hyper = encode(_flat(symbols[0]), self._z_indexes(q, z.shape[2] * z.shape[3]), self.z_tables)
        return hyper, symbols.double() * step

    def decode_hyper(self, code: PlaneCode, height: int, width: int) -> Tensor:
        """Hyper-symbols times z gain, (1, Cz, ceil(height / 4), ceil(width / 4)) float64.

        Raises:
            LimitExceeded: there are more than a chunk may have.
        """
        rows, columns = -(-height // _HYPER_STRIDE), -(-width // _HYPER_STRIDE)
        channels = self.config.hyper_channels
        if rows * columns * channels > MAX_CHUNK_SYMBOLS:
            raise LimitExceeded(
                f"a plane of {width} x {height} cells has over {MAX_CHUNK_SYMBOLS} hyper-symbols; too large to read"
            )
        symbols = decode(code.hyper, self._z_indexes(code.q, rows * columns), self.z_tables)
        z = torch.from_numpy(symbols.reshape(rows, columns, channels)).permute(2, 0, 1)[None]
        return z.to(self.gain.device).double() * int(self.z_gain[code.q])

    def _check_call(self, q: int, tile_cells: int) -> None:
        """Raise UsageError unless level and tile can be encoded with."""
        check_quality(q)
        if not 1 <= tile_cells**2 * self.config.latent_channels <= MAX_CHUNK_SYMBOLS:
            raise UsageError(
                f"a tile of {tile_cells}^2 cells has over {MAX_CHUNK_SYMBOLS} symbols; choose a smaller one"
            )

    def _check_chunks(self, code: PlaneCode, height: int, width: int, tile_cells: int) -> None:
        """Raise UsageError or DamagedPacket unless the level exists and every tile has its chunk."""
        check_quality(code.q)
        num_tiles = -(-height // tile_cells) * -(-width // tile_cells)
        if num_tiles != len(code.main):
            raise DamagedPacket(
                f"{len(code.main)} chunks where {width} x {height} cells need {num_tiles}; the file is damaged"
            )

    def encode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the encode side, by name."""
        arrays = {f"analysis.{name}": t.cpu().half().numpy() for name, t in self.analysis.state_dict().items()}
        arrays["gain"] = self.gain.cpu().half().numpy()
        return arrays


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
        super().__init__(config, z_tables, y_tables, networks.analysis)
        self.mean_path, self.scale_path = networks.mean_path, networks.scale_path

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
        rows = slice(max(tile.top // 4 - _HALO_CELLS, 0), min(-(-tile.bottom // 4) + _HALO_CELLS, z.shape[2]))
        columns = slice(max(tile.left // 4 - _HALO_CELLS, 0), min(-(-tile.right // 4) + _HALO_CELLS, z.shape[3]))
        window = z[:, :, rows, columns]
        cells = (
            slice(tile.top - 4 * rows.start, tile.bottom - 4 * rows.start),
            slice(tile.left - 4 * columns.start, tile.right - 4 * columns.start),
        )
        sixteenths = self.scale_path(window)[0, :, cells[0], cells[1]].to(torch.int32)
        shifted = (sixteenths + self.index_offset[q].int()[:, None, None]) >> _INDEX_SHIFT  # type: ignore[index]
        index = shifted.clamp_(0, NUM_SCALES - 1).to(torch.uint8)
        with torch.autocast(z.device.type, enabled=False):
            mean = self.mean_path(window.float())[:, :, cells[0], cells[1]]
        return index, mean

    def _gains(self, q: int) -> tuple[Tensor, Tensor]:
        return self.gain[q][None, :, None, None], self.inverse_gain[q][None, :, None, None]  # type: ignore[index]

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
                cells = _within(area, tile)
                chunks[number] = encode(_flat(symbols[:, *cells]), _flat(index[:, *cells]), self.y_tables)
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
                cells = _within(area, tile)
                symbols = decode(code.main[number], _flat(index[:, *cells]), self.y_tables)
                shape = (tile.bottom - tile.top, tile.right - tile.left, self.config.latent_channels)
                values[0, :, *cells] = torch.from_numpy(symbols.reshape(shape)).permute(2, 0, 1)
            values = values.mul_(inverse).add_(mean).nan_to_num_(0.0, VALUE_LIMIT, -VALUE_LIMIT)
            y_hat[:, :, area.top : area.bottom, area.left : area.right] = values.clamp_(-VALUE_LIMIT, VALUE_LIMIT)
        return y_hat

    # -- the standard -----------------------------------------------------------------------------------------------

    def decode_arrays(self) -> Mapping[str, np.ndarray]:
        """Every array of the decode side, by name: what the codec's digest is taken over."""
        arrays: dict[str, np.ndarray] = {}
        for name, tensor in self.mean_path.state_dict().items():
            arrays[f"mean_path.{name}"] = tensor.cpu().half().numpy()
        weights, biases = self.scale_path.arrays()
        for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            arrays[f"scale_path.weight{k}"] = weight.astype(np.int16)
            arrays[f"scale_path.bias{k}"] = bias.astype(np.int32)
        if any(layer.shift != SHIFT_BITS for layer in self.scale_path.layers):
            arrays["scale_path.shift"] = np.array([layer.shift for layer in self.scale_path.layers], np.uint8)
        if self.scale_path.num_thresholds:
            arrays["scale_path.thresholds"] = self.scale_path.thresholds.cpu().numpy().astype(np.int32)
        arrays["inverse_gain"] = self.inverse_gain.cpu().half().numpy()
        for name in ("index_offset", "z_gain", "z_level"):
            arrays[name] = getattr(self, name).cpu().numpy()
        for prefix, tables in (("z_tables", self.z_tables), ("y_tables", self.y_tables)):
            for name, array in tables.to_arrays().items():
                arrays[f"{prefix}.{name}"] = array
        return arrays

    @classmethod
    def from_arrays(
        cls, config: PlaneConfig, arrays: Mapping[str, np.ndarray], networks: CodingNetworks | None = None
    ) -> FrozenHyperprior:
        """The codec whose ``decode_arrays`` and ``encode_arrays`` these are, in networks of these sizes."""

        z_tables, y_tables = (CdfTables.from_arrays(under(arrays, name)) for name in ("z_tables", "y_tables"))
        codec = cls(config, z_tables, y_tables, networks)
        codec.mean_path.load_state_dict({n: torch.from_numpy(a).float() for n, a in under(arrays, "mean_path").items()})
        codec.analysis.load_state_dict({n: torch.from_numpy(a).float() for n, a in under(arrays, "analysis").items()})
        layers = range(len(codec.scale_path.layers))
        codec.scale_path.load_integers(
            [torch.from_numpy(arrays[f"scale_path.weight{k}"].astype(np.int64)) for k in layers],
            [torch.from_numpy(arrays[f"scale_path.bias{k}"].astype(np.int64)) for k in layers],
        )
        if codec.scale_path.num_thresholds:
            codec.scale_path.thresholds.copy_(torch.from_numpy(arrays["scale_path.thresholds"].astype(np.int64)))
        for name in ("gain", "inverse_gain", "index_offset", "z_gain", "z_level"):
            buffer: Tensor = getattr(codec, name)
            buffer.copy_(torch.from_numpy(np.asarray(arrays[name])))
        return codec.eval()


def _within(area: Tile, tile: Tile) -> tuple[slice, slice]:
    """Rows and columns of a tile, counted from the area it lies in."""
    return slice(tile.top - area.top, tile.bottom - area.top), slice(tile.left - area.left, tile.right - area.left)


def _flat(x: Tensor) -> np.ndarray:
    """(C, h, w) -> flat array in the order row, column, channel."""
    return np.ascontiguousarray(x.permute(1, 2, 0).cpu().numpy()).reshape(-1)
