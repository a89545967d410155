"""Portable float maps: one or three float32 planes behind a text header, rows from the bottom up.

::

    "Pf" or "PF", width, height, scale, each followed by white space; then height x width (x 3) float32.
    A negative scale says little-endian, a positive one big-endian.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from smalto.data.photographs import MAX_PIXELS, MAX_SIDE_PX
from smalto.errors import ImageError, UsageError
from smalto.files import replace_file

_MAX_HEADER_BYTES = 256
_NUMBER = rb"([-+]?[0-9.]{1,24}(?:[eE][-+]?[0-9]{1,3})?)"
_LINE = rb"[ \t\r]*\n[ \t\r\n]*"
_HEADER = re.compile(rb"(P[fF])" + _LINE + rb"([0-9]{1,6})[ \t\r\n]+([0-9]{1,6})" + _LINE + _NUMBER + rb"[ \t\r]*\n")


def read_pfm(path: str | Path) -> np.ndarray:
    """Read a portable float map.

    Args:
        path: the file.

    Returns:
        (H, W) or (H, W, 3) float32 in native byte order, first row on top; values as they are stored, the header's
        scale names the byte order only.

    Raises:
        ImageError: the file is missing, its header is damaged or too large, or its length is not what the header says.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read(4 * 3 * MAX_PIXELS + _MAX_HEADER_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path}: cannot be read ({reason}); check the path") from error
    return parse_pfm(data, str(path))


def parse_pfm(data: bytes, name: str) -> np.ndarray:
    """The values in the bytes of a portable float map; ``name`` is for messages. See ``read_pfm``."""
    match = _HEADER.match(data[:_MAX_HEADER_BYTES])
    if match is None:
        raise ImageError(
            f"{name}: no portable float map (its header is not Pf, width, height, scale); get a fresh copy"
        )
    width, height = int(match[2]), int(match[3])
    try:
        scale = float(match[4])
    except ValueError:
        scale = 0.0
    if scale == 0.0 or not math.isfinite(scale):
        raise ImageError(f"{name}: damaged float map (its scale {match[4].decode()} has no sign); get a fresh copy")
    if min(width, height) < 1 or max(width, height) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise ImageError(f"{name}: {width}x{height} is refused; sides are 1..{MAX_SIDE_PX}, pixels <= {MAX_PIXELS}")
    shape = (height, width, 3) if match[1] == b"PF" else (height, width)
    wanted, held = 4 * math.prod(shape), len(data) - match.end()
    if wanted != held:
        raise ImageError(f"{name}: damaged float map ({held} bytes of values instead of {wanted}); get a fresh copy")
    values = np.frombuffer(data, "<f4" if scale < 0 else ">f4", offset=match.end()).reshape(shape)
    return np.ascontiguousarray(values[::-1], dtype=np.float32)


def pfm_bytes(values: np.ndarray) -> bytes:
    """A little-endian portable float map of (H, W) or (H, W, 3) floats.

    Raises:
        UsageError: another shape, or sides that are too large to be read again.
    """
    shape = values.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise UsageError(f"float map: values {shape} are not (H, W) or (H, W, 3)")
    if min(shape[:2]) < 1 or max(shape[:2]) > MAX_SIDE_PX or shape[0] * shape[1] > MAX_PIXELS:
        raise UsageError(f"float map: {shape[1]}x{shape[0]} is refused; sides are 1..{MAX_SIDE_PX}")
    header = f"{'PF' if len(shape) == 3 else 'Pf'}\n{shape[1]} {shape[0]}\n-1.0\n".encode()
    return header + np.ascontiguousarray(values[::-1], dtype="<f4").tobytes()


def write_pfm(path: str | Path, values: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) floats as a portable float map, atomically; see ``pfm_bytes``."""
    replace_file(path, pfm_bytes(values))
