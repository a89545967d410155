"""The learned transform that brings both planes of the shared neural space to one latent at 1/16, and back.

::

    z_b (B, 64, H/2, W/2) ─► 1x1 ─► fold ┐
    z_t (B, 64, H/4, W/4) ─► 1x1 ─► fold ┴► (B, ., H/8, W/8) ─► 1x1 ─► [blocks] ─► down ─► [blocks] ─► 1x1 ─(+)─► y
                                         └───────────────── linear: one matrix per 16x16 block ───────────────┘

    y (B, M, H/16, W/16) ─► 1x1 ─► [blocks] ─► up ─► [blocks] ─► 1x1 ─► unfold ─(+)─► c (B, 32, H/2, W/2)
            └────────────────────── linear: one matrix per 16x16 block ──────────┘
    c ─► stage ─► (B, 128, H/2, W/2) ─┬──────────────────────────────────────────────┐
                                      └► stage ─► (B, 128, H/4, W/4) ─► 1x1 ─► z_t    ├ cat ─► 1x1 ─► z_b
                                                                          └► stage, up┘
The hyperprior of the image codec stands between the two. What lies at 1/8 and 1/16 has the shape of the lite image
codec's networks, and what makes planes of c that of the space's own encoder, so that training can start from both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.blocks import SeparableBlock
from smalto.layers.shared_blocks import WIDTH, NarrowStage, doubled, halved
from smalto.layers.shared_planes import BOTTOM_STRIDE, CHANNELS, TOP_STRIDE, SharedPlanes, folded, unfolded

STRIDE_PX = 16
_FINE_PX = 8  # pixels per cell of the finer of the two grids
_BLOCK_CHANNELS = 12  # a 2 x 2 block of a picture


@dataclass(frozen=True)
class PlaneTransformConfig:
    """Layers of the transform.

    Args:
        latent_channels: M, channels of y.
        detail_channels: what analysis keeps of z_b at each of its cells, at least 12.
        structure_channels: what it keeps of z_t.
        widths: channels at 1/8 and 1/16.
        analysis_blocks: separable blocks at 1/8 and 1/16 of the analysis.
        synthesis_blocks: at 1/16 and 1/8 of the synthesis.
        carried_channels: of c, from which synthesis makes planes, at least 12.
    """

    latent_channels: int = 320
    detail_channels: int = 24
    structure_channels: int = 16
    widths: tuple[int, int] = (160, 224)
    analysis_blocks: tuple[int, int] = (3, 3)
    synthesis_blocks: tuple[int, int] = (3, 5)
    carried_channels: int = 32


def _blocks(channels: int, num: int) -> nn.Sequential:
    return nn.Sequential(*[SeparableBlock(channels) for _ in range(num)])


class PlaneAnalysis(nn.Module):
    """(z_b, z_t) -> y.

    Args:
        config: layers.
    """

    def __init__(self, config: PlaneTransformConfig) -> None:
        super().__init__()
        self.config = config
        fine, coarse = config.widths
        self.detail = nn.Conv2d(CHANNELS, config.detail_channels, 1)
        self.structure = nn.Conv2d(CHANNELS, config.structure_channels, 1)
        self.detail_fold, self.structure_fold = _FINE_PX // BOTTOM_STRIDE, _FINE_PX // TOP_STRIDE
        joined = config.detail_channels * self.detail_fold**2 + config.structure_channels * self.structure_fold**2
        self.stem = nn.Conv2d(joined, fine, 1)
        self.fine_blocks = _blocks(fine, config.analysis_blocks[0])
        self.down = nn.Conv2d(fine, coarse, 2, stride=2)
        self.coarse_blocks = _blocks(coarse, config.analysis_blocks[1])
        self.out = nn.Conv2d(coarse, config.latent_channels, 1)
        self.linear = nn.Conv2d(joined, config.latent_channels, 2, stride=2)
        with torch.no_grad():
            self.out.weight.mul_(0.02)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def halo_cells(self) -> int:
        """Cells of z_t of context on each side that a cell of y can see, rounded up to whole cells of y."""
        fine, coarse = self.config.analysis_blocks
        reach_px = fine * _FINE_PX + coarse * STRIDE_PX
        return -(-reach_px // STRIDE_PX) * (STRIDE_PX // TOP_STRIDE)

    def forward(self, planes: SharedPlanes) -> Tensor:
        """Planes of (B, 3, H, W), sides multiples of 16 -> y (B, M, H/16, W/16) float32."""
        joined = torch.cat(
            [
                F.pixel_unshuffle(self.detail(planes.z_b), self.detail_fold),
                F.pixel_unshuffle(self.structure(planes.z_t), self.structure_fold),
            ],
            dim=1,
        )  # (B, 24 16 + 16 4, H/8, W/8)
        hidden = self.coarse_blocks(self.down(self.fine_blocks(self.stem(joined))))  # (B, 224, H/16, W/16)
        return self.out(hidden).float() + self.linear(joined).float()


class PlaneSynthesis(nn.Module):
    """y -> (z_b, z_t): the decode side of the transform, part of the standard.

    Args:
        config: layers.
    """

    def __init__(self, config: PlaneTransformConfig) -> None:
        super().__init__()
        self.config = config
        fine, coarse = config.widths
        self.fold = STRIDE_PX // BOTTOM_STRIDE  # cells of c per cell of y
        self.head = nn.Conv2d(config.latent_channels, coarse, 1)
        self.coarse_blocks = _blocks(coarse, config.synthesis_blocks[0])
        self.up = nn.Conv2d(coarse, 4 * fine, 1)
        self.fine_blocks = _blocks(fine, config.synthesis_blocks[1])
        self.out = nn.Conv2d(fine, config.carried_channels * (self.fold // 2) ** 2, 1)
        self.linear = nn.Conv2d(config.latent_channels, _BLOCK_CHANNELS * self.fold**2, 1)
        half = WIDTH // 2
        self.enc_b = nn.Sequential(nn.Conv2d(config.carried_channels, half, 3, padding=1), nn.ReLU(), NarrowStage(half))
        self.enc_t = nn.Sequential(halved(WIDTH, half), nn.ReLU(), NarrowStage(half))
        self.to_t = nn.Conv2d(WIDTH, CHANNELS, 1)
        self.dec_t = nn.Sequential(NarrowStage(CHANNELS), doubled(WIDTH, CHANNELS))
        self.to_b = nn.Conv2d(CHANNELS + WIDTH, CHANNELS, 1)
        with torch.no_grad():
            self.out.weight.mul_(0.02)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def halo_cells(self) -> int:
        """Cells of y of context on each side that a cell of the planes can see."""
        coarse, fine = self.config.synthesis_blocks
        reach = NarrowStage.reach_cells
        planes_px = BOTTOM_STRIDE * (1 + reach) + TOP_STRIDE * (1 + reach) + TOP_STRIDE * (1 + reach)
        return -(-(coarse * STRIDE_PX + fine * _FINE_PX + planes_px) // STRIDE_PX)

    def carried(self, y: Tensor) -> Tensor:
        """y (B, M, h, w) -> c (B, 32, 8 h, 8 w); its first 12 channels start as the 2 x 2 blocks of a picture."""
        hidden = self.head(y)  # (B, 224, h, w)
        hidden = hidden + self.coarse_blocks(hidden)
        hidden = self.fine_blocks(F.pixel_shuffle(self.up(hidden), 2))  # (B, 160, 2 h, 2 w)
        c = F.pixel_shuffle(self.out(hidden), self.fold // 2).float()  # (B, 32, 8 h, 8 w)
        blocks = F.pixel_shuffle(self.linear(y).float(), self.fold)  # (B, 12, 8 h, 8 w)
        return torch.cat([c[:, :_BLOCK_CHANNELS] + blocks, c[:, _BLOCK_CHANNELS:]], dim=1)

    def forward(self, y: Tensor) -> SharedPlanes:
        """y (B, M, h, w) -> z_b (B, 64, 8 h, 8 w) and z_t (B, 64, 4 h, 4 w), float32."""
        bottom = self.enc_b(self.carried(y))  # (B, 128, 8 h, 8 w)
        z_t = self.to_t(self.enc_t(bottom))  # (B, 64, 4 h, 4 w)
        z_b = self.to_b(torch.cat([self.dec_t(z_t), bottom], dim=1))  # (B, 64, 8 h, 8 w)
        return SharedPlanes(z_b.float(), z_t.float())


class FoldedAnalysis(nn.Module):
    """``PlaneAnalysis`` on folded planes (B, 320, H/4, W/4), as systems carry them."""

    def __init__(self, network: PlaneAnalysis) -> None:
        super().__init__()
        self.network = network
        self.halo_cells = network.halo_cells

    def forward(self, carrier: Tensor) -> Tensor:
        """Folded planes -> y."""
        return self.network(unfolded(carrier))


class FoldedSynthesis(nn.Module):
    """``PlaneSynthesis`` that gives folded planes."""

    def __init__(self, network: PlaneSynthesis) -> None:
        super().__init__()
        self.network = network
        self.halo_cells = network.halo_cells

    def forward(self, y: Tensor) -> Tensor:
        """y -> folded planes."""
        return folded(self.network(y))
