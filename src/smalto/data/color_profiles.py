"""ICC profiles to sRGB: Little CMS (in Pillow) at 8 bits, matrix and curve profiles by their own formula at 16.

A profile that moves no colour of a probe grid by more than one 8-bit step is taken for sRGB, and the pixels stay
as they are: most pictures carry one of the many sRGB profiles, whose rounding would otherwise touch their pixels.

Source: ICC.1:2022, sections 7 (profile structure), 10.6 (curveType), 10.18 (parametricCurveType), F.3
(three-component matrix profiles); IEC 61966-2-1 for the sRGB curve. Conversion is relative colorimetric.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

from smalto.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as PilImage

_SPACES = {"1": "GRAY", "L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}
_SRGB_TO_XYZ_D50 = (  # columns: the sRGB primaries, adapted to D50 as ICC wants
    (0.4360747, 0.3850649, 0.1430804),
    (0.2225045, 0.7168786, 0.0606169),
    (0.0139322, 0.0971045, 0.7141733),
)
_ROWS_AT_ONCE = 256


def to_srgb(picture: PilImage, profile: bytes, grey: bool, name: str) -> PilImage:
    """An 8-bit picture, converted from its profile to sRGB.

    Args:
        picture: mode 1, L, RGB or CMYK.
        profile: the ICC profile's bytes.
        grey: the file had one colour channel, whatever the mode is now.
        name: the file's name, for messages.

    Returns:
        An RGB picture, or the same picture when the profile is sRGB to within a step.

    Raises:
        ImageError: the profile is damaged or for another kind of picture.
    """
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = _space(profile)
        if space == "GRAY" and grey:
            picture = picture.convert("L")
        elif space == "RGB " and grey:
            picture = picture.convert("RGB")
        elif space != _SPACES.get(picture.mode):
            raise ImageError(f"{name}: a {picture.mode} picture with a {space.strip()} ICC profile; remove the profile")
        mode = "L" if space == "GRAY" else picture.mode
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        if mode == "L":  # the optimised grey path is off by up to 10 steps in the shadows of a linear profile
            flags |= ImageCms.Flags.NOOPTIMIZE
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags,
        )
        if _is_identity(transform, mode):
            return picture
        converted = ImageCms.applyTransform(picture, transform)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name}: its ICC profile cannot be used; remove or replace the profile") from error
    return picture if converted is None else converted


def _is_identity(transform: object, mode: str) -> bool:
    import numpy as np
    from PIL import Image as Pil
    from PIL import ImageCms

    if mode not in ("L", "RGB"):
        return False
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    if mode == "L":
        probe = steps[None, :]
        expected = np.repeat(probe[:, :, None], 3, axis=2)
    else:
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(18, -1, 3)
        expected = probe
    moved = ImageCms.applyTransform(Pil.fromarray(np.ascontiguousarray(probe)), transform)  # type: ignore[arg-type]
    return bool(np.abs(np.asarray(moved).astype(np.int16) - expected).max() <= 1)


def deep_to_srgb(pixels: np.ndarray, profile: bytes, name: str) -> np.ndarray:
    """A picture of more than 8 bits, converted from its profile to sRGB.

    Math: linear = curve(x) per channel; XYZ = M linear; sRGB = encode(clip(S^-1 XYZ, 0, 1)).

    Args:
        pixels: (H, W, 3) float32 in [0, 1], in the profile's space.
        profile: the ICC profile's bytes.
        name: the file's name, for messages.

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ImageError: the profile is damaged, or is made of lookup tables, which only 8-bit pictures may carry.
    """
    import numpy as np

    try:
        convert = _matrix_conversion(profile)
    except (struct.error, KeyError, IndexError, ValueError, np.linalg.LinAlgError) as error:
        raise ImageError(
            f"{name}: 16 bits with an ICC profile that is not of the matrix and curve kind; convert it to sRGB first"
        ) from error
    steps = np.linspace(0.0, 1.0, 18, dtype=np.float32)
    probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    if _space(profile) == "GRAY":
        probe = np.repeat(steps[:, None], 3, axis=1)
    if np.abs(convert(probe) - probe).max() <= 1.0 / 255.0:
        return pixels
    result = np.empty_like(pixels)
    for top in range(0, len(pixels), _ROWS_AT_ONCE):
        result[top : top + _ROWS_AT_ONCE] = convert(pixels[top : top + _ROWS_AT_ONCE])
    return result


def _space(profile: bytes) -> str:
    return profile[16:20].decode("latin-1")


def _matrix_conversion(profile: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import numpy as np

    tags = _tags(profile)
    if any(kind in tags for kind in (b"A2B0", b"A2B1", b"A2B2")):
        raise ValueError("lookup tables")
    from_xyz = np.linalg.inv(np.array(_SRGB_TO_XYZ_D50))
    space = _space(profile)
    if space == "GRAY":
        curves = [_curve(tags[b"kTRC"])] * 3
        matrix = np.eye(3)
    elif space == "RGB " and profile[20:24] == b"XYZ ":
        curves = [_curve(tags[kind]) for kind in (b"rTRC", b"gTRC", b"bTRC")]
        primaries = [_fixed(tags[kind][8:20]) for kind in (b"rXYZ", b"gXYZ", b"bXYZ")]
        matrix = from_xyz @ np.array(primaries).T
    else:
        raise ValueError(space)

    def convert(values: np.ndarray) -> np.ndarray:
        linear = np.stack([curve(values[..., k]) for k, curve in enumerate(curves)], axis=-1)
        light = np.clip(linear @ matrix.T, 0.0, 1.0)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return encoded.astype(np.float32)

    return convert


def _tags(profile: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 100:
        raise ValueError("too many tags")
    tags = {}
    for k in range(count):
        kind, offset, length = struct.unpack_from(">4sII", profile, 132 + 12 * k)
        tags[kind] = profile[offset : offset + length]
    return tags


def _fixed(data: bytes) -> tuple[float, ...]:
    """Numbers of type s15Fixed16."""
    return tuple(value / 65536.0 for value in struct.unpack(f">{len(data) // 4}i", data))


def _curve(tag: bytes) -> Callable[[np.ndarray], np.ndarray]:
    import numpy as np

    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x.astype(np.float64)
        if count == 1:
            (gamma,) = struct.unpack_from(">H", tag, 12)
            return lambda x: x.astype(np.float64) ** (gamma / 256.0)
        table = np.array(struct.unpack_from(f">{count}H", tag, 12)) / 65535.0
        return lambda x: np.interp(x, np.linspace(0.0, 1.0, count), table)
    if tag[:4] != b"para":
        raise ValueError("unknown curve")
    (function,) = struct.unpack_from(">H", tag, 8)
    count = (1, 3, 4, 5, 7)[function]
    g, a, b, c, d, e, f = (_fixed(tag[12 : 12 + 4 * count]) + (0.0,) * 7)[:7]
    if function == 0:
        return lambda x: x.astype(np.float64) ** g
    if function in (1, 2):  # below -b / a the curve is flat at c
        return lambda x: np.maximum(a * x + b, 0.0) ** g + c
    return lambda x: np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
