"""Features that the tests of this room code: a model of 8 channels, and a profile of it."""

from __future__ import annotations

import functools

import numpy as np

from smalto import FeatureCodec

BOUND = 0.05
SAMPLE = (8, 9, 9)


def stack(num: int, seed: int = 0, dtype: str = "float16") -> np.ndarray:
    """(num, 8, 9, 9) maps after a ReLU."""
    generator = np.random.default_rng(seed)
    return np.maximum(generator.normal(size=(num, *SAMPLE)), 0).astype(dtype)


@functools.cache
def bounded() -> FeatureCodec:
    """Fitted on ten of them with the promise that no value is off by more than BOUND."""
    return FeatureCodec.fit(list(stack(10)), max_error=BOUND)


def worst(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error."""
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0))
