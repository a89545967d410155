"""The context model: exact for any integers, smaller than tables without contexts, refuses what it did not write."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smalto.bits import rans
from smalto.bits.cdf import tables_from_pmfs
from smalto.codecs.feature_contexts import FeatureContexts, fit_contexts, merge_cells, smoothed_pmf
from smalto.errors import PacketError, SmaltoError, UsageError

INT32 = np.iinfo(np.int32)


def smooth_field(shape: tuple[int, int, int, int], seed: int = 0) -> np.ndarray:
    """Symbols whose size varies slowly over rows and columns and strongly over channels."""
    rng = np.random.default_rng(seed)
    slow = np.exp(1.5 * rng.standard_normal((shape[0], -(-shape[1] // 8), -(-shape[2] // 8), shape[3])))
    slow = slow.repeat(8, 1).repeat(8, 2)[:, : shape[1], : shape[2]]
    scale = np.exp(rng.uniform(-2, 2, shape[3]))
    return np.rint(rng.laplace(size=shape) * slow * scale).astype(np.int32)


@pytest.fixture(scope="module")
def contexts() -> FeatureContexts:
    return fit_contexts([smooth_field((4, 32, 32, 6))])


@given(
    st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(0, 5), st.just(6)).flatmap(
        lambda shape: arrays(
            np.int32, shape, elements=st.one_of(st.integers(-3, 3), st.integers(int(INT32.min), int(INT32.max)))
        )
    )
)
def test_any_symbols_come_back(contexts: FeatureContexts, field: np.ndarray) -> None:
    assert np.array_equal(contexts.decode(contexts.encode(field), field.shape), field)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("positions", [(1, 1, 1), (1, 700, 1), (3, 1, 1), (2, 24, 33)])
def test_long_and_short_streams(channels: int, positions: tuple[int, int, int]) -> None:
    """One state or four, any number of channels modulo four; the stream is the coder's own."""
    field = smooth_field((*positions, channels))
    contexts = fit_contexts([field])
    data = contexts.encode(field)
    assert np.array_equal(contexts.decode(data, field.shape), field)
    assert np.array_equal(rans.decode(data, contexts.classes(field), contexts.tables), field.reshape(-1))


def test_neighbours_save_bits() -> None:
    field = smooth_field((2, 32, 32, 8))
    alone = fit_contexts([np.random.default_rng(0).permutation(field.reshape(-1, 1, 1, 8))])
    contexts = fit_contexts([field])
    assert contexts.bits(field) < 0.9 * alone.bits(field)
    assert abs(8 * len(contexts.encode(field)) - contexts.bits(field)) < 0.002 * contexts.bits(field) + 200


def test_classes_follow_the_definition(contexts: FeatureContexts) -> None:
    field = smooth_field((2, 5, 4, 6), seed=3)
    size = np.minimum(np.abs(field), contexts.cap)
    zero = np.zeros(6, np.int64)
    expected = np.empty(field.shape, np.int64)
    for s, y, x in np.ndindex(2, 5, 4):
        there = {
            (dy, dx): size[s, y + dy, x + dx]
            for dy, dx in [(-1, 0), (0, -1), (-1, -1), (-1, 1), (0, -2), (-2, 0)]
            if y + dy >= 0 and 0 <= x + dx < 4
        }
        north = there.get((-1, 0), there.get((0, -1), zero))
        west = there.get((0, -1), north)
        near = [
            north,
            west,
            there.get((-1, -1), north),
            there.get((-1, 1), north),
            there.get((0, -2), west),
            there.get((-2, 0), north),
        ]
        activity = contexts.bias + sum(int(w) * m for w, m in zip(contexts.weight, near, strict=True))
        expected[s, y, x] = np.searchsorted(contexts.threshold, activity, side="right")
    assert np.array_equal(contexts.classes(field).reshape(field.shape), expected)


def test_profile_survives_storage(contexts: FeatureContexts) -> None:
    again = FeatureContexts.from_arrays(contexts.to_arrays())
    field = smooth_field((1, 9, 9, 6), seed=5)
    assert again.encode(field) == contexts.encode(field)


@given(st.data())
def test_damage_is_an_error_or_other_symbols(contexts: FeatureContexts, data: st.DataObject) -> None:
    field = smooth_field((1, 8, 8, 6), seed=1)
    stream = bytearray(contexts.encode(field))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PacketError):
        contexts.decode(bytes(stream[: data.draw(st.integers(0, len(stream)))]), field.shape)


@given(st.binary(max_size=6000))
def test_noise_never_crashes(contexts: FeatureContexts, noise: bytes) -> None:
    try:
        decoded = contexts.decode(noise, (2, 9, 9, 6))
    except PacketError:
        return
    assert contexts.encode(decoded) == noise


def test_wrong_shape_and_empty(contexts: FeatureContexts) -> None:
    data = contexts.encode(smooth_field((1, 8, 8, 6)))
    with pytest.raises(PacketError):
        contexts.decode(data, (1, 8, 9, 6))
    with pytest.raises(PacketError):
        contexts.decode(data, (0, 8, 8, 6))
    with pytest.raises(UsageError):
        contexts.decode(data, (1, 8, 8, 5))
    with pytest.raises(UsageError):
        fit_contexts([np.empty((0, 1, 1, 4), np.int32)])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bias", np.full(6, 65535, np.uint16)),
        ("bias", np.zeros((2, 3), np.uint16)),
        ("bias", np.zeros(0, np.uint16)),
        ("weight", np.zeros(5, np.uint16)),
        ("weight", np.full(6, 9999, np.uint16)),
        ("weight", np.zeros(6, np.int32)),
        ("threshold", np.zeros(0, np.uint16)),
        ("cap", np.array([0])),
        ("cap", np.array([256])),
        ("cap", np.array([1.0])),
        ("tables.frequency", np.zeros(4, np.uint16)),
        ("tables.low", None),
        ("weight", None),
    ],
)
def test_damaged_profiles(contexts: FeatureContexts, name: str, value: np.ndarray | None) -> None:
    arrays_ = contexts.to_arrays()
    if value is None:
        del arrays_[name]
    else:
        arrays_[name] = value
    with pytest.raises(SmaltoError):
        FeatureContexts.from_arrays(arrays_)


def test_falling_thresholds_are_refused(contexts: FeatureContexts) -> None:
    falling = contexts.threshold[::-1].copy()
    assert len(falling) > 1
    with pytest.raises(UsageError, match="rise"):
        FeatureContexts(contexts.bias, contexts.weight, falling, contexts.cap, contexts.tables)


def test_merging_keeps_different_cells_apart() -> None:
    counts = np.zeros((4, 5), np.int64)
    counts[:2, 1], counts[2:, 3] = 4000, 5000
    assert merge_cells(counts).tolist() == [1, 3]


def test_pmf_of_few_counts_is_not_overfitted() -> None:
    count = np.zeros(101, np.int64)
    count[50], count[51] = 6, 3
    low, masses, tail = smoothed_pmf(count)
    assert low < 0
    assert low + len(masses) > 2
    assert tail > 0
    assert masses[1 - low] > masses[2 - low] > 0
    assert tables_from_pmfs([(low, masses, tail)]).frequency.min() >= 1
