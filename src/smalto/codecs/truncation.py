"""Values truncated to a range and scaled linearly onto the indexes of a plane: what the transform is compared with.

::

    x ─► clip to low..high ─► round to 2^bits steps ─► level 0..255 (float32) ─► plane ─► codec
                                                         level ─► low + level / 255 (high - low) ─► x_hat

Source: the baseline of DT-UFC, section 5.2: truncation (DINOv2 and Llama to +-5, Stable Diffusion 3 not at all) and
uniform quantisation with 8 or 10 bits. Different here: a model is cut so many deviations from its mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smalto.errors import UsageError

TOP_LEVEL = 255.0
MAX_BITS = 16


@dataclass(frozen=True)
class Truncation:
    """A linear map between a range of values and levels 0..255.

    Args:
        low: the value of level 0.
        high: the value of level 255; not below ``low``.
        bits: levels are multiples of 255 / (2^bits - 1); 8 bits give whole numbers.

    Raises:
        UsageError: no such range, or bits outside 1..16.
    """

    low: float
    high: float
    bits: int = 8

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise UsageError(f"truncation: {self.low}..{self.high} is no range of numbers")
        if not 1 <= self.bits <= MAX_BITS:
            raise UsageError(f"truncation: {self.bits} bits are outside 1..{MAX_BITS}")

    @classmethod
    def fit(cls, samples: Sequence[np.ndarray], deviations: float | None = None, bits: int = 8) -> Truncation:
        """The range of samples.

        Args:
            samples: float arrays of any shapes; what is not finite is left out.
            deviations: cut so many standard deviations from the mean; None keeps everything from least to largest.
            bits: of the levels.

        Raises:
            UsageError: no finite value.
        """
        held = [np.asarray(sample, np.float64).ravel() for sample in samples]
        values = np.concatenate([array[np.isfinite(array)] for array in held]) if held else np.empty(0)
        if not values.size:
            raise UsageError("truncation: the samples hold no finite value; pass others")
        low, high = float(values.min()), float(values.max())
        if deviations is not None:
            middle, reach = float(values.mean()), deviations * float(values.std())
            low, high = max(low, middle - reach), min(high, middle + reach)
        return cls(low, high, bits)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """Levels 0..255 (float32) in the shape of ``values``; NaN takes the level nearest to zero."""
        clipped = np.clip(np.nan_to_num(np.asarray(values, np.float64), nan=0.0), self.low, self.high)
        top = 2.0**self.bits - 1
        steps = np.floor((clipped - self.low) / ((self.high - self.low) or 1.0) * top + 0.5)
        return (np.minimum(steps, top) * (TOP_LEVEL / top)).astype(np.float32)

    def inverse(self, levels: np.ndarray) -> np.ndarray:
        """Values (float32) of levels 0..255, also of those between the steps."""
        return (self.low + np.asarray(levels, np.float64) * ((self.high - self.low) / TOP_LEVEL)).astype(np.float32)
