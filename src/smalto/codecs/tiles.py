"""How a plane is cut: tiles, each a chunk of its own, and windows of tiles that are computed together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_WINDOW_CELLS = 64  # side of the windows whose parameters are computed together, unless tiles are larger


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


def within(area: Tile, tile: Tile) -> tuple[slice, slice]:
    """Rows and columns of a tile, counted from the area it lies in."""
    return slice(tile.top - area.top, tile.bottom - area.top), slice(tile.left - area.left, tile.right - area.left)
