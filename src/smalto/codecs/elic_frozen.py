"""ELIC as it codes: symbols by integers alone, then their values; ten rANS streams a tile.

::

    sender:    y, z_hat ─► mean path ─► symbols ─► scale path ─► [rANS, Gaussian table[index]] x 10 ─► chunk
    receiver:  z symbols, chunk ─► scale path + rANS ─► symbols ─► mean path ─► y_hat

The receiver has all symbols of a tile before it computes a mean: no value can change what is decoded.
docs/format-elic.md describes a chunk; the hyper section is that of ``hyper_coder``. Legend as in ``elic``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalto.bits.cdf import CdfTables
from smalto.bits.packet import CodecNumber
from smalto.bits.rans import decode, encode
from smalto.bits.varint import Cursor, varint
from smalto.codecs.elic_context import ElicConfig, ElicMeanPath, ElicScalePath, Step
from smalto.codecs.hyper_coder import (
    HALO_CELLS,
    HyperCoder,
    PlaneCode,
    bounded,
    integer_arrays,
    load_integer_arrays,
    stored_tables,
    table_numbers,
    to_symbols,
)
from smalto.codecs.hyperprior import HyperAnalysis
from smalto.codecs.scale_path import IntegerScalePath
from smalto.codecs.tiles import Tile, Window, window_grid
from smalto.weights.store import DIGEST_BYTES, digest, under


class _Batch(NamedTuple):
    """Tiles of one size, coded together.

    Args:
        numbers: their chunks' numbers.
        tiles: where they lie in the plane.
        scale_features: (B, Fs, h, w) float64 integers.
        mean_features: (B, Fm, h, w) float32.
    """

    numbers: list[int]
    tiles: list[Tile]
    scale_features: Tensor
    mean_features: Tensor

    def cut(self, plane: Tensor) -> Tensor:
        """The tiles of a plane (1, C, H, W): (B, C, h, w)."""
        return torch.cat([plane[:, :, t.top : t.bottom, t.left : t.right] for t in self.tiles])


def join_streams(streams: list[bytes]) -> bytes:
    """A chunk of its steps' streams: the lengths of all but the last as varints, then the streams."""
    return b"".join([*(varint(len(stream)) for stream in streams[:-1]), *streams])


def split_streams(chunk: bytes, num_streams: int, name: str) -> list[bytes]:
    """The streams that ``join_streams`` joined.

    Raises:
        DamagedPacket: lengths that are cut short or exceed the chunk; ``name`` says which.
    """
    cursor = Cursor(bytes(chunk), name)
    lengths = [cursor.varint(len(chunk)) for _ in range(num_streams - 1)]
    if sum(lengths) > cursor.remaining:
        raise cursor.damaged(f"streams of {sum(lengths)} bytes where {cursor.remaining} are left")
    return [*(cursor.take(length) for length in lengths), cursor.take(cursor.remaining)]


class FrozenElic(HyperCoder):
    """An ELIC entropy model that writes and reads bytes.

    The decode side (scale path, mean path, tables, offsets, inverse gains, z gains) is the standard; the encode side
    (hyper-analysis, gains) may be replaced by any other.

    Args:
        config: layers.
        z_tables: CDF tables of the hyper-symbols, number ``z_level * hyper_channels + channel``.
        y_tables: CDF tables of the 64 scales.
    """

    config: ElicConfig
    mean_path: ElicMeanPath

    number = CodecNumber.ELIC
    has_context = True

    def __init__(self, config: ElicConfig, z_tables: CdfTables, y_tables: CdfTables) -> None:
        super().__init__(config, z_tables, y_tables, HyperAnalysis(config.analysis), ElicMeanPath(config))
        self.scale_path = ElicScalePath(config, integer=True)

    # -- what both sides compute ------------------------------------------------------------------------------------

    def _batches(self, z: Tensor, window: Window) -> Iterator[_Batch]:
        """The window's tiles by their size, with what they read of the hyper-symbols (1, Cz, hz, wz) float64."""
        area = window.area
        top, left = max(area.top // 4 - HALO_CELLS, 0), max(area.left // 4 - HALO_CELLS, 0)
        part = z[:, :, top : -(-area.bottom // 4) + HALO_CELLS, left : -(-area.right // 4) + HALO_CELLS]
        with torch.autocast(z.device.type, enabled=False):
            planes = self.scale_path.features(part), self.mean_path.features(part.float())
        sizes: dict[tuple[int, int], list[tuple[int, Tile]]] = {}
        for number, tile in window.tiles:
            sizes.setdefault((tile.bottom - tile.top, tile.right - tile.left), []).append((number, tile))
        for tiles in sizes.values():
            cuts = [torch.cat([plane[:, :, *_cells(tile, 4 * top, 4 * left)] for _, tile in tiles]) for plane in planes]
            yield _Batch([number for number, _ in tiles], [tile for _, tile in tiles], *cuts)

    def _walk_symbols(self, batch: _Batch, q: int, symbols_of: Callable[[Step, Tensor], Tensor]) -> None:
        """All steps of the scale path; ``symbols_of`` gets the table numbers (B, M_k, n), uint8."""
        offset = self.index_offset[q][None, :, None]

        def with_tables(step: Step, index: Tensor) -> Tensor:
            return symbols_of(step, table_numbers(index.to(torch.int32), offset[:, step.channels].int()))

        self.scale_path(batch.scale_features, offset.double(), with_tables)

    def _walk_values(
        self, batch: _Batch, q: int, symbols_of: Callable[[Step, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Means and y_hat of all steps; ``symbols_of`` gets the means (B, M_k, n)."""
        inverse = self.inverse_gain[q][None, :, None]

        def values_of(step: Step, mean: Tensor) -> Tensor:
            return bounded(mean + symbols_of(step, mean) * inverse[:, step.channels])

        with torch.autocast(inverse.device.type, enabled=False):
            return self.mean_path(batch.mean_features, values_of)

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
        chunks = [b""] * (-(-y.shape[2] // tile_cells) * -(-y.shape[3] // tile_cells))
        for window in window_grid(y.shape[2], y.shape[3], tile_cells):
            for batch in self._batches(z_hat, window):
                for number, chunk in zip(batch.numbers, self._encode_batch(batch, y, q), strict=True):
                    chunks[number] = chunk
        return PlaneCode(q, hyper, tuple(chunks))

    def symbols_of(self, batch: _Batch, y: Tensor, q: int) -> Tensor:
        """Symbols (B, M, h w) int32 of a batch's tiles in y (1, M, H, W)."""
        part = batch.cut(y).flatten(2)
        symbols = torch.empty_like(part, dtype=torch.int32)
        gain = self.gain[q][None, :, None]

        def rounded(step: Step, mean: Tensor) -> Tensor:
            residual = part[:, step.channels].index_select(2, step.cells) - mean
            found = to_symbols(residual * gain[:, step.channels])
            symbols[:, step.channels, step.cells] = found
            return found

        self._walk_values(batch, q, rounded)
        return symbols

    def _encode_batch(self, batch: _Batch, y: Tensor, q: int) -> list[bytes]:
        """The chunks of a batch's tiles."""
        symbols = self.symbols_of(batch, y, q)
        streams: list[list[bytes]] = [[] for _ in batch.tiles]

        def written(step: Step, tables: Tensor) -> Tensor:
            known = symbols[:, step.channels].index_select(2, step.cells)
            for own, values, numbers in zip(streams, _flat(known), _flat(tables), strict=True):
                own.append(encode(values, numbers, self.y_tables))
            return known

        self._walk_symbols(batch, q, written)
        return [join_streams(own) for own in streams]

    # -- receiver ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def decode(self, code: PlaneCode, height: int, width: int, tile_cells: int = 64) -> Tensor:
        """The latent (1, M, height, width) in units of the space, float32.

        Raises:
            DamagedPacket: the number of chunks does not fit the size, or lengths inside one do not fit it.
            DecodeMismatch: a stream does not end in the coder's first state.
            LimitExceeded: the plane has more hyper-symbols than a chunk may have.
        """
        self._check_chunks(code, height, width, tile_cells)
        z_hat = self.decode_hyper(code, height, width)
        y_hat = torch.empty(1, self.config.latent_channels, height, width, device=z_hat.device)
        for window in window_grid(height, width, tile_cells):
            for batch in self._batches(z_hat, window):
                symbols = self.read_symbols(batch, code)
                _, values = self._walk_values(
                    batch, code.q, lambda step, _, s=symbols: s[:, step.channels].index_select(2, step.cells)
                )
                for tile, own in zip(batch.tiles, values, strict=True):
                    y_hat[0, :, *_cells(tile)] = own
        return y_hat

    def read_symbols(self, batch: _Batch, code: PlaneCode) -> Tensor:
        """Symbols (B, M, h w) int32 of a batch's tiles, from their chunks and integers alone."""
        num_steps = 2 * len(self.config.groups)
        chunks = [split_streams(code.main[n], num_steps, f"chunk {n}") for n in batch.numbers]
        features = batch.scale_features
        shape = (len(features), self.config.latent_channels, features.shape[2] * features.shape[3])
        symbols = torch.empty(shape, dtype=torch.int32, device=features.device)

        def read(step: Step, tables: Tensor) -> Tensor:
            found = [
                decode(streams[step.number], numbers, self.y_tables).reshape(len(step.cells), tables.shape[1]).T
                for streams, numbers in zip(chunks, _flat(tables), strict=True)
            ]
            values = torch.from_numpy(np.stack(found)).to(features.device)
            symbols[:, step.channels, step.cells] = values
            return values

        self._walk_symbols(batch, code.q, read)
        return symbols

    # -- the standard -----------------------------------------------------------------------------------------------

    def _scale_arrays(self) -> dict[str, np.ndarray]:
        arrays = {"magnitude": self.scale_path.magnitude.cpu().numpy()}
        for part, path in _integer_parts(self.scale_path).items():
            arrays |= {f"{part}.{name}": array for name, array in integer_arrays(path).items()}
        return arrays

    def _load_scale(self, arrays: Mapping[str, np.ndarray]) -> None:
        for part, path in _integer_parts(self.scale_path).items():
            load_integer_arrays(path, under(arrays, part))
        self.scale_path.magnitude.copy_(torch.from_numpy(arrays["magnitude"]))

    def digest(self) -> bytes:
        """The 8 bytes that name the decode side in files."""
        return digest(self.decode_arrays(), json.dumps(asdict(self.config), sort_keys=True))[:DIGEST_BYTES]

    @classmethod
    def from_arrays(cls, config: ElicConfig, arrays: Mapping[str, np.ndarray]) -> FrozenElic:
        """The codec whose ``decode_arrays`` and ``encode_arrays`` these are."""
        return cls(config, *stored_tables(arrays)).filled(arrays)


def _integer_parts(path: ElicScalePath) -> dict[str, IntegerScalePath]:
    """The integer parts of a frozen scale path, by name."""
    return {name: part for name, part in path.parts().items() if isinstance(part, IntegerScalePath)}


def _cells(tile: Tile, top: int = 0, left: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a tile, counted from a corner."""
    return slice(tile.top - top, tile.bottom - top), slice(tile.left - left, tile.right - left)


def _flat(x: Tensor) -> list[np.ndarray]:
    """(B, C, n) -> B flat arrays in the order cell, channel."""
    return list(np.ascontiguousarray(x.transpose(1, 2).cpu().numpy()).reshape(len(x), -1))
