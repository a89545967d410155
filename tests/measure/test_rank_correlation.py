"""Spearman's correlation: known values, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smalto.errors import UsageError
from smalto.measure.rank_correlation import spearman


def test_known_values() -> None:
    assert spearman(np.array([1, 2, 3]), np.array([10, 20, 30])) == pytest.approx(1.0)
    assert spearman(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1.0)
    # ranks 1 2.5 2.5 4 and 1 2 3 4
    assert spearman(np.array([0, 5, 5, 9]), np.array([1, 2, 3, 4])) == pytest.approx(0.9486832980505138)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=30))
def test_only_order_counts(rows: list[tuple[int, int]]) -> None:
    first, second = np.array(rows, float).T
    assume(len(set(first)) > 1 and len(set(second)) > 1)
    value = spearman(first, second)
    assert -1.0 - 1e-12 <= value <= 1.0 + 1e-12
    assert spearman(np.exp(first), 2 * second + 1) == pytest.approx(value)
    assert spearman(second, first) == pytest.approx(value)
    assert spearman(-first, second) == pytest.approx(-value)


def test_what_has_no_order_is_refused() -> None:
    for first, second in (([1, 1], [1, 2]), ([1, np.nan], [1, 2]), ([1, 2, 3], [1, 2])):
        with pytest.raises(UsageError):
            spearman(np.array(first), np.array(second))
