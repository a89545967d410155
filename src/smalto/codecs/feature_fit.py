"""Fitting the fast feature tier: which centre, rotation, rounding and step serve the samples best, judged by bits.

Math: candidates are compared at one step by J = R + 6 / (ln 2 step^2) D with R the bits and D the squared error of a
value, the exchange rate of a uniform quantiser at high rate, so that a candidate may win by either. The step then moves
until the samples have the error or the rate that is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from smalto.codecs.feature_contexts import FeatureContexts, fit_contexts
from smalto.codecs.feature_samples import thinned
from smalto.codecs.feature_transform import NUM_SHIFTS, STEP_MAX, FeatureTransform
from smalto.errors import UsageError

RANKS = (8, 16, 32, 64, 80)
OFFSETS = (0.44, 0.38, 0.32)
ROTATION_ROWS = 1 << 14
TRIAL_VALUES = 1 << 19
FIT_VALUES = 1 << 22
SEARCH_ROUNDS = 14
LEVEL_POSITIONS = 16
"""Fewest positions of a sample for which levels are worth their bits."""

Fields = list[np.ndarray]
GoalKind = Literal["error", "rate", "step", "max_error"]


@dataclass(frozen=True)
class Goal:
    """What a fit is asked for.

    Args:
        kind: ``error``: noise over the variance around each channel's mean; ``rate``: bits a value; ``step``: width of
            a cell; ``max_error``: bound on the error of every value.
        value: a positive finite number.
        diffusion: share of errors that later positions take over, 0..1.
    """

    kind: GoalKind
    value: float
    diffusion: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise UsageError(f"features: {self.kind} {self.value} must be a positive number")


@dataclass(frozen=True)
class Trial:
    """What one transform does to some fields."""

    transform: FeatureTransform
    contexts: FeatureContexts
    bits: float
    """Bits a value."""
    error: float
    """Squared error a value."""

    @property
    def cost(self) -> float:
        """J at this step."""
        return self.bits + 6 / (math.log(2) * self.transform.step**2) * self.error


def fit_tier(fields: Fields, goal: Goal) -> Trial:
    """Transform and contexts for some fields (S, H, W, C) of finite float32 or float64 values.

    Returns:
        The best transform found, with contexts fitted on all the fields.
    """
    channels = fields[0].shape[3]
    some = thinned(fields, TRIAL_VALUES)
    rows = np.concatenate([field.reshape(-1, channels) for field in some])
    mean = rows.mean(0, dtype=np.float64)
    spread = float(np.square(rows - mean).mean())
    doubt = rows.var(0, dtype=np.float64) / len(rows)
    mean *= np.square(mean) / np.maximum(np.square(mean) + doubt, 1e-300)  # towards zero where few rows speak for it
    floor = float(np.abs(rows).max()) * 2.0**-20 + 1e-30
    step = min(max(goal.value if goal.kind == "step" else 2 * goal.value, floor / 16), STEP_MAX)
    if goal.kind in ("error", "rate"):
        start = math.sqrt(12 * spread * (goal.value if goal.kind == "error" else 4.0**-goal.value)) + floor
        step = _solved(replace(plain_transform(mean, start), diffusion=goal.diffusion), some, goal, spread, floor)
    best = _best(mean, step, some, goal)
    if goal.kind in ("error", "rate"):
        step = _solved(best.transform, some, goal, spread, floor)
    last = trial(replace(best.transform, step=step), thinned(fields, FIT_VALUES))
    if goal.kind != "max_error":
        return last
    middles = replace(last.transform, shift=np.zeros(NUM_SHIFTS, np.float32))  # a point elsewhere breaks the bound
    return replace(last, transform=middles)


def _best(mean: np.ndarray, step: float, fields: Fields, goal: Goal) -> Trial:
    """The candidate of least cost: centred or not, rotated or not, then, where centred, with a dead zone or not.

    Nothing is rotated where every value has a bound, and there is no dead zone where errors are diffused.

    Sparse features keep plain rounding: a dead zone saves 3 % of the bits at one squared error and loses 10 % at one
    divergence of a classifier's answers, because it takes from all the small values and gives to none.
    """
    rotate = goal.kind != "max_error"
    plain = replace(plain_transform(mean, step), diffusion=goal.diffusion)
    centred = trial(plain, fields)
    best = min(centred, trial(replace(plain, mean=np.zeros_like(plain.mean)), fields), key=_cost)
    num_rows = sum(field.size // field.shape[3] for field in fields)
    for rank in RANKS:
        if not rotate or 4 * rank > plain.num_channels or 8 * rank > num_rows:
            break
        rotated = trial(rotated_transform(plain, fields, rank), fields)
        if rotated.cost >= centred.cost:
            break
        centred = rotated
    best = min(best, centred, key=_cost)
    for offset in OFFSETS if rotate and not goal.diffusion and best.transform.mean.any() else ():
        dead = trial(replace(best.transform, offset=offset), fields)
        if dead.cost >= best.cost:
            break
        best = dead
    return best


def _cost(candidate: Trial) -> float:
    return candidate.cost


def _solved(transform: FeatureTransform, fields: Fields, goal: Goal, spread: float, floor: float) -> float:
    """The step at which the fields have the error or the rate that is asked for, to about one per cent."""

    def excess(step: float) -> float:
        moved = replace(transform, step=step)
        if goal.kind == "error":
            return math.log((quantised(moved, fields)[2] + 1e-300) / (goal.value * spread + 1e-300))
        return goal.value - trial(moved, fields).bits

    low = high = max(transform.step, floor)
    while excess(low) > 0 and low > floor:
        low /= 2
    while excess(high) < 0 and high < 1e6 * (floor + math.sqrt(spread)):
        high *= 2
    for _ in range(SEARCH_ROUNDS):
        if high < 1.005 * low:
            break
        middle = math.sqrt(low * high)
        if excess(middle) > 0:
            high = middle
        else:
            low = middle
    return low


def plain_transform(mean: np.ndarray, step: float) -> FeatureTransform:
    """Mean and step, no rotation, plain rounding."""
    nothing, points = np.zeros(0, np.float32), np.zeros(NUM_SHIFTS, np.float32)
    reflector = np.zeros((len(mean), 0), np.int8)
    return FeatureTransform(mean.astype(np.float32), np.zeros(0, np.uint16), reflector, nothing, step, 0.5, points)


def rotated_transform(plain: FeatureTransform, fields: Fields, rank: int) -> FeatureTransform:
    """The transform with the ``rank`` leading principal axes of the fields, by subspace iteration."""
    channels = plain.num_channels
    rows = np.concatenate([field.reshape(-1, channels) for field in fields])
    rng = np.random.default_rng(0)
    if len(rows) > ROTATION_ROWS:
        rows = rows[rng.choice(len(rows), ROTATION_ROWS, replace=False)]
    rows = rows.astype(np.float32) - plain.mean
    axes = np.linalg.qr(rng.standard_normal((channels, min(channels, rank + 8))).astype(np.float32))[0]
    for _ in range(12):
        axes = np.linalg.qr(rows.T @ (rows @ axes))[0]
    _, vectors = np.linalg.eigh((axes.T @ (rows.T @ (rows @ axes))).astype(np.float64))
    axes = axes.astype(np.float64) @ vectors[:, ::-1][:, :rank]  # (C, R) by falling variance
    pivot = _pivots(axes)
    order = np.append(pivot, np.setdiff1d(np.arange(channels), pivot))
    raw, _ = np.linalg.qr(axes[order], mode="raw")
    reflector = np.zeros((channels, rank))
    reflector[order] = np.tril(raw.T, -1)
    scale = np.maximum(np.abs(reflector).max(0) / 127, 1e-12).astype(np.float32)
    levels = np.clip(np.rint(reflector / scale), -127, 127).astype(np.int8)
    return replace(plain, pivot=pivot.astype(np.uint16), reflector=levels, scale=scale)


def _pivots(axes: np.ndarray) -> NDArray[np.int64]:
    """(R,) distinct channels, each the one that the axes describe best once those before it are taken out."""
    left = axes.copy()
    chosen: list[int] = []
    for _ in range(axes.shape[1]):
        power = np.square(left).sum(1)
        power[chosen] = -1
        i = int(np.argmax(power))
        chosen.append(i)
        row = left[i] / max(float(np.linalg.norm(left[i])), 1e-30)
        left -= np.outer(left @ row, row)
    return np.array(chosen)


def quantised(transform: FeatureTransform, fields: Fields) -> tuple[FeatureTransform, Fields, float]:
    """The transform with its points fitted, the fields' symbols, and the squared error a value.

    Points stay in the middle where errors are diffused: later positions make up for what they miss.
    """
    symbols, coefficients = [], []
    for field in fields:
        samples, _, _, channels = field.shape
        rows = field.reshape(samples, -1, channels).copy()
        transform.coefficients(rows.reshape(-1, channels))
        levels = np.empty(rows.shape, np.int32)
        transform.quantised(rows, levels, np.zeros((samples, channels), rows.dtype))
        symbols.append(levels.reshape(field.shape))
        coefficients.append(rows)
    gap_sum, square_sum, number = np.zeros((3, NUM_SHIFTS + 1))
    for levels, rows in zip(symbols, coefficients, strict=True):
        size = np.abs(levels).ravel()
        gap = size - np.abs(rows).ravel() / transform.step
        group = np.minimum(size, NUM_SHIFTS)
        gap_sum += np.bincount(group, gap, NUM_SHIFTS + 1)
        square_sum += np.bincount(group, np.square(gap, dtype=np.float64), NUM_SHIFTS + 1)
        number += np.bincount(group, minlength=NUM_SHIFTS + 1)
    free = 0.0 if transform.diffusion else 0.5
    shift = np.clip(gap_sum[1:] / np.maximum(number[1:], 1), -free, free)
    moved = square_sum[1:] - 2 * shift * gap_sum[1:] + number[1:] * np.square(shift)
    error = (square_sum[0] + moved.sum()) * transform.step**2 / number.sum()
    return replace(transform, shift=shift.astype(np.float32)), symbols, float(error)


def fit_levels(transform: FeatureTransform, fields: Fields) -> FeatureContexts | None:
    """The model of the levels of some fields; None where all are small or sparse, or errors diffused: means survive."""
    kept = []
    for field in fields:
        samples, height, width, channels = field.shape
        if height * width < LEVEL_POSITIONS:
            continue
        for one in np.split(field, samples):
            rows = one.reshape(1, -1, channels).copy()
            transform.coefficients(rows[0])
            symbols = np.empty(rows.shape, np.int32)
            transform.quantised(rows, symbols, np.zeros((1, channels), rows.dtype))
            kept.append(transform.levels(transform.errors(rows, symbols), height * width))
    if not kept or transform.diffusion or not transform.mean.any():
        return None
    return fit_contexts([np.concatenate(kept)[:, None, None, :]])


def trial(transform: FeatureTransform, fields: Fields) -> Trial:
    """Quantise the fields, fit points and contexts, count bits and error."""
    transform, symbols, error = quantised(transform, fields)
    contexts = fit_contexts(symbols)
    count = sum(levels.size for levels in symbols)
    return Trial(transform, contexts, sum(contexts.bits(levels) for levels in symbols) / count, error)
