"""The image encoder: HiFiC's, and the light configuration of the same code that smalto ships.

::

    x (B, 3, H, W) ──► stem ──► [stage: down by 2, blocks] ... ──► conv ──► (+) ──► y (B, M, H/16, W/16)
          └──────────────────── linear: one matrix per 16x16 block ───────────┘      (lite only)

The linear path is a block transform. Started from a principal component analysis of training blocks it codes
like a large-block JPEG from the first step on, and the network learns only what it can add.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from smalto.layers.blocks import ChannelNorm, SeparableBlock

STRIDE_PX = 16


@dataclass(frozen=True)
class EncoderConfig:
    """Layers of an image encoder.

    Args:
        widths: channels of the stem and of each stage after it; every stage halves the resolution.
        blocks: number of separable blocks after the stem and after each stage.
        latent_channels: M, channels of y.
        patch: the stem first folds patch x patch pixels into channels.
        stem_kernel: side of the stem's convolution.
        down_kernel: 3 for padded 3x3 convolutions of stride 2, 2 for 2x2 ones without overlap.
        out_kernel: side of the last convolution.
        norm: ChannelNorm and ReLU after every convolution (HiFiC), or neither.
        linear: add the linear block transform.
        down_pad: (left, right, top, bottom) pixels of reflection around a 3x3 convolution of stride 2.
    """

    widths: tuple[int, ...] = (60, 120, 240, 480, 960)
    blocks: tuple[int, ...] = (0, 0, 0, 0, 0)
    latent_channels: int = 220
    patch: int = 1
    stem_kernel: int = 7
    down_kernel: int = 3
    out_kernel: int = 3
    norm: bool = True
    linear: bool = False
    down_pad: tuple[int, int, int, int] = (0, 1, 0, 1)

    @property
    def stride(self) -> int:
        """Pixels per latent cell along each side."""
        return self.patch * 2 ** (len(self.widths) - 1)


HIFIC = EncoderConfig()
LITE = EncoderConfig(
    widths=(160, 224),
    blocks=(3, 3),
    latent_channels=320,
    patch=8,
    stem_kernel=1,
    down_kernel=2,
    out_kernel=1,
    norm=False,
    linear=True,
)


class Down(nn.Module):
    """Halve the resolution: convolution of stride 2, then norm and ReLU when the configuration has them."""

    def __init__(self, channels_in: int, channels_out: int, config: EncoderConfig) -> None:
        super().__init__()
        self.pad = config.down_pad if config.down_kernel == 3 else None
        self.conv = nn.Conv2d(channels_in, channels_out, config.down_kernel, stride=2)
        self.norm = ChannelNorm(channels_out) if config.norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / 2, W / 2) for even sides; reflection, by default as TensorFlow's SAME pads."""
        if self.pad is not None:
            x = F.pad(x, self.pad, mode="reflect")
        x = self.conv(x)
        return x if self.norm is None else torch.relu(self.norm(x))


class Encoder(nn.Module):
    """Picture to latent y.

    Source: HiFiC (Mentzer et al. 2020), appendix A; multi-task paper, figure 2, blue box.

    Args:
        config: HIFIC (7.42 M parameters) or LITE.
    """

    def __init__(self, config: EncoderConfig = LITE) -> None:
        super().__init__()
        self.config = config
        pad = config.stem_kernel // 2
        mode = "reflect" if pad else "zeros"
        self.stem = nn.Conv2d(3 * config.patch**2, config.widths[0], config.stem_kernel, padding=pad, padding_mode=mode)
        self.stem_norm = ChannelNorm(config.widths[0]) if config.norm else None
        stages = [nn.Sequential(*[SeparableBlock(config.widths[0]) for _ in range(config.blocks[0])])]
        for before, width, num_blocks in zip(config.widths, config.widths[1:], config.blocks[1:], strict=False):
            down = Down(before, width, config)
            stages.append(nn.Sequential(down, *[SeparableBlock(width) for _ in range(num_blocks)]))
        self.stages = nn.ModuleList(stages)
        pad = config.out_kernel // 2
        mode = "reflect" if pad else "zeros"
        self.out = nn.Conv2d(
            config.widths[-1], config.latent_channels, config.out_kernel, padding=pad, padding_mode=mode
        )
        self.linear = None
        if config.linear:
            self.linear = nn.Conv2d(3, config.latent_channels, config.stride, stride=config.stride)
            with torch.no_grad():
                self.out.weight.mul_(0.02)
                nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    @property
    def halo_px(self) -> int:
        """Pixels of context on each side that one latent cell can see, rounded up to whole cells."""
        reach, stride = (self.config.stem_kernel // 2) * self.config.patch, self.config.patch
        for index, num_blocks in enumerate(self.config.blocks):
            if index:
                reach += stride if self.config.down_kernel == 3 else 0
                stride *= 2
            reach += num_blocks * stride
        reach += (self.config.out_kernel // 2) * stride
        return -(-reach // stride) * stride

    def forward(self, x: Tensor) -> Tensor:
        """Encode pictures whose sides are multiples of the stride.

        Args:
            x: (B, 3, H, W) sRGB in [0, 1].

        Returns:
            y (B, M, H / 16, W / 16), float32, in the space's own units.
        """
        centred = x - 0.5
        hidden = F.pixel_unshuffle(centred, self.config.patch) if self.config.patch > 1 else centred
        hidden = self.stem(hidden)  # (B, C0, H / patch, W / patch)
        if self.stem_norm is not None:
            hidden = torch.relu(self.stem_norm(hidden))
        for stage in self.stages:
            hidden = stage(hidden)
        y = self.out(hidden).float()  # (B, M, h, w)
        if self.linear is None:
            return y
        with torch.autocast(x.device.type, enabled=False):
            return y + self.linear(centred.float())
