"""Counts of float16 patterns against the values themselves; divergences against their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.bench.feature_distributions import Distribution, divergence, divergence_of_ranges
from smalto.codecs.lloyd_max import LloydMax
from smalto.errors import UsageError

VALUES = st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=60)


@given(VALUES)
def test_counts_say_what_the_values_say(numbers: list[float]) -> None:
    values = np.array(numbers, np.float16)
    held = Distribution.of([values[:7], values[7:]])
    assert held.num_values == len(values)
    wide = values.astype(np.float64)
    assert np.array_equal(held.histogram(-100.0, 100.0, 32) * len(values), np.histogram(wide, 32, (-100, 100))[0])
    assert held.variance == pytest.approx(wide.var(), abs=1e-6)
    assert held.largest_share * len(values) == pytest.approx(np.unique(wide, return_counts=True)[1].max())
    transform = LloydMax.fit(values)
    indexes = transform.forward(values)
    assert np.allclose(held.indexes(transform) * len(values), np.bincount(indexes, minlength=256))
    error, bits = held.assigned(transform.levels, transform.forward(held.values.astype(np.float16)))
    assert error == pytest.approx(np.mean((wide - transform.levels[indexes]) ** 2), abs=1e-9)
    shares = np.unique(indexes, return_counts=True)[1] / len(values)
    assert bits == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-9)


def test_what_is_no_number_is_left_out() -> None:
    held = Distribution.of([np.array([1.0, np.nan, np.inf, -0.0, 0.0, 1e6, -2.0], np.float32)])
    assert held.values.tolist() == [-2.0, 0.0, 1.0]
    assert held.counts.tolist() == [1, 2, 1]
    with pytest.raises(UsageError, match="no finite"):
        Distribution.of([np.array([np.nan])])


def test_divergence() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    assert divergence(p, q) == pytest.approx(0.5 * np.log(2) + 0.25 * np.log(0.5))
    assert divergence(p, p) == 0
    apart = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    assert divergence(*apart) == pytest.approx(np.log(1e10), rel=1e-6)  # the most there is
    assert divergence(*apart, floor=1e-6) == pytest.approx(np.log(1e6), rel=1e-3)


def test_divergence_of_ranges_does_not_depend_on_scale() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=5000), generator.normal(1.0, size=5000)
    before = divergence_of_ranges(Distribution.of([first]), Distribution.of([second]), 64)
    scaled = divergence_of_ranges(Distribution.of([first * 4]), Distribution.of([second * 4]), 64)
    assert 0.3 < before < 2.5
    assert scaled == pytest.approx(before)
    one = Distribution.of([np.ones(3)])
    assert divergence_of_ranges(one, one) == 0
    assert divergence_of_ranges(one, Distribution.of([np.zeros(3)])) > 10
