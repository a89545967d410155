"""Float maps survive writing and reading; damaged ones are refused by name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smalto.data.pfm import parse_pfm, pfm_bytes, read_pfm, write_pfm
from smalto.errors import ImageError, UsageError

shapes = st.one_of(
    st.tuples(st.integers(1, 7), st.integers(1, 7)), st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))
)
maps = shapes.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(width=32)))
GOOD = pfm_bytes(np.arange(6, dtype=np.float32).reshape(2, 3))


@given(maps)
def test_what_is_written_is_read(values: np.ndarray) -> None:
    again = parse_pfm(pfm_bytes(values), "map")
    assert again.dtype == np.float32
    assert again.tobytes() == np.ascontiguousarray(values).tobytes()  # NaN and signed zeros too


def test_rows_lie_from_the_bottom_up_in_either_byte_order() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    body = np.array([3.0, 4.0, 1.0, 2.0])
    assert np.array_equal(parse_pfm(b"Pf\n2 2\n-1\n" + body.astype("<f4").tobytes(), "little"), values)
    assert np.array_equal(parse_pfm(b"Pf\n2 2\n1.0\n" + body.astype(">f4").tobytes(), "big"), values)


@pytest.mark.parametrize("header", [b"Pf \n3 2 \n-1.0\n", b"Pf\r\n3 2\r\n-1.000000\r\n", b"Pf\n3\n2\n-1e0\n"])
def test_headers_as_other_programs_write_them(header: bytes) -> None:
    body = GOOD[-24:]
    assert np.array_equal(parse_pfm(header + body, "map"), np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no portable float map"),
        (b"P6\n2 2\n255\n" + bytes(12), "no portable float map"),
        (b"Pf\n-3 2\n-1.0\n" + bytes(24), "no portable float map"),
        (b"Pf\n3 2\nnan\n" + bytes(24), "no portable float map"),
        (b"Pf\n3 2\n0.0\n" + bytes(24), "its scale"),
        (b"Pf\n3 2\n1e999\n" + bytes(24), "no portable float map|its scale"),
        (b"Pf\n3 2\n-.\n" + bytes(24), "its scale"),
        (b"Pf\n0 2\n-1.0\n", "0x2 is refused"),
        (b"Pf\n999999 999999\n-1.0\n", "is refused"),
        (b"Pf\n8192 8193\n-1.0\n", "is refused"),
        (GOOD[:-1], "23 bytes of values instead of 24"),
        (GOOD + b"x", "25 bytes of values instead of 24"),
        (b"PF" + GOOD[2:], "24 bytes of values instead of 72"),
        (b"Pf\n" + b" " * 300 + b"3 2\n-1.0\n" + bytes(24), "no portable float map"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        parse_pfm(data, "broken.pfm")
    assert str(caught.value).startswith("broken.pfm: ")
    assert "\n" not in str(caught.value)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_no_damage_does_worse_than_a_named_error(place: int, value: int, end: int) -> None:
    data = bytearray(GOOD)
    data[place] = value
    for candidate in (bytes(data), bytes(data[:end])):
        try:
            values = parse_pfm(candidate, "x")
        except ImageError:
            continue
        assert values.dtype == np.float32
        assert 4 * math.prod(values.shape) <= len(candidate)


@given(st.binary(max_size=80))
def test_any_bytes_give_a_map_or_a_named_error(tail: bytes) -> None:
    for candidate in (tail, b"Pf\n" + tail, b"Pf\n1 1\n" + tail):
        try:
            parse_pfm(candidate, "x")
        except ImageError:
            continue


def test_files_are_written_and_missing_ones_named(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
    write_pfm(tmp_path / "a.pfm", values)
    assert np.array_equal(read_pfm(tmp_path / "a.pfm"), values)
    with pytest.raises(ImageError, match="cannot be read"):
        read_pfm(tmp_path / "none.pfm")


@pytest.mark.parametrize("shape", [(3,), (2, 2, 4), (0, 3), (1, 8193)])
def test_what_cannot_be_read_again_is_not_written(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="float map"):
        pfm_bytes(np.zeros(shape, np.float32))
