"""The transform of the fast feature tier: centre, rotate, quantise; and back.

::

    rows (P, C) ─ mean ─► Q^T ─► round with a dead zone ─► symbols ─► points ─► Q ─► + mean ─► rows
                                  └─► mean error of a sample ─► levels ──► Q ──────────┘

Math: y = Q^T (x - mean); q = sign(y) floor(|y| / step + offset); y_hat = sign(q) (|q| - shift_min(|q|, 3)) step. Q is
the product of R Householder reflections whose first R columns are the leading principal axes of the samples; the other
columns stay as close to the channels as that allows. It costs 2 R multiplications a value where a full rotation costs
C. With the reflections' vectors V (C, R), Q = I - V T V^T and T^-1 = triu(V^T V, 1) + diag(V^T V) / 2 make Q orthogonal
whatever V is, so V is stored in 8 bits.

A coefficient whose spread is below the step is always rounded to zero, and with it the part that all positions of a
sample share: what a network that averages over positions reads. So the mean error of every coefficient of a sample may
be sent beside the symbols, in sixteenths of a step: its levels. Or the error is diffused: a share g of what earlier
positions of the sample lost is added to a coefficient before it is rounded, q = round((y + g e) / step), where e sums
y - y_hat over them. Zero coefficients stay zero and none changes its sign. The noise then lies in high frequencies,
where pooling does not look; its power rises. The decoder knows nothing of it.

Source: Schreiber and Van Loan, "A storage-efficient WY representation", 1989, for the compact form; Floyd and
Steinberg, "An adaptive algorithm for spatial greyscale", 1976, for diffused errors.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smalto.bits.compiled import compiled
from smalto.errors import UsageError

NUM_SHIFTS = 3
LEVELS_A_STEP = 16
STEP_MIN, STEP_MAX = 1e-35, 1e35
MAX_STEPS = float(1 << 24)
"""Values farther than this many steps from the mean are left to be stored exactly."""
MAX_COEFFICIENT = float(1 << 30)
"""Steps that no coefficient may pass, so that its symbol is an int32 wherever a rotation gathers many such values."""


@dataclass(frozen=True, eq=False)
class FeatureTransform:
    """Mean, rotation and quantiser of one kind of feature.

    Args:
        mean: (C,) float32.
        pivot: (R,) uint16, the channels that the principal axes take the place of, R <= C / 2.
        reflector: (C, R) int8, the reflections' vectors in units of ``scale``; their pivots are 1.
        scale: (R,) float32.
        step: width of a quantisation cell, 1e-35..1e35.
        offset: rounding offset in 0..0.5; 0.5 is plain rounding.
        shift: (3,) float32, how far the points of |q| = 1, 2, 3.. lie towards zero, in steps.
        diffusion: g, the share of earlier errors that a coefficient takes over, 0..1; 0 rounds every one by itself.

    Raises:
        UsageError: arrays that do not fit together or are not finite, a step that is not positive.
    """

    mean: NDArray[np.float32]
    pivot: NDArray[np.uint16]
    reflector: NDArray[np.int8]
    scale: NDArray[np.float32]
    step: float
    offset: float
    shift: NDArray[np.float32]
    diffusion: float = 0.0

    def __post_init__(self) -> None:
        channels, rank = len(self.mean), len(self.pivot)
        wanted = {
            "mean": (np.float32, (channels,)),
            "pivot": (np.uint16, (rank,)),
            "reflector": (np.int8, (channels, rank)),
            "scale": (np.float32, (rank,)),
            "shift": (np.float32, (NUM_SHIFTS,)),
        }
        for name, (dtype, shape) in wanted.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
                raise UsageError(f"feature transform: {name} is {array.dtype} {array.shape}; the profile is damaged")
        if (
            channels == 0
            or 2 * rank > channels
            or len(set(self.pivot.tolist())) < rank
            or (self.pivot >= channels).any()
        ):
            raise UsageError("feature transform: the pivots are not distinct channels; the profile is damaged")
        if not STEP_MIN <= self.step <= STEP_MAX or (np.abs(self.scale) > 1).any():
            raise UsageError("feature transform: step or scale is out of range; the profile is damaged")
        if not 0 <= self.offset <= 0.5 or not 0 <= self.diffusion <= 1 or (np.abs(self.shift) > 1).any():
            raise UsageError("feature transform: offset, diffusion or shift is out of range; the profile is damaged")

    @property
    def num_channels(self) -> int:
        """C."""
        return len(self.mean)

    @functools.cached_property
    def _factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """V (C, R), T V^T and T^T V^T (R, C), float64."""
        v = self.reflector.astype(np.float64) * self.scale
        rank = len(self.pivot)
        v[self.pivot] = np.tril(v[self.pivot], -1) + np.eye(rank)  # reflection k leaves the pivots before its own alone
        gram = v.T @ v
        t = np.linalg.inv(np.triu(gram, 1) + np.diag(np.diag(gram)) / 2)
        return v, t @ v.T, t.T @ v.T

    @functools.cached_property
    def _narrow_factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first, forward, back = (np.ascontiguousarray(factor, np.float32) for factor in self._factors)
        return first, forward, back

    def _rotate(self, rows: np.ndarray, back: bool) -> None:
        """rows Q (forward) or rows Q^T (back), in place."""
        if len(self.pivot) == 0:
            return
        v, forward, backward = self._factors if rows.dtype == np.float64 else self._narrow_factors
        rows -= (rows @ v) @ (backward if back else forward)

    def coefficients(self, rows: np.ndarray) -> int:
        """Centre and rotate in place. Rows (P, C) float32 or float64, C-ordered.

        Returns:
            How many values are not finite or too far from the mean. Rows keep their centred values, not rotated, when
            there are any: clear those (set them to 0) and call ``rotate``.
        """
        mean = self.mean.astype(rows.dtype)
        strange = int(centre(rows, mean, rows.dtype.type(self.limit)))
        if strange == 0:
            self._rotate(rows, back=False)
        return strange

    def rotate(self, rows: np.ndarray) -> None:
        """The second half of ``coefficients``."""
        self._rotate(rows, back=False)

    @property
    def limit(self) -> float:
        """Distance from the mean up to which a value is quantised."""
        return min(MAX_STEPS * self.step, MAX_COEFFICIENT * self.step / math.sqrt(self.num_channels), 1e37)

    def quantised(self, rows: np.ndarray, symbols: NDArray[np.int32], carry: np.ndarray) -> None:
        """Symbols of coefficients.

        Args:
            rows: (S, P, C) coefficients of P positions of S samples, in the order in which errors are diffused.
            symbols: (S, P, C), filled.
            carry: (S, C), what earlier positions of the samples lost, in units of the step; zeros for their first.
        """
        kind = rows.dtype.type
        if self.diffusion == 0:
            quantise(rows.reshape(-1), kind(1 / self.step), kind(self.offset), symbols.reshape(-1))
            return
        shifts = tuple(kind(value) for value in self.shift)
        diffuse(rows, kind(1 / self.step), (kind(self.offset), kind(self.diffusion)), shifts, symbols, carry)

    def errors(self, rows: np.ndarray, symbols: NDArray[np.int32]) -> NDArray[np.float64]:
        """(S, C) sums over positions of coefficients (S, P, C) minus the points of their symbols (S, P, C)."""
        kind = rows.dtype.type
        sums = np.zeros((rows.shape[0], rows.shape[2]), rows.dtype)
        sum_errors(rows, symbols, kind(self.step), tuple(kind(value) for value in self.shift), sums)
        return sums.astype(np.float64)

    def levels(self, sums: NDArray[np.float64], count: int) -> NDArray[np.int32]:
        """(S, C) symbols of the mean error over ``count`` positions, in sixteenths of a step."""
        return np.rint(sums * (LEVELS_A_STEP / (self.step * max(count, 1)))).astype(np.int32)

    def origins(self, levels: NDArray[np.int32], kind: type[np.floating]) -> np.ndarray:
        """(S, C) what is added to the rows of each sample: the mean, and the mean error that its levels (S, C) say."""
        rows = levels.astype(kind) * kind(self.step / LEVELS_A_STEP)
        self._rotate(rows, back=True)
        rows += self.mean
        return rows

    def restored(self, symbols: NDArray[np.int32], rows: np.ndarray) -> None:
        """Rows (P, C) of symbols (P, C), still without their origin."""
        kind = rows.dtype.type
        shifts = tuple(kind(value) for value in self.shift)
        restore(symbols.reshape(-1), kind(self.step), shifts, rows.reshape(-1))
        self._rotate(rows, back=True)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as little-endian arrays."""
        return {
            "mean": self.mean.astype("<f4"),
            "pivot": self.pivot.astype("<u2"),
            "reflector": self.reflector,
            "scale": self.scale.astype("<f4"),
            "shift": self.shift.astype("<f4"),
            "quantiser": np.array([self.step, self.offset, self.diffusion][: 3 if self.diffusion else 2], "<f8"),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FeatureTransform:
        """What ``to_arrays`` stored. Raises UsageError when it breaks a rule."""
        names = ("mean", "pivot", "reflector", "scale", "shift", "quantiser")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise UsageError(f"feature transform: the profile has no array {missing[0]!r}; fit it again")
        quantiser, mean = arrays["quantiser"], arrays["mean"]
        if quantiser.dtype != np.float64 or quantiser.shape not in ((2,), (3,)) or mean.ndim != 1:
            raise UsageError("feature transform: the quantiser is not two or three numbers; the profile is damaged")
        if arrays["pivot"].ndim != 1:
            raise UsageError("feature transform: the pivots are not a list of channels; the profile is damaged")
        return cls(
            mean,
            arrays["pivot"],
            arrays["reflector"],
            arrays["scale"],
            float(quantiser[0]),
            float(quantiser[1]),
            arrays["shift"],
            float(quantiser[2]) if len(quantiser) == 3 else 0.0,
        )


@compiled
def centre(rows: np.ndarray, mean: np.ndarray, limit: float) -> int:
    """Subtract the mean in place; gives the number of values that are then not within the limit."""
    strange = 0
    height, channels = rows.shape
    for p in range(height):
        for c in range(channels):
            value = rows[p, c] - mean[c]
            rows[p, c] = value
            strange += not abs(value) <= limit
    return strange


@compiled
def quantise(values: np.ndarray, inverse: float, offset: float, symbols: np.ndarray) -> None:
    """sign(v) floor(|v| / step + offset)."""
    for i in range(len(values)):
        value = values[i] * inverse
        level = np.int32(abs(value) + offset)
        symbols[i] = level if value >= 0 else -level


@compiled
def diffuse(
    rows: np.ndarray,
    inverse: float,
    rule: tuple[float, float],
    shifts: tuple[float, ...],
    symbols: np.ndarray,
    carry: np.ndarray,
) -> None:
    """Round with diffused errors: rows and symbols (S, P, C), carry (S, C) in steps, rule the offset and the share."""
    first, second, third = shifts
    offset, share = rule
    samples, positions, channels = rows.shape
    for s in range(samples):
        for p in range(positions):
            for c in range(channels):
                value = rows[s, p, c] * inverse
                wanted = value + share * carry[s, c]
                level = np.int32(abs(wanted) + offset)
                level = level if (wanted >= 0) == (value >= 0) else np.int32(0)
                shift = third
                shift = second if level == 2 else shift
                shift = first if level == 1 else shift
                point = rows.dtype.type(level) - shift if level != 0 else rows.dtype.type(0)
                zero = value == 0
                symbols[s, p, c] = np.int32(0) if zero else level if value > 0 else -level
                carry[s, c] += rows.dtype.type(0) if zero else value - (point if value > 0 else -point)


@compiled
def sum_errors(rows: np.ndarray, symbols: np.ndarray, step: float, shifts: tuple[float, ...], sums: np.ndarray) -> None:
    """Add y - y_hat over the positions of each sample: rows and symbols (S, P, C), sums (S, C)."""
    first, second, third = shifts
    samples, positions, channels = rows.shape
    for s in range(samples):
        for p in range(positions):
            for c in range(channels):
                symbol = symbols[s, p, c]
                shift = third
                shift = second if abs(symbol) == 2 else shift
                shift = first if abs(symbol) == 1 else shift
                shift = -shift if symbol < 0 else shift
                point = (rows.dtype.type(symbol) - shift) * step
                sums[s, c] += rows[s, p, c] - (point if symbol != 0 else rows.dtype.type(0))


@compiled
def restore(symbols: np.ndarray, step: float, shifts: tuple[float, ...], values: np.ndarray) -> None:
    """sign(q) (|q| - shift) step."""
    first, second, third = shifts
    for i in range(len(symbols)):
        symbol = symbols[i]
        shift = third
        shift = second if abs(symbol) == 2 else shift
        shift = first if abs(symbol) == 1 else shift
        shift = -shift if symbol < 0 else shift
        level = values.dtype.type(symbol) - shift
        values[i] = level * step if symbol != 0 else values.dtype.type(0)
