"""Bayer mosaics: which colour lies where, and any of the four layouts as RGGB.

::

    mosaic (B, 1, H, W), GRBG ─► to_rggb ─► (B, 1, H', W') RGGB, offset (0, 1) ─► network ─► (B, C, H', W')
                                                                                    └─ cropped ─► (B, C, H, W)

A layout is RGGB seen from another corner, so a row above, a column to the left or both turn it into RGGB. The new
samples are mirrored about the border sample, without repeating it: index -k becomes k, whose parity is the same, so
each new sample carries the colour that its place asks for. Nothing is interpolated and no sample moves.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from smalto.errors import UsageError

PATTERNS = ("RGGB", "GRBG", "GBRG", "BGGR")
_CHANNELS = "RGB"


class PaddedMosaic(NamedTuple):
    """A mosaic brought to RGGB, with what leads back.

    Args:
        values: (B, 1, H', W'), RGGB; H' and W' multiples of what was asked for.
        offset: (row, column) of the first true sample, each 0 or 1.
        height: true height H in samples.
        width: true width W in samples.
    """

    values: Tensor
    offset: tuple[int, int]
    height: int
    width: int

    def cropped(self, planes: Tensor, stride: int = 1) -> Tensor:
        """The true part of planes computed from ``values``.

        Args:
            planes: (B, C, H' / stride, W' / stride).
            stride: samples per cell; above 1, cells that hold any true sample are kept.

        Raises:
            UsageError: the planes do not belong to this mosaic.
        """
        expected = (self.values.shape[-2] // stride, self.values.shape[-1] // stride)
        if tuple(planes.shape[-2:]) != expected:
            raise UsageError(f"planes of {tuple(planes.shape[-2:])} cells do not belong to a mosaic of {expected}")
        row, column = self.offset
        bottom, right = -(-(row + self.height) // stride), -(-(column + self.width) // stride)
        return planes[..., row // stride : bottom, column // stride : right]


def offset_of(pattern: str) -> tuple[int, int]:
    """Rows and columns, each 0 or 1, that turn a layout into RGGB when put before it.

    Args:
        pattern: colours of the upper left 2 x 2 samples, row by row; one of ``PATTERNS``.

    Raises:
        UsageError: it is none of them.

    Example:
        >>> [offset_of(pattern) for pattern in PATTERNS]
        [(0, 0), (0, 1), (1, 0), (1, 1)]
    """
    if pattern not in PATTERNS:
        raise UsageError(f"CFA pattern {pattern!r} is unknown; it is one of {', '.join(PATTERNS)}")
    return divmod(PATTERNS.index(pattern), 2)


def channel_map(pattern: str, height: int, width: int) -> Tensor:
    """Which channel each sample of a mosaic holds.

    Returns:
        (H, W) int64: 0 red, 1 green, 2 blue.

    Raises:
        UsageError: the pattern is unknown.
    """
    offset_of(pattern)
    cell = torch.tensor([_CHANNELS.index(colour) for colour in pattern]).view(2, 2)
    return cell.repeat(-(-height // 2), -(-width // 2))[:height, :width]


def mosaic_of(pictures: Tensor, pattern: str = "RGGB") -> Tensor:
    """What a sensor behind a Bayer filter keeps of pictures: one channel at each place.

    Args:
        pictures: (B, 3, H, W), any size.
        pattern: one of ``PATTERNS``.

    Returns:
        (B, 1, H, W), the same values.

    Raises:
        UsageError: the pattern is unknown, or the pictures have not three channels.

    Example:
        >>> mosaic_of(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)).flatten().tolist()
        [1.0, 2.0, 2.0, 3.0]
    """
    if pictures.ndim != 4 or pictures.shape[1] != 3:
        raise UsageError(f"pictures of shape {tuple(pictures.shape)} are not (B, 3, H, W)")
    place = channel_map(pattern, *pictures.shape[-2:]).to(pictures.device)
    return pictures.gather(1, place.expand(pictures.shape[0], 1, *place.shape))  # (B, 1, H, W)


def to_rggb(mosaics: Tensor, pattern: str, multiple: int = 4) -> PaddedMosaic:
    """Mosaics of any layout as RGGB, by padding that continues the pattern.

    Args:
        mosaics: (B, 1, H, W); H and W are 2 or more, odd ones too.
        pattern: one of ``PATTERNS``.
        multiple: H' and W' become multiples of this even number.

    Raises:
        UsageError: the pattern is unknown, the shape is another one, or a side is a single sample, which says nothing
            about the colours that the next row or column would hold.
    """
    row, column = offset_of(pattern)
    if mosaics.ndim != 4 or mosaics.shape[1] != 1 or min(mosaics.shape[-2:]) < 2:
        raise UsageError(f"mosaics of shape {tuple(mosaics.shape)} are not (B, 1, H, W) with sides of 2 or more")
    if multiple < 2 or multiple % 2:
        raise UsageError(f"multiple {multiple} is not an even number of samples; 4 suits the shared space")
    height, width = mosaics.shape[-2:]
    rows = _mirrored(height, row, multiple).to(mosaics.device)
    columns = _mirrored(width, column, multiple).to(mosaics.device)
    values = mosaics.index_select(-2, rows).index_select(-1, columns)
    return PaddedMosaic(values, (row, column), height, width)


def _mirrored(size: int, before: int, multiple: int) -> Tensor:
    """Indexes -before .. up to a multiple, mirrored into 0 .. size - 1 with their parity kept."""
    total = -(-(size + before) // multiple) * multiple
    period = 2 * (size - 1)
    place = torch.remainder(torch.arange(-before, total - before), period)
    return torch.where(place < size, place, period - place)
