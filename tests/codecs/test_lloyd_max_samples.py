"""Samples made ready for Lloyd's rounds: finite, rising, counted, summed without cancellation."""

from __future__ import annotations

import fractions

import numpy as np
import pytest

from smalto.codecs.float_patterns import FLOAT_DTYPES, float_values, rounded
from smalto.codecs.lloyd_max_samples import running_sums, scaled_samples, sorted_samples


@pytest.mark.parametrize("name", FLOAT_DTYPES)
def test_values_are_sorted_and_counted(name: str) -> None:
    values = rounded(np.random.default_rng(0).normal(size=5000), name)
    held, found = sorted_samples([values[:100].reshape(4, 25), values[100:], values[:30]], name)
    distinct, counts = np.unique(float_values(np.append(values, values[:30]), name), return_counts=True)
    assert found == name
    assert held.is_counted
    assert np.array_equal(held.values, distinct)
    assert np.array_equal(held.weights, counts)


def test_many_distinct_values_are_not_counted() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    held, _ = sorted_samples(np.concatenate((values, values[:9], [np.nan, np.inf, -np.inf])))
    assert not held.is_counted
    assert np.array_equal(held.values, np.sort(np.append(values, values[:9])))
    assert held.weights.shape == held.values.shape
    assert set(held.weights[::5000].tolist()) == {1}


@pytest.mark.parametrize("size", [2, 63, 64, 65, 70_000, 70_400])
def test_sums_agree_with_exact_ones(size: int) -> None:
    values = np.random.default_rng(size).normal(size=size) + 1000
    held, _ = sorted_samples(values)
    data = running_sums(held)
    block = 1 << data.log_block
    assert data.masses[-1] == size
    assert len(data.sums) == len(data.masses) == -(-len(held.values) // block) + 1
    pairs = zip(held.values.tolist(), held.weights.tolist(), strict=True)
    exact = [(fractions.Fraction(value) - fractions.Fraction(data.centre)) * weight for value, weight in pairs]
    for k in (0, len(data.sums) // 3, len(data.sums) - 2):
        part = float(sum(exact[k * block : (k + 1) * block]))
        assert data.sums[k + 1] - data.sums[k] == pytest.approx(part, rel=1e-9, abs=1e-9)


def test_a_far_value_leaves_near_sums_exact() -> None:
    """Counted from the middle outwards, the sums of the others never pass through the far one's."""
    held, _ = sorted_samples(np.append(np.arange(1001.0), -1e30))
    data = running_sums(held)
    assert np.array_equal(np.diff(data.sums)[1:], held.values[1:] - data.centre)


def test_only_extreme_scales_are_changed() -> None:
    for scale, expected in ((1.0, 0), (1e50, 0), (1e200, 665), (1e-200, -664)):
        held, _ = sorted_samples(np.array([-1.0, 1.0, 0.5]) * scale)
        scaled, exponent = scaled_samples(held)
        assert exponent == expected
        assert np.array_equal(np.ldexp(scaled.values, exponent), held.values)
