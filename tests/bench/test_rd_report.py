"""A result becomes JSON, CSV, Markdown and a plot; without matplotlib the error names the extra."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image as Pil

from smalto.bench.published import KODAK
from smalto.bench.rate_distortion import Measurement, RdSettings, summarise
from smalto.bench.rd_report import plot, require_plotting, save_report, to_markdown
from smalto.bench.results import BenchResult
from smalto.errors import MissingExtra


@pytest.fixture
def result() -> BenchResult:
    rows = [
        Measurement(codec, "a.png", q, 100, 80, 200 * q + extra, 26.0 + 4 * q / 10, 0.9 + q / 500, 0.1, 0.2)
        for codec, extra in (("smalto", 0), ("jpeg", 300))
        for q in (1, 2, 4, 8)
    ]
    return summarise(rows, RdSettings(Path("kodak")))


def test_markdown_shows_the_tables(result: BenchResult) -> None:
    text = to_markdown(result, plot="rd.png")
    for part in ("smalto bench rd --data kodak", "| jpeg | measured |", "| ELIC | published |", "(rd.png)", "## Mean"):
        assert part in text


def test_files_without_a_plot(result: BenchResult, tmp_path: Path) -> None:
    paths = save_report(result, tmp_path / "new" / "folder", is_plotted=False)
    assert [path.name for path in paths] == ["rd.json", "rd.csv", "rd.md"]
    assert BenchResult.from_json(paths[0].read_text()) == result
    assert len(paths[1].read_text().splitlines()) == 9
    assert "png" not in paths[2].read_text()


def test_the_plot_is_a_picture(result: BenchResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the extra bench")
    assert Pil.open(BytesIO(plot(result))).size == (1320, 594)
    assert plot(result, "svg").startswith(b"<?xml")
    assert save_report(result, tmp_path)[-1].name == "rd.png"


def test_without_matplotlib_the_extra_is_named(
    result: BenchResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"smalto\[bench\]"):
        require_plotting()
    with pytest.raises(MissingExtra):
        save_report(result, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_published_curves_rise_and_have_sources() -> None:
    for curve in KODAK:
        assert curve.source
        assert list(curve.points) == sorted(curve.points)
        assert [psnr for _, psnr in curve.points] == sorted(psnr for _, psnr in curve.points)
    assert len({curve.name for curve in KODAK}) == len(KODAK)
