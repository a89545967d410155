"""Packed sets that the tests read: rows of one array over several slices, named arrays, many small arrays."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from smalto import FeatureCodec
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.data.feature_array import FeatureArray
from smalto.systems.feature_codec import decode_features
from smalto.systems.feature_sets import SetCoder

BOUND = 0.05
SAMPLE = (8, 9, 9)
VALUES = 8 * 81


def maps(num: int, seed: int = 0, dtype: str = "float16") -> np.ndarray:
    """(num, 8, 9, 9) maps after a ReLU."""
    generator = np.random.default_rng(seed)
    return np.maximum(generator.normal(size=(num, *SAMPLE)), 0).astype(dtype)


@functools.cache
def fitted() -> FeatureCodec:
    """Fitted on ten maps; no value is off by more than BOUND."""
    return FeatureCodec.fit(list(maps(10)), max_error=BOUND)


def packed(arrays: dict[str, np.ndarray], slice_samples: int = 7, codec: FeatureCodec | None = None) -> bytes:
    """A set whose slices hold as many values as so many maps."""
    codec, size = codec or fitted(), slice_samples * VALUES
    info = codec.info(embed=True)
    info = type(info)(info.codec, info.profile_digest, info.quality, {**info.metadata, "slice": size}, info.profile)
    with ArraySetWriter(info) as writer:
        SetCoder(codec.tier, size).write(writer, [FeatureArray.of(name, array) for name, array in arrays.items()])
    return writer.data


def decoded(blob: bytes | Path) -> dict[str, np.ndarray]:
    """Every array of a set, as decoding the whole set gives it."""
    arrays = decode_features(blob)
    assert isinstance(arrays, dict)
    return {name: np.asarray(array) for name, array in arrays.items()}
