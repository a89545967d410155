"""The peak resident set of encoding or decoding one picture, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from smalto.bench.peak_memory import peak_rss_bytes
from smalto.systems.system import System
from smalto.types import Image


@dataclass(frozen=True)
class Peak:
    """Bytes of resident memory; 0 where nothing was measured.

    Args:
        loaded_bytes: with the system loaded and the picture made, before encoding.
        encode_bytes: at most, while encoding.
        decode_bytes: at most, while decoding.
    """

    loaded_bytes: int = 0
    encode_bytes: int = 0
    decode_bytes: int = 0

    def mebibytes(self) -> tuple[float | None, float | None, float | None]:
        """The three in MiB, None for what was not measured."""
        loaded, encoding, decoding = (
            value / 2**20 if value else None for value in (self.loaded_bytes, self.encode_bytes, self.decode_bytes)
        )
        return loaded, encoding, decoding


def resized(photograph: Image, height: int, width: int) -> Image:
    """The photograph cut to a size, or continued by its mirror image: detail stays as fine as it was."""
    pixels = photograph.pixels[:height, :width]
    missing = ((0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0))
    return Image(np.ascontiguousarray(np.pad(pixels, missing, mode="symmetric")), source="photograph")


def peak_of(system: System, photograph: Image, side_px: int, quality: str | float, threads: int) -> Peak:
    """Measure one square picture both ways.

    Args:
        system: handed to fresh processes.
        photograph: resized to the side.
        side_px: of the picture.
        quality: of the file.
        threads: compute threads.
    """
    loaded, encoding, data = _apart(_encode, system, photograph.pixels, side_px, quality, threads)
    _, decoding, _ = _apart(_decode, system, data, threads)
    return Peak(loaded, encoding, decoding)


def _apart(work, *arguments) -> tuple[int, int, bytes]:  # type: ignore[no-untyped-def]
    """``work(*arguments)`` in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _encode(
    system: System, pixels: np.ndarray, side_px: int, quality: str | float, threads: int
) -> tuple[int, int, bytes]:
    torch.set_num_threads(threads)
    picture = resized(Image(pixels), side_px, side_px)
    loaded = peak_rss_bytes()
    data = system.encode(picture, quality=quality).to_bytes()
    return loaded, peak_rss_bytes(), data


def _decode(system: System, data: bytes, threads: int) -> tuple[int, int, bytes]:
    torch.set_num_threads(threads)
    loaded = peak_rss_bytes()
    system.run("reconstruct", data)
    return loaded, peak_rss_bytes(), b""
