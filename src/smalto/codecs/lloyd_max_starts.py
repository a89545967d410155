"""Where Lloyd's rounds start: levels of density p^(1/3), and the best cut of a grid that fine into regions.

Math: for many levels the best density of levels is proportional to p(x)^(1/3) (Panter and Dite, 1951). Between places
of the sorted samples a gap of width w with m values has p in proportion to m / w, so it gets levels in proportion to
m^(1/3) w^(2/3). The second start cuts the samples into 32 groups a level, spread in the same way, and finds the cut of
these groups into L parts with the least squared error by dynamic programming (Fisher, 1958).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.codecs.float_patterns import floored
from smalto.codecs.lloyd_max_kernels import best_partition, group_moments
from smalto.codecs.lloyd_max_samples import SortedSamples, outward_sums

START_POINTS = 1 << 14
NUM_NEAR_ENDS = 1024
MAX_CLIPS = 100
GROUPS_PER_LEVEL = 32


class LevelDensity(NamedTuple):
    """How many levels, in some unit, lie below each of some rising points."""

    points: NDArray[np.float64]
    running: NDArray[np.float64]

    def spread(self, num_levels: int) -> NDArray[np.float64]:
        """Rising values between which the density has equal shares, at the middle of each share."""
        shares = (np.arange(num_levels) + 0.5) / num_levels
        return np.interp(shares * self.running[-1], self.running, self.points)


def level_density(held: SortedSamples, num_levels: int) -> LevelDensity:
    """The companded density, from gaps between evenly spread ranks and ranks ever closer to both ends.

    No gap gets more levels than it has values: a far value makes a wide gap, not a density.
    """
    n = len(held.values)
    near_end = np.geomspace(1, n, NUM_NEAR_ENDS).astype(np.int64)
    places = np.unique(
        np.concatenate((np.linspace(0, n - 1, START_POINTS).astype(np.int64), near_end - 1, n - near_end))
    )
    points = held.values[places].astype(np.float64)
    counts = np.diff(np.cumsum(held.weights)[places] if held.is_counted else places)
    share = np.cbrt(counts * np.diff(points) ** 2)
    for _ in range(MAX_CLIPS):
        limit = np.diff(places) * (share.sum() / num_levels)
        if (share <= limit).all():
            break
        share = np.minimum(share, limit)
    return LevelDensity(points, np.concatenate(([0.0], np.cumsum(share))))


def partition_levels(held: SortedSamples, density: LevelDensity, num_levels: int) -> NDArray[np.float64]:
    """The means of the best cut of at most 32 groups a level into ``num_levels`` parts.

    Args:
        held: more distinct values than levels.
        density: spreads the groups; not needed where every distinct value can be a group.
        num_levels: L.

    Returns:
        (L,) rising levels.
    """
    edges = _group_edges(held, density, num_levels)
    num_groups = len(edges) - 1
    centre = float(held.values[len(held.values) // 2])
    moments, within = np.empty((3, num_groups)), np.empty(num_groups)
    group_moments(held.values, held.weights, edges, centre, moments, within)
    running = outward_sums(moments, int(np.searchsorted(edges, len(held.values) // 2, side="right")) - 1)
    num_parts = min(num_levels, num_groups)
    choices = np.zeros((num_parts, num_groups + 1), np.int32)
    best_partition(running, within, num_parts, np.zeros((2, num_groups + 1)), choices, np.zeros((64, 4), np.int64))
    cuts = [num_groups]
    for part in range(num_parts - 1, -1, -1):
        cuts.append(int(choices[part, cuts[-1]]))
    masses, sums = (np.add.reduceat(moment, cuts[:0:-1]) for moment in moments[:2])
    return centre + sums / masses


def _group_edges(held: SortedSamples, density: LevelDensity, num_levels: int) -> NDArray[np.int64]:
    """Places where the groups begin, and n; equal values are in one group."""
    n, most = len(held.values), GROUPS_PER_LEVEL * num_levels
    if held.is_counted and n <= most:
        return np.arange(n + 1)
    inner = np.searchsorted(held.values, floored(density.spread(most - 1), held.values.dtype), side="right")
    return np.unique(np.concatenate(([0], inner, [n])))
