"""The fast tier on synthetic features: round trips, goals that are kept, exact values, damage, profiles."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smalto.codecs.fast_features import BLOCK_VALUES, FastFeatures
from smalto.errors import PacketError, SmaltoError, UsageError

WIDTHS: dict[type, Literal[16, 32, 64]] = {np.float16: 16, np.float32: 32, np.float64: 64}


def tokens(num: int, shape: tuple[int, ...] = (40, 48), seed: int = 0) -> list[np.ndarray]:
    """Tokens with correlated channels and one outlier channel."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((shape[-1], shape[-1]))
    mix *= np.exp(-np.arange(shape[-1]) / 8)[:, None]
    values = [rng.standard_normal(shape) @ mix for _ in range(num)]
    for value in values:
        value[..., 3] += 500
    return [value.astype(np.float32) for value in values]


def maps(num: int, shape: tuple[int, ...] = (8, 12, 12), seed: int = 0) -> list[np.ndarray]:
    """Sparse maps as after a ReLU, smooth over rows and columns."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((num, *shape))
    smooth = noise + np.roll(noise, 1, -1) + np.roll(noise, 1, -2) + np.roll(noise, (1, 1), (-1, -2))
    return list(np.maximum(smooth - 1, 0).astype(np.float16))


@pytest.fixture(scope="module")
def token_codec() -> FastFeatures:
    return FastFeatures.fit(tokens(8), error=0.01)


@pytest.fixture(scope="module")
def map_codec() -> FastFeatures:
    return FastFeatures.fit(maps(8), rate=1.0)


def noise_over_spread(values: list[np.ndarray], back: list[np.ndarray], axes: tuple[int, ...]) -> float:
    x, y = np.stack(values).astype(np.float64), np.stack(back).astype(np.float64)
    return float(np.square(x - y).mean() / np.square(x - x.mean(axes, keepdims=True)).mean())


def test_error_is_reached_on_new_samples(token_codec: FastFeatures) -> None:
    new = tokens(8, seed=1)
    back = token_codec.decode(token_codec.encode(new), 8, (40, 48), "float32")
    assert token_codec.layout == "tokens"
    assert 0.007 < noise_over_spread(new, back, (0, 1)) < 0.014


def test_rotation_is_found_and_saves_bits(token_codec: FastFeatures) -> None:
    """Correlated channels: the rotated profile needs fewer bytes than a quantiser of the same step without it."""
    assert len(token_codec.transform.pivot) > 0
    plain = FastFeatures.fit(tokens(8), max_error=token_codec.transform.step / 2)
    new = tokens(8, seed=1)
    assert sum(map(len, token_codec.encode(new))) < 0.9 * sum(map(len, plain.encode(new)))


def test_rate_is_reached_on_new_samples(map_codec: FastFeatures) -> None:
    new = maps(8, seed=1)
    parts = map_codec.encode(new)
    assert map_codec.layout == "maps"
    assert 0.85 < 8 * sum(map(len, parts)) / sum(value.size for value in new) < 1.15
    back = map_codec.decode(parts, 8, (8, 12, 12), "float16")
    assert all(value.dtype == np.float16 and value.shape == (8, 12, 12) for value in back)
    assert noise_over_spread(new, back, (0, 2, 3)) < 0.1


def test_coding_is_repeatable(map_codec: FastFeatures) -> None:
    parts = map_codec.encode(maps(3, seed=4))
    back = map_codec.decode(parts, 3, (8, 12, 12), "float16")
    again = FastFeatures.from_arrays(map_codec.to_arrays())
    assert again.encode(maps(3, seed=4)) == parts
    for one, other in zip(again.decode(parts, 3, (8, 12, 12), "float16"), back, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes(token_codec: FastFeatures, name: str) -> None:
    new = tokens(2, seed=2)
    if name == "bfloat16":
        given_ = [(value.view(np.uint32) >> 16).astype(np.uint16) for value in new]
    else:
        given_ = [value.astype(name) for value in new]
    back = token_codec.decode(token_codec.encode(given_, name), 2, (40, 48), name)
    assert all(value.dtype == given_[0].dtype for value in back)
    if name == "bfloat16":
        back = [(value.astype(np.uint32) << 16).view(np.float32) for value in back]
    assert noise_over_spread(new, back, (0, 1)) < 0.02


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("vector", (24,)),
        ("vector", (3, 24)),
        ("tokens", (7, 24)),
        ("tokens", (2, 3, 7, 8)),
        ("heads", (3, 7, 8)),
        ("maps", (2, 24, 5, 3)),
        ("as-is", (2, 3, 24)),
    ],
)
def test_layouts(layout: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    samples = [rng.standard_normal(shape).astype(np.float32) for _ in range(6)]
    codec = FastFeatures.fit(samples, layout=layout, max_error=0.05)
    back = codec.decode(codec.encode(samples), 6, shape, "float32")
    assert all(np.abs(a - b).max() <= 0.05 for a, b in zip(samples, back, strict=True))


@given(
    st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: arrays(
            dtype, (2, 5, 6), elements=st.floats(width=WIDTHS[dtype], allow_nan=True, allow_infinity=True)
        )
    ),
    st.sampled_from([1e-6, 0.03, 0.5, 1000.0]),
)
def test_max_error_holds_for_any_values(values: np.ndarray, bound: float) -> None:
    """Every finite value within the bound in its own dtype, every other one exactly as it was."""
    rng = np.random.default_rng(0)
    codec = FastFeatures.fit([rng.standard_normal((5, 6)).astype(np.float32) for _ in range(3)], max_error=bound)
    parts = codec.encode(list(values))
    back = np.stack(codec.decode(parts, 2, (5, 6), values.dtype.name))
    finite = np.isfinite(values)
    assert np.array_equal(back[~finite], values[~finite], equal_nan=True)
    wide, near = values[finite].astype(np.longdouble), back[finite].astype(np.longdouble)
    assert (np.abs(wide - near) <= bound * (1 + 1e-12)).all()


def test_a_bound_near_the_rounding_of_the_dtype_keeps_few_values_exactly() -> None:
    """Halves between 4 and 8 stand 1/256 apart: with cells of twice the bound a third of them would miss it."""
    rng = np.random.default_rng(0)
    samples = [rng.uniform(4, 8, (64, 16)).astype(np.float16) for _ in range(4)]
    codec = FastFeatures.fit(samples, max_error=0.8 / 256)
    parts = codec.encode(samples)
    assert codec.transform.step < 2 * 0.8 / 256
    assert len(parts[0]) < 0.05 * sum(map(len, parts))
    back = codec.decode(parts, 4, (64, 16), "float16")
    assert max(np.abs(a.astype(float) - b.astype(float)).max() for a, b in zip(samples, back, strict=True)) <= 0.8 / 256


@given(arrays(np.uint16, (2, 4, 48)))
def test_any_bit_patterns(token_codec: FastFeatures, patterns: np.ndarray) -> None:
    """NaN payloads and infinities come back bit by bit, whatever stands around them; finite values stay finite."""
    values = patterns.view(np.float16)
    back = np.stack(token_codec.decode(token_codec.encode(list(values)), 2, (4, 48), "float16"))
    special = ~np.isfinite(values)
    assert np.array_equal(back.view(np.uint16)[special], patterns[special])
    assert np.isfinite(back[~special]).all()


def test_levels_keep_the_mean_of_each_sample(token_codec: FastFeatures) -> None:
    """What all tokens of a sample share survives a step that rounds every single token to zero."""
    coarse = FastFeatures.fit(tokens(8), error=0.8)
    assert coarse.levels is not None
    rng = np.random.default_rng(3)
    new = [value + rng.standard_normal(48).astype(np.float32) for value in tokens(4, seed=5)]
    back = coarse.decode(coarse.encode(new), 4, (40, 48), "float32")
    for one, other in zip(new, back, strict=True):
        assert np.abs((one - other).mean(0)).max() < coarse.transform.step / 4
    assert token_codec.encode(new)[1] != b""
    assert token_codec.encode([value[:5] for value in new])[1] == b""


def test_sparse_maps_keep_their_means_and_their_zeros() -> None:
    samples, new = maps(8, (8, 24, 24)), maps(6, (8, 24, 24), seed=1)
    lost = {}
    for preserve in (None, "means", "values"):
        codec = FastFeatures.fit(samples, step=1.5, preserve=preserve)
        assert codec.transform.diffusion == (0.0 if preserve == "values" else 0.5)
        back = codec.decode(codec.encode(new), 6, new[0].shape, "float16")
        assert all(not array[value == 0].any() for array, value in zip(back, new, strict=True))
        gaps = [array.mean((1, 2), np.float64) - value.mean((1, 2), np.float64)
                for array, value in zip(back, new, strict=True)]  # fmt: skip
        lost[preserve] = float(np.square(gaps).mean())
    assert lost[None] == lost["means"] < 0.05 * lost["values"]


def test_diffused_errors_cross_the_blocks_of_a_chunk() -> None:
    rng = np.random.default_rng(3)
    value = (np.abs(rng.standard_normal((1, 400, 400))) * 0.2 * (rng.random((1, 400, 400)) > 0.5)).astype(np.float32)
    codec = FastFeatures.fit([value[:, :64, :64]], step=4.0)
    back = codec.decode(codec.encode([value]), 1, value.shape, "float32")[0]
    assert value.size > BLOCK_VALUES
    assert abs(float(back.sum() - value.sum())) <= 4.0 / 0.5


def test_dense_features_and_bounds_keep_values() -> None:
    assert FastFeatures.fit(tokens(4), error=0.01).transform.diffusion == 0
    assert FastFeatures.fit(maps(4), max_error=0.1).transform.diffusion == 0
    for wrong in ({"preserve": "means", "max_error": 0.1}, {"preserve": "sums"}):
        with pytest.raises(UsageError, match="preserve"):
            FastFeatures.fit(maps(2), **wrong)  # type: ignore[arg-type]


def test_levels_where_the_profile_has_none(map_codec: FastFeatures) -> None:
    assert map_codec.levels is None
    parts = map_codec.encode(maps(2))
    assert parts[:2] == [b"", b""]
    with pytest.raises(PacketError, match="levels"):
        map_codec.decode([b"", b"\x01\x02\x03", *parts[2:]], 2, (8, 12, 12), "float16")


def test_far_outliers_do_not_disturb_their_neighbours(token_codec: FastFeatures) -> None:
    values = tokens(1, seed=3)[0]
    marred = values.copy()
    marred[3, 7], marred[4, 1], marred[5, 2] = 1e30, -np.inf, np.nan
    back = token_codec.decode(token_codec.encode([marred]), 1, (40, 48), "float32")[0]
    assert back[3, 7] == np.float32(1e30)
    assert back[4, 1] == -np.inf
    assert np.isnan(back[5, 2])
    calm = np.ones_like(values, bool)
    calm[3, 7] = calm[4, 1] = calm[5, 2] = False
    assert noise_over_spread([np.where(calm, values, 0)], [np.where(calm, back, 0)], (0, 1)) < 0.02


@pytest.mark.parametrize("value", [0.0, 3.25, -7e4])
def test_constants(value: float) -> None:
    samples = [np.full((4, 6, 6), value, np.float32)] * 3
    codec = FastFeatures.fit(samples)
    back = codec.decode(codec.encode(samples), 3, (4, 6, 6), "float32")
    assert np.allclose(back, value, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 48), (1, 48)])
def test_empty_and_one_token(token_codec: FastFeatures, shape: tuple[int, int]) -> None:
    values = [np.zeros(shape, np.float32)] * 2
    back = token_codec.decode(token_codec.encode(values), 2, shape, "float32")
    assert [value.shape for value in back] == [shape, shape]


def test_one_element() -> None:
    codec = FastFeatures.fit([np.array([[1.5]], np.float32)] * 4, layout="tokens", max_error=0.125)
    back = codec.decode(codec.encode([np.array([[-9.0]], np.float32)]), 1, (1, 1), "float32")
    assert abs(float(back[0][0, 0]) + 9) <= 0.125


@given(st.data())
def test_damaged_parts(map_codec: FastFeatures, data: st.DataObject) -> None:
    values = maps(3, seed=6)
    values[1][2, 3, 4] = np.nan
    parts = map_codec.encode(values)
    which = data.draw(st.sampled_from([number for number, part in enumerate(parts) if part]))
    part = bytearray(parts[which])
    part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(part[: data.draw(st.integers(0, len(part)))])
    try:
        map_codec.decode(parts, 3, (8, 12, 12), "float16")
    except PacketError:
        return
    assert which == 0  # exact values have no check of their own: the file has one for every chunk


def test_missing_and_foreign_parts(map_codec: FastFeatures) -> None:
    parts = map_codec.encode(maps(2))
    with pytest.raises(PacketError, match="parts"):
        map_codec.decode(parts[:-1], 2, (8, 12, 12), "float16")
    with pytest.raises(PacketError):
        map_codec.decode(parts, 3, (8, 12, 12), "float16")
    other = FastFeatures.fit(maps(8, seed=9), rate=2.0)
    with pytest.raises(PacketError):
        other.decode(parts, 2, (8, 12, 12), "float16")


def test_misuse(map_codec: FastFeatures) -> None:
    values = maps(2)
    for group in ([], [values[0], values[1][:, :5]], [values[0], values[1].astype(np.float32)], [values[0][:4]]):
        with pytest.raises(UsageError):
            map_codec.encode(group)
    with pytest.raises(UsageError):
        map_codec.encode([values[0].astype(np.int32)])
    with pytest.raises(UsageError):
        map_codec.decode([b""], 1, (8, 12, 12), "int8")
    with pytest.raises(UsageError):
        map_codec.decode([b""], 1 << 40, (8, 12, 12), "float16")
    with pytest.raises(UsageError):
        map_codec.decode([b""], 1, (8, 12, 12), "no such dtype")


@pytest.mark.parametrize("goal", [{"rate": 1.0, "error": 0.1}, {"rate": -1.0}, {"max_error": math.inf}, {"step": 0.0}])
def test_impossible_goals(goal: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        FastFeatures.fit(maps(2), **goal)


def test_impossible_samples() -> None:
    for samples in ([], [np.zeros((0, 4), np.float32)], [np.full((3, 4), np.nan, np.float32)], [np.zeros((3, 4), int)]):
        with pytest.raises(UsageError):
            FastFeatures.fit(samples)
    with pytest.raises(UsageError, match="channel"):
        FastFeatures.fit([np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float32)])


def profile_arrays() -> list[tuple[str, np.ndarray | None]]:
    return [
        ("format", np.array([9, 0], np.int32)),
        ("format", np.array([1, 99], np.int32)),
        ("format", None),
        ("max_error", np.array([-1.0])),
        ("max_error", np.array([np.nan])),
        ("transform.mean", np.zeros(7, np.float32)),
        ("transform.mean", np.full(48, np.inf, np.float32)),
        ("transform.pivot", np.zeros(16, np.uint16)),
        ("transform.reflector", np.zeros((48, 2), np.int8)),
        ("transform.scale", None),
        ("transform.quantiser", np.array([0.0, 0.5])),
        ("transform.quantiser", np.array([1.0, 0.7])),
        ("transform.quantiser", np.array([np.nan, 0.5])),
        ("transform.shift", np.full(3, 9, np.float32)),
        ("contexts.bias", np.zeros(47, np.uint16)),
        ("contexts.tables.size", np.zeros(3, np.int32)),
        ("levels.bias", np.zeros(47, np.uint16)),
        ("levels.cap", None),
    ]


@pytest.mark.parametrize(("name", "value"), profile_arrays())
def test_damaged_profiles(token_codec: FastFeatures, name: str, value: np.ndarray | None) -> None:
    stored = token_codec.to_arrays()
    assert name in stored
    if value is None:
        del stored[name]
    else:
        stored[name] = value
    with pytest.raises(SmaltoError):
        FastFeatures.from_arrays(stored)
