"""The decoder of the shared neural space (a head: planes to picture), frozen once it is trained.

::

    z_t (B, 64, H/4, W/4) ─► up ─► (B, 64, H/2, W/2) ─┐
    z_b (B, 64, H/2, W/2) ────────────────────────────┴ cat ─► stage ─► (B, 128, H/2, W/2) ─► out ─► x (B, 3, H, W)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalto.layers.shared_blocks import WIDTH, NarrowStage, doubled
from smalto.layers.shared_planes import CHANNELS, SharedPlanes

MIDDLE = 0.5


class SharedDecoder(nn.Module):
    """(z_b, z_t) to sRGB.

    Source: Shared Neural Space paper, section 3.1 (D_0); VQ-VAE-2's decoder; 301,571 parameters.
    Where we differ: 0.5 is added to the output, as the encoder takes it away.

    Example:
        >>> import torch
        >>> planes = SharedPlanes(torch.zeros(1, 64, 8, 12), torch.zeros(1, 64, 4, 6))
        >>> tuple(SharedDecoder()(planes).shape)
        (1, 3, 16, 24)
    """

    scale = 1

    def __init__(self) -> None:
        super().__init__()
        self.up = doubled(CHANNELS, CHANNELS)
        self.stage = NarrowStage(2 * CHANNELS)
        self.out = doubled(WIDTH, 3)

    @property
    def halo_cells(self) -> int:
        """Cells of z_t (4 px) of context on each side that one output pixel can see; of z_b, twice as many."""
        half_cells = 1 + NarrowStage.reach_cells  # out's 4x4 sees a neighbour
        return -(-half_cells // 2) + 1  # up's 4x4 sees a neighbour

    def forward(self, planes: SharedPlanes) -> Tensor:
        """Planes -> (B, 3, H, W), float32 sRGB around [0, 1]; not clamped."""
        structure = self.up(planes.z_t)  # (B, 64, H/2, W/2)
        detail = planes.z_b.to(structure.dtype)
        hidden = self.stage(torch.cat([structure, detail], dim=1))  # (B, 128, H/2, W/2)
        return self.out(hidden).float() + MIDDLE
