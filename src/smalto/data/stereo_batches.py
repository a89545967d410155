"""Stereo pairs as training batches: how they are packed, and crops of pairs that lie in files.

A packed pair is (8, H, W) uint8: left view, right view, and the disparity in 1/256 px as a high and a low byte, zero
where it is unknown or 255 px and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from smalto.data.batches import made_ahead
from smalto.data.camera_light import PhotometricConfig, as_cameras_see
from smalto.data.stereo import StereoFiles, StereoPair, read_pair
from smalto.errors import UsageError

NUM_PLANES = 8
STEPS = 256  # to a pixel
LIMIT_PX = 255.0


def packed(left: np.ndarray, right: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """Pack a pair.

    Args:
        left: (H, W, 3) uint8.
        right: (H, W, 3) uint8.
        disparity: (H, W) float pixels.

    Returns:
        (8, H, W) uint8.
    """
    known = np.where((disparity > 0) & (disparity < LIMIT_PX), disparity, 0.0)
    steps = np.rint(known * STEPS).astype(np.uint16)[..., None]
    planes = [left, right, (steps >> 8).astype(np.uint8), (steps & 255).astype(np.uint8)]
    return np.ascontiguousarray(np.concatenate(planes, axis=2).transpose(2, 0, 1))


@dataclass(frozen=True)
class StereoCropConfig:
    """How crops of pairs are drawn.

    Args:
        height_px: of a crop.
        width_px: of a crop.
        seed: every batch is a function of seed and step.
        photometric: how the light of the two views is changed; None leaves them as they are.
    """

    height_px: int = 320
    width_px: int = 736
    seed: int = 0
    photometric: PhotometricConfig | None = None

    def __post_init__(self) -> None:
        if min(self.height_px, self.width_px) < 1:
            raise UsageError("stereo crops: sides must be 1 px or more")


class StereoCrops:
    """Random crops of stereo pairs in files, the same window of both views.

    Args:
        files: where the pairs lie; they are read anew for every crop.
        config: how crops are drawn.

    Raises:
        UsageError: there are no pairs.
    """

    def __init__(self, files: Sequence[StereoFiles], config: StereoCropConfig) -> None:
        if not files:
            raise UsageError("stereo crops: no pairs; name a folder of stereo pairs")
        self.files = tuple(files)
        self.config = config

    def batch(self, step: int, num_crops: int) -> np.ndarray:
        """Crops of one training step, packed: (num_crops, 8, H, W) uint8.

        Raises:
            UsageError: a pair is smaller than a crop.
            ImageError: a pair cannot be read.
        """
        generator = np.random.default_rng((self.config.seed, step))
        return np.stack([self._crop(generator) for _ in range(num_crops)])

    def batches(self, num_crops: int, *, first_step: int = 0, depth: int = 4) -> Iterator[np.ndarray]:
        """Batches of successive steps without end, made ahead by one thread; close the iterator to stop it."""
        return made_ahead(lambda step: self.batch(step, num_crops), first_step, depth)

    def _crop(self, generator: np.random.Generator) -> np.ndarray:
        pair, config = read_pair(self.files[int(generator.integers(len(self.files)))]), self.config
        height, width = pair.disparity.shape
        if height < config.height_px or width < config.width_px:
            raise UsageError(
                f"{pair.name}: {width}x{height} is smaller than a crop of {config.width_px}x{config.height_px}; "
                "choose smaller crops"
            )
        top = int(generator.integers(height - config.height_px + 1))
        start = int(generator.integers(width - config.width_px + 1))
        window = (slice(top, top + config.height_px), slice(start, start + config.width_px))
        left, right = (view[window] for view in _levels(pair))
        if config.photometric is not None:
            left, right = as_cameras_see(
                generator, left.astype(np.float32), right.astype(np.float32), config.photometric
            )
        return packed(left, right, pair.disparity[window])


def _levels(pair: StereoPair) -> tuple[np.ndarray, np.ndarray]:
    left, right = (np.asarray(view.to_pil().convert("RGB")) for view in (pair.left, pair.right))
    return left, right
