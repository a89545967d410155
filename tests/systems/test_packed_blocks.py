"""Blocks of packed sets: which samples are decoded together, for every way an array can be cut."""

from __future__ import annotations

import numpy as np
import pytest

from smalto import FeatureCodec
from smalto.systems.feature_codec import decode_features
from smalto.systems.feature_sets import SetCoder
from smalto.systems.packed_features import PackedFeatures
from tests.systems.packed_examples import BOUND, SAMPLE, decoded, maps, packed


def test_rows_longer_than_a_slice_and_samples_cut_into_pieces() -> None:
    whole = maps(12, 5).reshape(2, 6, *SAMPLE)
    features = PackedFeatures(packed({"": whole}, slice_samples=4))
    assert features.blocks == (range(1), range(1, 2))
    assert np.abs(np.stack(list(features)).astype(float) - whole).max() <= BOUND
    tall = maps(40, 6).transpose(1, 0, 2, 3).reshape(8, 360, 9)
    for array in (tall, np.stack([tall, tall])):
        blob = packed({"": np.ascontiguousarray(array)}, slice_samples=4)
        features = PackedFeatures(blob)
        assert np.array_equal(np.stack(list(features)), decoded(blob)["0"])


def test_rows_of_an_array_that_is_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings (N, D) that were fitted as one sample of N tokens: a block is a run of rows, not the whole array."""
    generator = np.random.default_rng(8)
    table = np.cumsum(generator.normal(size=(900, 24)), axis=0).astype(np.float32)
    codec = FeatureCodec.fit([table], max_error=0.5)
    blob = packed({"": table}, slice_samples=4, codec=codec)
    whole = decoded(blob)["0"]
    features = PackedFeatures(blob, num_cached=1)
    assert features.blocks == tuple(range(start, min(start + 108, 900)) for start in range(0, 900, 108))
    monkeypatch.setattr(SetCoder, "array", None)
    assert features[250].shape == (24,)
    for order in (range(900), generator.permutation(900)[:20].tolist()):
        assert np.array_equal(np.stack(features.samples(order)), whole[list(order)])
    assert np.array_equal(features.rows(100, 700), whole[100:700])


def test_maps_of_one_sample_are_decoded_whole() -> None:
    tall = np.random.default_rng(9).normal(size=(8, 60, 60)).astype(np.float32)
    blob = packed({"": tall}, slice_samples=4)
    assert PackedFeatures(blob).blocks == (range(8),)
    assert np.array_equal(np.stack(list(PackedFeatures(blob))), decoded(blob)["0"])
    vector = np.random.default_rng(9).normal(size=5000).astype(np.float32)
    blob = FeatureCodec.fit([vector], max_error=0.5).encode(vector, embed=True)
    assert np.array_equal(PackedFeatures(blob).rows(10, 4000), np.asarray(decode_features(blob))[10:4000])
    assert len(PackedFeatures(packed({"": np.empty((0, 8, 9, 9), np.float16)}))) == 0


def test_many_small_arrays() -> None:
    arrays = {f"picture {number}": maps(1, number)[0] for number in range(17)}
    blob = packed(arrays)
    features = PackedFeatures(blob, num_cached=1)
    assert len(features) == 17
    assert features.blocks == (range(7), range(7, 14), range(14, 17))
    whole = decoded(blob)
    for number in (16, 3, 0, 9, 10):
        assert np.array_equal(features[number], whole[f"picture {number}"])
    assert np.array_equal(features.rows(5, 9), np.stack(list(whole.values())[5:9]))
    assert np.array_equal(features["picture 8"], whole["picture 8"])
