"""How the light, the colours and the noise of a stereo rig's two cameras differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PhotometricConfig:
    """How the light of two cameras differs: each factor is drawn once for the pair and once, smaller, for each view.

    Args:
        brightness: largest relative change for the pair.
        contrast: the same around the middle grey.
        gamma: the same in the exponent.
        view_share: a view's own change as a share of the pair's.
        tint: largest relative change of one colour in one view.
        noise: largest deviation of Gaussian noise, in the unit of pixels from 0 to 1.
        erase_share: share of scenes whose right view has a rectangle filled with its mean colour.
    """

    brightness: float = 0.3
    contrast: float = 0.3
    gamma: float = 0.2
    view_share: float = 0.35
    tint: float = 0.05
    noise: float = 0.02
    erase_share: float = 0.3


def as_cameras_see(
    generator: np.random.Generator, left: np.ndarray, right: np.ndarray, config: PhotometricConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Two views in the light and with the noise of their cameras.

    Args:
        generator: decides everything.
        left: (H, W, 3) float32 in 0..255.
        right: (H, W, 3) float32 in 0..255.
        config: how the cameras differ.

    Returns:
        Both views, (H, W, 3) uint8.
    """
    largest = np.array([config.brightness, config.contrast, config.gamma])
    shared = generator.uniform(-1, 1, 3) * largest
    noise = generator.uniform(0, config.noise)
    seen: list[np.ndarray] = []
    for view in (left, right):
        own = generator.uniform(-1, 1, 3) * largest * config.view_share
        brightness, contrast, gamma = np.exp(shared + own)
        gain = (brightness * generator.uniform(1 - config.tint, 1 + config.tint, 3)).astype(np.float32)
        lit = np.power(view * np.float32(1 / 255.0), np.float32(gamma)) * gain
        lit = (lit - np.float32(0.5)) * np.float32(contrast) + np.float32(0.5)
        lit += generator.standard_normal(view.shape, np.float32) * np.float32(noise)
        seen.append(lit * np.float32(255.0))
    if generator.random() < config.erase_share:
        height, width = right.shape[:2]
        top, start = int(generator.integers(height)), int(generator.integers(width))
        rows, columns = (1 + int(side * generator.uniform(0.05, 0.25)) for side in (height, width))
        seen[1][top : top + rows, start : start + columns] = seen[1].mean(axis=(0, 1))
    return levels(seen[0]), levels(seen[1])


def levels(view: np.ndarray) -> np.ndarray:
    """Floats in 0..255 as uint8, clamped and rounded to nearest."""
    return (np.clip(view, 0.0, 255.0) + np.float32(0.5)).astype(np.uint8)
