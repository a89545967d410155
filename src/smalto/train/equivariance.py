"""Random affines of pictures and of their planes alike, and where the two can be compared.

Positions are those of ``Affine.sources``: a plane of stride s sees the same picture coordinates as the pixels do, its
cell (0, 0) covering the first s x s of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from smalto.errors import UsageError
from smalto.types import Affine

_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True)
class AffineRange:
    """What random affines are drawn from; every value is uniform, the scale in its logarithm.

    Source: EQ-VAE (Kouzelis et al. 2025) turns by quarter turns and reduces to a quarter; here any angle and both
    directions of scale, as the Shared Neural Space paper says "rotation, scaling and translation" without ranges.

    Args:
        rotation_degrees: up to this, to either side.
        scale: least and largest.
        shift_share: up to this part of the shorter side, along each axis.
    """

    rotation_degrees: float = 180.0
    scale: tuple[float, float] = (0.75, 4 / 3)
    shift_share: float = 0.125

    def __post_init__(self) -> None:
        low, high = self.scale
        if self.rotation_degrees < 0 or not 0 < low <= high or not 0 <= self.shift_share < 0.5:
            raise UsageError(f"affine range {self}: needs rotation >= 0, 0 < scale low <= high, shift_share in 0..0.5")

    def draw(self, num: int, size_px: tuple[int, int], generator: torch.Generator | None = None) -> list[Affine]:
        """Affines for pictures of one size.

        Args:
            num: how many.
            size_px: height and width.
            generator: of random numbers; None takes PyTorch's own.
        """
        low, high = (math.log(value) for value in self.scale)
        reach = self.shift_share * min(size_px)
        affines = []
        for turn, scale, x, y in torch.rand(num, 4, generator=generator).tolist():
            degrees = (2 * turn - 1) * self.rotation_degrees
            shift_x_px, shift_y_px = (2 * x - 1) * reach, (2 * y - 1) * reach
            affines.append(Affine(degrees, math.exp(low + scale * (high - low)), shift_x_px, shift_y_px))
        return affines


def warp(planes: Tensor, affines: Sequence[Affine], stride: int, size_px: tuple[int, int]) -> Tensor:
    """Each picture's plane by its own affine, sampled bilinearly; beyond the frame the border is repeated.

    Args:
        planes: (B, C, h, w), pixels (stride 1) or a plane of them.
        affines: B of them.
        stride: pixels per cell.
        size_px: true height and width of the pictures.

    Returns:
        (B, C, h, w) float32.
    """
    grid = (planes.shape[2], planes.shape[3])
    grids = torch.cat([affine.sampling_grid(grid, stride, size_px) for affine in affines])  # (B, h, w, 2)
    with torch.autocast(planes.device.type, enabled=False):
        return F.grid_sample(
            planes.float(), grids.to(planes.device).float(), padding_mode="border", align_corners=False
        )


def comparable(
    affines: Sequence[Affine], grid: tuple[int, int], stride: int, size_px: tuple[int, int], margin_px: float = 0.0
) -> Tensor:
    """Which cells of transformed planes hold what the picture held, and can be compared.

    A cell counts when its source, with the cells that bilinear sampling takes, lies inside the frame, and both source
    and cell are ``margin_px`` or more from the frame, where an encoder sees its own padding.

    Args:
        affines: B of them.
        grid: rows and columns of the plane.
        stride: pixels per cell.
        size_px: true height and width of the pictures.
        margin_px: see above.

    Returns:
        (B, 1, rows, columns) float32: 1 where a cell counts, 0 elsewhere.
    """
    least = max(margin_px, stride / 2) - 1e-6  # rounding must not cut what touches the edge
    own = _is_inside(Affine().sources(grid, stride, size_px), size_px, least)
    masks = [own & _is_inside(affine.sources(grid, stride, size_px), size_px, least) for affine in affines]
    return torch.stack(masks)[:, None].float()


def _is_inside(positions: Tensor, size_px: tuple[int, int], least: float) -> Tensor:
    """(rows, columns, 2) positions x, y -> (rows, columns), whether they are so far from the frame's edge."""
    limits = positions.new_tensor([size_px[1], size_px[0]]) - least
    return ((positions >= least) & (positions <= limits)).all(dim=-1)


class PlaneError(NamedTuple):
    """How far planes of transformed pictures are from the transformed planes.

    Args:
        relative: mean squared difference by the planes' variance, a scalar.
        root: its square root, detached: 0 for equal ones, about 1.4 for unrelated ones.
    """

    relative: Tensor
    root: Tensor


def plane_error(transformed: Tensor, encoded: Tensor, mask: Tensor) -> PlaneError:
    """The term ``L2[z^f, E(X^f)]`` for one plane, relative to the plane's variance.

    Math: ``mean_m (z^f - E(X^f))^2 / var(z^f)``, both over the cells that count and all channels, the variance around
    each channel's mean. Source: Shared Neural Space paper, equation 3, which does not divide; without it an encoder
    lowers the term by shrinking its planes.

    Args:
        transformed: z^f (B, C, h, w).
        encoded: E(X^f), same shape.
        mask: (B, 1, h, w) of ``comparable``.
    """
    with torch.autocast(transformed.device.type, enabled=False):
        transformed, encoded = transformed.float(), encoded.float()
        count = mask.sum().clamp_min(1.0)
        squared = ((transformed - encoded).square() * mask).sum() / count
        means = (transformed * mask).sum(dim=(0, 2, 3), keepdim=True) / count  # (1, C, 1, 1)
        variance = ((transformed - means).square() * mask).sum() / count
        relative = squared / variance.clamp_min(_LEAST_VARIANCE)
        return PlaneError(relative, relative.detach().sqrt())
