"""Bayer mosaics from DNG and camera files, through LibRaw (the extra ``raw``: package ``rawpy``).

What is taken: the visible part of the sensor's samples, its CFA layout, black levels by place, white level and the
camera's own white balance. The samples stay as the sensor has them: no orientation is applied, since a turned mosaic is
another layout; turn the picture afterwards by ``Capture.quarter_turns``. Refused, each by one line: sensors without a
2 x 2 red-green-blue layout (X-Trans, four colours, monochrome, Foveon) and files that hold finished pictures.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from smalto.data.photographs import MAX_FILE_BYTES, MAX_PIXELS, MAX_SIDE_PX
from smalto.data.raw_mosaic import PATTERNS, CaptureFormat, Mosaic, mosaic_of_samples
from smalto.errors import ImageError, MissingExtra, UsageError

EXTENSIONS = (".dng", ".nef", ".cr2", ".cr3", ".arw", ".rw2", ".orf", ".pef", ".srw")
_TURNS = {0: 0, 3: 2, 5: 1, 6: 3}  # LibRaw's flip: 3 half a turn, 5 a quarter anticlockwise, 6 one clockwise


@dataclass(frozen=True)
class Capture:
    """A camera file's mosaic and how its picture is to be turned.

    Args:
        mosaic: as the sensor has it.
        quarter_turns: anticlockwise quarter turns (``numpy.rot90``) that make the picture upright.
    """

    mosaic: Mosaic
    quarter_turns: int


def read_camera_file(path: str | Path) -> Capture:
    """Read a DNG or camera file.

    Args:
        path: the file.

    Raises:
        MissingExtra: rawpy is not installed.
        ImageError: the file is missing, damaged, too large, or its sensor has no Bayer layout.
    """
    target = Path(path)
    rawpy = _rawpy()
    try:
        if target.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(f"{target}: larger than {MAX_FILE_BYTES} bytes; not read")
        with rawpy.imread(str(target)) as raw:
            return _capture(raw, target)
    except OSError as error:
        raise ImageError(f"{target}: cannot be read ({error.strerror or error}); name a camera file") from error
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"{target}: damaged, or not a camera file that LibRaw reads ({reason})") from error


def _capture(raw: Any, path: Path) -> Capture:
    height, width = int(raw.sizes.height), int(raw.sizes.width)
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:  # before anything is unpacked
        raise ImageError(f"{path}: {width} x {height} samples; at most {MAX_SIDE_PX} a side and {MAX_PIXELS} are read")
    cell = raw.raw_pattern
    colours = bytes(raw.color_desc).decode("ascii", "replace")
    samples = raw.raw_image_visible
    if cell is None or samples is None or samples.ndim != 2 or cell.shape != (2, 2):
        raise ImageError(f"{path}: the sensor has no 2 x 2 layout of colours; only Bayer sensors are read")
    pattern = "".join(colours[place] if place < len(colours) else "?" for place in cell.reshape(-1).tolist())
    if pattern not in PATTERNS:
        raise ImageError(f"{path}: CFA pattern {pattern!r} is none of {', '.join(PATTERNS)}; it is not read")
    blacks = raw.black_level_per_channel
    by_place = tuple(float(blacks[place]) for place in cell.reshape(-1).tolist())
    height, width = samples.shape
    try:
        known = CaptureFormat(
            width, height, pattern, (by_place[0], by_place[1], by_place[2], by_place[3]), float(raw.white_level)
        )
    except UsageError as error:
        raise ImageError(f"{path}: {error}") from error
    mosaic = mosaic_of_samples(np.array(samples), known, str(path))
    mosaic = Mosaic(mosaic.values, pattern, str(path), _gains(raw.camera_whitebalance))
    return Capture(mosaic, _TURNS.get(int(raw.sizes.flip), 0))


def _gains(balance: Any) -> tuple[float, float, float] | None:
    """Red, green, blue against green; None where the camera left them out."""
    red, green, blue = (float(value) for value in list(balance)[:3])
    if not all(0.0 < value < 1e6 for value in (red, green, blue)):
        return None
    return red / green, 1.0, blue / green


def _rawpy() -> ModuleType:
    try:
        return importlib.import_module("rawpy")
    except (ImportError, OSError) as error:
        raise MissingExtra(
            f"rawpy is needed for camera files and cannot be imported ({error}); pip install 'smalto[raw]'"
        ) from error
