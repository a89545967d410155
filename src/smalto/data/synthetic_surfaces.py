"""What synthetic stereo scenes are made of: a background and shapes before it, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smalto.data.picture_cache import PictureCache
from smalto.data.synthetic_render import Surfaces

_ROUND = 48  # corners of an ellipse or blob
_STEEPEST = 0.4  # largest change of disparity a pixel
_KINDS = ("ellipse", "polygon", "blob", "bar")
_KIND_SHARES = (0.25, 0.3, 0.25, 0.2)


@dataclass(frozen=True)
class SurfaceConfig:
    """How surfaces are drawn.

    Args:
        min_disparity_px: of anything.
        num_shapes: fewest and most shapes before the background.
        shape_share: radius of the smallest and largest shape as a share of the picture's height.
        bar_px: width of the thinnest and thickest bar.
        texture_step: texture pixels a pixel of the view, least and most; at 1 and below nothing is aliased.
        flat_share: share of surfaces whose texture is nearly one colour.
    """

    min_disparity_px: float = 1.0
    num_shapes: tuple[int, int] = (8, 28)
    shape_share: tuple[float, float] = (0.04, 0.45)
    bar_px: tuple[float, float] = (2.0, 14.0)
    texture_step: tuple[float, float] = (0.35, 1.0)
    flat_share: float = 0.2


def draw_surfaces(
    generator: np.random.Generator,
    textures: PictureCache,
    size: tuple[int, int],
    max_disparity_px: float,
    config: SurfaceConfig,
) -> Surfaces:
    """A scene.

    Args:
        generator: decides everything.
        textures: photographs.
        size: height and width of the views.
        max_disparity_px: largest disparity inside either view.
        config: how surfaces are drawn.
    """
    height, width = size
    corners = [_background(height, width, max_disparity_px)]
    nearness = [0.0]  # 0 at the background, 1 at the largest disparity
    for _ in range(int(generator.integers(config.num_shapes[0], config.num_shapes[1] + 1))):
        near = float(generator.beta(1.3, 1.6))
        corners.append(_shape(generator, size, max_disparity_px, near, config))
        nearness.append(near)
    far = float(generator.uniform(config.min_disparity_px, 0.4 * max_disparity_px))
    planes = [
        _plane(generator, points, far + near * (max_disparity_px - far), config.min_disparity_px, max_disparity_px)
        for points, near in zip(corners, nearness, strict=True)
    ]
    num = len(corners)
    chosen = generator.integers(len(textures), size=num)
    return Surfaces(
        vertices=np.concatenate(corners),
        starts=np.cumsum([0, *map(len, corners)]).astype(np.int64),
        planes=np.array(planes),
        pixels=np.asarray(textures.pixels),
        textures=np.array([(textures.offsets[k], *textures.shapes[k]) for k in chosen], np.int64),
        maps=np.stack([_texture_map(generator, textures.shapes[k], config) for k in chosen]),
        tones=np.stack([_tones(generator, textures.picture(int(k)), config) for k in chosen]),
    )


def _background(height: int, width: int, max_disparity_px: float) -> np.ndarray:
    """A rectangle that fills both views: what the right view shows at x lies at x + d in the left one."""
    right = width + max_disparity_px + 2.0
    return np.array([(-2.0, -2.0), (right, -2.0), (right, height + 2.0), (-2.0, height + 2.0)])


def _shape(
    generator: np.random.Generator, size: tuple[int, int], max_disparity_px: float, near: float, config: SurfaceConfig
) -> np.ndarray:
    """Corners (V, 2) of a random shape; near ones are smaller on the whole, so that they leave something to see."""
    height, width = size
    centre = generator.uniform((-0.05 * width, -0.05 * height), (1.05 * width + max_disparity_px, 1.05 * height))
    low, high = np.log(config.shape_share)
    radius = height * float(np.exp(generator.uniform(low, high))) * (1.3 - 0.8 * near)
    turn = generator.uniform(0, 2 * np.pi)
    kind = str(generator.choice(_KINDS, p=_KIND_SHARES))
    if kind == "bar":
        half = 0.5 * float(np.exp(generator.uniform(*np.log(config.bar_px))))
        length = max(4 * half, 2.0 * radius)
        points = np.array([(-length, -half), (length, -half), (length, half), (-length, half)])
    else:
        num = int(generator.integers(3, 9)) if kind == "polygon" else _ROUND
        angles = 2 * np.pi * np.arange(num) / num
        radii = np.ones(num)
        if kind == "polygon":
            angles = angles + generator.uniform(-0.8, 0.8, num) * np.pi / num
            radii = generator.uniform(0.5, 1.3, num)
        elif kind == "blob":
            for wave in range(2, 6):
                radii += generator.uniform(-0.5, 0.5) / wave * np.cos(wave * angles + generator.uniform(0, 2 * np.pi))
        points = radius * radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points[:, 1] *= generator.uniform(0.4, 1.0)
    rotation = np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    return points @ rotation + centre


def _plane(
    generator: np.random.Generator, points: np.ndarray, middle: float, least: float, most: float
) -> tuple[float, float, float]:
    """a, b and c of a plane with disparity ``middle`` at the shape's middle, from ``least`` to ``most`` all over it."""
    slope = generator.standard_normal(2) * float(np.exp(generator.uniform(np.log(0.002), np.log(0.2))))
    slope = np.clip(slope, -_STEEPEST, _STEEPEST)
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    middle = float(np.clip(middle, least, most))
    rise = (points - centre) @ slope
    scale = min(1.0, (most - middle) / max(float(rise.max()), 1e-9), (middle - least) / max(-float(rise.min()), 1e-9))
    slope = slope * scale
    return middle - float(centre @ slope), float(slope[0]), float(slope[1])


def _texture_map(generator: np.random.Generator, shape: tuple[int, int], config: SurfaceConfig) -> np.ndarray:
    """(2, 3): any place of the picture, any direction, perhaps mirrored."""
    step = float(np.exp(generator.uniform(*np.log(config.texture_step))))
    turn = generator.uniform(0, 2 * np.pi)
    mirror = generator.choice((-1.0, 1.0))
    start = generator.uniform((0.0, 0.0), (shape[1], shape[0]))
    cos, sin = step * np.cos(turn), step * np.sin(turn)
    return np.array([(start[0], cos, sin), (start[1], -mirror * sin, mirror * cos)])


def _tones(generator: np.random.Generator, picture: np.ndarray, config: SurfaceConfig) -> np.ndarray:
    """(3, 2) gain and offset of each colour: a tint, and for flat surfaces little contrast around the mean colour."""
    mean = picture[::8, ::8].reshape(-1, 3).mean(axis=0)
    contrast = generator.uniform(0.6, 1.2)
    if generator.random() < config.flat_share:
        contrast = generator.uniform(0.05, 0.3)
    tint = generator.uniform(0.6, 1.25) * generator.uniform(0.9, 1.1, 3)
    return np.stack([tint * contrast, tint * (1 - contrast) * mean], axis=1)
