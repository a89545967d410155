"""The values that cross borders: pictures and latents. Importing this imports neither NumPy nor torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from smalto.errors import UsageError
from smalto.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from PIL.Image import Image as PilImage

PlaneKind = Literal["grid", "tokens", "vector"]
_Number = TypeVar("_Number", "float", "torch.Tensor")


@dataclass(frozen=True)
class PlaneSpec:
    """One plane of a space.

    Args:
        name: unique in its space.
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
class Affine:
    """A picture turned about its centre, then scaled about it, then shifted; its frame stays where it is.

    Math: ``p' = c + scale R (p - c) + shift``, positions p in pixels, x to the right and y downwards, c the picture's
    centre.

    Args:
        rotation_degrees: counter-clockwise as people see it.
        scale: above 1 enlarges.
        shift_x_px: to the right.
        shift_y_px: downwards.

    Raises:
        UsageError: a value is not finite, or the scale is not above zero.
    """

    rotation_degrees: float = 0.0
    scale: float = 1.0
    shift_x_px: float = 0.0
    shift_y_px: float = 0.0

    def __post_init__(self) -> None:
        values = (self.rotation_degrees, self.scale, self.shift_x_px, self.shift_y_px)
        if not all(math.isfinite(value) for value in values) or self.scale <= 0:
            raise UsageError(f"affine {values} has no inverse; numbers must be finite and the scale above zero")

    def inverse(self) -> Affine:
        """The affine that undoes this one."""
        x, y = self._turned_back(self.shift_x_px, self.shift_y_px)
        return Affine(-self.rotation_degrees, 1 / self.scale, -x, -y)

    def sources(self, grid: tuple[int, int], stride: int, size_px: tuple[int, int]) -> torch.Tensor:
        """Where each cell of a plane takes its value from.

        Args:
            grid: rows and columns of the plane.
            stride: pixels per cell; the first cell begins at the picture's corner.
            size_px: true height and width of the picture.

        Returns:
            (rows, columns, 2) float64: x and y in pixels from the picture's top left corner, where the centre of the
            first pixel is (0.5, 0.5).
        """
        import torch

        centre_y, centre_x = size_px[0] / 2, size_px[1] / 2
        y = (torch.arange(grid[0], dtype=torch.float64) + 0.5) * stride - centre_y - self.shift_y_px
        x = (torch.arange(grid[1], dtype=torch.float64) + 0.5) * stride - centre_x - self.shift_x_px
        from_x, from_y = self._turned_back(x[None, :], y[:, None])
        return torch.stack([from_x + centre_x, from_y + centre_y], dim=-1)  # (rows, columns, 2)

    def sampling_grid(self, grid: tuple[int, int], stride: int, size_px: tuple[int, int]) -> torch.Tensor:
        """``sources`` as ``grid_sample`` takes them with ``align_corners=False``: (1, rows, columns, 2) float64."""
        import torch

        extent = torch.tensor([grid[1] * stride, grid[0] * stride], dtype=torch.float64)
        return (2.0 * self.sources(grid, stride, size_px) / extent - 1.0)[None]

    def _turned_back(self, x: _Number, y: _Number) -> tuple[_Number, _Number]:
        """The inverse rotation and scale."""
        angle = math.radians(self.rotation_degrees)
        cosine, sine = math.cos(angle) / self.scale, math.sin(angle) / self.scale
        return cosine * x - sine * y, sine * x + cosine * y


@dataclass(frozen=True)
class Latent:
    """Planes of one space for a batch of pictures of one size: the one thing that flows.

    Args:
        spec: the space.
        planes: plane name -> float tensor; grid planes (B, C, h, w) with h, w as ``PlaneSpec.grid`` says of the
            picture and the padding before it.
        height: true picture height in pixels.
        width: true picture width in pixels.
        offset_px: rows and columns of padding before the picture's first pixel (RAW mosaics brought to RGGB).
    """

    spec: LatentSpec
    planes: Mapping[str, torch.Tensor]
    height: int
    width: int
    offset_px: tuple[int, int] = (0, 0)

    def transform(self, affine: Affine) -> Latent:
        """The planes turned, scaled and shifted as their picture would be, by bilinear sampling.

        What enters the frame repeats the planes' border. Whether the planes then decode to the transformed picture is
        a property of the space: shifts by whole cells do in every convolutional one, the rest in spaces trained for it.

        Args:
            affine: in pixels of the picture.

        Returns:
            A latent of the same size and grid.

        Raises:
            UsageError: the space has planes that are not grids.
        """
        from torch.nn import functional as F

        planes = {}
        for plane in self.spec.planes:
            if plane.kind != "grid":
                raise UsageError(f"space {self.spec.space}: plane {plane.name} is no grid; transform pixels instead")
            values = self.planes[plane.name]
            size_px = (self.height + 2 * self.offset_px[0], self.width + 2 * self.offset_px[1])  # keeps the centre
            grid = affine.sampling_grid((values.shape[2], values.shape[3]), plane.stride, size_px).to(values)
            planes[plane.name] = F.grid_sample(
                values, grid.expand(len(values), -1, -1, -1), padding_mode="border", align_corners=False
            )
        return replace(self, planes=planes)


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

        target, buffer = Path(path), BytesIO()
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


@dataclass(frozen=True)
class LabelMap:
    """A class for every pixel: what segmentation answers.

    Args:
        ids: (H, W) uint8; an id that has no name stands for an unknown class and is drawn black.
        names: of the classes 0, 1, ...
        colours: (red, green, blue), 0..255, of each.
        source: where it came from, for messages.

    Raises:
        UsageError: ids are not (H, W) uint8, or names and colours differ in number.
    """

    ids: np.ndarray
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    source: str = field(default="labels", compare=False)

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or self.ids.dtype.name != "uint8" or len(self.names) != len(self.colours):
            raise UsageError(f"{self.source}: a label map is (H, W) uint8 with a colour for each of its names")

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.ids.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.ids.shape[1])

    def save(self, path: str | Path) -> None:
        """Write atomically: ``.npy`` the ids, a picture format the coloured map with its legend. Raises UsageError."""
        _save_map(self.ids, self.to_pil, path)

    def coloured(self) -> np.ndarray:
        """Each pixel in its class's colour: (H, W, 3) uint8."""
        import numpy as np

        table = np.zeros((256, 3), np.uint8)
        table[: len(self.colours)] = np.array(self.colours, np.uint8).reshape(-1, 3)
        return table[self.ids]

    def to_pil(self) -> PilImage:
        """The coloured map above a legend of the classes that are in it, RGB."""
        import numpy as np
        from PIL import Image as PilImages
        from PIL import ImageDraw, ImageFont

        present = [k for k in np.unique(self.ids).tolist() if k < len(self.names)]
        font, row_px = ImageFont.load_default(), 18
        cell_px = 34 + max((int(font.getlength(self.names[k])) for k in present), default=0)
        num_columns = max(self.width // cell_px, 1)
        size = max(self.width, cell_px * bool(present)), self.height + -(-len(present) // num_columns) * row_px
        sheet = PilImages.new("RGB", size, "white")
        sheet.paste(PilImages.fromarray(self.coloured()), (0, 0))
        pen = ImageDraw.Draw(sheet)
        for place, k in enumerate(present):
            left, top = place % num_columns * cell_px, self.height + place // num_columns * row_px
            pen.rectangle((left + 4, top + 4, left + 16, top + 14), fill=self.colours[k])
            pen.text((left + 21, top + 3), self.names[k], fill="black", font=font)
        return sheet


@dataclass(frozen=True)
class DisparityMap:
    """How far each pixel of the left view stands from its match in the right one: what stereo depth answers.

    Args:
        pixels: (H, W) float32, in pixels; larger is nearer. What is not finite is unknown and drawn black.
        source: where it came from, for messages.

    Raises:
        UsageError: pixels are not (H, W) float32.
    """

    pixels: np.ndarray
    source: str = field(default="disparity", compare=False)

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype.name != "float32":
            raise UsageError(f"{self.source}: a disparity map is (H, W) float32")

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    def save(self, path: str | Path) -> None:
        """Write atomically: ``.npy`` the numbers, a picture format the map with its scale. Raises UsageError."""
        _save_map(self.pixels, self.to_pil, path)

    def coloured(self) -> np.ndarray:
        """Each pixel in its colour, least to largest disparity from dark blue to yellow: (H, W, 3) uint8."""
        import numpy as np

        known, (least, largest) = np.isfinite(self.pixels), self._range()
        share = (np.where(known, self.pixels, least).astype(np.float64) - least) / ((largest - least) or 1.0)
        return np.where(known[:, :, None], _in_colour(share), np.uint8(0))

    def to_pil(self) -> PilImage:
        """The coloured map above a bar of its colours, labelled in pixels, RGB."""
        import numpy as np
        from PIL import Image as PilImages
        from PIL import ImageDraw, ImageFont

        known, (least, largest) = np.isfinite(self.pixels), self._range()
        width, top, all_known = max(self.width, 180), self.height, bool(known.all())
        sheet = PilImages.new("RGB", (width, top + (34 if all_known else 52)), "white")
        sheet.paste(PilImages.fromarray(self.coloured()), (0, 0))
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
        if known.any():
            bar = _in_colour(np.tile(np.linspace(0.0, 1.0, width - 8), (10, 1)))
            sheet.paste(PilImages.fromarray(bar), (4, top + 5))
            for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
                text = f"{least + share * (largest - least):.1f} px"
                pen.text((4 + share * (width - 8), top + 18), text, fill="black", font=font, anchor=anchor)
        if not all_known:
            pen.rectangle((4, top + 36, 14, top + 46), fill="black")
            pen.text((20, top + 36), "unknown", fill="black", font=font)
        return sheet

    def _range(self) -> tuple[float, float]:
        """Least and largest of the finite disparities; 0 and 0 when there is none."""
        import numpy as np

        known = self.pixels[np.isfinite(self.pixels)] if np.isfinite(self.pixels).any() else np.zeros(1)
        return float(known.min()), float(known.max())


_SCALE_COLOURS = "35013f 3b1c73 274396 036a9b 018b9f 0faca0 51cb8f aadf7c f6ed77"  # lightness 0.24..0.93 in Oklab, even


def _in_colour(share: np.ndarray) -> np.ndarray:
    """Shares (H, W) in [0, 1] as colours of the scale: (H, W, 3) uint8."""
    import numpy as np

    table = np.frombuffer(bytes.fromhex(_SCALE_COLOURS), np.uint8).reshape(-1, 3)
    place = share * (len(table) - 1)
    return np.stack([np.interp(place, range(len(table)), c) + 0.5 for c in table.T], axis=-1).astype(np.uint8)


def _save_map(numbers: np.ndarray, picture: Callable[[], PilImage], path: str | Path) -> None:
    """Write a map: ``.npy`` its numbers, any other extension its picture."""
    import numpy as np

    Image(numbers if str(path).lower().endswith(".npy") else np.asarray(picture())).save(path)
