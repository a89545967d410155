"""Lloyd-Max levels of a set of samples, iterated to convergence on sorted values and their running sums.

Math: with levels l_0 < ... < l_{L-1} and regions R_k, alternate (paper, equations 5 and 6)

    R_k = {x : k = argmin_j (x - l_j)^2},        l_k = mean of the samples in R_k.

On sorted samples a region is a range of places, so a round finds L - 1 places by bisection from where they were and
takes L differences of running sums: O(L log n), whatever the number n of samples.

Source: DT-UFC (arXiv 2025), section 4.2; Lloyd, "Least squares quantization in PCM", 1982. The paper names neither a
start nor a stop: we start twice, as lloyd_max_starts.py says, stop when a round gains less than 1e-9 of the error, and
keep the better end. Regions that are empty take half of a region with a large error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.codecs.float_patterns import float_values, floored, rounded
from smalto.codecs.lloyd_max_kernels import lloyd_rounds, squared_errors
from smalto.codecs.lloyd_max_samples import RunningSums, running_sums, scaled_samples, sorted_samples
from smalto.codecs.lloyd_max_starts import level_density, partition_levels
from smalto.errors import UsageError

MAX_LEVELS = 256
MAX_ROUNDS = 50_000
MAX_RESEEDINGS = 100
ROUNDS_PER_LOOK = 500
TOLERANCE = 1e-9


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


class RoundsEnd(NamedTuple):
    """Where the rounds from one start ended."""

    levels: NDArray[np.float64]
    error: float
    num_rounds: int
    converged: bool


def fit_levels(
    samples: Sequence[np.ndarray] | np.ndarray, num_levels: int = MAX_LEVELS, dtype_name: str | None = None
) -> tuple[NDArray[np.float64], Convergence]:
    """The levels with the least squared error that Lloyd's rounds reach from two starts.

    Args:
        samples: one array or several of one dtype, any shapes. NaN and infinities are left out.
        num_levels: 1..256.
        dtype_name: needed for bfloat16 patterns in uint16 arrays only.

    Returns:
        At most ``num_levels`` rising float64 levels, each a number of the samples' dtype: the distinct values
        themselves if they are no more than that, [0.0] if no value is finite. And how the fit ended. Memory beside the
        samples is about 1.3 times their size (one sorted copy) and 16 MiB; for 16-bit samples, the 16 MiB alone.

    Raises:
        UsageError: ``num_levels`` outside 1..256, samples of no or several float dtypes.
    """
    if not 1 <= num_levels <= MAX_LEVELS:
        raise UsageError(f"lloyd-max: {num_levels} levels; choose 1..{MAX_LEVELS}")
    held, name = sorted_samples(samples, dtype_name)
    count = int(held.weights.sum()) if len(held.values) else 0
    if count == 0 or (held.is_counted and len(held.values) <= num_levels):
        levels = held.values.astype(np.float64) if count else np.zeros(1)
        return levels, Convergence(count, 0, 0.0, True)
    scaled, exponent = scaled_samples(held)
    data, density = running_sums(scaled), level_density(scaled, num_levels)
    starts = (density.spread(num_levels), partition_levels(scaled, density, num_levels))
    ends = [lloyd_from(data, start) for start in starts]
    best = min(ends, key=lambda end: end.error)
    levels = np.unique(float_values(rounded(np.ldexp(best.levels, exponent), name), name) + 0.0)
    with np.errstate(over="ignore", under="ignore"):
        final = np.ldexp(levels, -exponent)
        mse = float(np.ldexp(_errors(data, final, _edges(data, final)).sum() / count, 2 * exponent))
    return levels, Convergence(count, best.num_rounds, mse, best.converged)


def _edges(data: RunningSums, levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """First place of each level's region, and n."""
    inner = np.searchsorted(data.values, floored(nearest_thresholds(levels), data.values.dtype), side="right")
    return np.concatenate(([0], inner, [len(data.values)])).astype(np.int64)


def nearest_thresholds(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The midpoint of each two neighbours, never as large as the upper one."""
    with np.errstate(over="ignore"):
        middles = 0.5 * (levels[:-1] + levels[1:])
    middles = np.where(np.isfinite(middles), middles, 0.5 * levels[:-1] + 0.5 * levels[1:])
    return np.where(middles < levels[1:], middles, levels[:-1])


def _errors(data: RunningSums, levels: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    errors = np.empty(len(levels))
    squared_errors(data.values, data.weights, levels, edges, errors)
    return errors


def lloyd_from(data: RunningSums, start: NDArray[np.float64]) -> RoundsEnd:
    """Rounds until one lowers the squared error by less than TOLERANCE of it, in looks of some hundred rounds."""
    levels = start.copy()
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
            return RoundsEnd(levels, float(errors.sum()), num_rounds, True)
    is_full = np.diff(edges) > 0
    return RoundsEnd(levels[is_full], float(_errors(data, levels, edges).sum()), num_rounds, False)


def _reseeded(
    data: RunningSums,
    levels: NDArray[np.float64],
    edges: NDArray[np.int64],
    errors: NDArray[np.float64],
    is_allowed: bool,
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
