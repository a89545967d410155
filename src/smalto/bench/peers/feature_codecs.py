"""What people store features with today: number formats, scalar quantisers, and general-purpose compressors.

A peer is a quantiser and a packer. Quantisers decide what is lost; packers, all lossless, what a file weighs. Every
array is one file, without any container, which favours the peers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from smalto.errors import MissingExtra

Packer = Callable[[np.ndarray], bytes]


@dataclass(frozen=True)
class Quantised:
    """Features as a quantiser leaves them.

    Args:
        stored: what a packer gets: integers or floats.
        restored: float32, what a reader gets back.
        side_bytes: scales and offsets that are stored beside.
    """

    stored: np.ndarray
    restored: np.ndarray
    side_bytes: int = 0


def float16(values: np.ndarray, setting: float) -> Quantised:
    """Rounded to half precision; the setting is not used."""
    stored = values.astype(np.float16)
    return Quantised(stored, stored.astype(np.float32))


def float8(values: np.ndarray, setting: float) -> Quantised:
    """Rounded to eight bits (e4m3) after scaling the largest magnitude to 448; the setting is not used."""
    import torch

    scale = max(float(np.abs(values).max(initial=0)), 1e-30) / 448
    stored = torch.from_numpy(values / scale).to(torch.float8_e4m3fn)
    return Quantised(stored.view(torch.uint8).numpy(), stored.float().numpy() * scale, 4)


def per_channel(values: np.ndarray, setting: float) -> Quantised:
    """``setting`` bits between each channel's least and largest value; channels are rows of the first of three axes,
    columns of two."""
    axes = (1, 2) if values.ndim == 3 else (0,)
    low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
    top = 2.0**setting - 1
    step = np.maximum(high - low, 1e-12) / top
    stored = np.clip(np.floor((values - low) / step + 0.5), 0, top).astype(np.uint8)
    return Quantised(stored, (stored * step + low).astype(np.float32), 4 * low.size)


def uniform(values: np.ndarray, setting: float) -> Quantised:
    """A uniform step of ``setting``, rounded to nearest."""
    symbols = np.floor(values / setting + 0.5)
    kind = np.int8 if np.abs(symbols).max(initial=0) < 128 else np.int32
    return Quantised(symbols.astype(kind), (symbols * setting).astype(np.float32), 4)


QUANTISERS: dict[str, Callable[[np.ndarray, float], Quantised]] = {
    "float16": float16,
    "float8": float8,
    "int8 per channel": per_channel,
    "uniform": uniform,
}


def packers() -> dict[str, Packer]:
    """Packers by name.

    Raises:
        MissingExtra: a package is not installed.
    """
    missing = [name for name in ("zstandard", "numcodecs", "pcodec") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(f"bench features: {', '.join(missing)} not installed; pip install 'smalto[bench]'")
    import numcodecs
    import zstandard
    from pcodec import ChunkConfig, standalone  # pyright: ignore[reportAttributeAccessIssue]

    compressor = zstandard.ZstdCompressor(level=19)
    blosc = numcodecs.Blosc(cname="zstd", clevel=9, shuffle=numcodecs.Blosc.BITSHUFFLE)
    config = ChunkConfig(compression_level=12)

    def pco(array: np.ndarray) -> bytes:
        flat = np.ascontiguousarray(array).ravel()
        if flat.dtype.itemsize == 1:
            flat = flat.astype(np.int16)
        return standalone.simple_compress(flat, config)

    return {
        "zstd-19": lambda array: compressor.compress(np.ascontiguousarray(array).tobytes()),
        "bitshuffle+zstd": lambda array: bytes(blosc.encode(np.ascontiguousarray(array))),
        "pcodec": pco,
    }


def packed_bytes(quantised: Sequence[Quantised], packer: Packer) -> int:
    """Bytes of arrays, each packed by itself."""
    return sum(len(packer(array.stored)) + array.side_bytes for array in quantised)
