"""Classical picture codecs through Pillow, as peers: JPEG, WebP and AVIF.

The settings are those that a careful user would choose: JPEG with optimised Huffman tables and progressive scans,
WebP at method 6, AVIF at Pillow's own defaults. Chroma is subsampled 4:2:0, as each does by default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType

import numpy as np

from smalto.errors import ImageError, MissingExtra, UsageError
from smalto.measure.psnr import psnr_db


@dataclass(frozen=True)
class ClassicalCodec:
    """One codec with fixed settings; quality is the only dial.

    Args:
        name: ``jpeg``, ``webp`` or ``avif``.
        format: Pillow's name of the format.
        label: how tables and plots call it.
        options: what is passed to Pillow beside the quality.
        qualities: (lowest, highest) quality.

    Example:
        >>> import numpy as np
        >>> pixels = np.zeros((16, 16, 3), np.uint8)
        >>> JPEG.decode(JPEG.encode(pixels, 50)).shape
        (16, 16, 3)
    """

    name: str
    format: str
    label: str
    options: Mapping[str, int | bool]
    qualities: tuple[int, int]

    def encode(self, pixels: np.ndarray, quality: int) -> bytes:
        """The bytes of a file.

        Args:
            pixels: (H, W, 3) uint8.
            quality: within ``qualities``; higher is larger and better.

        Raises:
            UsageError: quality or pixels out of range.
            MissingExtra: this Pillow was built without the format.
        """
        from PIL import Image as Pil
        from PIL import features

        if not self.qualities[0] <= quality <= self.qualities[1]:
            raise UsageError(f"{self.name}: quality {quality} is outside {self.qualities[0]}..{self.qualities[1]}")
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UsageError(f"{self.name}: {pixels.dtype} {pixels.shape} is not uint8 (H, W, 3)")
        if self.name != "jpeg" and not features.check(self.name):
            raise MissingExtra(f"{self.name}: this Pillow cannot write it; pip install --upgrade 'pillow>=11.3'")
        buffer = BytesIO()
        Pil.fromarray(np.ascontiguousarray(pixels)).save(buffer, self.format, quality=quality, **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """Pixels (H, W, 3) uint8 of a file that this codec wrote.

        Raises:
            ImageError: the bytes are damaged.
        """
        from PIL import Image as Pil

        try:
            return np.array(Pil.open(BytesIO(data), formats=(self.format,)).convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:
            raise ImageError(f"{self.name}: damaged bytes ({error}); encode again") from error

    def encode_to_size(self, pixels: np.ndarray, max_bytes: int) -> EncodedPicture:
        """The best quality whose file is at most ``max_bytes``.

        Raises:
            UsageError: even the lowest quality is larger.
        """
        low, high = self.qualities
        found = EncodedPicture(self.encode(pixels, low), low)
        if len(found.data) > max_bytes:
            raise UsageError(f"{self.name}: the smallest file has {len(found.data)} bytes, {max_bytes} were asked for")
        while low < high:  # the highest quality that fits lies in low..high
            middle = (low + high + 1) // 2
            data = self.encode(pixels, middle)
            if len(data) <= max_bytes:
                low, found = middle, EncodedPicture(data, middle)
            else:
                high = middle - 1
        return found

    def encode_to_psnr(self, pixels: np.ndarray, min_psnr_db: float) -> EncodedPicture:
        """The lowest quality whose PSNR is at least ``min_psnr_db``.

        Raises:
            UsageError: even the highest quality is below.
        """
        best = self.encode(pixels, self.qualities[1])
        reached = psnr_db(self.decode(best), pixels)
        if reached < min_psnr_db:
            raise UsageError(f"{self.name}: the best file has {reached:.2f} dB, {min_psnr_db:.2f} were asked for")
        low, high = self.qualities
        found = EncodedPicture(best, high)
        while low < high:  # the lowest quality that reaches it lies in low..high
            middle = (low + high) // 2
            data = self.encode(pixels, middle)
            if psnr_db(self.decode(data), pixels) >= min_psnr_db:
                high, found = middle, EncodedPicture(data, middle)
            else:
                low = middle + 1
        return found


@dataclass(frozen=True)
class EncodedPicture:
    """A file's bytes and the quality that gave them."""

    data: bytes
    quality: int


JPEG = ClassicalCodec("jpeg", "JPEG", "JPEG", MappingProxyType({"optimize": True, "progressive": True}), (1, 95))
WEBP = ClassicalCodec("webp", "WEBP", "WebP", MappingProxyType({"method": 6}), (0, 100))
AVIF = ClassicalCodec("avif", "AVIF", "AVIF", MappingProxyType({}), (0, 100))
CODECS: Mapping[str, ClassicalCodec] = MappingProxyType({codec.name: codec for codec in (JPEG, WEBP, AVIF)})
