"""A data set in one file small enough to travel to another machine."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from smalto.data.photographs import picture_files, read_image
from smalto.errors import UsageError
from smalto.files import replacing

MAX_BYTES = 60 << 20
QUALITIES = (100, 98, 95, 92, 90, 85, 80)  # WebP; the first that fits is taken, `lossless` before all of them
_SAMPLED = 12
_BLOCK_BYTES = 512  # of a tar: one header a file, and files padded to it


@dataclass(frozen=True)
class PackedSet:
    """What ``pack`` wrote.

    Args:
        path: the .tar file; ``cache_pictures`` reads it.
        form: ``as they were``, ``lossless WebP`` or ``WebP quality N``.
        num_pictures: pictures inside.
        num_bytes: size of the file.
    """

    path: Path
    form: str
    num_pictures: int
    num_bytes: int


def pack(folder: str | Path, path: str | Path, *, max_bytes: int = MAX_BYTES) -> PackedSet:
    """Write every picture of ``folder`` into one .tar of at most ``max_bytes``, as well as that allows.

    The files go in unchanged when they fit, else as lossless WebP, else as WebP of the highest quality that fits.

    Args:
        folder: pictures, read with subfolders.
        path: the .tar to write, replaced atomically.
        max_bytes: largest size of the .tar.

    Raises:
        UsageError: even the lowest quality is too large, or there are no pictures.
        ImageError: a picture cannot be read.
    """
    root, target = Path(folder), Path(path)
    files = picture_files(root)
    names = [_member_name(file.relative_to(root).as_posix(), number) for number, file in enumerate(files)]
    if _tar_bytes([file.stat().st_size for file in files]) <= max_bytes:
        contents = [file.read_bytes() for file in files]
        return _write(target, names, contents, "as they were")
    names = [f"{name}.webp" for name in names]
    sample = files[:: max(1, len(files) // _SAMPLED)]
    for quality in (None, *QUALITIES):
        mean = sum(len(_webp(file, quality)) for file in sample) / len(sample)
        if mean * len(files) > max_bytes * 1.05:  # the sample is far off: spare the others
            continue
        contents = []
        room = max_bytes - _tar_bytes([0] * len(files))
        for file in files:
            contents.append(_webp(file, quality))
            room -= len(contents[-1])
            if room < 0:
                break
        if len(contents) == len(files) and _tar_bytes([len(content) for content in contents]) <= max_bytes:
            form = "lossless WebP" if quality is None else f"WebP quality {quality}"
            return _write(target, names, contents, form)
    raise UsageError(f"{root}: {len(files)} pictures do not fit into {max_bytes} bytes; choose fewer or smaller ones")


def _member_name(name: str, number: int) -> str:
    """The name inside the .tar; numbered where a plain header has no room for it."""
    return name if len(name.encode()) <= 90 else f"{number:06d}{Path(name).suffix}"


def _webp(file: Path, quality: int | None) -> bytes:
    from PIL import Image as Pil

    pixels = read_image(file).pixels
    if pixels.dtype != np.uint8:
        pixels = (np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    buffer = BytesIO()
    Pil.fromarray(pixels).save(buffer, "WEBP", lossless=quality is None, quality=quality or 75, method=4)
    return buffer.getvalue()


def _tar_bytes(sizes: list[int]) -> int:
    padded = sum(_BLOCK_BYTES + -(-size // _BLOCK_BYTES) * _BLOCK_BYTES for size in sizes)
    return -(-(padded + 2 * _BLOCK_BYTES) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _write(target: Path, names: list[str], contents: list[bytes], form: str) -> PackedSet:
    with replacing(target) as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in zip(names, contents, strict=True):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
        num_bytes = stream.tell()
    return PackedSet(target, form, len(names), num_bytes)
