"""Pictures as the frozen reference networks take them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def centre_crop(pixels: np.ndarray, short_side_px: int, side_px: int) -> np.ndarray:
    """Scale the shorter side (bilinear, antialiased), then cut the centre.

    Args:
        pixels: (H, W, 3) uint8.
        short_side_px: the shorter side after scaling.
        side_px: side of the square that is cut, at most ``short_side_px``.

    Returns:
        (side_px, side_px, 3) uint8.
    """
    from PIL import Image as Pil

    height, width = pixels.shape[:2]
    scale = short_side_px / min(height, width)
    size = (max(short_side_px, round(width * scale)), max(short_side_px, round(height * scale)))
    scaled = Pil.fromarray(np.ascontiguousarray(pixels)).resize(size, Pil.Resampling.BILINEAR)
    left, top = (size[0] - side_px) // 2, (size[1] - side_px) // 2
    return np.asarray(scaled.crop((left, top, left + side_px, top + side_px)))


def imagenet_normalised(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 sRGB -> (1, 3, H, W) float32: /255, minus ImageNet's mean, by its deviation."""
    unit = pixels.astype(np.float32) / np.float32(255.0)
    planes = (unit - np.asarray(IMAGENET_MEAN, np.float32)) / np.asarray(IMAGENET_DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1)))[None]
