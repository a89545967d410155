"""Names, patterns and roundings of float dtypes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.codecs.float_patterns import (
    float_array,
    float_values,
    floored,
    rounded,
)
from smalto.errors import UsageError

ml_dtypes = pytest.importorskip("ml_dtypes", reason="the reference for bfloat16")


def test_names_are_found_and_bfloat16_becomes_patterns() -> None:
    for name in ("float16", "float32", "float64"):
        array, found = float_array(np.ones(3, name))
        assert (array.dtype.name, found) == (name, name)
    array, found = float_array(np.array([1.0, -2.0], ml_dtypes.bfloat16))
    assert found == "bfloat16"
    assert array.dtype == np.uint16
    assert float_values(array, found).tolist() == [1.0, -2.0]
    assert float_array(np.array([0x3F80], np.uint16), "bfloat16")[1] == "bfloat16"


def test_other_byte_orders_are_turned_and_nothing_else_is_copied() -> None:
    swapped = np.arange(4, dtype=">f4")
    array, found = float_array(swapped)
    assert found == "float32"
    assert array.dtype == np.float32
    assert array.tolist() == [0, 1, 2, 3]
    values = np.ones(3, np.float16)
    assert float_array(values)[0] is values


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.ones(2, np.int32), None),
        (np.ones(2, np.uint16), None),
        (np.ones(2, np.float32), "float16"),
        (np.ones(2, np.float16), "bfloat16"),
        (np.ones(2, np.float32), "float8"),
    ],
)
def test_other_dtypes_are_refused(values: np.ndarray, name: str | None) -> None:
    with pytest.raises(UsageError):
        float_array(values, name)


@given(st.lists(st.floats(-3e38, 3e38, allow_nan=False), min_size=1, max_size=20))
def test_bfloat16_is_rounded_to_nearest_even(values: list[float]) -> None:
    """Against every neighbour: nothing is nearer, ties are even, and numbers of the dtype stay as they are."""
    wide = np.array(values)
    patterns = rounded(wide, "bfloat16")
    back = float_values(patterns, "bfloat16")
    assert np.array_equal(rounded(back, "bfloat16"), patterns)
    for offset in (-1, 1):
        other = float_values((patterns.astype(np.int32) + offset).astype(np.uint16), "bfloat16")
        distance = np.abs(np.where(np.isfinite(other), other, np.inf) - wide)
        mine = np.abs(back - wide)
        assert (mine <= distance).all()
        assert (patterns[mine == distance] & 1 == 0).all()


def test_rounding_saturates_and_knows_subnormals() -> None:
    largest = float_values(np.array([0x7F7F], np.uint16), "bfloat16")[0]
    assert float_values(rounded(np.array([1e300, -1e300]), "bfloat16"), "bfloat16").tolist() == [largest, -largest]
    assert rounded(np.array([1e300]), "float32")[0] == np.finfo(np.float32).max
    assert rounded(np.array([-1e9]), "float16")[0] == -65504
    assert rounded(np.array([1e-300]), "bfloat16").tolist() == [0]
    smallest = float_values(np.array([1], np.uint16), "bfloat16")
    assert rounded(smallest, "bfloat16").tolist() == [1]


def test_every_bfloat16_pattern_agrees_with_the_reference() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):
        expected = patterns.view(ml_dtypes.bfloat16).astype(np.float64)
    assert np.array_equal(float_values(patterns, "bfloat16"), expected, equal_nan=True)
    finite = np.isfinite(expected)
    assert np.array_equal(rounded(expected[finite], "bfloat16"), patterns[finite])


@given(st.lists(st.floats(-1e39, 1e39), min_size=1, max_size=20))
def test_nothing_lies_between_a_value_and_its_floor(values: list[float]) -> None:
    wide = np.array(values)
    assert np.array_equal(floored(wide, np.dtype(np.float64)), wide)
    floor = floored(wide, np.dtype(np.float32))
    assert floor.dtype == np.float32
    with np.errstate(over="ignore", under="ignore"):
        above = np.nextafter(floor, np.float32(np.inf))
    assert (floor <= wide).all()
    assert ((above > wide) | (floor == np.inf)).all()
