"""Chunks: boxes cover a field once and in order; notes gather what they leave behind."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smalto.codecs.feature_chunks import GroupNotes, chunk_boxes


@given(st.tuples(*[st.integers(0, 9)] * 4), st.integers(1, 400))
def test_boxes_cover_a_field_once_and_in_order(shape: tuple[int, int, int, int], num_values: int) -> None:
    field = np.zeros(shape, np.int64)
    number = np.arange(math.prod(shape)).reshape(shape)
    places = []
    for box in chunk_boxes(shape, num_values):
        field[box] += 1
        assert field[box].size <= max(num_values, shape[3])
        places.append(number[box].ravel())
    assert (field == 1).all()
    assert np.array_equal(np.concatenate([*places, np.empty(0, np.int64)]), np.arange(field.size))


def test_notes_mark_places_within_boxes() -> None:
    notes = GroupNotes((2, 3, 4, 5))
    outer, inner = (slice(1, 2), slice(1, 3), slice(0, 4)), (slice(0, 1), slice(1, 2), slice(0, 4))
    notes.mark(outer, inner, np.zeros((4, 5), bool))
    assert notes.mask is None
    where = np.zeros((4, 5), bool)
    where[3, 2] = True
    notes.mark(outer, inner, where)
    assert notes.mask is not None
    assert np.argwhere(notes.mask).tolist() == [[1, 2, 3, 2]]
