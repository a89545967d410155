"""Verification scores against their definitions, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smalto.errors import UsageError
from smalto.measure.verification import roc_area, verification_accuracy, verified

pairs = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=20)


@given(pairs)
def test_against_brute_force(rows: list[tuple[int, bool]]) -> None:
    scores, same = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows])
    assume(same.any() and not same.all())
    couples = [(a > b) + (a == b) / 2 for a in scores[same] for b in scores[~same]]
    assert roc_area(scores, same) == pytest.approx(np.mean(couples))
    best = max(float(((scores >= t) == same).mean()) for t in [*scores, np.inf])
    assert verification_accuracy(scores, same) == pytest.approx(best)


def test_a_fold_is_judged_by_the_others() -> None:
    scores = np.array([0.9, 0.1, 0.9, 0.1, 0.4, 0.2])
    same = np.array([True, False, True, False, True, False])
    folds = np.array([1, 1, 2, 2, 3, 3])
    assert verification_accuracy(scores, same) == 1.0
    assert verification_accuracy(scores, same, folds) == pytest.approx((1 + 1 + 0.5) / 3)


def test_pairs_of_one_kind_are_refused() -> None:
    for call in (roc_area, verification_accuracy):
        with pytest.raises(UsageError):
            call(np.array([1.0, 2.0]), np.array([True, True]))
    with pytest.raises(UsageError, match="one fold"):
        verification_accuracy(np.array([1.0, 2.0]), np.array([True, False]), np.array([1, 1]))


def test_verified_pairs_average_to_the_accuracy() -> None:
    generator = np.random.default_rng(5)
    same = np.arange(120) % 2 == 0
    scores = same + generator.normal(0, 0.6, 120)
    folds = np.repeat([0, 1, 2], (20, 40, 60))
    right = verified(scores, same, folds)
    accuracies = [right[folds == fold].mean() for fold in range(3)]
    assert verification_accuracy(scores, same, folds) == pytest.approx(np.mean(accuracies))
    assert 0.6 < np.mean(accuracies) < 1
    assert verified(scores, same).mean() == verification_accuracy(scores, same)
