"""Layouts: every array comes back from its field and from its plane, padding stays within 5 %."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smalto.codecs.pack import (
    LAYOUTS,
    field_shape,
    from_field,
    guess_layout,
    pack_plane,
    plane_shape,
    to_field,
    unpack_plane,
)
from smalto.errors import UsageError

RANKS = {"vector": (1, 4), "tokens": (2, 4), "heads": (3, 3), "maps": (2, 5), "as-is": (0, 5)}


@st.composite
def stacks(draw: st.DrawFn) -> tuple[np.ndarray, str]:
    layout = draw(st.sampled_from(LAYOUTS))
    shape = draw(st.lists(st.integers(0, 7), min_size=RANKS[layout][0], max_size=RANKS[layout][1]))
    num = draw(st.integers(1, 3))
    return np.arange(num * math.prod(shape), dtype=np.float32).reshape(num, *shape), layout


@given(stacks())
def test_field_and_back(case: tuple[np.ndarray, str]) -> None:
    stack, layout = case
    field = to_field(stack, layout)
    assert field.shape == field_shape(stack.shape[1:], layout, len(stack))
    assert np.array_equal(from_field(field, stack.shape[1:], layout, len(stack)), stack)


@given(stacks())
def test_plane_and_back(case: tuple[np.ndarray, str]) -> None:
    stack, layout = case
    plane = pack_plane(stack, layout)
    assert plane.shape == plane_shape(stack.shape[1:], layout, len(stack))
    assert plane.size <= 1.05 * stack.size
    assert np.array_equal(unpack_plane(plane, stack.shape[1:], layout, len(stack)), stack)


@given(st.integers(1, 200_000), st.integers(1, 3))
def test_vectors_are_folded_near_square(width: int, num: int) -> None:
    rows, columns = plane_shape((width,), "vector", num)
    total = width * num
    assert total <= rows * columns <= 1.05 * total
    if total > 400:
        assert 1 / 4 <= rows / columns <= 4


@pytest.mark.parametrize(
    ("shape", "layout", "plane"),
    [
        ((257, 1536), "tokens", (257, 1536)),
        ((2, 4, 257, 1536), "tokens", (514, 6144)),
        ((16, 128, 128), "maps", (512, 512)),
        ((256, 55, 55), "maps", (880, 880)),
        ((12, 77, 64), "heads", (77, 768)),
        ((3, 5, 7), "as-is", (15, 7)),
    ],
)
def test_planes_of_the_benchmark(shape: tuple[int, ...], layout: str, plane: tuple[int, int]) -> None:
    assert plane_shape(shape, layout) == plane


def test_tokens_stand_in_rows_and_groups_beside_each_other() -> None:
    stack = np.arange(2 * 3 * 4 * 5).reshape(1, 2, 3, 4, 5)
    plane = pack_plane(stack, "tokens")
    assert np.array_equal(plane[4:8, 5:10], stack[0, 1, 1])
    field = to_field(stack, "tokens")
    assert np.array_equal(field[1, :, 0, 5:10], stack[0, 1, 1])


def test_channels_of_maps_are_tiles() -> None:
    stack = np.arange(4 * 2 * 3).reshape(1, 4, 2, 3)
    plane = pack_plane(stack, "maps")
    assert np.array_equal(plane[:2, :3], stack[0, 0])
    assert np.array_equal(to_field(stack, "maps")[0, 1, 2], stack[0, :, 1, 2])


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((), "as-is"),
        ((384,), "vector"),
        ((257, 768), "tokens"),
        ((8, 257, 768), "tokens"),
        ((2, 4, 257, 1536), "tokens"),
        ((512, 13, 13), "maps"),
        ((1, 16, 128, 128), "maps"),
        ((64, 40, 60), "maps"),
        ((2, 2, 2, 9, 100), "as-is"),
    ],
)
def test_guess(shape: tuple[int, ...], layout: str) -> None:
    assert guess_layout(shape) == layout


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((3,), "squares"),
        ((), "vector"),
        ((3,), "tokens"),
        ((2, 3), "heads"),
        ((-1, 4), "tokens"),
        ((1 << 41,), "vector"),
    ],
)
def test_impossible_shapes(shape: tuple[int, ...], layout: str) -> None:
    with pytest.raises(UsageError):
        field_shape(shape, layout)


def test_wrong_field_or_plane() -> None:
    with pytest.raises(UsageError, match="field"):
        from_field(np.zeros((1, 2, 1, 3)), (3, 2), "tokens", 1)
    with pytest.raises(UsageError, match="plane"):
        unpack_plane(np.zeros((2, 2)), (3, 2), "tokens")
