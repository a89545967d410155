"""The image decoder (a head: latent to picture): HiFiC's generator, and the light configuration of the same code.

::

    y (B, M, h, w) ──► head ──► blocks ──(+)──► [up by 2, blocks] ... ──► conv ──► (+) ──► x (B, 3, 16h, 16w)
          │              └────── long skip ──┘                                      │
          └───────────────── linear: one matrix per cell, 16x16 pixels ─────────────┘     (lite only)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.blocks import ChannelNorm, ResidualBlock, SeparableBlock


@dataclass(frozen=True)
class DecoderConfig:
    """Layers of an image decoder.

    Args:
        latent_channels: M, channels of y.
        width: channels of the trunk at latent resolution.
        trunk_blocks: blocks in the trunk.
        widths: channels after each doubling of resolution.
        blocks: separable blocks after each doubling.
        head_kernel: side of the first convolution.
        out_kernel: side of the last convolution.
        patch: the last convolution gives patch x patch pixels a position.
        norm: HiFiC's layers: ChannelNorm, residual blocks, transposed convolutions. Otherwise separable blocks and
            pixel shuffle.
        linear: add the linear block transform.
    """

    latent_channels: int = 220
    width: int = 960
    trunk_blocks: int = 9
    widths: tuple[int, ...] = (480, 240, 120, 60)
    blocks: tuple[int, ...] = (0, 0, 0, 0)
    head_kernel: int = 3
    out_kernel: int = 7
    patch: int = 1
    norm: bool = True
    linear: bool = False

    @property
    def stride(self) -> int:
        """Pixels per latent cell along each side."""
        return self.patch * 2 ** len(self.widths)


HIFIC = DecoderConfig()
LITE = DecoderConfig(
    latent_channels=320,
    width=224,
    trunk_blocks=3,
    widths=(160,),
    blocks=(5,),
    head_kernel=1,
    out_kernel=1,
    patch=8,
    norm=False,
    linear=True,
)


def _conv(channels_in: int, channels_out: int, kernel: int) -> nn.Conv2d:
    mode = "reflect" if kernel > 1 else "zeros"
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, padding_mode=mode)


class Up(nn.Module):
    """Double the resolution: transposed 3x3 + norm + ReLU (HiFiC), or pointwise + pixel shuffle."""

    def __init__(self, channels_in: int, channels_out: int, norm: bool) -> None:
        super().__init__()
        if norm:
            self.conv: nn.Module = nn.ConvTranspose2d(
                channels_in, channels_out, 3, stride=2, padding=1, output_padding=1
            )
            self.norm: nn.Module | None = ChannelNorm(channels_out)
        else:
            self.conv = nn.Conv2d(channels_in, 4 * channels_out, 1)
            self.norm = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', 2h, 2w)."""
        if self.norm is None:
            return F.pixel_shuffle(self.conv(x), 2)
        return torch.relu(self.norm(self.conv(x)))


class Decoder(nn.Module):
    """Latent y to picture.

    Source: HiFiC (Mentzer et al. 2020), appendix A (generator); multi-task paper, figure 2, red box: frozen.

    Args:
        config: HIFIC (156.8 M parameters) or LITE.
    """

    scale = 1

    def __init__(self, config: DecoderConfig = LITE) -> None:
        super().__init__()
        self.config = config
        self.in_norm = ChannelNorm(config.latent_channels) if config.norm else nn.Identity()
        self.head = _conv(config.latent_channels, config.width, config.head_kernel)
        self.head_norm = ChannelNorm(config.width) if config.norm else nn.Identity()
        block = ResidualBlock if config.norm else SeparableBlock
        self.trunk = nn.Sequential(*[block(config.width) for _ in range(config.trunk_blocks)])
        stages = []
        for before, width, num_blocks in zip(
            (config.width, *config.widths), config.widths, config.blocks, strict=False
        ):
            stages.append(
                nn.Sequential(Up(before, width, config.norm), *[SeparableBlock(width) for _ in range(num_blocks)])
            )
        self.stages = nn.ModuleList(stages)
        self.out = _conv(config.widths[-1], 3 * config.patch**2, config.out_kernel)
        self.linear = None
        if config.linear:
            self.linear = nn.ConvTranspose2d(config.latent_channels, 3, config.stride, stride=config.stride)
            with torch.no_grad():
                self.out.weight.mul_(0.02)
                nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def halo_cells(self) -> int:
        """Latent cells of context on each side that one output pixel can see."""
        config, cell = self.config, self.config.stride
        reach = (config.head_kernel // 2 + config.trunk_blocks * (2 if config.norm else 1)) * cell
        stride = cell
        for num_blocks in config.blocks:
            reach += stride if config.norm else 0
            stride //= 2
            reach += num_blocks * stride
        reach += (config.out_kernel // 2) * stride
        return -(-reach // cell)

    def forward(self, y: Tensor) -> Tensor:
        """Decode latents.

        Args:
            y: (B, M, h, w) in the space's own units.

        Returns:
            (B, 3, 16h, 16w) float32 sRGB around [0, 1]; not clamped.
        """
        hidden = self.head_norm(self.head(self.in_norm(y)))  # (B, C, h, w)
        hidden = hidden + self.trunk(hidden)
        for stage in self.stages:
            hidden = stage(hidden)
        x = self.out(hidden)
        if self.config.patch > 1:
            x = F.pixel_shuffle(x, self.config.patch)
        x = x.float()
        if self.linear is not None:
            with torch.autocast(y.device.type, enabled=False):
                x = x + _drawn_blocks(y.float(), self.linear)
        return x + 0.5


def _drawn_blocks(y: Tensor, linear: nn.ConvTranspose2d) -> Tensor:
    """``linear(y)`` where the stride is the kernel's side: every cell draws its own block, so a matrix product does it.

    (B, M, h, w) -> (B, 3, 16h, 16w); three times as fast as a transposed convolution.
    """
    side = linear.weight.shape[-1]
    matrix = linear.weight.permute(1, 2, 3, 0).flatten(0, 2)  # (3 * 16 * 16, M), rows as the shuffle reads them
    bias = None if linear.bias is None else linear.bias.repeat_interleave(side * side)
    return F.pixel_shuffle(F.conv2d(y, matrix[:, :, None, None], bias), side)
