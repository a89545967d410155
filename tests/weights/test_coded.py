"""Coded weights: how near they come back, that coding again changes nothing, what is refused."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smalto.errors import UsageError, WeightsError
from smalto.weights import coded
from smalto.weights.coded import code, restore, row_exponents


def normal(rows: int = 64, columns: int = 81, seed: int = 0, scale: float = 0.05) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((rows, columns))).astype(np.float16)


def back(arrays: dict[str, np.ndarray], steps: float = 96.0) -> dict[str, np.ndarray]:
    return restore(*code(arrays, steps))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def coded_names(stored: dict[str, np.ndarray]) -> list[str]:
    return [row[0] for row in json.loads(stored["coded.arrays"].tobytes())]


@st.composite
def float16_rows(draw: st.DrawFn) -> np.ndarray:
    """Rows of any float16 patterns: normal draws of many sizes, raw patterns, lattices, constants and zeros."""
    seed, columns = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([128, 129, 300]))
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(16):
        kind = draw(st.sampled_from(["normal", "patterns", "lattice", "constant", "zero", "sparse"]))
        size = 2.0 ** draw(st.integers(-24, 14))
        if kind == "normal":
            row = (size * generator.standard_normal(columns)).clip(-65504, 65504)
        elif kind == "patterns":
            row = generator.integers(0, 0x7C00, columns).astype(np.uint16).view(np.float16).astype(np.float64)
            row *= generator.choice([-1.0, 1.0], columns)
        elif kind == "lattice":
            row = (size * generator.integers(-300, 301, columns)).clip(-65504, 65504)
        elif kind == "sparse":
            row = np.where(generator.random(columns) < 0.03, min(300 * size, 65504.0), 0.0)
        else:
            row = np.full(columns, size if kind == "constant" else 0.0)
        rows.append(row.astype(np.float16))
    return np.stack(rows)


@settings(max_examples=40)
@given(float16_rows(), st.sampled_from([1.0, 7.5, 64.0, 96.0, 768.0]))
def test_values_return_within_half_a_step_and_stay_there(rows: np.ndarray, steps: float) -> None:
    once = back({"x.weight": rows}, steps)["x.weight"]
    assert once.dtype == np.float16
    step = np.ldexp(1.0, row_exponents(rows, steps))[:, None]
    limit = np.where(np.abs(rows.astype(np.float64)) + step / 2 < 65520, step / 2, step)  # no float16 lies above
    assert (np.abs(once.astype(np.float64) - rows.astype(np.float64)) <= limit).all()
    deviation = np.sqrt(np.mean(rows.astype(np.float64) ** 2, axis=1, keepdims=True))
    rounded = (once != rows).any(axis=1, keepdims=True)
    assert (step[rounded] <= 1.4143 * deviation[rounded] / steps).all()
    again = back({"x.weight": once}, steps)["x.weight"]
    assert same(np.abs(again), np.abs(once))
    assert np.array_equal(again, once)
    assert same(back({"x.weight": again}, steps)["x.weight"], again)


@given(st.integers(0, 2**32 - 1), st.integers(0, 15), st.integers(1, 4))
def test_int16_arrays_lose_nothing(seed: int, bits: int, axes: int) -> None:
    generator = np.random.default_rng(seed)
    shape = (47, 45, 1, 1)[: max(axes, 2)]
    array = generator.integers(-(1 << bits), 1 << bits, shape).astype(np.int16)
    array.reshape(-1)[:2] = -(1 << 15), (1 << 15) - 1
    assert same(back({"scale_path.weight0": array})["scale_path.weight0"], array)


def test_every_float16_returns_from_a_row_of_its_own_kind() -> None:
    """All finite patterns, each row exactly on the lattice of its octave: nothing may change but the sign of zero."""
    patterns = np.arange(0x7C00, dtype=np.uint16).view(np.float16).reshape(31, 1024)  # a row an exponent
    arrays = {"up.weight": patterns, "down.weight": -patterns}
    stored = code(arrays, 4096.0)
    assert coded_names(stored[0]) == ["down.weight", "up.weight"]
    restored = restore(*stored)
    assert same(restored["up.weight"], patterns)
    assert np.array_equal(restored["down.weight"], -patterns)


def test_what_is_coded_and_what_is_not() -> None:
    arrays = {
        "a.weight": normal(),
        "a.linear.weight": normal(seed=1),
        "a.bias": normal().reshape(-1),
        "a.gain": normal(),
        "inverse_gain": normal(),
        "training.prior": normal().astype(np.float32),
        "small.weight": normal(8, 8),
        "empty.weight": np.zeros((0, 4096), np.float16),
        "hollow.weight": np.zeros((4096, 0), np.float16),
        "table": np.arange(9000, dtype=np.uint16).reshape(90, 100),
        "scalar": np.float16(3.0).reshape(()),
    }
    stored = code(arrays)
    assert coded_names(stored[0]) == ["a.linear.weight", "a.weight"]
    restored = restore(*stored)
    assert set(restored) == set(arrays)
    for name in set(arrays) - {"a.weight", "a.linear.weight"}:
        assert same(restored[name], arrays[name]), name

    def error(name: str) -> float:
        return float(np.mean((restored[name].astype(float) - arrays[name].astype(float)) ** 2))

    assert 0 < error("a.linear.weight") < error("a.weight") / 30  # eight times the steps: 64 times less


def test_arrays_that_would_not_shrink_stay() -> None:
    noise = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (64, 64)).astype(np.int16)
    columns = np.ldexp(normal(4096, 1), np.arange(4096)[:, None] % 9).astype(np.float16)  # two bytes of each row's own
    stored = code({"noise": noise, "columns": columns})
    assert coded_names(stored[0]) == []
    restored = restore(*stored)
    assert same(restored["noise"], noise)
    assert same(restored["columns"], columns)


def test_size_is_that_of_the_entropy() -> None:
    stored, _ = code({"x.weight": normal(512, 1024)}, 96.0)
    num_bits = 8 * sum(array.nbytes for array in stored.values()) / (512 * 1024)
    assert num_bits == pytest.approx(np.log2(96 * np.sqrt(2 * np.pi * np.e)), abs=0.6)  # steps differ by an octave
    few, _ = code({"x.weight": normal(512, 1024)}, 24.0)
    assert 8 * sum(array.nbytes for array in few.values()) / (512 * 1024) == pytest.approx(num_bits - 2, abs=0.1)


def test_tables_come_from_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = code({"x.weight": normal()})
    expected = restore(*stored)["x.weight"]

    def refuse() -> None:
        raise AssertionError("tables are never computed when weights are read")

    monkeypatch.setattr(coded, "gaussian_tables", refuse)
    monkeypatch.setattr(coded, "gaussian_scales", refuse)
    assert same(restore(*stored)["x.weight"], expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    array = normal()
    array[3, 5] = value
    with pytest.raises(WeightsError, match=r"x\.weight holds values that are not finite"):
        code({"x.weight": array})
    assert same(restore(*code({"x.gain": array}))["x.gain"], array)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(UsageError, match="kept for the stored form"):
        code({"coded.stream": normal()})
    for steps in (0.5, float("nan")):
        with pytest.raises(UsageError, match="at least 1"):
            code({}, steps)
    with pytest.raises(WeightsError, match="of form coded-9"):
        restore({}, {"form": "coded-9"})
    assert restore(*code({})) == {}


def test_damage_is_named() -> None:
    stored, metadata = code({"x.weight": normal()})
    (row,) = json.loads(stored["coded.arrays"].tobytes())
    assert row == ["x.weight", "float16", [64, 81], 4]
    lists = (
        "{",
        "[[1, 2]]",
        '[["x.weight", "float64", [64, 81], 4]]',
        '[["x.weight", "int16", [64, 81], 4]]',
        '[["x.weight", "float16", [], 4]]',
        '[["x.weight", "float16", [0, 3], 4]]',
        '[["x.weight", "float16", [-64, -81], 4]]',
        '[["x.weight", "float16", [64, 82], 4]]',
        '[["x.weight", "float16", [1048576, 1048576], 4]]',
        '[["x.weight", "float16", [64, 81], 3]]',
        '[["x.weight", "float16", [64, 81], 0]]',
    )
    changes = (
        ("stream", stored["coded.stream"][:-2]),
        ("stream", stored["coded.stream"][:0]),
        ("stream", stored["coded.stream"].astype(np.int16)),
        ("low", stored["coded.low"][:-1]),
        ("low", np.append(stored["coded.low"], np.uint8(0))),
        ("tables", stored["coded.tables"] + np.uint8(99)),
        ("tables", stored["coded.tables"][:-1]),
        ("exponents", stored["coded.exponents"] + np.int8(60)),
        ("exponents", stored["coded.exponents"] - np.int8(14)),
        ("exponents", stored["coded.exponents"][:-1]),
        ("exponents", np.append(stored["coded.exponents"], np.int8(0))),
        ("cdf.frequency", stored["coded.cdf.frequency"][::-1] ^ 1),
        *(("arrays", np.frombuffer(text.encode(), np.uint8)) for text in lists),
    )
    broken = [{**stored, f"coded.{name}": array} for name, array in changes]
    broken += [{key: array for key, array in stored.items() if key != gone} for gone in stored]
    for arrays in broken:
        with pytest.raises(WeightsError, match="damaged") as caught:
            restore(arrays, metadata)
        assert "\n" not in str(caught.value)


@given(st.integers(0, 2**32 - 1))
def test_damaged_streams_never_crash(seed: int) -> None:
    """Flipped bits give other values of the same shape or a WeightsError; the file's SHA-256 tells the former."""
    generator = np.random.default_rng(seed)
    stored, metadata = code({"x.weight": normal(32, 64), "y.weight": normal(32, 64).view(np.int16) >> 9})
    name = sorted(key for key in stored if key not in ("coded.arrays", "x.weight", "y.weight"))[seed % 7]
    damaged = bytearray(stored[name].tobytes())
    damaged[int(generator.integers(len(damaged)))] ^= 1 << int(generator.integers(8))
    with contextlib.suppress(WeightsError):
        restored = restore({**stored, name: np.frombuffer(bytes(damaged), stored[name].dtype)}, metadata)
        assert restored["x.weight"].shape == restored["y.weight"].shape == (32, 64)
        assert np.isfinite(restored["x.weight"]).all()
