"""Probability tables: the contract is enforced, the integers never move, and they cost what theory allows."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.bits.cdf import (
    GAUSSIAN_SCALE_MAX,
    GAUSSIAN_SCALE_MIN,
    NUM_GAUSSIAN_SCALES,
    TOTAL,
    CdfTables,
    cross_entropy_bits,
    gaussian_scales,
    gaussian_tables,
    quantised_frequencies,
    tables_from_pmfs,
)
from smalto.errors import UsageError

GAUSSIAN_DIGEST = "45c5d0d606450f8ea70d5af34f0025a0338372fd1db5827ef7debc95228018f1"


def gaussian_pmf(scale: float, reach: float = 14.0) -> tuple[np.ndarray, np.ndarray]:
    """Values and exact probabilities of a rounded Gaussian, far into its tails."""
    values = np.arange(-math.ceil(reach * scale) - 3, math.ceil(reach * scale) + 4)
    tail = np.array([0.5 * math.erfc((abs(int(v)) - 0.5) / scale / math.sqrt(2)) for v in values])
    beyond = np.array([0.5 * math.erfc((abs(int(v)) + 0.5) / scale / math.sqrt(2)) for v in values])
    mass = np.where(values == 0, 1 - 2 * beyond, tail - beyond)
    return values[mass > 0], mass[mass > 0]


def test_gaussian_tables_are_the_shipped_integers() -> None:
    """Their digest never changes: codecs are frozen with them."""
    digest = hashlib.sha256()
    for name, array in sorted(gaussian_tables().to_arrays().items()):
        digest.update(name.encode() + array.tobytes())
    assert digest.hexdigest() == GAUSSIAN_DIGEST


def test_gaussian_scales() -> None:
    scales = gaussian_scales()
    assert len(scales) == NUM_GAUSSIAN_SCALES
    assert scales[0] == GAUSSIAN_SCALE_MIN
    assert scales[-1] == pytest.approx(GAUSSIAN_SCALE_MAX, rel=1e-12)
    assert np.allclose(np.diff(np.log(scales)), math.log(GAUSSIAN_SCALE_MAX / GAUSSIAN_SCALE_MIN) / 63)


def test_gaussian_tables_cost_nearly_the_entropy() -> None:
    """Each table within 0.1 % of its Gaussian's entropy, or within 0.0002 bits where that is next to nothing."""
    tables = gaussian_tables()
    for k, scale in enumerate(gaussian_scales()):
        values, mass = gaussian_pmf(float(scale))
        entropy = float(-(mass * np.log2(mass)).sum())
        bits = sum(m * cross_entropy_bits([v], [k], tables) for v, m in zip(values, mass, strict=True) if m > 1e-12)
        assert bits - entropy < max(0.001 * entropy, 2e-4), scale


def test_gaussian_alphabets_follow_the_scale() -> None:
    tables = gaussian_tables()
    assert (np.diff(tables.size) >= 0).all()
    assert (tables.low == -(tables.size // 2)).all()
    assert (tables.size // 2 >= 4 * gaussian_scales()).all()


@given(st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=400).filter(lambda m: sum(m) > 0))
def test_frequencies_are_positive_and_sum_exactly(masses: list[float]) -> None:
    frequency = quantised_frequencies(masses)
    assert min(frequency) >= 1
    assert sum(frequency) == TOTAL


@given(st.lists(st.floats(1e-3, 1), min_size=2, max_size=5), st.integers(0, 4), st.integers(0, 4))
def test_no_exchange_of_one_count_saves_bits(masses: list[float], giver: int, taker: int) -> None:
    """The integers are a local optimum of the cost, up to the midpoint rule's error."""
    frequency = quantised_frequencies(masses)
    giver, taker = giver % len(masses), taker % len(masses)
    moved = list(frequency)
    moved[giver] -= 1
    moved[taker] += 1
    if giver == taker or moved[giver] < 1:
        return
    before = -sum(m * math.log2(f) for m, f in zip(masses, frequency, strict=True))
    after = -sum(m * math.log2(f) for m, f in zip(masses, moved, strict=True))
    assert after >= before - 1e-9


def test_extreme_masses() -> None:
    assert quantised_frequencies([1.0]) == [TOTAL]
    assert quantised_frequencies([1.0, 0.0]) == [TOTAL - 1, 1]
    assert quantised_frequencies([1.0, 1e-300, 0.0]) == [TOTAL - 2, 1, 1]
    assert quantised_frequencies(np.ones(TOTAL)) == [1] * TOTAL
    assert sum(quantised_frequencies(np.arange(TOTAL - 1))) == TOTAL


@pytest.mark.parametrize("masses", [[], [0.0], [-1.0, 2.0], [math.nan, 1], [math.inf], [[1.0]], np.ones(TOTAL + 1)])
def test_impossible_masses_are_refused(masses: list[float]) -> None:
    with pytest.raises(UsageError):
        quantised_frequencies(masses)


def test_tables_from_pmfs() -> None:
    tables = tables_from_pmfs([(-1, [0.25, 0.5, 0.25], 0.0), (7, [1.0], 0.25)])
    assert tables.num_tables == 2
    assert tables.low.tolist() == [-1, 7]
    assert tables.size.tolist() == [3, 1]
    assert tables.frequency.tolist() == [16384, 32767, 16384, 1, 52429, 13107]
    with pytest.raises(UsageError):
        tables_from_pmfs([])


@pytest.mark.parametrize(
    ("low", "size", "frequency"),
    [
        ([], [], []),
        ([0], [1, 1], [65535, 1]),
        ([0], [0], [65536]),
        ([0], [65536], [1]),
        ([0], [1], [65535]),
        ([0], [1], [65534, 1]),
        ([0], [2], [65535, 0, 1]),
        ([0, 0], [1, 1], [65535, 1, 65535, 2]),
        ([2**31 - 1], [2], [1, 1, 65534]),
        ([0], [1], [0.5, 65535.5]),
        ([[0]], [1], [65535, 1]),
        ([2**31], [1], [65535, 1]),
        ([0], [1], [-1, 65537]),
    ],
)
def test_the_contract_is_enforced(low: list[int], size: list[int], frequency: list[int]) -> None:
    with pytest.raises(UsageError, match="probability tables"):
        CdfTables(np.array(low), np.array(size), np.array(frequency))


def test_arrays_round_trip() -> None:
    tables = gaussian_tables()
    arrays = tables.to_arrays()
    assert [(name, array.dtype.str) for name, array in arrays.items()] == [
        ("low", "<i4"),
        ("size", "<i4"),
        ("frequency", "<u2"),
    ]
    back = CdfTables.from_arrays(arrays)
    assert all(np.array_equal(back.to_arrays()[name], arrays[name]) for name in arrays)
    with pytest.raises(UsageError, match="frequency"):
        CdfTables.from_arrays({"low": arrays["low"], "size": arrays["size"]})


def test_tables_cannot_be_changed_afterwards() -> None:
    frequency = np.array([65535, 1])
    tables = CdfTables(np.array([0]), np.array([1]), frequency)
    frequency[0] = 7
    assert tables.frequency.tolist() == [65535, 1]
    with pytest.raises(ValueError, match="read-only"):
        tables.frequency[0] = 7


def test_cross_entropy_by_hand() -> None:
    tables = CdfTables(np.array([-1]), np.array([3]), np.array([16384, 32768, 8192, 8192]))
    assert cross_entropy_bits([-1, 0, 1], [0, 0, 0], tables) == 2 + 1 + 3
    assert cross_entropy_bits([2, -2], [0, 0], tables) == 2 * (3 + 6)
    assert cross_entropy_bits([3, -3, 4], [0, 0, 0], tables) == 3 * (3 + 6 + 1)
    assert cross_entropy_bits([2**31 - 1, -(2**31)], [0, 0], tables) == 2 * (3 + 6 + 30)
    assert cross_entropy_bits([], [], tables) == 0
