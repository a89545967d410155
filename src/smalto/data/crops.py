"""Training crops: a folder of pictures decoded once into one uint8 file, then read by memory map.

::

    folder or packed .tar ─► cache_pictures ─► PictureCache (memory map) ─► Crops.batch(step, num) ─► (B, 3, S, S) uint8

A batch is a function of (seed, step) alone, so a resumed run sees the crops it would have seen.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from smalto.data.batches import made_ahead
from smalto.data.photographs import EXTENSIONS, picture_files, read_image
from smalto.data.picture_cache import CacheForm, PictureCache
from smalto.errors import SmaltoError, UsageError

_FORM = CacheForm(b"smalto-pictures-1\n", 3, "picture cache")


def cache_pictures(source: str | Path, path: str | Path) -> PictureCache:
    """Decode every picture of ``source`` into the file ``path``, unless that file already holds them.

    Args:
        source: a folder of pictures (read with its subfolders) or a .tar made by ``pack``.
        path: the cache file, best inside the run's folder; written atomically.

    Returns:
        The opened cache. Alpha is dropped, 16-bit pictures are rounded to 8.

    Raises:
        UsageError: no pictures in ``source``.
        ImageError: a picture cannot be read.
    """
    root, target = Path(source), Path(path)
    if not root.exists():
        raise UsageError(f"{root}: no such folder or .tar; name the training pictures with --data")
    files = None if root.is_file() else picture_files(root)
    digest = _digest(root, files)
    return _FORM.made(target, digest, _decoded(root, files))


def _decoded(root: Path, files: tuple[Path, ...] | None) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (H, W, 3) uint8 of every picture. Raises UsageError when there is none."""
    is_empty = True
    for name, handle in _entries(root, files):
        is_empty = False
        yield name, _as_bytes(read_image(handle).pixels)
    if is_empty:
        raise UsageError(f"{root}: no pictures inside; expected {', '.join(EXTENSIONS)}")


def open_cache(path: str | Path) -> PictureCache:
    """Open a file written by ``cache_pictures``.

    Raises:
        ImageError: absent, or not such a file.
    """
    return _FORM.open(Path(path))


@dataclass(frozen=True)
class CropConfig:
    """How crops are drawn.

    Args:
        size_px: side of the square crop.
        seed: every batch is a function of seed and step.
        max_downscale: before cropping, a picture is reduced by a factor drawn log-uniformly from 1 to this; 1 turns
            it off. Reduction sharpens and denoises, so it adds clean detail that the originals lack.
        downscale_share: share of crops that are reduced at all.
        is_flipped: mirror left-right at random.
        is_rotated: quarter turns at random.
    """

    size_px: int = 256
    seed: int = 0
    max_downscale: float = 1.0
    downscale_share: float = 0.5
    is_flipped: bool = True
    is_rotated: bool = False

    def __post_init__(self) -> None:
        if self.size_px < 1 or self.max_downscale < 1.0 or not 0.0 <= self.downscale_share <= 1.0:
            raise UsageError("crops need size_px >= 1, max_downscale >= 1 and downscale_share in 0..1")


class Crops:
    """Random crops of a cache, drawn with equal probability per pixel of the source.

    Args:
        cache: decoded pictures.
        config: how crops are drawn.
        among: numbers of the pictures to draw from; None is all of them.

    Raises:
        UsageError: none of them is large enough.

    Example:
        >>> crops = Crops(cache_pictures("pictures", "runs/first/pictures.u8"), CropConfig(192))  # doctest: +SKIP
        >>> crops.batch(step=0, num_crops=8).shape  # doctest: +SKIP
        (8, 3, 192, 192)
    """

    def __init__(self, cache: PictureCache, config: CropConfig, among: Sequence[int] | None = None) -> None:
        numbers = range(len(cache)) if among is None else among
        usable = [k for k in numbers if min(cache.shapes[k]) >= config.size_px]
        if not usable:
            raise UsageError(f"{cache.path}: no picture has sides of {config.size_px} px or more; choose smaller crops")
        self.cache = cache
        self.config = config
        self.usable = np.array(usable)
        areas = np.array([cache.shapes[k][0] * cache.shapes[k][1] for k in usable], dtype=np.float64)
        self._edges = np.cumsum(areas) / areas.sum()

    @property
    def num_pixels(self) -> int:
        """Pixels of the pictures that crops are drawn from."""
        return sum(self.cache.shapes[k][0] * self.cache.shapes[k][1] for k in self.usable)

    def split(self, every: int, held_config: CropConfig) -> tuple[Crops, Crops]:
        """Crops of most pictures, and of one in ``every``, at least of one picture.

        Which ones follows from their number alone. They are drawn, not counted off: planes of several models may take
        turns in a set, and counting off could then hit one model alone.

        Args:
            every: 2 or more.
            held_config: how crops of the second kind are drawn.

        Raises:
            UsageError: there are fewer than two pictures to draw from.
        """
        num = len(self.usable)
        if num < 2:
            raise UsageError(f"{self.cache.path}: one picture cannot be split; training with validation needs two")
        places = np.random.default_rng(num).permutation(num)[: max(num // every, 1)]
        held = np.sort(self.usable[places])
        rest = np.setdiff1d(self.usable, held)
        return Crops(self.cache, self.config, rest.tolist()), Crops(self.cache, held_config, held.tolist())

    def batch(self, step: int, num_crops: int) -> np.ndarray:
        """Crops of one training step.

        Args:
            step: number of the step; with the seed it decides everything.
            num_crops: B.

        Returns:
            (B, 3, S, S) uint8, contiguous, sRGB.
        """
        generator = np.random.default_rng((self.config.seed, step))
        side = self.config.size_px
        crops = np.empty((num_crops, side, side, 3), dtype=np.uint8)
        for k in range(num_crops):
            crops[k] = self._crop(generator)
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))

    def batches(self, num_crops: int, *, first_step: int = 0, depth: int = 4) -> Iterator[np.ndarray]:
        """Batches of successive steps without end, made ahead by one thread; close the iterator to stop it."""
        return made_ahead(lambda step: self.batch(step, num_crops), first_step, depth)

    def _crop(self, generator: np.random.Generator) -> np.ndarray:
        config = self.config
        place = min(int(np.searchsorted(self._edges, generator.random(), side="right")), len(self.usable) - 1)
        picture = self.cache.picture(int(self.usable[place]))
        side = config.size_px
        factor = 1.0
        if config.max_downscale > 1.0 and generator.random() < config.downscale_share:
            limit = min(config.max_downscale, min(picture.shape[:2]) / side)
            factor = float(np.exp(generator.random() * np.log(limit)))
        window = min(round(side * factor), *picture.shape[:2])
        top = int(generator.integers(picture.shape[0] - window + 1))
        left = int(generator.integers(picture.shape[1] - window + 1))
        crop = picture[top : top + window, left : left + window]
        if window != side:
            crop = _reduced(crop, side)
        if config.is_flipped and generator.random() < 0.5:
            crop = crop[:, ::-1]
        if config.is_rotated:
            crop = np.rot90(crop, int(generator.integers(4)))
        return crop


def _reduced(crop: np.ndarray, side: int) -> np.ndarray:
    """A square crop resampled to ``side``, antialiased bicubic."""
    from PIL import Image as Pil

    return np.asarray(Pil.fromarray(np.ascontiguousarray(crop)).resize((side, side), Pil.Resampling.BICUBIC))


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else (np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _entries(root: Path, files: tuple[Path, ...] | None) -> Iterator[tuple[str, Path | BytesIO]]:
    """Names and readable sources of every picture, from a folder or a tar."""
    if files is not None:
        yield from ((path.relative_to(root).as_posix(), path) for path in files)
        return
    try:
        with tarfile.open(root, "r:") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in EXTENSIONS:
                    handle = archive.extractfile(member)
                    if handle is not None:
                        stream = BytesIO(handle.read())
                        stream.name = f"{root}:{member.name}"
                        yield member.name, stream
    except tarfile.TarError as error:
        raise SmaltoError(f"{root}: not a folder and not a .tar; name the training pictures with --data") from error


def _digest(root: Path, files: tuple[Path, ...] | None) -> str:
    """What the cache depends on: names, sizes and times of the source files."""
    known = hashlib.sha256()
    for path in files if files is not None else (root,):
        state = path.stat()
        known.update(f"{path.relative_to(root).as_posix()}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return known.hexdigest()
