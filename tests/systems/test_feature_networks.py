"""The learned tiers around a codec of random weights: goals, bytes, exact values, wrong networks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from smalto.bits.packet_parts import CodecNumber
from smalto.codecs.elic_planes import ElicPlaneConfig, freeze_elic_planes
from smalto.codecs.index_planes import FrozenPlaneCodec, freeze_index_planes
from smalto.errors import MissingSpace, PacketError, UsageError, WeightsError
from smalto.systems import feature_networks
from smalto.systems.feature_codec import FeatureCodec
from smalto.systems.feature_networks import LearnedTier, codec_of_file, fit_learned, measure
from smalto.systems.feature_tiers import FitGoal, joined, split
from smalto.weights.store import write_arrays
from tests.codecs.test_index_planes import TINY, tiny
from tests.tiny_elic import tiny_elic_planes
from tests.weights.installed import use_folder


@pytest.fixture(scope="module")
def codec():  # type: ignore[no-untyped-def]
    return freeze_index_planes(tiny())


def tokens(num: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.laplace(size=(32, 48)).astype(np.float32) for _ in range(num)]


def test_arrays_there_and_back(codec) -> None:  # type: ignore[no-untyped-def]
    tier = LearnedTier(fit_learned("hyperprior", tokens(4), "float32", FitGoal(), codec), codec)
    arrays = tokens(3, 1)
    arrays[0][3, 4], arrays[2][0, 0] = np.nan, -np.inf
    part = tier.encode(arrays, "float32")
    back = tier.decode(part, 3, (32, 48), "float32")
    assert [array.shape for array in back] == [(32, 48)] * 3
    assert np.isnan(back[0][3, 4])
    assert back[2][0, 0] == -np.inf
    assert sum(int((~np.isfinite(array)).sum()) for array in back) == 2
    empty = np.empty((0, 48), np.float16)
    assert tier.decode(tier.encode([empty], "float16"), 1, (0, 48), "float16")[0].shape == (0, 48)


def test_goals_choose_the_quality(codec) -> None:  # type: ignore[no-untyped-def]
    samples = tokens(3)
    top = measure(
        LearnedTier(fit_learned("hyperprior", samples, "float32", FitGoal(rate=99.0), codec), codec), samples, "float32"
    )
    qualities = []
    for rate in (0.7 * top[0], 0.9 * top[0]):
        tier = LearnedTier(fit_learned("hyperprior", samples, "float32", FitGoal(rate=rate), codec), codec)
        assert measure(tier, samples, "float32")[0] <= rate
        qualities.append(tier.quality)
    assert 0 < qualities[0] < qualities[1] < 255
    with pytest.raises(UsageError, match="cannot promise"):
        fit_learned("hyperprior", samples, "float32", FitGoal(max_error=0.1), codec)


def test_damage_is_named(codec) -> None:  # type: ignore[no-untyped-def]
    tier = LearnedTier(fit_learned("hyperprior", tokens(2), "float32", FitGoal(), codec), codec)
    part = tier.encode(tokens(1, 2), "float32")
    frames = split(part)
    for broken in (
        b"",
        part[:-1],
        joined(frames[:1]),
        joined([frames[0], frames[1], frames[2][:-2]]),
        joined(frames * 2),
    ):
        with pytest.raises(PacketError):
            tier.decode(broken, 1, (32, 48), "float32")


def test_networks_are_told_apart(codec, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    profile = fit_learned("hyperprior", tokens(2), "float32", FitGoal(), codec)
    other = freeze_index_planes(tiny())
    other.synthesis[0].bias.data.add_(1.0)  # type: ignore[union-attr]
    with pytest.raises(MissingSpace, match="fit it again"):
        LearnedTier(profile, other)
    with pytest.raises(MissingSpace, match="use tier fast"):
        FeatureCodec.fit(tokens(2), tier="elic")
    monkeypatch.setattr(feature_networks, "installed_codec", lambda tier, network=None: codec)
    fitted = FeatureCodec.fit(tokens(2), tier="hyperprior")
    back = fitted.decode(fitted.encode(tokens(1)[0], embed=True))
    assert back.shape == (32, 48)  # type: ignore[union-attr]
    assert TINY.filters == 8


def test_weights_of_another_tier_or_of_none_are_named(codec, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    profile = fit_learned("hyperprior", tokens(2), "float32", FitGoal(), codec)
    with pytest.raises(MissingSpace, match="another tier's"):
        LearnedTier(replace(profile, tier="elic"), codec)
    write_arrays(tmp_path / "other.safetensors", {"weight": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match="not those of a feature codec"):
        codec_of_file(tmp_path / "other.safetensors")
    write_arrays(tmp_path / "elic.safetensors", {"configuration": ElicPlaneConfig().to_array()})
    with pytest.raises(WeightsError, match="not those of a feature codec"):
        codec_of_file(tmp_path / "elic.safetensors")


def test_a_profile_finds_its_network_among_the_installed(
    codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # type: ignore[no-untyped-def]
) -> None:  # fmt: skip
    newer = freeze_index_planes(tiny())
    newer.synthesis[0].bias.data.add_(1.0)  # type: ignore[union-attr]
    _install(tmp_path, {"planes-9": codec, "planes-10": newer, "aside": freeze_elic_planes(tiny_elic_planes())})
    use_folder(monkeypatch, tmp_path)
    monkeypatch.setattr(feature_networks, "HYPERPRIOR", TINY)
    fitted = FeatureCodec.fit(tokens(2), tier="hyperprior")
    assert fitted.profile.facts["network"] == newer.digest.hex()
    old = FeatureCodec(fit_learned("hyperprior", tokens(2), "float32", FitGoal(), codec))
    assert old.tier.codec.digest == codec.digest  # type: ignore[attr-defined]
    array = tokens(1, 3)[0]
    expected = LearnedTier(old.profile, codec)
    (held,) = expected.decode(expected.encode([array], "float32"), 1, (32, 48), "float32")
    assert np.array_equal(old.decode(old.encode(array)), held)  # type: ignore[arg-type]
    assert FeatureCodec.fit(tokens(2), tier="elic").tier.number == CodecNumber.ELIC
    _install(tmp_path, {"planes-10": newer})
    with pytest.raises(MissingSpace, match=rf"network {codec.digest.hex()} .*{newer.digest.hex()} \(planes-10\)"):
        FeatureCodec(old.profile)


def _install(folder: Path, codecs: dict[str, FrozenPlaneCodec]) -> None:
    """Weights of feature codecs as an installation has them."""
    index: dict[str, Any] = {"default": "none", "systems": {}, "feature_codecs": {}}
    for name, network in codecs.items():
        arrays = {**network.decode_arrays(), **network.encode_arrays()}
        tier = "elic" if isinstance(network.config, ElicPlaneConfig) else "hyperprior"
        if isinstance(network.config, ElicPlaneConfig):
            arrays["configuration"] = network.config.to_array()
        path = folder / f"{name}.safetensors"
        entry = {"name": path.name, "sha256": write_arrays(path, arrays), "num_bytes": 1, "num_parameters": 1}
        index["feature_codecs"][name] = {
            "tier": tier,
            "codec_digest": network.digest.hex(),
            "files": {feature_networks.PARTS[tier]: entry},
        }
    (folder / "index.json").write_text(json.dumps(index))
