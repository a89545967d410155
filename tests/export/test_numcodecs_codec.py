"""The numcodecs codec: arrays and buffers, and Zarr arrays of format 2 on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

numcodecs: Any = pytest.importorskip("numcodecs", reason="numcodecs is not installed; it comes with smalto[export]")

from smalto import FeatureCodec  # noqa: E402
from smalto.errors import DamagedPacket, MissingSpace, SmaltoError, UnsupportedVersion, UsageError  # noqa: E402
from smalto.export import chunk_codec  # noqa: E402
from smalto.export.numcodecs_codec import NumcodecsFeatures  # noqa: E402
from tests.export.feature_examples import BOUND, SAMPLE, bounded, stack, worst  # noqa: E402


@pytest.fixture(autouse=True)
def _surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path / "profiles"))
    chunk_codec._coder.cache_clear()
    numcodecs.registry.register_codec(NumcodecsFeatures)  # what the entry point does for an installed package
    yield
    chunk_codec._coder.cache_clear()


@pytest.fixture(scope="module")
def codec() -> NumcodecsFeatures:
    return NumcodecsFeatures.of(bounded())


@settings(max_examples=30)
@given(
    st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    st.integers(1, 10),
    st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]),
    st.sampled_from(["C", "F"]),
)
def test_arrays_come_back_as_they_went(lead: tuple[int, ...], side: int, dtype: str, order: Any) -> None:
    codec = NumcodecsFeatures.of(bounded())
    drawn = np.random.default_rng(side).normal(size=(*lead, 8, side, 9))
    array = np.asarray(drawn, dtype=dtype, order=order)
    back = codec.decode(codec.encode(array))
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.flags.c_contiguous == array.flags.c_contiguous
    assert worst(back, array) <= BOUND
    out = np.empty_like(array)
    assert codec.decode(codec.encode(array), out=out) is out
    assert np.array_equal(out, back)


def test_buffers(codec: NumcodecsFeatures) -> None:
    array = stack(2, 1, "float32")
    coded = codec.encode(array.data)
    assert coded == codec.encode(array)
    expected = codec.decode(coded)
    for buffer in (bytearray(coded), memoryview(coded), np.frombuffer(coded, np.uint8)):
        assert np.array_equal(codec.decode(buffer), expected)
    for out in (bytearray(array.nbytes), np.empty(array.nbytes, np.uint8), memoryview(bytearray(array.nbytes))):
        codec.decode(coded, out=out)
        assert bytes(out) == expected.tobytes()
    strided = np.repeat(array, 2, axis=3)[..., ::2]
    assert codec.encode(strided) == coded
    with pytest.raises(UsageError, match="pass that many"):
        codec.decode(coded, out=bytearray(7))


def test_configuration_is_json_and_back(codec: NumcodecsFeatures) -> None:
    again = numcodecs.get_codec(json.loads(json.dumps(codec.get_config())))
    assert again == codec
    assert "profile inside" in repr(codec)
    assert again != NumcodecsFeatures.of(bounded(), bfloat16=True)
    assert np.array_equal(again.decode(codec.encode(stack(2, 2))), codec.decode(codec.encode(stack(2, 2))))


def test_bfloat16_as_patterns() -> None:
    codec = NumcodecsFeatures.of(bounded(), bfloat16=True)
    patterns = (stack(3, 3, "float32").view(np.uint32) >> 16).astype(np.uint16)
    back = codec.decode(codec.encode(patterns))
    assert (back.dtype, back.shape) == (np.uint16, patterns.shape)
    wide = [(held.astype(np.uint32) << 16).view(np.float32) for held in (back, patterns)]
    assert worst(wide[0], wide[1]) <= BOUND
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    assert codec.encode(patterns.view(types.bfloat16)) == codec.encode(patterns)


def test_what_does_not_fit_is_named(codec: NumcodecsFeatures) -> None:
    for wrong in (b"bytes", np.zeros((2, *SAMPLE), np.int32), np.zeros((7, 9, 9), np.float16), np.float16(1.5)):
        with pytest.raises(UsageError) as caught:
            codec.encode(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnsupportedVersion, match="settings level"):
        numcodecs.get_codec({**codec.get_config(), "level": 1})


def test_damage_is_named(codec: NumcodecsFeatures) -> None:
    coded = codec.encode(stack(2, 4))
    generator = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(coded)
        broken[int(generator.integers(len(coded)))] ^= 1 << int(generator.integers(8))
        with pytest.raises(SmaltoError):
            codec.decode(broken)
    for length in range(len(coded)):
        with pytest.raises(SmaltoError):
            codec.decode(coded[:length])
    with pytest.raises(DamagedPacket, match="checksum"):
        codec.decode(coded + b"x")


def test_another_profile_is_named(codec: NumcodecsFeatures) -> None:
    other = NumcodecsFeatures.of(FeatureCodec.fit(list(stack(3, 5)), max_error=0.2))
    with pytest.raises(MissingSpace, match="was coded with profile"):
        other.decode(codec.encode(stack(1, 6)))


@pytest.mark.parametrize("place", ["compressors", "filters"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_zarr_arrays_of_format_2(tmp_path: Path, place: str, order: str, dtype: str) -> None:
    zarr: Any = pytest.importorskip("zarr", reason="zarr is not installed; it comes with smalto[export]")
    features = stack(30, 7, "float64").astype(dtype)
    codec = NumcodecsFeatures.of(bounded())
    places: dict[str, Any] = {"compressors": None, "filters": None, place: codec if place == "compressors" else [codec]}
    array = zarr.create_array(
        tmp_path / "a", shape=features.shape, chunks=(4, *SAMPLE), dtype=dtype, zarr_format=2, order=order, **places
    )
    array[:22] = features[:22]
    array[22:] = features[22:]
    held = json.loads((tmp_path / "a" / ".zarray").read_text())
    found = held["compressor"] if place == "compressors" else held["filters"][0]
    assert found["id"] == "smalto_features"
    again = zarr.open_array(tmp_path / "a", mode="r", zarr_format=2)
    assert again.dtype == np.dtype(dtype)
    assert worst(again[:20], features[:20]) <= BOUND
    generator = np.random.default_rng(8)
    for _ in range(8):
        start, stop = sorted(generator.integers(0, 20, 2).tolist())
        choice = (slice(start, stop), slice(None), int(generator.integers(9)), slice(None, None, 2))
        assert worst(again[choice], features[choice]) <= BOUND
    rows = generator.permutation(20)[:7]
    assert worst(again.oindex[rows], features[rows]) <= BOUND
    assert worst(again[20:], features[20:]) <= 2 * BOUND  # one chunk was read and coded again
    size = sum(path.stat().st_size for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert size < 0.6 * features.astype(np.float16).nbytes
