"""The transform: orthogonal whatever its bytes say, exact definition of symbols and points, levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smalto.codecs.feature_transform import LEVELS_A_STEP, FeatureTransform
from smalto.errors import UsageError


def transform(reflector: np.ndarray, pivot: list[int], step: float = 0.5, offset: float = 0.5) -> FeatureTransform:
    channels, rank = reflector.shape
    mean = np.linspace(-3, 3, channels).astype(np.float32)
    scale = np.full(rank, 1 / 127, np.float32)
    shift = np.array([0.1, 0.05, 0], np.float32)
    return FeatureTransform(mean, np.array(pivot, np.uint16), reflector, scale, step, offset, shift)


@given(arrays(np.int8, (9, 3), elements=st.integers(-127, 127)), st.permutations(range(9)))
def test_any_reflections_are_orthogonal(reflector: np.ndarray, order: list[int]) -> None:
    rotation = transform(reflector, order[:3])
    rows = np.random.default_rng(0).standard_normal((20, 9))
    turned = rows + rotation.mean
    assert rotation.coefficients(turned) == 0
    assert np.allclose(np.square(turned).sum(1), np.square(rows).sum(1))
    assert np.allclose(turned @ turned.T, rows @ rows.T)


@given(arrays(np.float32, (4, 5), elements=st.floats(-40, 40, width=32)), st.sampled_from([0.5, 0.3]))
def test_symbols_and_points_follow_the_definition(rows: np.ndarray, offset: float) -> None:
    plain = transform(np.zeros((5, 0), np.int8), [], offset=offset)
    symbols = np.empty(rows.shape, np.int32)
    plain.quantised(rows[None], symbols[None], np.zeros((1, 5), np.float32))
    assert np.array_equal(symbols, np.sign(rows) * np.floor(np.abs(rows) / np.float32(0.5) + np.float32(offset)))
    back = np.empty_like(rows)
    plain.restored(symbols, back)
    shift = np.array([0, 0.1, 0.05, 0], np.float32)[np.minimum(np.abs(symbols), 3)]
    assert np.allclose(back, np.sign(symbols) * (np.abs(symbols) - shift) * 0.5, atol=1e-5)


def test_levels_tell_the_mean_error() -> None:
    rng = np.random.default_rng(1)
    rotation = transform(rng.integers(-50, 50, (6, 2)).astype(np.int8), [4, 1], step=4.0)
    values = rng.standard_normal((2, 64, 6)).astype(np.float32) + rng.standard_normal((2, 1, 6)).astype(np.float32)
    rows = values.copy() + rotation.mean
    wanted = rows.copy()
    rotation.coefficients(rows.reshape(-1, 6))
    symbols = np.empty(rows.shape, np.int32)
    rotation.quantised(rows, symbols, np.zeros((2, 6), np.float32))
    levels = rotation.levels(rotation.errors(rows, symbols), 64)
    back = np.empty_like(rows)
    rotation.restored(symbols.reshape(-1, 6), back.reshape(-1, 6))
    back += rotation.origins(levels, np.float32)[:, None]
    left = (back - wanted).mean(1)
    assert np.abs(left).max() <= np.sqrt(6) * 0.51 * rotation.step / LEVELS_A_STEP


def diffused(rows: np.ndarray, step: float, share: float, carry: np.ndarray) -> np.ndarray:
    """Symbols of rows (P, C) position by position, as the definition says; carry (C,) in steps."""
    symbols = np.zeros(rows.shape, np.int32)
    for p, row in enumerate(rows / step):
        wanted = row + share * carry
        level = np.floor(np.abs(wanted) + 0.5) * np.sign(wanted)
        level[(level * row < 0) | (row == 0)] = 0
        symbols[p] = level
        carry += np.where(row == 0, 0, row - level)
    return symbols


@given(
    arrays(np.float64, (12, 3), elements=st.floats(-3, 3).map(lambda x: round(x * 16) / 16)),
    st.sampled_from([0.25, 0.5, 1.0]),
)
def test_diffused_symbols_follow_the_definition(rows: np.ndarray, share: float) -> None:
    shifting = replace(
        transform(np.zeros((3, 0), np.int8), []), diffusion=share, shift=np.zeros(3, np.float32)
    )  # fmt: skip
    symbols, carry, wanted = np.empty((1, 12, 3), np.int32), np.zeros((1, 3)), np.zeros(3)
    expected = diffused(rows, 0.5, share, wanted)
    shifting.quantised(rows[None, :5], symbols[:, :5], carry)  # in two blocks: the carry links them
    shifting.quantised(rows[None, 5:], symbols[:, 5:], carry)
    assert np.array_equal(symbols[0], expected)
    assert np.allclose(carry[0], wanted)
    assert (symbols[0] * rows >= 0).all()
    assert not symbols[0][rows == 0].any()


def test_diffusion_keeps_means_that_rounding_loses() -> None:
    rows = np.abs(np.random.default_rng(5).standard_normal((1, 400, 8))) * 0.1
    plain = replace(transform(np.zeros((8, 0), np.int8), []), shift=np.zeros(3, np.float32))
    means = []
    for kind in (plain, replace(plain, diffusion=0.5)):
        symbols = np.empty(rows.shape, np.int32)
        kind.quantised(rows, symbols, np.zeros((1, 8)))
        means.append(symbols.mean(1) * kind.step)
    assert np.abs(means[0] - rows.mean(1)).min() > 0.05
    assert np.abs(means[1] - rows.mean(1)).max() < 0.5 / 400 / 0.5 + 1e-9  # at most a step over the share is held back


def test_strange_values_are_counted_before_any_rotation() -> None:
    rotation = transform(np.full((4, 1), 90, np.int8), [2])
    rows = np.zeros((3, 4), np.float32)
    rows[0, 0], rows[1, 1], rows[2, 3] = np.nan, np.inf, 1e30
    assert rotation.coefficients(rows) == 3
    assert np.isfinite(rows[:, 2]).all()


def test_storage() -> None:
    rotation = transform(np.arange(12, dtype=np.int8).reshape(6, 2), [0, 5])
    assert rotation.to_arrays()["quantiser"].shape == (2,)  # as before errors were diffused
    diffusing = replace(rotation, diffusion=0.25)
    assert FeatureTransform.from_arrays(diffusing.to_arrays()).diffusion == 0.25
    again = FeatureTransform.from_arrays(rotation.to_arrays())
    rows = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    one, other = rows.copy(), rows.copy()
    rotation.coefficients(one)
    again.coefficients(other)
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        {"step": 0.0},
        {"step": 1e300},
        {"step": float("nan")},
        {"offset": -0.1},
        {"offset": 0.6},
        {"shift": np.full(3, 2, np.float32)},
        {"scale": np.full(2, 2, np.float32)},
        {"pivot": np.array([1, 1], np.uint16)},
        {"pivot": np.array([1, 6], np.uint16)},
        {"mean": np.full(6, np.nan, np.float32)},
        {"mean": np.zeros(6)},
        {"reflector": np.zeros((6, 3), np.int8)},
    ],
)
def test_impossible_transforms(change: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        replace(transform(np.zeros((6, 2), np.int8), [0, 5]), **change)  # pyright: ignore[reportArgumentType]
