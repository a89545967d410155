"""The transform's report: files, tables, a figure with a row a layer."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image as Pil

from smalto.bench.feature_transform_report import plot, save_report, to_markdown
from smalto.bench.results import BenchResult, Table, bench_result

COLUMNS = ("layer", "index", "bin_low", "bin_share", "level", "interval_width", "index_share")


def curves(num_layers: int, num_levels: int = 256) -> Table:
    rows = []
    for layer in range(num_layers):
        for k in range(256):
            fitted = (k / 9, 1 / 9) if k < num_levels else (None, None)
            rows.append((f"model {layer}", k, k / 9, 1 / 256, *fitted, 1 / 256))
    return Table("curves", COLUMNS, tuple(rows))


def result(num_layers: int = 2) -> BenchResult:
    assignment = Table("assignment", ("layer", "nearest_ppm"), (("model 0", 0.125),), "256 levels.")
    return bench_result("features-transform", "smalto bench features --transform", [assignment, curves(num_layers)], ())


def test_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs it (extra bench)")
    paths = save_report(result(), tmp_path / "report")
    assert [path.name for path in paths] == [f"feature-transform.{kind}" for kind in ("png", "json", "md")]
    assert BenchResult.from_json(paths[1].read_text()).table("assignment").rows == (("model 0", 0.125),)
    text = paths[2].read_text()
    assert "(feature-transform.png)" in text
    assert "| 0.12 |" in text
    assert "bin_share" not in text  # the figure shows it
    assert "png" not in to_markdown(result())


def test_figure_grows_with_layers() -> None:
    pytest.importorskip("matplotlib", reason="the plot needs it (extra bench)")
    one, three = (Pil.open(BytesIO(plot(curves(number)))).size for number in (1, 3))
    assert one[0] == three[0]
    assert three[1] > 2 * one[1]
    assert Pil.open(BytesIO(plot(curves(1, num_levels=5)))).size == one  # a layer of few values
