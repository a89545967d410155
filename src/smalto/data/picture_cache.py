"""Decoded pictures, with or without labels, in one memory-mapped file.

::

    magic ─ picture 0 (H, W, C) uint8 ─ picture 1 ─ ... ─ index (JSON) ─ its length (8 bytes, little-endian)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalto.errors import ImageError
from smalto.files import replacing


@dataclass(frozen=True)
class PictureCache:
    """Decoded pictures in one memory-mapped file.

    Args:
        path: the cache file.
        names: the pictures' names, in order.
        shapes: (height, width) of each.
        offsets: first byte of each picture in ``pixels``.
        pixels: all pixels, flat uint8; a picture is (H, W, C).
        num_channels: C.
        digest: of the source's names and contents or times; decides whether the cache is reused.
    """

    path: Path
    names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    offsets: tuple[int, ...]
    pixels: np.ndarray
    num_channels: int
    digest: str

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> np.ndarray:
        """Picture ``index``: a read-only view (H, W, C) uint8."""
        height, width = self.shapes[index]
        start, channels = self.offsets[index], self.num_channels
        return self.pixels[start : start + height * width * channels].reshape(height, width, channels)


@dataclass(frozen=True)
class CacheForm:
    """A kind of cache file.

    Args:
        magic: its first bytes.
        num_channels: of every picture.
        title: what messages call such a file.
    """

    magic: bytes
    num_channels: int
    title: str

    def made(self, path: Path, digest: str, entries: Iterable[tuple[str, np.ndarray]]) -> PictureCache:
        """The cache at ``path`` if it has this digest, else a new one, written atomically.

        Args:
            path: the cache file; its folder is made.
            digest: of the source.
            entries: names and pictures (H, W, C) uint8, read only when the file is written; what they raise leaves
                ``path`` as it was.
        """
        try:
            cache = self.open(path)
            if cache.digest == digest:
                return cache
        except ImageError:
            pass  # absent or from an interrupted write: made anew below
        path.parent.mkdir(parents=True, exist_ok=True)
        names, shapes = [], []
        with replacing(path) as stream:
            stream.write(self.magic)
            for name, pixels in entries:
                names.append(name)
                shapes.append(pixels.shape[:2])
                stream.write(pixels.tobytes())
            index = json.dumps({"names": names, "shapes": shapes, "digest": digest}).encode()
            stream.write(index + len(index).to_bytes(8, "little"))
        return self.open(path)

    def open(self, path: Path) -> PictureCache:
        """Open a file of this kind.

        Raises:
            ImageError: absent, or not such a file.
        """
        try:
            mapped = np.memmap(path, dtype=np.uint8, mode="r")
            length = int.from_bytes(mapped[-8:].tobytes(), "little")
            index = json.loads(mapped[-8 - length : -8].tobytes())
            shapes = tuple((int(height), int(width)) for height, width in index["shapes"])
            sizes = [height * width * self.num_channels for height, width in shapes]
            is_whole = len(self.magic) + sum(sizes) + length + 8 == mapped.size
            if mapped[: len(self.magic)].tobytes() != self.magic or not is_whole:
                raise ValueError("lengths")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{path}: not a {self.title}; delete it and start again") from error
        offsets = tuple((np.cumsum([0, *sizes[:-1]]) + len(self.magic)).tolist())
        return PictureCache(path, tuple(index["names"]), shapes, offsets, mapped, self.num_channels, index["digest"])
