"""Synthetic stereo scenes with exact disparity: photographs on slanted shapes in depth, seen by two cameras.

::

    (seed, index) ─► surfaces ─┬─► left view  ─► light, noise ─► left  (H, W, 3) uint8
    photographs ───────────────┤   right view ─► light, noise ─► right (H, W, 3) uint8
                               └─► disparity of the left view, and what the right view hides

A scene is a function of (seed, index) and the photographs alone. The right view is drawn from the surfaces, not warped
from the left one, so that what comes out behind a shape is what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from smalto.data.batches import made_ahead
from smalto.data.crops import PictureCache
from smalto.data.synthetic_render import draw_disparity, draw_view
from smalto.data.synthetic_surfaces import SurfaceConfig, draw_surfaces
from smalto.errors import UsageError

_LEAST_LARGEST_PX = 24.0  # no scene is flatter than this, where the maximum allows it
DISPARITY_STEPS = 256  # to a pixel, as batches store disparities


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


@dataclass(frozen=True)
class SyntheticConfig:
    """What scenes look like.

    Args:
        height_px: of both views.
        width_px: of both views.
        max_disparity_px: a scene's largest disparity is drawn log-uniformly up to this.
        seed: every scene is a function of seed and index.
        num_samples: a pixel is the mean of this number squared of places in it.
        surfaces: how shapes are drawn.
        photometric: how the cameras' light differs; None leaves both views as they are drawn.
    """

    height_px: int = 320
    width_px: int = 640
    max_disparity_px: float = 128.0
    seed: int = 0
    num_samples: int = 2
    surfaces: SurfaceConfig = field(default_factory=SurfaceConfig)
    photometric: PhotometricConfig | None = field(default_factory=PhotometricConfig)

    def __post_init__(self) -> None:
        if self.height_px < 1 or self.width_px < 1 or not 1 <= self.num_samples <= 8:
            raise UsageError("synthetic stereo: sides must be 1 px or more, num_samples 1..8")
        if not 2 * self.surfaces.min_disparity_px <= self.max_disparity_px <= 255.0:
            raise UsageError("synthetic stereo: max_disparity_px must lie from twice min_disparity_px to 255")


@dataclass(frozen=True, eq=False)
class StereoScene:
    """A scene as two cameras see it.

    Args:
        left: (H, W, 3) uint8.
        right: (H, W, 3) uint8.
        disparity: (H, W) float32 pixels of the left view, dense and exact at pixel centres.
        is_hidden: (H, W) bool: left pixels that the right view does not show.
    """

    left: np.ndarray
    right: np.ndarray
    disparity: np.ndarray
    is_hidden: np.ndarray


class SyntheticStereo:
    """Scenes by number, and batches of them for training.

    Args:
        textures: photographs; any will do.
        config: what scenes look like.
        num_threads: scenes of a batch that are drawn at once; it changes nothing else.

    Example:
        >>> textures = cache_pictures("photographs", "textures.u8")  # doctest: +SKIP
        >>> SyntheticStereo(textures, SyntheticConfig(seed=1)).scene(0).disparity.shape  # doctest: +SKIP
        (320, 640)
    """

    def __init__(self, textures: PictureCache, config: SyntheticConfig, num_threads: int = 1) -> None:
        if not len(textures):
            raise UsageError("synthetic stereo: no textures; name a folder of photographs")
        self.textures = textures
        self.config = config
        self._pool = ThreadPoolExecutor(num_threads, "smalto-scenes") if num_threads > 1 else None

    def scene(self, index: int) -> StereoScene:
        """Scene number ``index``."""
        config = self.config
        generator = np.random.default_rng((config.seed, index))
        size = (config.height_px, config.width_px)
        least = min(_LEAST_LARGEST_PX, config.max_disparity_px)
        largest = float(np.exp(generator.uniform(np.log(least), np.log(config.max_disparity_px))))
        surfaces = draw_surfaces(generator, self.textures, size, largest, config.surfaces)
        left, right = (draw_view(surfaces, *size, is_right, config.num_samples) for is_right in (False, True))
        disparity, is_hidden = draw_disparity(surfaces, *size)
        if config.photometric is not None:
            left, right = _as_cameras_see(generator, left, right, config.photometric)
        return StereoScene(_levels(left), _levels(right), disparity, is_hidden)

    def batch(self, step: int, num_crops: int) -> np.ndarray:
        """Scenes of one training step, packed; ``smalto.train.stereo_depth.unpacked`` takes them apart.

        Returns:
            (num_crops, 8, H, W) uint8: left, right, disparity in 1/256 px as a high and a low byte.
        """
        numbers = range(step * num_crops, (step + 1) * num_crops)
        scenes = list(map(self.scene, numbers) if self._pool is None else self._pool.map(self.scene, numbers))
        return np.stack([_packed(scene) for scene in scenes])

    def batches(self, num_crops: int, *, first_step: int = 0, depth: int = 4) -> Iterator[np.ndarray]:
        """Batches of successive steps without end, made ahead by one thread; close the iterator to stop it."""
        return made_ahead(lambda step: self.batch(step, num_crops), first_step, depth)


def _packed(scene: StereoScene) -> np.ndarray:
    """(8, H, W) uint8."""
    steps = np.rint(scene.disparity * DISPARITY_STEPS).astype(np.uint16)[..., None]
    planes = [scene.left, scene.right, (steps >> 8).astype(np.uint8), (steps & 255).astype(np.uint8)]
    return np.ascontiguousarray(np.concatenate(planes, axis=2).transpose(2, 0, 1))


def _as_cameras_see(
    generator: np.random.Generator, left: np.ndarray, right: np.ndarray, config: PhotometricConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Both views (H, W, 3) float32 in 0..255 in the light and with the noise of their cameras."""
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
    return seen[0], seen[1]


def _levels(view: np.ndarray) -> np.ndarray:
    return (np.clip(view, 0.0, 255.0) + np.float32(0.5)).astype(np.uint8)
