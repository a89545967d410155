"""Truncation: bounded error inside the range, the range's ends outside, fits, wrong ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.codecs.truncation import Truncation
from smalto.errors import UsageError

NUMBERS = st.floats(-1e4, 1e4, width=32)


@given(st.lists(NUMBERS, min_size=1, max_size=30), NUMBERS, st.floats(0.0, 1e4, width=32), st.sampled_from([1, 8, 10]))
def test_values_there_and_back(numbers: list[float], low: float, extent: float, bits: int) -> None:
    cut = Truncation(low, low + extent, bits)
    values = np.array(numbers, np.float32)
    levels = cut.forward(values)
    assert levels.dtype == np.float32
    assert 0 <= levels.min() <= levels.max() <= 255
    steps = levels.astype(np.float64) * ((2**bits - 1) / 255)
    assert np.allclose(steps, np.round(steps), atol=1e-2)
    inside = np.clip(values.astype(np.float64), low, low + extent)
    half = extent / (2**bits - 1) / 2
    assert (np.abs(cut.inverse(levels) - inside) <= half + 2e-6 * (abs(low) + extent)).all()


def test_eight_bits_are_whole_numbers() -> None:
    values = np.linspace(-3, 9, 1000)
    levels = Truncation(-2.0, 8.0).forward(values)
    assert np.array_equal(levels, np.round(levels))
    assert (levels[0], levels[-1]) == (0, 255)


def test_fit() -> None:
    sample = np.array([-1.0, 0.0, 1.0, np.nan, np.inf, 30.0])
    assert (Truncation.fit([sample]).low, Truncation.fit([sample]).high) == (-1.0, 30.0)
    cut = Truncation.fit([sample[:2], sample[2:]], 1.0, 10)
    finite = np.array([-1.0, 0.0, 1.0, 30.0])
    assert cut.low == -1.0  # a range is never wider than the samples'
    assert cut.high == pytest.approx(finite.mean() + finite.std())
    assert cut.bits == 10
    constant = Truncation.fit([np.full(4, 2.5, np.float16)])
    assert constant.inverse(constant.forward(np.array([2.5, 9.0]))).tolist() == [2.5, 2.5]
    assert Truncation(-1.0, 3.0).inverse(Truncation(-1.0, 3.0).forward(np.array([np.nan]))) == pytest.approx(
        0, abs=0.01
    )


def test_wrong_ranges_are_refused() -> None:
    for low, high, bits in ((1.0, 0.0, 8), (np.nan, 1.0, 8), (0.0, np.inf, 8), (0.0, 1.0, 0), (0.0, 1.0, 17)):
        with pytest.raises(UsageError, match="truncation"):
            Truncation(low, high, bits)
    with pytest.raises(UsageError, match="no finite value"):
        Truncation.fit([np.array([np.nan])])
