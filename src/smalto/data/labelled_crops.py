"""Training crops of pictures together with their labels, from one memory-mapped file.

::

    CamVid or Cityscapes, folder or .tar ─► cache_labelled ─► LabelledCrops.batch(step, num) ─► (B, 4, S, S) uint8

The fourth channel holds class ids. A batch is a function of (seed, step) alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.data.batches import made_ahead
from smalto.data.crops import CropConfig
from smalto.data.segmentation import LabelledTree, Split
from smalto.errors import ImageError, UsageError
from smalto.files import replacing

_MAGIC = b"smalto-labelled-1\n"
_CHANNELS = 4


@dataclass(frozen=True)
class LabelledCache:
    """Decoded pictures with labels in one memory-mapped file.

    Args:
        path: the cache file.
        names: of the pictures, in order.
        shapes: (height, width) of each.
        offsets: first byte of each in ``values``.
        values: all of them, flat uint8; one is (H, W, 4): red, green, blue, class id.
        digest: of the source's names and times; decides whether the cache is reused.
    """

    path: Path
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]
    values: np.ndarray
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> np.ndarray:
        """Picture ``index`` with its labels: a read-only view (H, W, 4) uint8."""
        height, width = self.shapes[index]
        start = self.offsets[index]
        return self.values[start : start + height * width * _CHANNELS].reshape(height, width, _CHANNELS)


def cache_labelled(source: str | Path, path: str | Path, split: Split = "train") -> LabelledCache:
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
    try:
        cache = open_labelled(target)
        if cache.digest == digest:
            return cache
    except ImageError:
        pass  # absent or from an interrupted write: made anew below
    target.parent.mkdir(parents=True, exist_ok=True)
    names, shapes = [], []
    with replacing(target) as stream:
        stream.write(_MAGIC)
        for number in range(len(tree)):
            held = tree.read(number)
            pixels = np.asarray(held.picture.to_pil().convert("RGB"))
            names.append(held.name)
            shapes.append(held.ids.shape)
            stream.write(np.dstack([pixels, held.ids]).tobytes())
        index = json.dumps({"names": names, "shapes": shapes, "digest": digest}).encode()
        stream.write(index + len(index).to_bytes(8, "little"))
    return open_labelled(target)


def open_labelled(path: str | Path) -> LabelledCache:
    """Open a file written by ``cache_labelled``.

    Raises:
        ImageError: absent, or not such a file.
    """
    target = Path(path)
    try:
        mapped = np.memmap(target, dtype=np.uint8, mode="r")
        length = int.from_bytes(mapped[-8:].tobytes(), "little")
        index = json.loads(mapped[-8 - length : -8].tobytes())
        shapes = tuple((int(height), int(width)) for height, width in index["shapes"])
        sizes = [height * width * _CHANNELS for height, width in shapes]
        if mapped[: len(_MAGIC)].tobytes() != _MAGIC or len(_MAGIC) + sum(sizes) + length + 8 != mapped.size:
            raise ValueError("lengths")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{target}: not a cache of labelled pictures; delete it and start again") from error
    offsets = np.cumsum([0, *sizes[:-1]]) + len(_MAGIC)
    return LabelledCache(target, tuple(index["names"]), shapes, tuple(offsets.tolist()), mapped, index["digest"])


class LabelledCrops:
    """Random crops of labelled pictures, enlarged or reduced at random.

    Args:
        cache: decoded pictures.
        config: size, seed and mirroring; ``max_downscale`` and ``is_rotated`` do not apply.
        scales: a picture is scaled by a factor drawn log-uniformly between these; never below what a crop needs.

    Raises:
        UsageError: scales are not rising and above zero.
    """

    def __init__(self, cache: LabelledCache, config: CropConfig, scales: tuple[float, float] = (0.75, 2.0)) -> None:
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
