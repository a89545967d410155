"""RAW captures as the RAW encoder takes them: from any file that holds one to an upright RGGB mosaic.

::

    .dng .cr2 .nef ... ─► read_camera_file ─┐
    .raw .bin, sidecar ─► read_capture ─────┼─► upright ─► Mosaic, linear ─► display_mosaic ─► to_rggb ─► PaddedMosaic
    .npy .png, sidecar ─► read_samples ─────┘                                          (1, 1, H', W'), offset, H, W

A mosaic turned by quarter turns is a mosaic again, of another of the four layouts, so a capture is brought upright
before it is encoded. The padding before the first true sample is what ``Latent.offset_px`` keeps; an answer computed
from the padded mosaic is cut back by ``PaddedMosaic.cropped``, or by a latent's offset, height and width.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from smalto.data import camera_raw, raw_mosaic
from smalto.data.deep_png import read_deep_png
from smalto.data.photographs import MAX_FILE_BYTES
from smalto.data.raw_mosaic import CaptureFormat, Mosaic
from smalto.errors import ImageError, UsageError
from smalto.layers.bayer import PaddedMosaic, to_rggb

CAMERA_EXTENSIONS = (*camera_raw.EXTENSIONS, ".raf")
PLAIN_EXTENSIONS = (*raw_mosaic.EXTENSIONS, ".npy")
PIXELS_PER_CELL = 4
"""Padded sides are multiples of this: the shared space's coarse plane has a cell for 4 x 4 samples."""
_MAX_SIDECAR_BYTES = 1 << 16


def is_raw_file(path: str | Path) -> bool:
    """Whether a file is to be read as a RAW capture rather than as a picture.

    Camera files, ``.raw``, ``.bin`` and ``.npy`` are told by their extension. A ``.png`` is one when a sidecar of its
    name, ``NAME.json``, is an object that states a ``pattern``.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending in CAMERA_EXTENSIONS or ending in PLAIN_EXTENSIONS:
        return True
    if ending != ".png":
        return False
    sidecar = target.with_suffix(".json")
    try:
        held = json.loads(sidecar.read_bytes()) if sidecar.stat().st_size <= _MAX_SIDECAR_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(held, dict) and "pattern" in held


def read_raw(path: str | Path) -> Mosaic:
    """A RAW capture from a file, upright and linear.

    Args:
        path: a camera file (``rawpy`` reads it), or samples of 16 bits in ``.raw``, ``.bin``, ``.npy`` (uint16, H x W)
            or ``.png`` (grey), with a sidecar ``NAME.json`` or a telling name; see ``smalto.data.raw_mosaic``.

    Raises:
        MissingExtra: rawpy is needed and is not installed.
        ImageError: the file is missing, damaged, too large, or not what its sidecar says.
        UsageError: nothing says how the samples are to be read.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending in CAMERA_EXTENSIONS:
        capture = camera_raw.read_camera_file(target)
        return upright(capture.mosaic, capture.quarter_turns)
    known = raw_mosaic.format_of(target)
    if ending not in (".npy", ".png"):
        return raw_mosaic.read_capture(target, known)
    samples = _npy_samples(target) if ending == ".npy" else _png_samples(target, known)
    try:
        return raw_mosaic.mosaic_of_samples(samples, known, str(target))
    except UsageError as error:
        raise ImageError(f"{error}; correct {target.with_suffix('.json').name}") from error


def upright(mosaic: Mosaic, quarter_turns: int) -> Mosaic:
    """A mosaic turned anticlockwise, its pattern with it.

    Example:
        >>> upright(Mosaic(np.zeros((4, 6), np.float32), "RGGB"), 1).pattern
        'GBRG'
    """
    corner = np.array(list(mosaic.pattern)).reshape(2, 2)
    cells = np.tile(corner, (2, 2))[: 2 + mosaic.height % 2, : 2 + mosaic.width % 2]  # as the whole mosaic ends
    pattern = "".join(np.rot90(cells, quarter_turns)[:2, :2].reshape(-1).tolist())
    values = np.ascontiguousarray(np.rot90(mosaic.values, quarter_turns))
    return replace(mosaic, values=values, pattern=pattern)


def encoder_input(mosaic: Mosaic) -> PaddedMosaic:
    """What the RAW encoder takes: white-balanced, in sRGB's tone curve, RGGB, padded by whole samples.

    Args:
        mosaic: linear; gains it does not state are guessed (grey world).

    Returns:
        ``values`` (1, 1, H', W') in [0, 1] with sides that are multiples of 4, the (row, column) of the first true
        sample, and the true height and width.

    Raises:
        UsageError: a side is a single sample.
    """
    shown = raw_mosaic.display_mosaic(mosaic)
    return to_rggb(raw_mosaic.mosaic_tensor(shown), shown.pattern, PIXELS_PER_CELL)


def _npy_samples(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(f"{path}: larger than {MAX_FILE_BYTES} bytes; not read")
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}); name a file of samples") from error
    except (ValueError, EOFError) as error:
        raise ImageError(f"{path}: not a whole .npy file of numbers; get a fresh copy") from error


def _png_samples(path: Path, known: CaptureFormat) -> np.ndarray:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(f"{path}: larger than {MAX_FILE_BYTES} bytes; not read")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); name a file of samples") from error
    width, height = (
        int.from_bytes(data[start : start + 4], "big") for start in (16, 20)
    )  # IHDR, before memory is taken
    if (width, height) != (known.width, known.height):
        raise ImageError(
            f"{path}: holds {width} x {height} samples and its sidecar says {known.width} x {known.height}; correct "
            f"{path.with_suffix('.json').name}"
        )
    pixels, alpha, grey = read_deep_png(data, str(path))
    if not grey or alpha is not None:
        raise ImageError(f"{path}: a mosaic in a PNG has one channel of 16 bits and no transparency; save it so")
    return np.rint(pixels[:, :, 0] * 65535.0).astype(np.uint16)
