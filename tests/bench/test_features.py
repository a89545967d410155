"""Rate against task: every codec's bytes, errors and scores, on a small source of known answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from smalto.bench import features
from smalto.bench.feature_sources import FeatureItem
from smalto.bench.features import FeatureSettings, RatePoint, equal_table, measure
from smalto.bench.peers.feature_codecs import QUANTISERS, packed_bytes
from smalto.bench.results import BenchResult

CLASSES = 6


class _Source:
    """Maps whose strongest channel is the class."""

    name = "squeezenet"
    layers = ("maps",)
    metric = "top-1"

    def fit_items(self, count: int) -> Iterator[FeatureItem]:
        yield from self._draw(1000, count)

    def items(self, count: int | None = None) -> Iterator[FeatureItem]:
        yield from self._draw(0, count or 30)

    def _draw(self, first: int, count: int) -> Iterator[FeatureItem]:
        for seed in range(first, first + count):
            maps = np.maximum(np.random.default_rng(seed).normal(size=(CLASSES, 6, 6)), 0).astype(np.float32)
            maps[seed % CLASSES] += 0.5
            yield FeatureItem(str(seed), {"maps": maps})

    def answer(self, key: str, layer: str, feature: np.ndarray) -> np.ndarray:
        return feature.mean(axis=(1, 2))

    def score(self, answers: Mapping[str, np.ndarray]) -> float:
        return float(np.mean([int(key) % CLASSES == logits.argmax() for key, logits in answers.items()]))


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BenchResult:
    for package in ("zstandard", "numcodecs", "pcodec"):
        pytest.importorskip(package, reason=f"{package} is a peer of the benchmark (extra bench)")
    monkeypatch.setenv("SMALTO_PROFILES", str(tmp_path))
    monkeypatch.setattr(features, "feature_source", lambda name, data: _Source())
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


def test_equal_accuracy_takes_the_fewest_bits_that_keep_the_score() -> None:
    def point(codec: str, bits: float, change: float) -> RatePoint:
        return RatePoint("squeezenet", "x", codec, 0.0, bits, 0.0, 0.6 + change, change, 1.0)

    table = equal_table(
        [
            point("smalto fast", 0.5, 0.0),
            point("smalto fast", 0.2, -0.1),
            point("zstd", 1.0, -0.004),
            point("zstd", 2.0, 0.0),
            point("bad", 0.1, -0.3),
        ]
    )
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["codec"], row["bits_per_value"]) for row in rows] == [("smalto fast", 0.5), ("zstd", 1.0)]
    assert rows[1]["smalto_fast_saves_percent"] == pytest.approx(50)


@pytest.mark.parametrize("name", QUANTISERS)
def test_quantisers_restore_what_they_store(name: str) -> None:
    values = np.random.default_rng(0).normal(size=(4, 7, 7)).astype(np.float32)
    settings = {"uniform": 0.01, "int8 per channel": 8.0}
    quantised = QUANTISERS[name](values, settings.get(name, 16.0))
    assert quantised.restored.dtype == np.float32
    assert np.abs(quantised.restored - values).max() < {"float8": 0.2, "float16": 0.002}.get(name, 0.02)
    assert packed_bytes([quantised] * 2, bytes) == 2 * (quantised.stored.nbytes + quantised.side_bytes)
