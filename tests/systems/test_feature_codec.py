"""FeatureCodec: what goes in comes back in the same form, within the error asked for, whatever its shape and dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from smalto import FeatureCodec
from smalto.bits.array_set_parts import ArraySpec
from smalto.bits.array_set_reader import ArraySetReader
from smalto.bits.array_set_writer import ArraySetWriter
from smalto.data.feature_array import FeatureArray
from smalto.errors import MissingSpace, PacketError, SmaltoError, UsageError
from smalto.systems.feature_codec import choose_samples, decode_features
from smalto.systems.feature_profile import FeatureProfile
from smalto.systems.packed_features import PackedFeatures


def maps(num: int, seed: int = 0, dtype: str = "float16") -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.maximum(generator.normal(size=(8, 9, 9)), 0).astype(dtype) for _ in range(num)]


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of profiles of this test's own."""
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


@pytest.fixture(scope="module")
def codec() -> FeatureCodec:
    return FeatureCodec.fit(maps(6), max_error=0.05)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_come_back_as_they_went(codec: FeatureCodec, dtype: str) -> None:
    array = maps(1, 7, dtype)[0]
    back = codec.decode(codec.encode(array))
    assert isinstance(back, np.ndarray)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.abs(back.astype(float) - array.astype(float)).max() <= 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tensors_come_back_as_tensors(codec: FeatureCodec, dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(maps(1, 8, "float32")[0]).to(dtype)
    back = codec.decode(codec.encode(tensor))
    assert isinstance(back, torch.Tensor)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert float((back.double() - tensor.double()).abs().max()) <= 0.05


def test_mappings_and_sequences_keep_their_form(codec: FeatureCodec) -> None:
    first, second = maps(2, 9)
    named = codec.decode(codec.encode({"layer.3": first, "layer.9": second.astype(np.float32)}))
    assert isinstance(named, dict)
    assert {name: array.dtype.name for name, array in named.items()} == {"layer.3": "float16", "layer.9": "float32"}
    listed = codec.decode(codec.encode([first, second]))
    assert isinstance(listed, list)
    assert [array.shape for array in listed] == [first.shape, second.shape]
    assert np.array_equal(listed[0], named["layer.3"])


def test_values_that_are_no_numbers_stay_what_they_were(codec: FeatureCodec) -> None:
    array = maps(1, 10)[0]
    array[0, 0, 0], array[1, 2, 3], array[7, 8, 8] = np.nan, np.inf, -np.inf
    back = codec.decode(codec.encode(array))
    assert np.array_equal(np.isnan(back), np.isnan(array))
    assert np.array_equal(np.isinf(back) * np.sign(back), np.isinf(array) * np.sign(array), equal_nan=True)


@settings(max_examples=25)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=6),
        elements=st.floats(-100, 100, width=16),
    )
)
def test_any_array_can_be_its_own_sample(array: np.ndarray) -> None:
    codec = FeatureCodec.fit([array], max_error=0.25)
    back = codec.decode(codec.encode(array, embed=True))
    assert back.shape == array.shape
    assert np.abs(back.astype(float) - array.astype(float)).max(initial=0) <= 0.25


def test_layers_of_different_widths_share_a_profile() -> None:
    generator = np.random.default_rng(5)
    layers = {
        "maps": generator.normal(size=(6, 7, 7)).astype(np.float32),
        "wider": generator.normal(size=(12, 7, 7)).astype(np.float16),
        "tokens": generator.normal(size=(50, 7)).astype(np.float64),
        "vector": generator.normal(size=33).astype(np.float32),
    }
    codec = FeatureCodec.fit(layers.values(), max_error=0.1)
    back = codec.decode(codec.encode({**layers, "stack": np.stack([layers["maps"]] * 3)}))
    assert isinstance(back, dict)
    assert back["stack"].shape == (3, 6, 7, 7)
    for name, array in layers.items():
        assert back[name].dtype == array.dtype
        assert np.abs(back[name].astype(float) - array.astype(float)).max() <= 0.1
    with pytest.raises(UsageError, match="no samples had the channels"):
        codec.encode(generator.normal(size=(5, 7, 8)))


def test_large_arrays_are_cut_and_put_together(codec: FeatureCodec) -> None:
    stack = np.stack(maps(3000, 11))  # nearly two million values: two slices
    blob = codec.encode(stack)
    with ArraySetReader.open(blob) as reader:
        assert reader.num_parts(0) == 2
        some = codec.coder(reader).positions(reader, reader.entries[0], 1615, 1625)
    assert np.abs(some.astype(float) - stack[1615:1625]).max() <= 0.05
    codec.num_threads = 2
    try:
        assert np.array_equal(codec.decode(codec.encode(stack)), codec.decode(blob))
    finally:
        codec.num_threads = 1


def test_a_long_table_is_streamed() -> None:
    table = np.random.default_rng(6).normal(size=(40_000, 64)).astype(np.float32)
    codec = FeatureCodec.fit([table[:2000]], max_error=0.5)
    most = 0

    def read(start: int, stop: int) -> np.ndarray:
        nonlocal most
        most = max(most, stop - start)
        return table[start:stop]

    with ArraySetWriter(codec.info(embed=False)) as writer:
        codec.coder().write(writer, [FeatureArray("x", "float32", table.shape, read)])
    assert most == (1 << 20) // 64
    with ArraySetReader.open(writer.data) as reader:
        rows = codec.coder(reader).feature(reader, reader.entries[0])
        assert np.abs(rows.rows(16_000, 17_000) - table[16_000:17_000]).max() <= 0.5
        assert rows.rows(5, 5).shape == (0, 64)
    decoded = codec.decode(writer.data)
    assert isinstance(decoded, dict)
    assert np.abs(decoded["x"] - table).max() <= 0.5


def test_a_sample_too_long_for_a_slice_is_cut_by_rows() -> None:
    generator = np.random.default_rng(3)
    array = generator.normal(size=(16, 300, 260)).astype(np.float32)
    codec = FeatureCodec.fit([array], max_error=0.5, layout="maps")
    blob = codec.encode(array)
    with ArraySetReader.open(blob) as reader:
        assert reader.num_parts(0) == 2
        assert codec.coder(reader).feature(reader, reader.entries[0]).rows(3, 5).shape == (2, 300, 260)
    assert np.abs(codec.decode(blob) - array).max() <= 0.5


def test_profile_inside_beside_or_in_the_users_folder(codec: FeatureCodec, tmp_path: Path, profiles: Path) -> None:
    array = maps(1, 12)[0]
    inside = codec.encode(array, embed=True)
    assert np.array_equal(decode_features(inside), codec.decode(inside))
    outside = codec.encode(array)  # too small a set to carry its profile; a copy is left
    assert len(outside) < len(inside)
    copy = next(profiles.iterdir())
    assert np.array_equal(decode_features(outside), codec.decode(inside))
    (tmp_path / "set.smalto").write_bytes(outside)
    copy.rename(tmp_path / "anything.safetensors")
    assert np.array_equal(decode_features(tmp_path / "set.smalto"), codec.decode(inside))
    (tmp_path / "anything.safetensors").unlink()
    with pytest.raises(MissingSpace, match="name it with -p"):
        decode_features(tmp_path / "set.smalto")
    assert np.array_equal(decode_features(outside, codec.profile), codec.decode(inside))


def test_another_profile_is_refused(codec: FeatureCodec) -> None:
    other = FeatureCodec.fit(maps(4, 99), max_error=0.1)
    with pytest.raises(MissingSpace, match="coded with profile"):
        other.decode(codec.encode(maps(1)[0]))
    with pytest.raises(MissingSpace, match="name the right one"):
        decode_features(codec.encode(maps(1)[0], embed=True), other.profile)


def test_saved_profiles_load(codec: FeatureCodec, tmp_path: Path) -> None:
    codec.save(tmp_path / "a.safetensors")
    again = FeatureCodec.load(tmp_path / "a.safetensors")
    assert again.profile.digest == codec.profile.digest
    array = maps(1, 13)[0]
    assert again.encode(array) == codec.encode(array)


def test_wrong_calls_are_named(codec: FeatureCodec) -> None:
    with pytest.raises(UsageError, match="no samples"):
        FeatureCodec.fit([])
    with pytest.raises(UsageError, match="cannot both"):
        FeatureCodec.fit(maps(2), rate=1.0, error=0.1)
    with pytest.raises(UsageError, match="must be above 0"):
        FeatureCodec.fit(maps(2), max_error=-1.0)
    with pytest.raises(UsageError, match="no tier"):
        FeatureCodec.fit(maps(2), tier="slow")
    with pytest.raises(UsageError, match="int32"):
        codec.encode(np.zeros((8, 9, 9), np.int32))
    with pytest.raises(UsageError, match="channels"):
        codec.encode(np.zeros((4, 9, 9), np.float32))


def test_damaged_sets_are_named(codec: FeatureCodec) -> None:
    blob = codec.encode(maps(3, 14), embed=True)
    generator = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(blob)
        place = int(generator.integers(len(broken)))
        broken[place] ^= 1 << int(generator.integers(8))
        with pytest.raises(SmaltoError):
            decode_features(bytes(broken))
    for length in range(0, len(blob), 37):
        with pytest.raises(PacketError):
            decode_features(blob[:length])


def test_damage_behind_healthy_checksums_is_named(codec: FeatureCodec) -> None:
    """What a tier makes of bytes that no checksum guards: an answer of the right shape, or a named error."""
    part = codec.tier.encode(maps(4, 15), "float16")
    generator = np.random.default_rng(1)
    named = 0
    for _ in range(300):
        broken = bytearray(part)
        for _ in range(int(generator.integers(1, 4))):
            broken[int(generator.integers(len(broken)))] = int(generator.integers(256))
        try:
            arrays = codec.tier.decode(
                bytes(broken[: int(generator.integers(1, len(part) + 1))]), 4, (8, 9, 9), "float16"
            )
            assert [array.shape for array in arrays] == [(8, 9, 9)] * 4
        except SmaltoError:
            named += 1
    assert named > 200


def test_samples_are_spread_and_cut() -> None:
    stack = FeatureArray.of("x", np.arange(40 * 6, dtype=np.float32).reshape(40, 2, 3))
    chosen = choose_samples([stack])
    assert len(chosen) == 10
    assert chosen[1].whole()[0, 0] == 4 * 6
    assert len(choose_samples([stack] * 25)) == 10
    long = FeatureArray.of("x", np.zeros((1 << 20, 8), np.float16))
    assert choose_samples([long])[0].shape == (1 << 19, 8)


def test_profiles_that_are_none_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x08\0\0\0\0\0\0\0{}      ", b"x" * 100):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(SmaltoError, match="profile"):
            FeatureProfile.load(tmp_path / "x.safetensors")
    with pytest.raises(SmaltoError, match="check the path"):
        FeatureProfile.load(tmp_path / "none.safetensors")


def layers(num: int, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Three layers of one width whose values differ in size, place and spread, as keys and values of caches do."""
    rng = np.random.default_rng(7)
    spreads = {
        name: size * np.exp(rng.normal(0, 0.5, 24)) for name, size in (("k", 8.0), ("v", 0.05), ("layer.6", 1.0))
    }
    means = {name: spread * rng.normal(0, 3, 24) for name, spread in spreads.items()}
    rng = np.random.default_rng(seed)
    return {
        name: [(means[name] + spread * rng.normal(size=(40, 24))).astype(np.float32) for _ in range(num)]
        for name, spread in spreads.items()
    }


def _decoded(codec: FeatureCodec, features: Any) -> Any:
    """There and back."""
    return codec.decode(codec.encode(features))


def _relative(array: np.ndarray, back: np.ndarray) -> float:
    """Squared error over the variance around each channel's mean."""
    return float(np.square(back - array).mean() / array.var(0).mean())


def test_layers_of_one_width_have_statistics_of_their_own() -> None:
    codec = FeatureCodec.fit(layers(6), per="layer", error=0.02)
    assert codec.profile.facts["per"] == "layer"
    assert {codec.profile.facts[f"{k}.name"] for k in range(3)} == {"k", "v", "layer.6"}
    again = FeatureCodec(FeatureProfile.from_bytes(codec.profile.to_bytes()))
    arrays = {name: own[0] for name, own in layers(1, 5).items()}
    blob = again.encode(arrays)
    back: Any = codec.decode(blob)
    for name, array in arrays.items():
        assert _relative(array, back[name]) < 0.03
        alone = FeatureCodec.fit(layers(6)[name], error=0.02)
        assert np.array_equal(_decoded(alone, array), back[name])
    shared = FeatureCodec.fit(layers(6), error=0.02)
    assert shared.profile.facts["num_kinds"] == "1"
    lost = _decoded(shared, arrays)["v"]
    assert _relative(arrays["v"], lost) > 0.5


def test_names_are_found_behind_a_slash_and_small_arrays_share_groups_by_layer() -> None:
    codec = FeatureCodec.fit(layers(6), per="layer", error=0.02)
    given = layers(3, 8)
    arrays = {f"file {k}/{name}": own[k] for name, own in given.items() for k in range(3)}
    arrays = {name: arrays[name] for name in sorted(arrays, key=lambda name: name.partition("/")[2])}
    blob = codec.encode(arrays)
    with ArraySetReader.open(blob) as reader:
        assert reader.num_groups == 3
    back: Any = codec.decode(blob)
    assert all(_relative(array, back[name]) < 0.04 for name, array in arrays.items())
    with PackedFeatures(codec.encode(arrays, embed=True)) as features:
        assert np.array_equal(features["file 1/v"], back["file 1/v"])
    mixed = {name: own[0] for name, own in given.items()}
    with ArraySetReader.open(codec.encode(mixed)) as reader:
        assert reader.num_groups == 3


def test_large_arrays_of_layers_are_cut_by_their_own_kind() -> None:
    codec = FeatureCodec.fit(layers(6), per="layer", error=0.02)
    stack = np.stack(layers(1200, 9)["v"])  # over a million values
    blob = codec.encode({"v": stack}, embed=True)
    with ArraySetReader.open(blob) as reader:
        assert reader.num_parts(0) == 2
        rows = codec.coder(reader).feature(reader, reader.entries[0]).rows(1000, 1003)
    assert _relative(stack[1000], rows[0]) < 0.04
    assert np.array_equal(_decoded(codec, {"v": stack})["v"][1000:1003], rows)
    with PackedFeatures(blob) as features:
        assert np.array_equal(features[1001], rows[1])
    table = np.concatenate(layers(1200, 9)["k"])
    packed = codec.encode({"a/k": table}, embed=True)
    with PackedFeatures(packed) as features:
        assert np.array_equal(features.rows(45_000, 45_010), _decoded(codec, {"a/k": table})["a/k"][45_000:45_010])


def test_other_names_go_by_shape_where_that_is_clear() -> None:
    wide = np.random.default_rng(3).normal(size=(40, 48)).astype(np.float32)
    codec = FeatureCodec.fit({**layers(4), "wide": [wide]}, per="layer", error=0.02)
    assert _relative(wide, _decoded(codec, wide)) < 0.04
    narrow = layers(1, 4)["k"][0]
    for unclear in (narrow, {"layer.7": narrow}):
        with pytest.raises(UsageError, match=r"may be of layer k, layer\.6 or v; give it that name"):
            codec.encode(unclear)
    with pytest.raises(UsageError, match="no samples had the channels"):
        codec.encode({"k": wide})


def test_groups_that_mix_layers_are_damage() -> None:
    """Made by a codec that knows no layers, so that arrays of two layers lie in one part."""
    codec = FeatureCodec.fit(layers(4), per="layer", error=0.02)
    own = codec.tier.named("k")
    with ArraySetWriter(codec.info(embed=False)) as writer:
        arrays = [FeatureArray.of(name, layers(1)["k"][0]) for name in ("k", "v")]
        part = own.encode([array.whole() for array in arrays], "float32")
        writer.add_group([ArraySpec("float32", array.shape, array.name) for array in arrays], [part])
    with pytest.raises(PacketError, match="mixes arrays"):
        codec.decode(writer.data)


def test_samples_of_layers_in_other_forms() -> None:
    given = layers(6)
    listed = [FeatureArray.of(name, sample) for name, own in given.items() for sample in own]
    stacked = {name: np.stack(own) for name, own in given.items()}
    tensors = {name: torch.from_numpy(np.stack(own)) for name, own in given.items()}
    digest = FeatureCodec.fit(given, per="layer", error=0.02).profile.digest
    samples: Any
    for samples in (listed, stacked, tensors, {name: FeatureArray.of(name, own[0]) for name, own in given.items()}):
        codec = FeatureCodec.fit(samples, per="layer", error=0.02)
        if not isinstance(samples, dict) or samples is stacked or samples is tensors:
            assert codec.profile.digest == digest
    chosen = choose_samples([FeatureArray.of(name, array) for name, array in stacked.items()], "layer")
    assert [sample.name for sample in chosen] == [name for name in given for _ in range(6)]
    assert [sample.shape for sample in chosen] == [(40, 24)] * 18
    wrong: Any
    for wrong, message in (
        (given["k"], "goes by names"),
        ({"k": 3.0}, "no sequence of samples"),
        ({"k": []}, "no samples"),
    ):
        with pytest.raises(UsageError, match=message):
            FeatureCodec.fit(wrong, per="layer")
    with pytest.raises(UsageError, match="choose model or layer"):
        FeatureCodec.fit(given, per="head")
    with pytest.raises(UsageError, match="one transform for all layers"):
        FeatureCodec.fit(given, tier="hyperprior", per="layer")
