"""ELIC's transforms between a plane of any number of channels and its latent at a sixteenth of the sides.

::

    x ─► down ─► 3 bottlenecks ─► down ─► 3 bottlenecks ─► attention ─► down ─► 3 bottlenecks ─► down ─► attention ─► y
    x_hat ◄─ up ◄─ 3 bottlenecks ◄─ up ◄─ 3 bottlenecks ◄─ attention ◄─ up ◄─ 3 bottlenecks ◄─ up ◄─ attention ◄─ y_hat

down: 5x5 convolution of stride 2; up: its transpose. Legend: x plane, y latent, N width, M channels of y.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from smalto.layers.elic_blocks import AttentionBlock, ResidualBottleneck

STRIDE = 16


@dataclass(frozen=True)
class ElicTransformConfig:
    """Sizes of ELIC's transforms.

    Args:
        plane_channels: channels of x and x_hat: 3 for pictures, 1 for packed features.
        width: N, channels between the layers.
        latent_channels: M, channels of y.
        num_blocks: bottlenecks between two strided layers.
    """

    plane_channels: int = 3
    width: int = 192
    latent_channels: int = 320
    num_blocks: int = 3


ELIC_PICTURE = ElicTransformConfig()
ELIC_PLANE = ElicTransformConfig(plane_channels=1)


def _bottlenecks(config: ElicTransformConfig) -> list[nn.Module]:
    return [ResidualBottleneck(config.width) for _ in range(config.num_blocks)]


class ElicAnalysis(nn.Module):
    """g_a: x (B, C, H, W) -> y (B, M, H / 16, W / 16); H and W are multiples of 16.

    Source: ELIC (He et al. 2022), figure 4 and section 3.3.

    Args:
        config: sizes; ELIC_PICTURE has 7.34 M parameters, ELIC_PLANE 7.33 M.
    """

    def __init__(self, config: ElicTransformConfig = ELIC_PLANE) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.layers = nn.Sequential(
            nn.Conv2d(config.plane_channels, width, 5, stride=2, padding=2),
            *_bottlenecks(config),
            nn.Conv2d(width, width, 5, stride=2, padding=2),
            *_bottlenecks(config),
            AttentionBlock(width),
            nn.Conv2d(width, width, 5, stride=2, padding=2),
            *_bottlenecks(config),
            nn.Conv2d(width, config.latent_channels, 5, stride=2, padding=2),
            AttentionBlock(config.latent_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Zeros around the plane."""
        return self.layers(x).float()


class ElicSynthesis(nn.Module):
    """g_s: y_hat (B, M, h, w) -> x_hat (B, C, 16 h, 16 w).

    Source: ELIC (He et al. 2022), figure 4 and section 3.3.

    Args:
        config: sizes; ELIC_PICTURE has 7.34 M parameters, ELIC_PLANE 7.33 M.
    """

    def __init__(self, config: ElicTransformConfig = ELIC_PLANE) -> None:
        super().__init__()
        self.config = config
        width = config.width

        def up(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(channels_in, channels_out, 5, stride=2, padding=2, output_padding=1)

        self.layers = nn.Sequential(
            AttentionBlock(config.latent_channels),
            up(config.latent_channels, width),
            *_bottlenecks(config),
            up(width, width),
            AttentionBlock(width),
            *_bottlenecks(config),
            up(width, width),
            *_bottlenecks(config),
            up(width, config.plane_channels),
        )

    def forward(self, y_hat: Tensor) -> Tensor:
        """Zeros around the latent."""
        return self.layers(y_hat).float()
