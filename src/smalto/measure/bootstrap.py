"""How sure a score's change is: paired bootstrap over what a task is judged on.

Math: of N units (inputs, or pairs of inputs) N are drawn with replacement, 1000 times; the score of both codings is
taken on the same draw, and the interval holds the middle 95 % of the 1000 changes.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals). Where a score
is a mean of folds' means, units are drawn within their fold, as many as it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smalto.errors import UsageError
from smalto.measure.rank_correlation import spearman

NUM_RESAMPLES = 1000
SEED = 0
COVERED = 0.95


class Interval(NamedTuple):
    """Ends of a 95 % interval, in the score's unit."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a task says of every unit it is judged on.

    The score is the mean of ``values``; with groups the mean of the groups' means; with targets Spearman's correlation
    of values and targets.

    Args:
        values: (N,) finite: 1 for right and 0 for wrong, dB, or cosines of pairs.
        groups: (N,) numbers of folds.
        targets: (N,) grades; not together with groups.

    Raises:
        UsageError: no values, lengths that differ, or groups beside targets.
    """

    values: NDArray[np.float64]
    groups: NDArray[np.int64] | None = None
    targets: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64)
        others = [np.asarray(other) for other in (self.groups, self.targets) if other is not None]
        if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
            raise UsageError("bootstrap: outcomes are a row of finite numbers; pass at least one")
        if len(others) > 1 or any(other.shape != values.shape for other in others):
            raise UsageError("bootstrap: pass groups or targets, one for each value")
        object.__setattr__(self, "values", values)

    @property
    def score(self) -> float:
        """The score of all units. Raises UsageError where ranks cannot be compared."""
        if self.targets is not None:
            return spearman(self.values, self.targets)
        if self.groups is None:
            return float(self.values.mean())
        return float(np.mean([self.values[self.groups == group].mean() for group in np.unique(self.groups)]))


def mean_interval(values: np.ndarray) -> Interval:
    """The interval of a mean over inputs.

    Args:
        values: (N,) finite.
    """
    held = Outcomes(np.asarray(values, np.float64))
    return _middle(_means(held.values, None))


def change_interval(before: Outcomes, after: Outcomes) -> Interval:
    """The interval of ``after.score - before.score``, units drawn together.

    Args:
        before: outcomes with the original inputs.
        after: of the same units in the same order.

    Raises:
        UsageError: the two are not of the same units, or no draw has an order to compare.

    Example:
        >>> right, worse = Outcomes(np.ones(200)), Outcomes(np.arange(200) % 10 > 0)
        >>> change_interval(right, right), change_interval(right, worse).high < 0
        (Interval(low=0.0, high=0.0), True)
    """
    for one, other in ((before.groups, after.groups), (before.targets, after.targets)):
        if (one is None) != (other is None) or (one is not None and not np.array_equal(one, np.asarray(other))):
            raise UsageError("bootstrap: outcomes of different groups or targets cannot be paired")
    if len(before.values) != len(after.values):
        raise UsageError(f"bootstrap: {len(before.values)} and {len(after.values)} units cannot be paired")
    if before.targets is None:
        return _middle(_means(after.values - before.values, before.groups))
    return _middle(_rank_changes(before.values, after.values, np.asarray(before.targets)))


def _means(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """(R,) mean of the groups' means in each draw."""
    generator = np.random.default_rng(SEED)
    held = [values] if groups is None else [values[groups == number] for number in np.unique(groups)]
    means = np.zeros(NUM_RESAMPLES)
    for inside in held:
        num = len(inside)
        means += generator.multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES) @ inside / num
    return means / len(held)


def _rank_changes(
    before: NDArray[np.float64], after: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Changes of the rank correlation; draws in which a side is constant have none and are left out."""
    generator = np.random.default_rng(SEED)
    changes: list[float] = []
    for drawn in generator.integers(0, len(before), (NUM_RESAMPLES, len(before))):
        sides = before[drawn], after[drawn], targets[drawn]
        if all(side.min() < side.max() for side in sides):
            changes.append(spearman(sides[1], sides[2]) - spearman(sides[0], sides[2]))
    if not changes:
        raise UsageError("bootstrap: no draw of the pairs has an order to compare; pass more pairs")
    return np.array(changes)


def _middle(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, ((1 - COVERED) / 2, (1 + COVERED) / 2))
    return Interval(float(low), float(high))
