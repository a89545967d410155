"""The archive codec of two-plane spaces: the planes themselves, rotated, finely quantised, coded with learned contexts.

::

    z_t ─► cells (h, w, 64) ───► - mean, x forward ─► round ─► q_t ─► [contexts, rANS] ─► chunks of z_t
                                                               └──────────┐ expectation and spread
    z_b ─► 2 x 2 folded (h, w, 256) ─► - mean, x forward ─► round ─► q_b ─► [contexts, rANS] ─► chunks of z_b
           q ─► - point of its cell ─► x inverse, + mean ─► planes

Math: forward = U^T G^(1/2) / step and inverse = step G^(-1/2) U, so that rounding makes the same squared error in every
component when errors are measured by G: by how far they move the decoder's picture, and by how far they stand out of
the plane. U are the principal axes of what the neighbours leave unexplained; components that never leave zero are
dropped. Tables depend on integers alone (``archive_kernels``); floats decide values only.

Symbols of a chunk stand in the order row, column, component. A chunk is a tile, or where a tile would pass 2^22 symbols
a quarter of it, a sixteenth, and so on. No context crosses its edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smalto.bits.packet import CodecNumber
from smalto.codecs.archive_contexts import CellContexts, no_cells
from smalto.codecs.tiles import Tile, tile_grid
from smalto.errors import DamagedPacket, UsageError, WeightsError
from smalto.layers.shared_planes import CHANNELS, FOLD, TOP_STRIDE
from smalto.weights.store import DIGEST_BYTES, digest, under

TOP, BOTTOM = "z_t", "z_b"
MAX_CHUNK_SYMBOLS = 1 << 22
SYMBOL_LIMIT = 1 << 30
VALUE_LIMIT = 4096.0
NUM_POINTS = 3
_FOLDS = {TOP: 1, BOTTOM: FOLD}
_CONFIGURATION = f"archive-planes 1 {CHANNELS} {TOP_STRIDE} {FOLD}"


@dataclass(frozen=True, eq=False)
class PlaneRotation:
    """Cells to symbols and back; C values a cell, K symbols.

    Args:
        mean: (C,) float32.
        inverse: (K, C) float32, values per symbol.
        point: (K, 3) float32, how much nearer to zero than the symbol itself values of symbols +-1, +-2 and beyond lie.
        forward: (C, K) float32; the encoder's alone.
        offset: (K,) float32, symbols are sign(y) floor(|y| + offset); the encoder's alone.
    """

    mean: NDArray[np.float32]
    inverse: NDArray[np.float32]
    point: NDArray[np.float32]
    forward: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __post_init__(self) -> None:
        symbols, values = self.inverse.shape
        shapes = ((values,), (symbols, values), (symbols, NUM_POINTS), (values, symbols), (symbols,))
        for one, shape in zip(fields(self), shapes, strict=True):
            array = np.asarray(getattr(self, one.name))
            if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
                raise UsageError(
                    f"archive rotation: {one.name} is {array.dtype} {array.shape}; the weights are damaged"
                )
            object.__setattr__(self, one.name, np.array(array, order="C"))

    def symbols(self, rows: NDArray[np.float32]) -> NDArray[np.int32]:
        """(cells, C) -> (cells, K) within +-2^30; what is no number counts as the mean."""
        with np.errstate(over="ignore", invalid="ignore"):
            y = np.nan_to_num((rows - self.mean) @ self.forward, nan=0.0, posinf=SYMBOL_LIMIT, neginf=-SYMBOL_LIMIT)
        size = np.minimum(np.floor(np.abs(y) + self.offset), SYMBOL_LIMIT)
        return np.copysign(size, y).astype(np.int32)

    def values(self, symbols: NDArray[np.int32]) -> NDArray[np.float32]:
        """(cells, K) -> (cells, C) within +-4096."""
        nearer = np.concatenate([np.zeros((len(self.point), 1), np.float32), self.point], axis=1)  # (K, 4)
        group = np.clip(np.abs(symbols.astype(np.int64)), 0, NUM_POINTS)
        y = symbols - np.sign(symbols) * nearer[np.arange(len(nearer)), group]
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.nan_to_num(y.astype(np.float32) @ self.inverse + self.mean, nan=0.0)
        return np.clip(values, -VALUE_LIMIT, VALUE_LIMIT)


@dataclass(frozen=True)
class PlaneModel:
    """One plane's rotation and contexts."""

    rotation: PlaneRotation
    contexts: CellContexts

    def __post_init__(self) -> None:
        if len(self.rotation.inverse) != self.contexts.num_symbols:
            raise UsageError("archive codec: rotation and contexts have different numbers of symbols")

    def decode_arrays(self) -> dict[str, np.ndarray]:
        """What a decoder reads."""
        own = {name: getattr(self.rotation, name).astype("<f4") for name in ("mean", "inverse", "point")}
        return own | self.contexts.to_arrays()

    def encode_arrays(self) -> dict[str, np.ndarray]:
        """What only an encoder reads."""
        return {name: getattr(self.rotation, name).astype("<f4") for name in ("forward", "offset")}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> PlaneModel:
        """What both hold. Raises UsageError, KeyError when it breaks a rule."""
        rotation = PlaneRotation(*(arrays[one.name] for one in fields(PlaneRotation)))
        return cls(rotation, CellContexts.from_arrays(arrays))


class ArchivePlanes:
    """Codes z_t and z_b at one fine quality (``systems.coding.ArchiveCodec``).

    Args:
        top: of z_t; its contexts read no other plane.
        bottom: of z_b; its contexts read z_t's symbols.

    Raises:
        UsageError: the models do not fit each other or the planes.
    """

    number: ClassVar[CodecNumber] = CodecNumber.ARCHIVE

    def __init__(self, top: PlaneModel, bottom: PlaneModel) -> None:
        self.plane_names = (TOP, BOTTOM)
        self.models = {TOP: top, BOTTOM: bottom}
        for name, other in ((TOP, 0), (BOTTOM, top.contexts.num_symbols)):
            model = self.models[name]
            if len(model.rotation.mean) != CHANNELS * _FOLDS[name] ** 2 or len(model.contexts.near_other) != other:
                raise UsageError(f"archive codec: the model of {name} does not fit its planes")

    @property
    def digest(self) -> bytes:
        """The 8 bytes that name the decode side in files."""
        return digest(self._arrays(encode=False), _CONFIGURATION)[:DIGEST_BYTES]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as little-endian arrays, for a weights file."""
        return self._arrays(encode=True)

    def _arrays(self, encode: bool) -> dict[str, np.ndarray]:
        arrays = {}
        for name, model in self.models.items():
            held = model.decode_arrays() | (model.encode_arrays() if encode else {})
            arrays |= {f"{name}.{inner}": array for inner, array in held.items()}
        return arrays

    def chunk_tiles(self, grid: tuple[int, int], tile_px: int) -> Iterator[Tile]:
        """The cells of each chunk of either plane, for z_t of a ``grid`` of rows and columns.

        Raises:
            UsageError: tiles are no multiples of 4 pixels.
        """
        if tile_px < TOP_STRIDE or tile_px % TOP_STRIDE:
            raise UsageError(f"tiles of {tile_px} pixels cannot be coded; use multiples of {TOP_STRIDE}")
        symbols = max(model.contexts.num_symbols for model in self.models.values())
        side = tile_px // TOP_STRIDE
        while min(side, grid[0]) * min(side, grid[1]) * symbols > MAX_CHUNK_SYMBOLS:
            side = -(-side // 2)
        return tile_grid(*grid, side)

    def encode(self, planes: Mapping[str, Tensor], tile_px: int) -> dict[str, tuple[bytes, ...]]:
        """Code planes.

        Args:
            planes: z_t (1, 64, h, w) and z_b (1, 64, 2h, 2w); NaN counts as the mean, the rest within what +-2^30
                steps reach.
            tile_px: side of a tile in picture pixels, a multiple of 4.

        Returns:
            The chunks of each plane, row by row.

        Raises:
            UsageError: planes that do not fit each other, or tiles that cannot be coded.
        """
        grid = _checked_planes(planes)
        held = {name: planes[name].detach().float().cpu().numpy()[0] for name in self.plane_names}
        chunks: dict[str, list[bytes]] = {name: [] for name in self.plane_names}
        for tile in self.chunk_tiles(grid, tile_px):
            width = tile.right - tile.left
            other = no_cells((tile.bottom - tile.top) * width)
            for name in self.plane_names:
                model = self.models[name]
                symbols = model.rotation.symbols(cell_rows(held[name], tile, _FOLDS[name]))
                data, other = model.contexts.encode(symbols, other, width)
                chunks[name].append(data)
        return {name: tuple(parts) for name, parts in chunks.items()}

    def decode(
        self, chunks: Mapping[str, tuple[bytes, ...]], grids: Mapping[str, tuple[int, int]], tile_px: int
    ) -> dict[str, Tensor]:
        """The planes that ``encode`` coded, float32 within +-4096.

        Args:
            chunks: of each plane.
            grids: rows and columns of each plane.
            tile_px: as when encoding.

        Raises:
            DamagedPacket: the chunks are not as many as the size needs, or no stream begins so.
            DecodeMismatch: a chunk does not end in the coder's first state.
            UsageError: grids that do not fit each other, or tiles that cannot be coded.
        """
        grid = grids[TOP]
        if grids[BOTTOM] != (FOLD * grid[0], FOLD * grid[1]) or min(grid) < 1:
            raise UsageError(f"archive codec: grids {grids[TOP]} and {grids[BOTTOM]} are not those of one picture")
        tiles = list(self.chunk_tiles(grid, tile_px))
        for name in self.plane_names:
            if len(chunks[name]) != len(tiles):
                raise DamagedPacket(
                    f"archive codec: {len(chunks[name])} chunks of {name}, not {len(tiles)}; the file is damaged"
                )
        planes = {name: np.empty((CHANNELS, *grids[name]), np.float32) for name in self.plane_names}
        for number, tile in enumerate(tiles):
            width = tile.right - tile.left
            num_cells = (tile.bottom - tile.top) * width
            other = no_cells(num_cells)
            for name in self.plane_names:
                model = self.models[name]
                other = model.contexts.decode(chunks[name][number], num_cells, other, width)
                _fill(planes[name], tile, _FOLDS[name], model.rotation.values(other.symbols))
        return {name: torch.from_numpy(plane)[None] for name, plane in planes.items()}


def archive_codec_of(arrays: Mapping[str, np.ndarray]) -> ArchivePlanes:
    """The codec in the arrays of a weights file.

    Raises:
        WeightsError: they are those of something else, or break a rule.
    """
    try:
        return ArchivePlanes(*(PlaneModel.from_arrays(under(arrays, name)) for name in (TOP, BOTTOM)))
    except (UsageError, KeyError, ValueError) as error:
        raise WeightsError(f"not weights of an archive codec ({error}); name another file") from error


def _checked_planes(planes: Mapping[str, Tensor]) -> tuple[int, int]:
    """Rows and columns of z_t. Raises UsageError unless both planes are those of one picture."""
    shapes = {name: list(planes[name].shape) if name in planes else [] for name in (TOP, BOTTOM)}
    rows, columns = shapes[TOP][2:] if len(shapes[TOP]) == 4 else (0, 0)
    wanted = {name: [1, CHANNELS, fold * rows, fold * columns] for name, fold in _FOLDS.items()}
    if shapes != wanted or rows < 1 or columns < 1:
        raise UsageError(f"archive codec: planes of shapes {shapes} are not those of one picture")
    return rows, columns


def cell_rows(plane: NDArray[np.float32], tile: Tile, fold: int) -> NDArray[np.float32]:
    """The cells of a tile: (C, h fold, w fold) -> (cells, C fold^2), order channel, row, column within a cell."""
    part = plane[:, fold * tile.top : fold * tile.bottom, fold * tile.left : fold * tile.right]
    height, width = tile.bottom - tile.top, tile.right - tile.left
    split = part.reshape(len(plane), height, fold, width, fold).transpose(1, 3, 0, 2, 4)  # (h, w, C, fold, fold)
    return np.ascontiguousarray(split).reshape(height * width, -1)


def _fill(plane: NDArray[np.float32], tile: Tile, fold: int, rows: NDArray[np.float32]) -> None:
    """The inverse of ``_rows``, written into the plane."""
    height, width = tile.bottom - tile.top, tile.right - tile.left
    split = rows.reshape(height, width, len(plane), fold, fold).transpose(2, 0, 3, 1, 4)  # (C, h, fold, w, fold)
    target = plane[:, fold * tile.top : fold * tile.bottom, fold * tile.left : fold * tile.right]
    target[...] = split.reshape(target.shape)
