"""Pictures from files: upright, in sRGB, nothing lost in silence.

What is read: PNG, JPEG (also CMYK, and the first picture of an MPO), WebP, AVIF, GIF, BMP, TIFF, PPM/PGM.
Of an animation the first frame. Pictures of 16 bits a channel are read in full from PNG (every colour type), grey
TIFF and PGM, and come as float32; 16-bit colour TIFF and PPM are refused, because Pillow drops their low bytes.
An AVIF of 10 or 12 bits is read as 8. The PNG chunks gAMA, cHRM and cICP are ignored, as Pillow does.
"""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from smalto.errors import ImageError, UsageError
from smalto.types import Image

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image as PilImage
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 1 << 26
MAX_SIDE_PX = 8192
MAX_FILE_BYTES = 1 << 30
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")

_ORIENTATION = 0x0112  # EXIF tag: 1 upright, 2 mirrored, 3 half turn, ... 8 quarter turn
_SHORT = 3  # TIFF field type: 16-bit unsigned
_BITS_PER_SAMPLE = 0x0102  # TIFF tag
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I")
_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_REFUSED_MODES = ("F", "HSV", "LAB")


def read_image(source: str | Path | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a picture file.

    EXIF orientation is applied (an unreadable EXIF block counts as upright), an ICC profile is converted to sRGB,
    palettes become RGB, transparency becomes ``alpha``, and a single colour channel sets ``grey``.

    Args:
        source: path, or an open binary file that is read to its end.
        max_pixels: largest height x width that is read; sides are 1..8192 whatever it says.

    Returns:
        Image with (H, W, 3) uint8 pixels, or float32 in [0, 1] when the file holds 16 bits a channel.

    Raises:
        ImageError: the file is missing, damaged, truncated, of an unknown or refused kind, or too large.

    Example:
        >>> from io import BytesIO
        >>> from PIL import Image as Pil
        >>> buffer = BytesIO()
        >>> Pil.new("RGB", (3, 2), (255, 0, 0)).save(buffer, "PNG")
        >>> read_image(BytesIO(buffer.getvalue())).pixels.shape
        (2, 3, 3)
    """
    name, data = _read_bytes(source)
    picture = _open(data, name)
    _check_size(picture.size, name, max_pixels)
    deep = _read_deep(picture, data, name)
    try:
        if deep is None:
            picture.load()
        orientation = _orientation(picture.info.get("exif"))
        profile = picture.info.get("icc_profile")
        pixels, alpha, grey = deep if deep is not None else _split(picture, profile, name)
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise nearly anything on damaged input
        raise _damaged(name, error) from error
    if deep is not None and profile:
        from smalto.data.color_profiles import deep_to_srgb

        pixels = deep_to_srgb(pixels, profile, name)
    pixels = _upright(pixels, orientation)
    alpha = None if alpha is None else _upright(alpha, orientation)
    return Image(pixels, alpha, grey, name)


def as_image(value: Image | PilImage | np.ndarray | torch.Tensor) -> Image:
    """Whatever callers hold, as an Image: Image, Pillow image, NumPy HWC or HW uint8, float CHW tensor in [0, 1].

    Raises:
        UsageError: another type, shape or dtype.
        ImageError: a Pillow image of a refused mode, or a size outside the limits.
    """
    import numpy as np
    from PIL import Image as Pil

    if isinstance(value, Image):
        return _checked(value)
    if isinstance(value, Pil.Image):
        _check_size(value.size, "image", MAX_PIXELS)
        pixels, alpha, grey = _split(value, value.info.get("icc_profile"), "image")
        return Image(pixels, alpha, grey)
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.ndim not in (2, 3) or (value.ndim == 3 and value.shape[2] not in (3, 4)):
            raise UsageError(
                f"array: {value.dtype} {value.shape} is no picture; pass uint8 (H, W), (H, W, 3) or (H, W, 4)"
            )
        _check_size((value.shape[1], value.shape[0]), "array", MAX_PIXELS)
        if value.ndim == 2:
            return Image(np.repeat(value[:, :, None], 3, axis=2), None, True, "array")
        alpha = value[:, :, 3].copy() if value.shape[2] == 4 else None
        return Image(np.ascontiguousarray(value[:, :, :3]), alpha, False, "array")
    return tensor_image(value)


def _checked(image: Image) -> Image:
    """The same image, made by a caller, once it is what an Image promises to be."""
    pixels, alpha = image.pixels, image.alpha
    if pixels.ndim != 3 or pixels.shape[2] != 3 or str(pixels.dtype) not in ("uint8", "float32"):
        raise UsageError(f"{image.source}: pixels {pixels.dtype} {pixels.shape} are not uint8 or float32 (H, W, 3)")
    _check_size((image.width, image.height), image.source, MAX_PIXELS)
    if alpha is not None and (str(alpha.dtype) != "uint8" or alpha.shape != pixels.shape[:2]):
        raise UsageError(f"{image.source}: alpha {alpha.dtype} {alpha.shape} is not uint8 {pixels.shape[:2]}")
    return image


def image_planes(image: Image) -> torch.Tensor:
    """The picture's own numbers as (1, 3, H, W), uint8 or float32, without a copy; alpha is left behind."""
    import numpy as np
    import torch

    pixels = np.require(image.pixels, requirements=["C", "W"])  # PyTorch wants writable memory
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def unit_range(planes: torch.Tensor) -> torch.Tensor:
    """What ``image_planes`` gives, or any part of it, as float32 in [0, 1]."""
    return planes.float() if planes.is_floating_point() else planes.float().div_(255.0)


def image_tensor(image: Image) -> torch.Tensor:
    """The picture as a float32 tensor (1, 3, H, W) in [0, 1]; alpha is left behind."""
    return unit_range(image_planes(image).contiguous())


def pixel_levels(planes: torch.Tensor, grey: bool = False) -> torch.Tensor:
    """Floats in [0, 1] as uint8 levels: clamped, rounded to nearest, what is no number in the middle.

    Args:
        planes: (B, 3, H, W).
        grey: replace the three channels by their mean.
    """
    import torch

    values = planes.detach().float()
    if grey:
        values = values.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return values.nan_to_num(0.5, 1.0, 0.0).clamp_(0.0, 1.0).mul_(255.0).add_(0.5).to(torch.uint8)


def tensor_image(
    tensor: torch.Tensor, *, grey: bool = False, alpha: np.ndarray | None = None, source: str = "tensor"
) -> Image:
    """A float tensor (3, H, W) or (1, 3, H, W) in [0, 1] as an 8-bit Image, clamped and rounded to nearest.

    Args:
        tensor: the picture, on any device.
        grey: replace the three channels by their mean and set the grey flag.
        alpha: (H, W) uint8 opacity to go with it.
        source: name for messages.

    Raises:
        UsageError: not a float tensor of that shape.
    """
    import torch

    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        raise UsageError("expected an Image, a Pillow image, a uint8 array or a float (3, H, W) tensor in [0, 1]")
    planes = tensor[0] if tensor.ndim == 4 and tensor.shape[0] == 1 else tensor
    if planes.ndim != 3 or planes.shape[0] != 3:
        raise UsageError(f"tensor {tuple(tensor.shape)} is no picture; pass (3, H, W) or (1, 3, H, W)")
    _check_size((planes.shape[2], planes.shape[1]), source, MAX_PIXELS)
    levels = pixel_levels(planes[None], grey)[0]
    return Image(levels.permute(1, 2, 0).contiguous().cpu().numpy(), alpha, grey, source)


def picture_files(folder: str | Path) -> tuple[Path, ...]:
    """Every picture file under ``folder``, by extension, sorted by path.

    Raises:
        UsageError: not a folder, or no picture in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{root}: not a folder; name a folder of pictures")
    files = tuple(sorted(path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS and path.is_file()))
    if not files:
        raise UsageError(f"{root}: no pictures here; expected files ending in {', '.join(EXTENSIONS)}")
    return files


def _read_bytes(source: str | Path | BinaryIO) -> tuple[str, bytes]:
    if not isinstance(source, (str, Path)):
        name = str(getattr(source, "name", "") or "stream")
        data = source.read(MAX_FILE_BYTES + 1)
    else:
        name = str(source)
        try:
            with open(source, "rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ImageError(f"{name}: cannot be read ({reason}); check the path") from error
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"{name}: larger than {MAX_FILE_BYTES >> 20} MiB; reduce it first")
    return name, data


def _open(data: bytes, name: str) -> ImageFile:
    """Read the header only. Formats that run other programs or take long (EPS, PDF, ...) are never tried."""
    from PIL import Image as Pil

    try:
        return Pil.open(BytesIO(data), formats=FORMATS)
    except (Pil.DecompressionBombError, Pil.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: more than {MAX_PIXELS} pixels; scale it down or crop it first") from error
    except Pil.UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture of a known kind; use one of {', '.join(FORMATS)}") from error
    except Exception as error:  # Pillow's readers raise nearly anything on damaged input
        raise _damaged(name, error) from error


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    width, height = size
    if min(width, height) < 1:
        raise ImageError(f"{name}: {width}x{height} has no pixels; choose another picture")
    if max(width, height) > MAX_SIDE_PX or width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} is too large; scale it to sides <= {MAX_SIDE_PX} and <= {max_pixels} pixels"
        )


def _read_deep(picture: ImageFile, data: bytes, name: str) -> tuple[np.ndarray, np.ndarray | None, bool] | None:
    """Pixels, alpha and grey flag of a 16-bit picture; None when the file holds 8 bits or fewer."""
    import numpy as np

    if picture.format == "PNG" and data[24:25] == b"\x10":  # IHDR: bit depth
        from smalto.data.deep_png import read_deep_png

        return read_deep_png(data, name)
    if picture.mode not in ("I", "I;16", "I;16B", "I;16L"):
        if _depth_bits(picture) > 8:
            raise ImageError(f"{name}: {picture.format} with more than 8 bits a colour; convert it to a 16-bit PNG")
        return None
    if picture.mode == "I" and picture.format != "PPM":
        raise ImageError(f"{name}: 32-bit integer pixels; convert it to a 16-bit PNG")
    try:
        grey = np.asarray(picture, dtype=np.float32) / np.float32(65535.0)
    except Exception as error:  # Pillow's readers raise nearly anything on damaged input
        raise _damaged(name, error) from error
    return np.repeat(grey[:, :, None], 3, axis=2), None, True


def _depth_bits(picture: ImageFile) -> int:
    """Bits a channel as the file stores them, where Pillow would drop some without a word: TIFF and PPM."""
    if picture.format == "TIFF":
        tags = getattr(picture, "tag_v2", {})
        return max((int(bits) for bits in tags.get(_BITS_PER_SAMPLE, (8,))), default=8)
    if picture.format == "PPM" and picture.tile:
        args = picture.tile[0][3]
        is_deep = picture.mode == "RGB" and isinstance(args, tuple) and isinstance(args[-1], int) and args[-1] > 255
        return 16 if is_deep else 8
    return 8


def _split(picture: PilImage, profile: bytes | None, name: str) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """An 8-bit picture as sRGB pixels (H, W, 3), alpha (H, W) or None, and the grey flag."""
    import numpy as np

    if picture.mode in _REFUSED_MODES or picture.mode.startswith("I"):
        raise ImageError(f"{name}: pixels of mode {picture.mode} are not read; convert it to an RGB or grey PNG")
    grey = picture.mode in _GREY_MODES
    alpha = None
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        alpha = np.array(picture.getchannel("A"))
        picture = picture.convert("RGB")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    if profile:
        from smalto.data.color_profiles import to_srgb

        picture = to_srgb(picture, profile, grey, name)
    pixels = np.array(picture.convert("RGB"))
    if grey:  # a grey profile may leave rounding between channels
        pixels = np.repeat(pixels[:, :, 1:2], 3, axis=2)
    return pixels, alpha, grey


def _orientation(exif: bytes | None) -> int:
    """The orientation, 1..8, of a raw EXIF block; 1 when there is none or it cannot be read.

    Source: TIFF 6.0, section 2 (the block is a TIFF file whose first directory holds the tag).
    """
    block = exif or b""
    block = block[6:] if block[:6] == b"Exif\0\0" else block
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return 1
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    if start + 2 > len(block):
        return 1
    (count,) = struct.unpack_from(f"{order}H", block, start)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", block, entry)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and 1 <= value <= 8 else 1
    return 1


def _upright(plane: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation on (H, W) or (H, W, C)."""
    import numpy as np

    if orientation in (5, 6, 7, 8):
        plane = np.swapaxes(plane, 0, 1)
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)


def _damaged(name: str, error: Exception) -> ImageError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return ImageError(f"{name}: damaged or truncated picture ({reason}); get a fresh copy")
