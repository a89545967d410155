"""The transform's tables on sources of known distributions; its report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench import feature_learned, features
from smalto.bench.feature_learned import Networks
from smalto.bench.feature_transform import PAPER, TransformSettings, bench_transform
from smalto.bench.results import BenchResult, Table
from smalto.codecs.index_planes import freeze_index_planes
from smalto.errors import MissingSpace, UsageError
from tests.bench.feature_maps import MapSource
from tests.codecs.test_index_planes import tiny

SCALES = {"squeezenet": 1.0, "minilm": 40.0}


@pytest.fixture
def result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BenchResult:
    monkeypatch.setattr(features, "feature_source", lambda name, data: MapSource(name, 20, SCALES[name]))

    def missing(tier: str) -> None:
        raise MissingSpace("none")

    monkeypatch.setattr(feature_learned, "installed_codec", missing)
    return bench_transform(TransformSettings(tmp_path, tuple(SCALES), count=6))


def cells(table: Table, number: int) -> dict[str, object]:
    return dict(zip(table.columns, table.rows[number], strict=True))


def test_scaled_features_are_one_after_the_transform(result: BenchResult) -> None:
    pair = cells(result.table("divergence"), 0)
    assert (pair["first"], pair["second"]) == ("squeezenet maps", "minilm maps")
    assert float(pair["before"]) > 1 > float(pair["after"])  # type: ignore[arg-type]
    assert len(result.table("divergence").rows) == 2 + len(PAPER)
    summary = cells(result.table("divergence_summary"), 1)
    assert (summary["which"], summary["pairs"], summary["falls_in_percent"]) == ("pairs of two models", 2, 100)
    paper = cells(result.table("divergence_summary"), 2)
    assert (paper["mean_before"], paper["mean_after"]) == pytest.approx((10.655, 0.867), abs=0.001)


def test_nearest_is_better_than_floor(result: BenchResult) -> None:
    for number in range(2):
        row = cells(result.table("assignment"), number)
        assert 2 < float(row["floor_over_nearest"]) <= float(row["the_same_in_range"]) < 6  # type: ignore[arg-type]
        assert float(row["floor_ppm"]) / float(row["nearest_ppm"]) == pytest.approx(row["floor_over_nearest"])  # type: ignore[arg-type]
        assert 0 <= float(row["values_outside_ppm"]) < 5000  # type: ignore[arg-type]
        assert row["at_least_3"] == ("yes" if float(row["floor_over_nearest"]) >= 3 else "no")  # type: ignore[arg-type]


def test_curves_hold_what_the_figure_shows(result: BenchResult) -> None:
    curves = result.table("curves")
    rows = [row for row in curves.rows if row[0] == "minilm maps"]
    assert [row[1] for row in rows] == list(range(256))
    _, _, low, share, level, width, index_share = (np.array(column) for column in zip(*rows, strict=True))
    assert share.sum() == pytest.approx(1, abs=1e-4)
    assert index_share.sum() == pytest.approx(1, abs=1e-4)
    assert (np.diff(level.astype(float)) > 0).all()
    assert (width.astype(float) > 0).all()
    reach = max(low[-1] + low[1] - low[0], level[-1]) - min(low[0], level[0])
    assert width.astype(float).sum() == pytest.approx(reach, rel=1e-3)


def test_networks_are_looked_into(result: BenchResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "active_latents" not in {table.name for table in result.tables}
    network = freeze_index_planes(tiny())
    monkeypatch.setattr(feature_learned, "codec_of_file", lambda path: network)
    settings = TransformSettings(tmp_path, ("minilm",), count=3, networks=Networks(Path("planes.safetensors")))
    found = bench_transform(settings)
    row = cells(found.table("active_latents"), 0)
    assert row["values"] == 3 * 6 * 20 * 20
    assert 0 < float(row["channels_after_percent"]) <= 100  # type: ignore[arg-type]
    assert found.command.endswith("--count 3 --network planes.safetensors")
    assert "divergence" not in {table.name for table in found.tables}  # one layer has no pairs


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    for wrong in ({"count": 0}, {"quality": 256}):
        with pytest.raises(UsageError):
            TransformSettings(tmp_path, **wrong)
