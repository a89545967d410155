"""Paired intervals: against the textbook's standard errors, pairing, folds, ranks, wrong units."""

from __future__ import annotations

import numpy as np
import pytest

from smalto.errors import UsageError
from smalto.measure.bootstrap import Outcomes, change_interval, mean_interval
from smalto.measure.rank_correlation import spearman


def test_mean_interval_is_two_standard_errors_wide() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = mean_interval(values)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.3 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.3 * error)
    assert mean_interval(values) == (low, high)  # the same draws every time


def test_pairing_takes_out_what_both_share() -> None:
    generator = np.random.default_rng(1)
    before = (generator.random(300) < 0.6).astype(float)
    after = before.copy()
    after[:6] = 1 - after[:6]
    change = change_interval(Outcomes(before), Outcomes(after))
    apart = mean_interval(after)
    assert change.low <= after.mean() - before.mean() <= change.high
    assert change.high - change.low < 0.4 * (apart.high - apart.low)
    assert change_interval(Outcomes(before), Outcomes(before)) == (0.0, 0.0)


def test_folds_weigh_alike() -> None:
    groups = np.array([0] * 10 + [1] * 90)
    values = np.array([0.0] * 10 + [1.0] * 90)
    assert Outcomes(values, groups).score == 0.5
    assert change_interval(Outcomes(np.zeros(100), groups), Outcomes(values, groups)) == pytest.approx((0.5, 0.5))
    values[:5] = 1.0
    low, high = change_interval(Outcomes(np.zeros(100), groups), Outcomes(values, groups))
    error = 0.5 * 0.5 / np.sqrt(10)  # half the standard error of the small fold's mean
    assert (low, high) == pytest.approx((0.75 - 1.96 * error, 0.75 + 1.96 * error), abs=0.05)


def test_ranks() -> None:
    generator = np.random.default_rng(2)
    grades = generator.integers(0, 3, 150).astype(float)
    before = grades + generator.normal(0, 1, 150)
    after = before + generator.normal(0, 1, 150)
    old, new = Outcomes(before, targets=grades), Outcomes(after, targets=grades)
    assert new.score == spearman(after, grades)
    low, high = change_interval(old, new)
    assert low < new.score - old.score < high < 0
    assert change_interval(old, old) == (0.0, 0.0)
    two = Outcomes(np.array([0.0, 1.0]), targets=np.array([0.0, 1.0]))  # half its draws have no order
    assert change_interval(two, two) == (0.0, 0.0)


def test_wrong_units_are_refused() -> None:
    for values in (np.empty(0), np.array([np.nan]), np.zeros((2, 2))):
        with pytest.raises(UsageError, match="finite numbers"):
            Outcomes(values)
    row = np.arange(4.0)
    with pytest.raises(UsageError, match="groups or targets"):
        Outcomes(row, np.arange(4), row)
    with pytest.raises(UsageError, match="groups or targets"):
        Outcomes(row, np.arange(3))
    with pytest.raises(UsageError, match="4 and 3 units"):
        change_interval(Outcomes(row), Outcomes(row[:3]))
    with pytest.raises(UsageError, match="different groups"):
        change_interval(Outcomes(row, np.arange(4)), Outcomes(row, np.array([0, 1, 2, 2])))
    with pytest.raises(UsageError, match="different groups"):
        change_interval(Outcomes(row), Outcomes(row, targets=row))
    flat = Outcomes(np.zeros(3), targets=row[:3])
    with pytest.raises(UsageError, match="order"):
        change_interval(flat, flat)
