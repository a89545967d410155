"""The speed benchmark of the transform: its tables, its peers, and what it refuses to time."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from smalto.bench import feature_speed
from smalto.bench.feature_speed import FeatureSpeedSettings, bench_feature_speed, drawn_values, floor_indexes
from smalto.bench.results import BenchResult
from smalto.codecs.float_patterns import FLOAT_DTYPES
from smalto.codecs.lloyd_max import LloydMax
from smalto.errors import SmaltoError, UsageError


@pytest.fixture(scope="module")
def result() -> BenchResult:
    lines: list[str] = []
    result = bench_feature_speed(FeatureSpeedSettings(4000, num_rounds=2, with_kmeans=False), lines.append)
    assert any("forward: peaky, bfloat16" in line for line in lines)
    return result


def test_tables(result: BenchResult) -> None:
    assert result.suite == "features-speed"
    assert result.command == "smalto bench features --speed --values 4000 --rounds 2 --no-kmeans"
    assert result.table("fit").column("dtype") == FLOAT_DTYPES * 2
    assert set(result.table("fit").column("kmeans_s")) == {None}
    assert result.table("inverse").column("dtype") == FLOAT_DTYPES
    for name, column in (("forward", "ns_per_value"), ("inverse", "take_over_ours"), ("copy", "forward_MB_per_s")):
        assert all(isinstance(number, float) and number > 0 for number in result.table(name).column(column))
    for row in result.table("forward").rows:
        assert (row[-1] is None) == (row[1] == "bfloat16")
    assert BenchResult.from_json(result.to_json()) == result


def test_nearest_beats_floor(result: BenchResult) -> None:
    """The same levels and nearly the same bits, at least three times the error."""
    table = result.table("assignment")
    assert all(isinstance(ratio, float) and ratio > 3 for ratio in table.column("floor_over_nearest"))
    for row in table.rows:
        assert row[4] == pytest.approx(row[5], abs=0.2)


def test_kmeans_beside_ours() -> None:
    pytest.importorskip("sklearn.cluster", reason="scikit-learn is optional")
    settings = FeatureSpeedSettings(2000, num_rounds=1, max_iterations=5)
    seconds, mse, num_rounds = feature_speed._kmeans(drawn_values("laplace", 2000), settings)
    assert seconds > 0
    assert 1 <= num_rounds <= 5
    ours = LloydMax.fit(drawn_values("laplace", 2000)).convergence
    assert ours is not None
    assert ours.mse <= mse


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str) -> object:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(feature_speed.importlib, "import_module", absent)
    table = bench_feature_speed(FeatureSpeedSettings(1000, num_rounds=1)).table("fit")
    assert "scikit-learn is not installed; pip install 'smalto[bench]'" in table.note
    assert set(table.column("kmeans_mse")) == {None}


def test_a_wrong_transform_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LloydMax, "inverse", lambda self, indexes, name: np.zeros(len(indexes)))
    with pytest.raises(SmaltoError, match="inverse to float16"):
        bench_feature_speed(FeatureSpeedSettings(1000, num_rounds=1, with_kmeans=False))


def test_floor() -> None:
    levels = np.array([0.0, 1.0, 2.0])
    assert floor_indexes(levels, np.array([-5.0, 0.0, 0.9, 1.0, 1.99, 7.0])).tolist() == [0, 0, 0, 1, 1, 2]


def test_wrong_settings() -> None:
    for wrong in ((10, 7, 300), (1000, 0, 300), (1000, 7, 0)):
        with pytest.raises(UsageError):
            FeatureSpeedSettings(wrong[0], wrong[1], max_iterations=wrong[2])
    with pytest.raises(UsageError, match="uniform"):
        drawn_values("uniform", 1000)
    assert FeatureSpeedSettings().command() == "smalto bench features --speed"
