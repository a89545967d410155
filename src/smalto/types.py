"""The values that cross borders: pictures and latents. Importing this imports neither NumPy nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from smalto.errors import UsageError
from smalto.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from PIL.Image import Image as PilImage

PlaneKind = Literal["grid", "tokens", "vector"]


@dataclass(frozen=True)
class PlaneSpec:
    """One plane of a space.

    Args:
        name: the plane's name, unique in its space.
        kind: ``grid`` (B, channels, ceil(H / stride), ceil(W / stride)), ``tokens`` (B, N, channels) or
            ``vector`` (B, channels).
        channels: values per cell, per token or in the vector.
        stride: pixels per cell along each side; 1 for ``vector``.
        multiple: rows and columns of a ``grid`` are rounded up to a multiple of this.
    """

    name: str
    kind: PlaneKind
    channels: int
    stride: int = 1
    multiple: int = 1

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a ``grid`` plane over a picture of height x width pixels."""
        unit = self.stride * self.multiple
        return -(-height // unit) * self.multiple, -(-width // unit) * self.multiple


@dataclass(frozen=True)
class LatentSpec:
    """A space: a name and its planes. Fixed by its frozen decoder; see docs/format.md for digests."""

    space: str
    planes: tuple[PlaneSpec, ...]

    def plane(self, name: str) -> PlaneSpec:
        """The plane called ``name``. Raises KeyError."""
        for plane in self.planes:
            if plane.name == name:
                return plane
        raise KeyError(name)


@dataclass(frozen=True)
class Latent:
    """Planes of one space for a batch of pictures of one size: the one thing that flows.

    Args:
        spec: the space.
        planes: plane name -> float tensor; grid planes (B, C, h, w) with h, w as ``PlaneSpec.grid`` says.
        height: true picture height in pixels.
        width: true picture width in pixels.
    """

    spec: LatentSpec
    planes: Mapping[str, torch.Tensor]
    height: int
    width: int


@dataclass(frozen=True)
class Image:
    """A picture at a System's border, upright and in sRGB.

    Args:
        pixels: (H, W, 3) uint8, or float32 in [0, 1] when the source held more than 8 bits.
        alpha: (H, W) uint8 opacity, or None.
        grey: the source had one colour channel; it is written back as one.
        source: where it came from, for messages.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    source: str = field(default="image", compare=False)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def save(self, path: str | Path) -> None:
        """Write the picture atomically; the extension chooses the format (Pillow), .npy the numbers.

        Raises:
            UsageError: the extension is not one Pillow can write.
        """
        from io import BytesIO
        from pathlib import Path

        import numpy as np
        from PIL import Image as PilImage

        target = Path(path)
        buffer = BytesIO()
        if target.suffix.lower() == ".npy":
            np.save(buffer, self.pixels)
        else:
            kind = PilImage.registered_extensions().get(target.suffix.lower())
            if kind is None or kind not in PilImage.SAVE:
                raise UsageError(f"{target}: no picture format has the extension {target.suffix!r}; use .png")
            options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
            picture = self.to_pil()
            if kind == "JPEG" and picture.mode in ("RGBA", "LA"):
                picture = picture.convert("RGB")
            picture.save(buffer, kind, **options)
        replace_file(target, buffer.getvalue())

    def to_pil(self) -> PilImage:
        """The picture as a Pillow image: L, LA, RGB or RGBA, 8 bits a channel."""
        import numpy as np
        from PIL import Image as PilImage

        pixels = self.pixels
        if pixels.dtype != np.uint8:
            pixels = (np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        picture = PilImage.fromarray(pixels)
        if self.grey:
            picture = picture.convert("L")
        if self.alpha is not None:
            picture.putalpha(PilImage.fromarray(self.alpha))
        return picture
