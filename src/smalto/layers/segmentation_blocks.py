"""What PIDNet is built of: residual blocks, pyramid pooling, and the ways its three branches meet.

Source: Xu, Xiong, Bhattacharyya, "PIDNet: a real-time semantic segmentation network inspired by PID controllers",
CVPR 2023, sections 3.2 to 3.4 and figures 4 to 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOLS = ((5, 2), (9, 4), (17, 8))  # side and stride of the pyramid's windows; the fourth covers everything
_EXPANSION = 2


def conv_norm(channels_in: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias and BatchNorm."""
    conv = nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels))


def norm_conv(channels_in: int, channels: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """BatchNorm, rectifier, convolution without bias."""
    conv = nn.Conv2d(channels_in, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels_in), nn.ReLU(inplace=True), conv)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """(B, C, h, w) bilinearly to the rows and columns of ``like``."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class ResidualUnit(nn.Module):
    """A row of convolutions plus the input, which is projected where its shape changes.

    Args:
        path: the convolutions.
        skip: what the input goes through.
        rectified: whether a rectifier follows the sum; branches meet unrectified.
    """

    def __init__(self, path: nn.Module, skip: nn.Module, rectified: bool) -> None:
        super().__init__()
        self.path, self.skip, self.rectified = path, skip, rectified

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / stride, w / stride)."""
        y = self.path(x) + self.skip(x)
        return torch.relu(y) if self.rectified else y


def basic_unit(channels_in: int, channels: int, stride: int = 1, rectified: bool = True) -> ResidualUnit:
    """Two 3x3 convolutions."""
    path = nn.Sequential(
        conv_norm(channels_in, channels, 3, stride), nn.ReLU(inplace=True), conv_norm(channels, channels, 3)
    )
    return ResidualUnit(path, _skip(channels_in, channels, stride), rectified)


def bottleneck_unit(channels_in: int, channels: int, stride: int = 1) -> ResidualUnit:
    """1x1, 3x3, 1x1 to twice the channels; not rectified."""
    out = _EXPANSION * channels
    path = nn.Sequential(
        conv_norm(channels_in, channels, 1),
        nn.ReLU(inplace=True),
        conv_norm(channels, channels, 3, stride),
        nn.ReLU(inplace=True),
        conv_norm(channels, out, 1),
    )
    return ResidualUnit(path, _skip(channels_in, out, stride), rectified=False)


def basic_stage(channels_in: int, channels: int, num: int, stride: int = 1) -> nn.Sequential:
    """``num`` basic units, the last one not rectified."""
    units = [basic_unit(channels_in, channels, stride)]
    units += [basic_unit(channels, channels, rectified=k < num - 1) for k in range(1, num)]
    return nn.Sequential(*units)


def bottleneck_stage(channels_in: int, channels: int, num: int, stride: int = 1) -> nn.Sequential:
    """``num`` bottlenecks."""
    units = [bottleneck_unit(channels_in, channels, stride)]
    units += [bottleneck_unit(_EXPANSION * channels, channels) for _ in range(1, num)]
    return nn.Sequential(*units)


def _skip(channels_in: int, channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 and channels_in == channels else conv_norm(channels_in, channels, 1, stride)


class PixelAttentionFusion(nn.Module):
    """Takes from the context branch what agrees with the detail branch (PagFM).

    Math: ``s = sigmoid(sum_c f(p) f'(i))``, ``p' = s i + (1 - s) p``.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.of_detail = conv_norm(channels, inner, 1)
        self.of_context = conv_norm(channels, inner, 1)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Detail (B, C, h, w), context (B, C, h / k, w / k) -> (B, C, h, w)."""
        query = resized(self.of_context(context), detail)
        share = torch.sigmoid((self.of_detail(detail) * query).sum(dim=1, keepdim=True))  # (B, 1, h, w)
        return share * resized(context, detail) + (1 - share) * detail


class PyramidPooling(nn.Module):
    """Means over windows of four sizes beside the input, mixed.

    Args:
        channels_in: of the input.
        inner: of each of the five scales.
        channels: of the output.
        is_parallel: scales are mixed side by side (PAPPM); otherwise each with the one before it (DAPPM).
    """

    def __init__(self, channels_in: int, inner: int, channels: int, is_parallel: bool) -> None:
        super().__init__()
        windows: list[nn.Module] = [nn.AvgPool2d(side, stride, padding=side // 2) for side, stride in POOLS]
        windows.append(nn.AdaptiveAvgPool2d(1))
        self.first = norm_conv(channels_in, inner, 1)
        self.scales = nn.ModuleList([nn.Sequential(w, norm_conv(channels_in, inner, 1)) for w in windows])
        num = len(windows)
        groups = [norm_conv(num * inner, num * inner, 3, num)] if is_parallel else []
        self.parallel = nn.ModuleList(groups)
        self.steps = nn.ModuleList([] if is_parallel else [norm_conv(inner, inner, 3) for _ in windows])
        self.mix = norm_conv((num + 1) * inner, channels, 1)
        self.shortcut = norm_conv(channels_in, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        first = self.first(x)
        pooled = [resized(scale(x), x) for scale in self.scales]
        known = [first]
        for process in self.parallel:
            known.append(process(torch.cat([scale + first for scale in pooled], dim=1)))
        for process, scale in zip(self.steps, pooled if len(self.steps) else [], strict=True):
            known.append(process(scale + known[-1]))
        return self.mix(torch.cat(known, dim=1)) + self.shortcut(x)


class BoundaryFusion(nn.Module):
    """Detail at boundaries, context elsewhere: one 3x3 convolution of their blend (Bag).

    Math: ``e = sigmoid(d)``, ``conv(e p + (1 - e) i)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = norm_conv(channels, channels, 3)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Three planes (B, C, h, w) -> (B, C, h, w)."""
        edge = torch.sigmoid(boundary)
        return self.mix(edge * detail + (1 - edge) * context)


class LightBoundaryFusion(nn.Module):
    """The same with two 1x1 convolutions (Light-Bag).

    Math: ``e = sigmoid(d)``, ``f((1 - e) i + p) + g(i + e p)``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_detail = conv_norm(channels, channels, 1)
        self.of_context = conv_norm(channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor, boundary: Tensor) -> Tensor:
        """Three planes (B, C, h, w) -> (B, C, h, w)."""
        edge = torch.sigmoid(boundary)
        return self.of_detail((1 - edge) * context + detail) + self.of_context(context + edge * detail)


class ClassHead(nn.Module):
    """3x3 and 1x1 convolution to a plane per class."""

    def __init__(self, channels_in: int, inner: int, num_classes: int) -> None:
        super().__init__()
        self.mix = norm_conv(channels_in, inner, 3)
        self.norm = nn.BatchNorm2d(inner)
        self.out = nn.Conv2d(inner, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, K, h, w)."""
        return self.out(torch.relu(self.norm(self.mix(x))))
