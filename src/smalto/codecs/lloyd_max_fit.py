"""Lloyd-Max levels of a set of samples, iterated to convergence on sorted values and their running sums.

Math: with levels l_0 < ... < l_{L-1} and regions R_k, alternate (paper, equations 5 and 6)

    R_k = {x : k = argmin_j (x - l_j)^2},        l_k = mean of the samples in R_k.

On sorted samples a region is a range of places, so a round finds L - 1 places by bisection from where they were and
takes L differences of running sums: O(L log n), whatever the number n of samples. The start has a density of levels
proportional to p(x)^(1/3), the best for many levels (Panter and Dite, 1951).

Source: DT-UFC (arXiv 2025), section 4.2; Lloyd, "Least squares quantization in PCM", 1982. The paper names neither a
start nor a stop: ours are given here. Regions that are empty take half of a region with a large error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.codecs.float_patterns import float_array, float_values, rounded
from smalto.codecs.lloyd_max_kernels import block_sums, count_patterns, lloyd_rounds, squared_errors
from smalto.errors import UsageError

MAX_LEVELS = 256
MAX_ROUNDS = 50_000
MAX_RESEEDINGS = 100
ROUNDS_PER_LOOK = 500
TOLERANCE = 1e-9
LOG_BLOCK = 6
START_POINTS = 1 << 14
SAFE_EXPONENTS = (-300, 300)  # of two: squares and sums of values in between stay inside float64


@dataclass(frozen=True)
class Convergence:
    """How a fit ended.

    Args:
        num_values: finite values it saw.
        num_rounds: rounds of assignment and update it took.
        mse: mean squared error over those values, measured from the values with the levels as they are stored.
        converged: False if the most rounds were made before a round's gain fell below 1e-9 of the error.
    """

    num_values: int
    num_rounds: int
    mse: float
    converged: bool


class _Sorted(NamedTuple):
    """Finite values, rising, with how often each occurs."""

    values: np.ndarray  # (n,) float32 or float64
    weights: NDArray[np.int64]  # (n,), of stride 0 when all are 1


class _Sums(NamedTuple):
    """What the rounds read: see ``lloyd_rounds``."""

    values: np.ndarray
    weights: NDArray[np.int64]
    sums: NDArray[np.float64]
    masses: NDArray[np.int64]
    log_block: int
    centre: float


def fit_levels(
    samples: Sequence[np.ndarray] | np.ndarray, num_levels: int = MAX_LEVELS, dtype_name: str | None = None
) -> tuple[NDArray[np.float64], Convergence]:
    """The levels with the least squared error that Lloyd's rounds reach from the companded start.

    Args:
        samples: one array or several of one dtype, any shapes. NaN and infinities are left out.
        num_levels: 1..256.
        dtype_name: needed for bfloat16 patterns in uint16 arrays only.

    Returns:
        At most ``num_levels`` rising float64 levels, each a number of the samples' dtype: the distinct values
        themselves if they are no more than that, [0.0] if no value is finite. And how the fit ended. Memory beside the
        samples is about 1.5 times their size, and less than 5 MiB for 16-bit samples.

    Raises:
        UsageError: ``num_levels`` outside 1..256, samples of no or several float dtypes.
    """
    if not 1 <= num_levels <= MAX_LEVELS:
        raise UsageError(f"lloyd-max: {num_levels} levels; choose 1..{MAX_LEVELS}")
    arrays, name = _arrays(samples, dtype_name)
    held = _pattern_counts(arrays, name) if name in ("float16", "bfloat16") else _sorted_values(arrays)
    count = int(held.weights.sum()) if len(held.values) else 0
    distinct = _few_distinct(held.values, num_levels)
    if distinct is not None:
        return distinct, Convergence(count, 0, 0.0, True)
    exponent = _scale_exponent(held.values)
    scaled = _Sorted(np.ldexp(held.values, -exponent), held.weights) if exponent else held
    data = _running_sums(scaled)
    levels, num_rounds, converged = _converge(data, _companded_start(scaled, num_levels), count)
    levels = np.unique(float_values(rounded(np.ldexp(levels, exponent), name), name)) + 0.0
    final = np.ldexp(levels, -exponent)
    with np.errstate(over="ignore", under="ignore"):
        mse = float(np.ldexp(_errors(data, final, _edges(data, final)).sum() / count, 2 * exponent))
    return levels, Convergence(count, num_rounds, mse, converged)


def _arrays(samples: Sequence[np.ndarray] | np.ndarray, dtype_name: str | None) -> tuple[list[np.ndarray], str]:
    given = [samples] if isinstance(samples, np.ndarray) else list(samples)
    held = [float_array(array, dtype_name) for array in given]
    names = sorted({name for _, name in held})
    if len(names) > 1:
        raise UsageError(f"lloyd-max: samples of {' and '.join(names)}; convert them to one dtype")
    return [array for array, _ in held], names[0] if names else dtype_name or "float32"


def _pattern_counts(arrays: Sequence[np.ndarray], name: str) -> _Sorted:
    """16-bit samples by a histogram of all their patterns."""
    counts = np.zeros(1 << 16, np.int64)
    for array in arrays:
        count_patterns(np.ascontiguousarray(array).reshape(-1).view(np.uint16), counts)
    patterns = np.flatnonzero(counts).astype(np.uint16)
    values = float_values(patterns if name == "bfloat16" else patterns.view(np.float16), name)
    is_finite = np.isfinite(values)
    places = np.argsort(values[is_finite], kind="stable")
    return _Sorted(values[is_finite][places] + 0.0, counts[patterns[is_finite][places]])


def _sorted_values(arrays: Sequence[np.ndarray]) -> _Sorted:
    """Wider samples by sorting them; infinities and NaN end up outside."""
    values = np.concatenate([array.reshape(-1) for array in arrays]) if arrays else np.empty(0, np.float32)
    values.sort()  # NaN last
    limit = np.finfo(values.dtype).max
    values = values[np.searchsorted(values, -limit) : np.searchsorted(values, limit, side="right")]
    return _Sorted(values, np.broadcast_to(np.int64(1), values.shape))


def _few_distinct(values: np.ndarray, most: int) -> NDArray[np.float64] | None:
    """The distinct ones of sorted values when there are no more than ``most`` (0.0 when there are none)."""
    if len(values) == 0:
        return np.zeros(1)
    found = [values[0]]
    place = 0
    while len(found) <= most:
        place = int(np.searchsorted(values, found[-1], side="right"))
        if place == len(values):
            return np.array(found, np.float64) + 0.0
        found.append(values[place])
    return None


def _scale_exponent(values: np.ndarray) -> int:
    """The power of two that brings float64 values whose squares overflow or vanish near 1; else 0."""
    exponent = int(np.frexp(max(abs(float(values[0])), abs(float(values[-1]))))[1])
    return 0 if SAFE_EXPONENTS[0] <= exponent <= SAFE_EXPONENTS[1] else exponent


def _running_sums(held: _Sorted) -> _Sums:
    """Sums in front of each block, counted from the middle outwards."""
    n = len(held.values)
    log_block = LOG_BLOCK if held.weights.strides == (0,) else 0
    middle_block = (n // 2) >> log_block
    centre = float(held.values[n // 2])
    num_blocks = -(-n // (1 << log_block))
    sums, masses = np.empty(num_blocks), np.empty(num_blocks, np.int64)
    block_sums(held.values, held.weights, centre, 1 << log_block, sums, masses)
    left = -np.cumsum(sums[:middle_block][::-1])[::-1]
    running = np.concatenate((left, [0.0], np.cumsum(sums[middle_block:])))
    return _Sums(held.values, held.weights, running, np.concatenate(([0], np.cumsum(masses))), log_block, centre)


def _companded_start(held: _Sorted, num_levels: int) -> NDArray[np.float64]:
    """Levels of density p^(1/3), from the gaps between values of evenly spread ranks and of both ends.

    A gap of width w with m of the values has p in proportion to m / w and gets levels in proportion to m^(1/3) w^(2/3),
    yet no more levels than it has values: a far value makes a wide gap, not a density.
    """
    n = len(held.values)
    near_end = np.unique(np.geomspace(1, n, 1024).astype(np.int64))
    places = np.unique(
        np.concatenate((np.linspace(0, n - 1, START_POINTS).astype(np.int64), near_end - 1, n - near_end))
    )
    points = held.values[places].astype(np.float64)
    counts = np.diff(np.cumsum(held.weights)[places] if held.weights.strides != (0,) else places)
    share = np.cbrt(counts * np.diff(points) ** 2)
    for _ in range(MAX_RESEEDINGS):
        limit = np.diff(places) * (share.sum() / num_levels)
        if (share <= limit).all():
            break
        share = np.minimum(share, limit)
    wanted = np.concatenate(([0.0], np.cumsum(share)))
    return np.interp((np.arange(num_levels) + 0.5) / num_levels * wanted[-1], wanted, points)


def _edges(data: _Sums, levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """First place of each level's region, and n."""
    inner = np.searchsorted(data.values, nearest_thresholds(levels), side="right")
    return np.concatenate(([0], inner, [len(data.values)])).astype(np.int64)


def nearest_thresholds(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The midpoint of each two neighbours, never as large as the upper one."""
    with np.errstate(over="ignore"):
        middles = 0.5 * (levels[:-1] + levels[1:])
    middles = np.where(np.isfinite(middles), middles, 0.5 * levels[:-1] + 0.5 * levels[1:])
    return np.where(middles < levels[1:], middles, levels[:-1])


def _errors(data: _Sums, levels: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    errors = np.empty(len(levels))
    squared_errors(data.values, data.weights, levels, edges, errors)
    return errors


def _converge(data: _Sums, levels: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], int, bool]:
    """Rounds until one lowers the squared error by less than TOLERANCE of it, in looks of some hundred rounds."""
    edges = _edges(data, levels)
    num_rounds, num_reseedings, target = 0, 0, 0.0
    while num_rounds < MAX_ROUNDS:
        most = min(ROUNDS_PER_LOOK, MAX_ROUNDS - num_rounds)
        state = np.array([data.log_block, data.centre, most, target, 0.0])
        done = lloyd_rounds(data.values, data.weights, data.sums, data.masses, levels, edges, state)
        num_rounds += abs(done)
        errors = _errors(data, levels, edges)
        if done < 0:
            num_reseedings += 1
            levels = _reseeded(data, levels, edges, errors, num_reseedings <= MAX_RESEEDINGS)
            edges = _edges(data, levels)
            continue
        target = TOLERANCE * float(errors.sum())
        if state[4] <= target:
            return levels, num_rounds, True
    return levels[np.diff(edges) > 0], num_rounds, False


def _reseeded(
    data: _Sums, levels: NDArray[np.float64], edges: NDArray[np.int64], errors: NDArray[np.float64], is_allowed: bool
) -> NDArray[np.float64]:
    """Levels of empty regions moved into the regions with the largest error, each of which is cut at its mean.

    Where that is not allowed any more, or no region has two distinct values, empty regions are given up.
    """
    is_full = np.diff(edges) > 0
    is_mixed = is_full.copy()
    is_mixed[is_full] = data.values[edges[:-1][is_full]] < data.values[edges[1:][is_full] - 1]
    num_cuts = min(int((~is_full).sum()), int(is_mixed.sum()))
    if not is_allowed or num_cuts == 0:
        return levels[is_full]
    levels = levels.copy()
    cut = np.argsort(np.where(is_mixed, errors, -1.0))[::-1][:num_cuts]
    for source, target in zip(cut.tolist(), np.flatnonzero(~is_full).tolist(), strict=False):
        part = slice(int(edges[source]), int(edges[source + 1]))
        values, weights = data.values[part].astype(np.float64), data.weights[part]
        is_low = values <= np.average(values, weights=weights)
        levels[source] = np.average(values[is_low], weights=weights[is_low])
        levels[target] = np.average(values[~is_low], weights=weights[~is_low])
    return np.sort(levels)
