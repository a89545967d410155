"""Super-resolution by two from the latent: SuperNet doubles the latent, SuperDecoder turns it into a picture.

::

    y (B, M, h, w) ─► 3x3 ─► 16 residual blocks ─► 3x3 ─(+)─► 3x3, shuffle x2 ─► 3x3 ─(+)─► y2 ─► SuperDecoder
          │             └──────────── skip ─────────────┘                              │
          └──────────── linear: one matrix per cell, shuffle x2 ───────────────────────┘   (lite only)

y2 is (B, M, 2h, 2w).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.heads.image import LITE as LITE_DECODER
from smalto.heads.image import Decoder, DecoderConfig
from smalto.layers.blocks import ResidualBlock


@dataclass(frozen=True)
class SuperResolverConfig:
    """Layers of the super-resolution head.

    Args:
        decoder: configuration of the decoder that SuperDecoder copies.
        num_blocks: residual blocks in SuperNet.
        filters: channels in SuperNet.
        linear: add a linear path around SuperNet.
    """

    decoder: DecoderConfig = LITE_DECODER
    num_blocks: int = 16
    filters: int = 64
    linear: bool = True


LITE = SuperResolverConfig()


class SuperNet(nn.Module):
    """A latent at twice the resolution from a latent.

    Source: multi-task paper, section 3.1.2 (EDSR-like transcoder, 16 residual blocks of 64 filters).
    """

    def __init__(self, config: SuperResolverConfig) -> None:
        super().__init__()
        channels, filters = config.decoder.latent_channels, config.filters
        self.head = nn.Conv2d(channels, filters, 3, padding=1)
        self.blocks = nn.Sequential(*[ResidualBlock(filters, norm=False) for _ in range(config.num_blocks)])
        self.tail = nn.Conv2d(filters, filters, 3, padding=1)
        self.up = nn.Conv2d(filters, 4 * filters, 3, padding=1)
        self.out = nn.Conv2d(filters, channels, 3, padding=1)
        self.linear = nn.Conv2d(channels, 4 * channels, 1) if config.linear else None
        if config.linear:
            with torch.no_grad():
                self.out.weight.mul_(0.05)

    def forward(self, y: Tensor) -> Tensor:
        """(B, M, h, w) -> (B, M, 2h, 2w), float32."""
        hidden = self.head(y)  # (B, 64, h, w)
        hidden = hidden + self.tail(self.blocks(hidden))
        doubled = self.out(F.pixel_shuffle(self.up(hidden), 2)).float()
        if self.linear is None:
            return doubled
        with torch.autocast(y.device.type, enabled=False):
            return doubled + F.pixel_shuffle(self.linear(y.float()), 2)


class SuperResolver(nn.Module):
    """Latent to a picture of twice the coded picture's sides.

    Source: multi-task paper, equation 4; figure 2, yellow boxes.

    Args:
        config: layers.
    """

    scale = 2

    def __init__(self, config: SuperResolverConfig = LITE) -> None:
        super().__init__()
        self.config = config
        self.super_net = SuperNet(config)
        self.super_decoder = Decoder(config.decoder)

    @property
    def halo_cells(self) -> int:
        """Latent cells of context on each side that one output pixel can see."""
        return 2 * self.config.num_blocks + 4 + -(-self.super_decoder.halo_cells // 2)

    @torch.no_grad()
    def start_from(self, decoder: Decoder, encode_linear: nn.Conv2d | None) -> None:
        """Take the decoder's weights; start the linear path as interpolation of the decoded block.

        Args:
            decoder: the frozen decoder of the space.
            encode_linear: the encoder's block transform, (M, 3, 16, 16); needed with a linear path.
        """
        self.super_decoder.load_state_dict(decoder.state_dict())
        if self.super_net.linear is None or encode_linear is None or decoder.linear is None:
            return
        blocks = decoder.linear.weight  # (M, 3, 16, 16): the block each latent channel draws
        stride = blocks.shape[-1]
        padded = F.pad(blocks, (2, 2, 2, 2), mode="replicate")
        large = F.interpolate(padded, scale_factor=2, mode="bicubic", align_corners=False)[:, :, 4:-4, 4:-4]
        doubled = F.conv2d(large, encode_linear.weight, stride=stride)  # (M, M, 2, 2)
        weight = doubled.permute(1, 2, 3, 0).reshape(-1, blocks.shape[0], 1, 1)  # (4 M, M, 1, 1), as shuffle reads
        self.super_net.linear.weight.copy_(weight)
        nn.init.zeros_(self.super_net.linear.bias)  # type: ignore[arg-type]

    def forward(self, y: Tensor) -> Tensor:
        """(B, M, h, w) -> (B, 3, 32h, 32w), float32 sRGB around [0, 1]; not clamped."""
        return self.super_decoder(self.super_net(y))
