"""Training crops of pictures together with their labels, from one memory-mapped file.

::

    CamVid or Cityscapes, folder or .tar ─► cache_labelled ─► LabelledCrops.batch(step, num) ─► (B, 4, S, S) uint8

The fourth channel holds class ids. A batch is a function of (seed, step) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from smalto.data.batches import made_ahead
from smalto.data.crops import CropConfig
from smalto.data.picture_cache import CacheForm, PictureCache
from smalto.data.segmentation import LabelledTree, Split
from smalto.errors import UsageError

_FORM = CacheForm(b"smalto-labelled-1\n", 4, "cache of labelled pictures")


def cache_labelled(source: str | Path, path: str | Path, split: Split = "train") -> PictureCache:
    """Decode a split of ``source`` into the file ``path``, unless that file already holds it.

    Args:
        source: what ``LabelledTree`` reads.
        path: the cache file, best inside the run's folder; written atomically.
        split: which part.

    Raises:
        UsageError: ``source`` is in none of the layouts.
        ImageError: a file cannot be read.
    """
    tree, target = LabelledTree(source, split), Path(path)
    digest = hashlib.sha256("\n".join([split, *(files.stamp() for files in tree.files)]).encode()).hexdigest()
    return _FORM.made(target, digest, _decoded(tree))


def _decoded(tree: LabelledTree) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (H, W, 4) uint8 of every picture: red, green, blue, class id."""
    for number in range(len(tree)):
        held = tree.read(number)
        yield held.name, np.dstack([np.asarray(held.picture.to_pil().convert("RGB")), held.ids])


def open_labelled(path: str | Path) -> PictureCache:
    """Open a file written by ``cache_labelled``.

    Raises:
        ImageError: absent, or not such a file.
    """
    return _FORM.open(Path(path))


class LabelledCrops:
    """Random crops of labelled pictures, enlarged or reduced at random.

    Args:
        cache: decoded pictures.
        config: size, seed and mirroring; ``max_downscale`` and ``is_rotated`` do not apply.
        scales: a picture is scaled by a factor drawn log-uniformly between these; never below what a crop needs.

    Raises:
        UsageError: scales are not rising and above zero.
    """

    def __init__(self, cache: PictureCache, config: CropConfig, scales: tuple[float, float] = (0.75, 2.0)) -> None:
        if not 0 < scales[0] <= scales[1]:
            raise UsageError(f"labelled crops: scales {scales} must be above zero, the smaller first")
        self.cache, self.config, self.scales = cache, config, scales

    def batch(self, step: int, num_crops: int) -> np.ndarray:
        """Crops of one training step.

        Args:
            step: number of the step; with the seed it decides everything.
            num_crops: B.

        Returns:
            (B, 4, S, S) uint8, contiguous: sRGB and class ids.
        """
        generator = np.random.default_rng((self.config.seed, step))
        crops = [self._crop(generator) for _ in range(num_crops)]
        return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))

    def batches(self, num_crops: int, *, first_step: int = 0, depth: int = 4) -> Iterator[np.ndarray]:
        """Batches of successive steps without end, made ahead by one thread; close the iterator to stop it."""
        return made_ahead(lambda step: self.batch(step, num_crops), first_step, depth)

    def _crop(self, generator: np.random.Generator) -> np.ndarray:
        """(S, S, 4)."""
        whole = self.cache.picture(int(generator.integers(len(self.cache))))
        side = self.config.size_px
        low, high = np.log(self.scales)
        window = round(side / float(np.exp(low + (high - low) * generator.random())))
        window = max(min(window, *whole.shape[:2]), 1)
        top = int(generator.integers(whole.shape[0] - window + 1))
        left = int(generator.integers(whole.shape[1] - window + 1))
        crop = _scaled(whole[top : top + window, left : left + window], side)
        return crop[:, ::-1] if self.config.is_flipped and generator.random() < 0.5 else crop


def _scaled(crop: np.ndarray, side: int) -> np.ndarray:
    """A square crop (W, W, 4) at ``side``: colours bicubic with antialiasing, ids of the nearest pixel."""
    if crop.shape[0] == side:
        return crop
    from PIL import Image as Pil

    colours = Pil.fromarray(np.ascontiguousarray(crop[..., :3])).resize((side, side), Pil.Resampling.BICUBIC)
    ids = Pil.fromarray(np.ascontiguousarray(crop[..., 3])).resize((side, side), Pil.Resampling.NEAREST)
    return np.dstack([np.asarray(colours), np.asarray(ids)])
