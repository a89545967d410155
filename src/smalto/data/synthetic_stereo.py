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
from smalto.data.camera_light import PhotometricConfig, as_cameras_see, levels
from smalto.data.picture_cache import PictureCache
from smalto.data.stereo_batches import LIMIT_PX, packed
from smalto.data.synthetic_render import draw_disparity, draw_view
from smalto.data.synthetic_surfaces import SurfaceConfig, draw_surfaces
from smalto.errors import UsageError

_LEAST_LARGEST_PX = 24.0  # no scene is flatter than this, where the maximum allows it


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
        if not 2 * self.surfaces.min_disparity_px <= self.max_disparity_px < LIMIT_PX:
            raise UsageError("synthetic stereo: max_disparity_px must lie from twice min_disparity_px to below 255")


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
        if config.photometric is None:
            return StereoScene(levels(left), levels(right), disparity, is_hidden)
        return StereoScene(*as_cameras_see(generator, left, right, config.photometric), disparity, is_hidden)

    def batch(self, step: int, num_crops: int) -> np.ndarray:
        """Scenes of one training step, packed; see ``smalto.data.stereo_batches``.

        Returns:
            (num_crops, 8, H, W) uint8.
        """
        numbers = range(step * num_crops, (step + 1) * num_crops)
        scenes = list(map(self.scene, numbers) if self._pool is None else self._pool.map(self.scene, numbers))
        return np.stack([packed(scene.left, scene.right, scene.disparity) for scene in scenes])

    def batches(self, num_crops: int, *, first_step: int = 0, depth: int = 4) -> Iterator[np.ndarray]:
        """Batches of successive steps without end, made ahead by one thread; close the iterator to stop it."""
        return made_ahead(lambda step: self.batch(step, num_crops), first_step, depth)
