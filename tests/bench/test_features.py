"""Rate against task: every codec's bytes, errors and scores, on a small source of known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench import features
from smalto.bench.feature_layers import HeldLayer
from smalto.bench.features import FeatureSettings, measure
from smalto.bench.peers.feature_codecs import QUANTISERS, packed_bytes
from smalto.bench.results import BenchResult
from smalto.errors import UsageError
from tests.bench.feature_maps import MapSource


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BenchResult:
    for package in ("zstandard", "numcodecs", "pcodec"):
        pytest.importorskip(package, reason=f"{package} is a peer of the benchmark (extra bench)")
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path))
    monkeypatch.setattr(features, "feature_source", lambda name, data: MapSource())
    return measure(FeatureSettings(tmp_path, sources=("squeezenet",), count=12, errors=(0.001, 0.05, 0.6)))


def test_every_codec_is_measured(result: BenchResult) -> None:
    rows = [dict(zip(result.table("points").columns, row, strict=True)) for row in result.table("points").rows]
    codecs = {str(row["codec"]) for row in rows}
    assert {"smalto fast", "float16+zstd-19", "float8+pcodec", "uniform+bitshuffle+zstd"} <= codecs
    ours = [row for row in rows if row["codec"] == "smalto fast"]
    bits, errors = ([row[name] for row in ours] for name in ("bits_per_value", "nmse"))
    assert bits == sorted(bits, reverse=True)
    assert errors == sorted(errors)
    assert errors[0] < 0.003
    half = next(row for row in rows if row["codec"] == "float16+zstd-19")
    assert (half["score_change"], half["agreement"]) == (0.0, 1.0)
    assert half["nmse"] < 1e-6


def test_original_accuracy_has_no_interval(result: BenchResult) -> None:
    rows = [dict(zip(result.table("points").columns, row, strict=True)) for row in result.table("points").rows]
    half = next(row for row in rows if row["codec"] == "float16+zstd-19")
    ends = ("score_change_low", "score_change_high", "agreement_low", "agreement_high")
    assert [half[end] for end in ends] == [0, 0, 1, 1]
    worst = min(rows, key=lambda row: row["agreement"])
    assert worst["score_change_low"] <= worst["score_change"] <= worst["score_change_high"]
    assert worst["agreement_low"] < worst["agreement"] < 1
    assert {row[0] for row in result.table("summary").rows} == {"score", "agreement"}


def test_rates_of_peers_may_come_from_fewer_inputs() -> None:
    for package in ("zstandard", "numcodecs", "pcodec"):
        pytest.importorskip(package, reason=f"{package} is a peer of the benchmark (extra bench)")
    held = HeldLayer(MapSource(), "maps", 9)
    few, whole = list(features.peers(held, 3)), list(features.peers(held))
    assert [(a.codec, a.setting, a.score, a.nmse) for a in few] == [
        (a.codec, a.setting, a.score, a.nmse) for a in whole
    ]
    assert all(a.bits_per_value == pytest.approx(b.bits_per_value, rel=0.1) for a, b in zip(few, whole, strict=True))
    third = list(features.peers(HeldLayer(MapSource(), "maps", 1)))
    assert [a.bits_per_value for a in features.peers(held, 1)] == [b.bits_per_value for b in third]


def test_settings_say_their_command(tmp_path: Path) -> None:
    assert FeatureSettings(tmp_path, ("minilm",)).command() == (
        "smalto bench features --data DATA --sources minilm --count 100"
    )
    settings = FeatureSettings(tmp_path, ("minilm",), ("layer.2",), 5, ("fast", "hyperprior"), qualities=(9,))
    assert settings.command().endswith("--layers layer.2 --tiers fast,hyperprior --qualities 9")
    for wrong in ({"count": 0}, {"tiers": ("slow",)}, {"qualities": (256,)}, {"packed_inputs": -1}):
        with pytest.raises(UsageError, match="--"):
            FeatureSettings(tmp_path, **wrong)  # type: ignore[arg-type]


def test_unknown_layers_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(features, "feature_source", lambda name, data: MapSource())
    with pytest.raises(UsageError, match="pool9"):
        features.chosen_layers(tmp_path, ("squeezenet",), ("maps", "pool9"))


@pytest.mark.parametrize("name", QUANTISERS)
def test_quantisers_restore_what_they_store(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(4, 7, 7)).astype(np.float32)
    settings = {"uniform": 0.01, "int8 per channel": 8.0}
    quantised = QUANTISERS[name](values, settings.get(name, 16.0))
    assert quantised.restored.dtype == np.float32
    assert np.abs(quantised.restored - values).max() < {"float8": 0.2, "float16": 0.002}.get(name, 0.02)
    assert packed_bytes([quantised] * 2, bytes) == 2 * (quantised.stored.nbytes + quantised.side_bytes)
