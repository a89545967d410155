"""Learned codecs in the benchmark: files of networks that are not installed, the truncated baseline, crossings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench import feature_learned
from smalto.bench.feature_layers import HeldLayer
from smalto.bench.feature_learned import (
    Networks,
    TruncatedPlanes,
    learned_points,
    read_set,
    truncated_points,
    write_set,
)
from smalto.codecs.index_planes import FrozenIndexPlaneCodec, freeze_index_planes
from smalto.codecs.truncation import Truncation
from smalto.data.feature_array import FeatureArray
from smalto.systems import feature_networks
from smalto.systems.feature_codec import FeatureCodec
from smalto.systems.feature_networks import LearnedTier, fit_learned
from smalto.systems.feature_tiers import FitGoal
from tests.bench.feature_maps import MapSource
from tests.codecs.test_index_planes import tiny


@pytest.fixture(scope="module")
def network() -> FrozenIndexPlaneCodec:
    return freeze_index_planes(tiny())


@pytest.fixture
def held() -> HeldLayer:
    return HeldLayer(MapSource(side=16), "maps", 5)


def test_sets_are_those_of_feature_codec(
    network: FrozenIndexPlaneCodec, held: HeldLayer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path))
    arrays = [value.astype(np.float16) for value in held.features.values()]
    profile = fit_learned("hyperprior", arrays, "float16", FitGoal(), network)
    tier = LearnedTier(profile, network)
    blob = write_set(tier, profile, [FeatureArray.of("", array) for array in arrays])
    monkeypatch.setattr(feature_networks, "installed_codec", lambda tier, wanted=None: network)
    codec = FeatureCodec(profile)
    assert len(blob) == len(codec.encode(arrays, embed=False))
    back = list(read_set(tier, blob))
    assert all(np.array_equal(a, b) for a, b in zip(back, codec.decode(blob), strict=True))  # type: ignore[arg-type]


def test_quality_buys_less_error(
    network: FrozenIndexPlaneCodec, held: HeldLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_learned, "codec_of_file", lambda path: network)
    points = list(learned_points(held, "hyperprior", (0, 255), Networks(Path("a"), Path("b"))))
    names = ["smalto hyperprior"] * 2 + ["lloyd-max, network of truncated"] * 2
    assert [(point.codec, point.setting) for point in points] == list(zip(names, (0, 255, 0, 255), strict=True))
    assert points[0].bits_per_value < points[1].bits_per_value
    assert points[0].bits_per_value == points[2].bits_per_value  # here both networks are one
    assert points[0].profile_bytes > 256
    assert len(list(learned_points(held, "hyperprior", (0,), Networks(Path("a"))))) == 1


def test_baseline_through_both_networks(
    network: FrozenIndexPlaneCodec, held: HeldLayer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_learned, "codec_of_file", lambda path: network)
    points = list(truncated_points(held, (255,), Networks(Path("a"), Path("b"))))
    assert [point.codec for point in points][:3] == [
        "truncated 5 deviations, 8 bit, our network",
        "truncated 5 deviations, 8 bit, its network",
        "truncated full range, 8 bit, our network",
    ]
    assert len(points) == 6
    assert all(point.bits_per_value > 0 for point in points)
    assert [point.codec for point in truncated_points(held, (255,), Networks(None, Path("b")))][-1] == (
        "truncated full range, 10 bit, its network"
    )


def test_truncated_planes_keep_shapes_and_order(network: FrozenIndexPlaneCodec) -> None:
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in [(3, 20, 20), (3, 20, 20), (40, 24)]]
    coder = TruncatedPlanes(Truncation.fit(arrays), network)
    codes = list(coder.encode(arrays, 255))
    assert len(codes) == 2
    back = list(coder.decode(codes, arrays))
    assert [array.shape for array in back] == [array.shape for array in arrays]
    assert all(coder.cut.low <= array.min() <= array.max() <= coder.cut.high for array in back)
    alone = list(coder.decode(coder.encode(arrays[2:], 255), arrays[2:]))
    assert np.array_equal(alone[0], back[2])


def test_networks_say_their_options() -> None:
    assert Networks().options() == []
    assert not Networks().are_given
    both = Networks(Path("x/planes.safetensors"), Path("y.safetensors"))
    assert both.options() == ["--network planes.safetensors", "--baseline-network y.safetensors"]
