"""Bayer captures: plain files of 16-bit samples, and what one must know to read them.

::

    NAME.raw (uint16, little endian, row by row) ─┐
    NAME.json, or the file's name, or a format ───┴─► read_capture ─► Mosaic: (H, W) float32, linear, in [0, 1]

The sidecar ``NAME.json`` is an object of the fields of ``CaptureFormat``:

    {"width": 768, "height": 512, "pattern": "RGGB", "black_level": 600, "white_level": 16383, "gains": [2.0, 1, 1.4]}

Without a sidecar a name such as ``scene_768x512_rggb_14bit_u16le.raw`` says width, height, pattern and depth; black is
then 0. Odd sizes are read: a mosaic may end after any row or column. DNG and camera files: ``smalto.data.camera_raw``.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smalto.data.photographs import MAX_PIXELS, MAX_SIDE_PX
from smalto.errors import ImageError, UsageError

if TYPE_CHECKING:
    import torch

PATTERNS = ("RGGB", "GRBG", "GBRG", "BGGR")
EXTENSIONS = (".raw", ".bin")
MAX_LEVEL = 65535
_FAR = 1e9  # beyond any level or gain; also what infinity and not-a-number fail
_MAX_SIDECAR_BYTES = 1 << 16
_NAME = re.compile(r"(?:^|_)(\d{1,5})x(\d{1,5})_(rggb|grbg|gbrg|bggr)_(\d{1,2})bit(?:_u16le)?$", re.IGNORECASE)


@dataclass(frozen=True)
class Mosaic:
    """A capture as a Bayer sensor gives it: one colour at each place.

    Args:
        values: (H, W) float32, linear in light, 0 at the black level and 1 at the white level.
        pattern: colours of the upper left 2 x 2 samples, row by row: RGGB, GRBG, GBRG or BGGR.
        source: where it came from, for messages.
        gains: factors (red, green, blue) that make the scene's white white; None when nobody said.
    """

    values: np.ndarray
    pattern: str
    source: str = "mosaic"
    gains: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        values = self.values
        if values.ndim != 2 or min(values.shape) < 1 or values.dtype != np.float32:
            raise UsageError(f"{self.source}: {values.dtype} {values.shape} is no mosaic; it is float32 (H, W)")
        if self.pattern not in PATTERNS:
            raise UsageError(f"{self.source}: CFA pattern {self.pattern!r} is none of {', '.join(PATTERNS)}")
        if self.gains is not None and not _are_gains(self.gains):
            raise UsageError(f"{self.source}: gains {self.gains!r} are not three positive numbers")

    @property
    def height(self) -> int:
        """Height in samples."""
        return int(self.values.shape[0])

    @property
    def width(self) -> int:
        """Width in samples."""
        return int(self.values.shape[1])


@dataclass(frozen=True)
class CaptureFormat:
    """How a plain file of samples is to be read.

    Args:
        width: samples a row, 1..8192.
        height: rows, 1..8192.
        pattern: RGGB, GRBG, GBRG or BGGR.
        black_level: the sample that stands for no light: one number, or four, one for each place of the 2 x 2 cell,
            row by row.
        white_level: the sample that stands for saturation; above every black level, at most 65535.
        gains: white balance (red, green, blue), or None.

    Raises:
        UsageError: a field is out of range.
    """

    width: int
    height: int
    pattern: str
    black_level: float | tuple[float, float, float, float] = 0.0
    white_level: float = MAX_LEVEL
    gains: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        for name, side in (("width", self.width), ("height", self.height)):
            if not _is_whole(side) or not 1 <= side <= MAX_SIDE_PX:
                raise UsageError(f"{name} {side!r} is not a whole number of samples in 1..{MAX_SIDE_PX}")
        if self.width * self.height > MAX_PIXELS:
            raise UsageError(f"{self.width} x {self.height} samples are more than {MAX_PIXELS}")
        if self.pattern not in PATTERNS:
            raise UsageError(f"CFA pattern {self.pattern!r} is none of {', '.join(PATTERNS)}")
        blacks = self.black_levels
        if len(blacks) != 4 or not all(_is_number(black) and black >= 0 for black in blacks):
            raise UsageError(f"black_level {self.black_level!r} is not one number from 0, nor four")
        if not _is_number(self.white_level) or not max(blacks) < self.white_level <= MAX_LEVEL:
            raise UsageError(
                f"white_level {self.white_level!r} is not above the black level {max(blacks):g} and up to {MAX_LEVEL}"
            )
        if self.gains is not None and not _are_gains(self.gains):
            raise UsageError(f"gains {self.gains!r} are not three positive numbers for red, green and blue")

    @property
    def black_levels(self) -> tuple[float, ...]:
        """One for each place of the 2 x 2 cell, row by row."""
        return self.black_level if isinstance(self.black_level, tuple) else (self.black_level,) * 4

    @property
    def num_bytes(self) -> int:
        """Size of a file of this format."""
        return 2 * self.width * self.height


def read_capture(path: str | Path, capture_format: CaptureFormat | None = None) -> Mosaic:
    """Read a plain file of uint16 samples, little endian.

    Samples below black become 0 and above white 1.

    Args:
        path: the file.
        capture_format: None takes it from the sidecar ``NAME.json``, else from the file's name.

    Raises:
        ImageError: the file is missing or has not the size that its format says, or the sidecar is wrong.
        UsageError: there is neither a format nor a sidecar nor a telling name.
    """
    target = Path(path)
    known = format_of(target) if capture_format is None else capture_format
    try:
        size = target.stat().st_size
        if size != known.num_bytes:
            raise ImageError(
                f"{target}: holds {size} bytes, but {known.width} x {known.height} samples of 16 bits are "
                f"{known.num_bytes}; correct width and height"
            )
        samples = np.fromfile(target, dtype="<u2", count=known.width * known.height)
    except OSError as error:
        raise ImageError(f"{target}: cannot be read ({error.strerror}); name a file of samples") from error
    if samples.size != known.width * known.height:
        raise ImageError(f"{target}: ended early; get a fresh copy")
    return mosaic_of_samples(samples.reshape(known.height, known.width), known, str(target))


def mosaic_of_samples(samples: np.ndarray, capture_format: CaptureFormat, source: str = "samples") -> Mosaic:
    """Samples as linear values.

    Math: value = clip((sample - black) / (white - black), 0, 1), black by place in the 2 x 2 cell.

    Args:
        samples: (H, W) uint16.
        capture_format: of the same size.
        source: for messages.

    Raises:
        UsageError: the samples have another shape or kind.
    """
    known = capture_format
    if samples.shape != (known.height, known.width) or samples.dtype.newbyteorder("=") != np.uint16:
        raise UsageError(f"{source}: {samples.dtype} {samples.shape} are not uint16 ({known.height}, {known.width})")
    cell = np.array(known.black_levels, dtype=np.float32).reshape(2, 2)
    black = np.tile(cell, (-(-known.height // 2), -(-known.width // 2)))[: known.height, : known.width]
    values = (samples.astype(np.float32) - black) / (np.float32(known.white_level) - black)
    return Mosaic(np.clip(values, 0.0, 1.0, dtype=np.float32), known.pattern, source, known.gains)


def format_of(path: str | Path) -> CaptureFormat:
    """The format that a capture's sidecar, else its name, states.

    Raises:
        ImageError: the sidecar cannot be read or does not hold together.
        UsageError: there is no sidecar and the name says nothing.
    """
    target = Path(path)
    sidecar = target.with_suffix(".json")
    if sidecar != target and sidecar.is_file():
        return _read_sidecar(sidecar)
    found = _NAME.search(target.stem)
    if found is None:
        raise UsageError(
            f"{target}: width, height and CFA pattern are unknown; write {sidecar.name} beside it, or give them"
        )
    width, height, pattern, bits = found.groups()
    try:
        return CaptureFormat(int(width), int(height), pattern.upper(), white_level=2 ** min(int(bits), 17) - 1)
    except UsageError as error:
        raise ImageError(f"{target}: its name states an impossible format: {error}") from error


def mosaic_tensor(mosaic: Mosaic) -> torch.Tensor:
    """(1, 1, H, W) float32 in [0, 1], for a network after ``smalto.layers.bayer.to_rggb``."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(mosaic.values))[None, None].clone()


def display_mosaic(mosaic: Mosaic, gains: tuple[float, float, float] | None = None) -> Mosaic:
    """White-balanced and in sRGB's tone curve, still a mosaic: what a mosaic of an sRGB picture looks like.

    Math: srgb(min(1, gain value)), sample by sample, so that demosaicing afterwards gives a picture to look at. No
    colour matrix: that would need all three colours at each place.

    Source: IEC 61966-2-1 for the curve. Without gains: the grey-world assumption, means of the channels made equal to
    green's, samples at the white level left out.

    Args:
        mosaic: linear.
        gains: (red, green, blue); None takes the mosaic's own, else grey-world.
    """
    chosen = gains or mosaic.gains or _grey_world(mosaic)
    factor = np.array(chosen, dtype=np.float32)[_channels(mosaic)]
    linear = np.minimum(mosaic.values * factor, np.float32(1.0))
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(linear, np.float32(1 / 2.4)) - 0.055)
    return dataclasses.replace(mosaic, values=curved.astype(np.float32), gains=chosen)


def _grey_world(mosaic: Mosaic) -> tuple[float, float, float]:
    channels, usable = _channels(mosaic), mosaic.values < 1.0
    means = []
    for channel in range(3):
        of_channel = mosaic.values[(channels == channel) & usable]
        means.append(float(of_channel.mean(dtype=np.float64)) if of_channel.size else 0.0)
    if min(means) <= 0.0:
        return 1.0, 1.0, 1.0
    return means[1] / means[0], 1.0, means[1] / means[2]


def _channels(mosaic: Mosaic) -> np.ndarray:
    """(H, W) 0 red, 1 green, 2 blue."""
    cell = np.array(["RGB".index(colour) for colour in mosaic.pattern]).reshape(2, 2)
    return np.tile(cell, (-(-mosaic.height // 2), -(-mosaic.width // 2)))[: mosaic.height, : mosaic.width]


def _read_sidecar(path: Path) -> CaptureFormat:
    try:
        if path.stat().st_size > _MAX_SIDECAR_BYTES:
            raise ImageError(f"{path}: a sidecar of more than {_MAX_SIDECAR_BYTES} bytes; it holds a few numbers")
        held = json.loads(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{path}: not JSON; write an object with width, height, pattern and levels") from error
    return _format_from(held, path)


def _format_from(held: object, path: Path) -> CaptureFormat:
    if not isinstance(held, Mapping):
        raise ImageError(f"{path}: not a JSON object; write one with width, height, pattern and levels")
    known = {entry.name for entry in dataclasses.fields(CaptureFormat)}
    unknown, missing = sorted(set(held) - known), sorted({"width", "height", "pattern"} - set(held))
    if unknown or missing:
        what = f"unknown field {unknown[0]!r}" if unknown else f"no field {missing[0]!r}"
        raise ImageError(f"{path}: {what}; a sidecar has {', '.join(sorted(known))}")
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}
    try:
        return CaptureFormat(**values)
    except UsageError as error:
        raise ImageError(f"{path}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FAR <= value <= _FAR


def _are_gains(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(_is_number(gain) and gain > 0 for gain in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
