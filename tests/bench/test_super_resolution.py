"""The upscaling benchmark: halves, tables and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smalto.bench.results import BenchResult
from smalto.bench.super_resolution import UpscaleSettings, bench_upscale, halved, upscale_text
from smalto.errors import UsageError
from smalto.types import Image
from tests.tiny_models import scene, tiny_system


def test_every_quality_has_its_row(tmp_path: Path) -> None:
    Image(scene(65, 81)).save(tmp_path / "a.png")
    Image(scene(64, 48, seed=1)).save(tmp_path / "b.png")
    seen: list[tuple[int, int, str]] = []
    result = bench_upscale(tiny_system(), UpscaleSettings(tmp_path, (20, 80)), lambda *done: seen.append(done))
    table = result.table("upscale")
    assert table.column("quality") == (20, 80)
    low, high = table.column("bpp")
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert 0 < low < high
    assert seen == [(1, 2, "a.png"), (2, 2, "b.png")]
    assert BenchResult.from_json(result.to_json()) == result
    assert upscale_text(result).startswith("# Super-resolution")


def test_halving_keeps_the_mean() -> None:
    picture = Image(scene(40, 60))
    small = halved(picture)
    assert small.pixels.shape == (20, 30, 3)
    assert float(np.mean(small.pixels)) == pytest.approx(float(np.mean(picture.pixels)), abs=1.0)


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures here"):
        bench_upscale(tiny_system(), UpscaleSettings(tmp_path))
    Image(scene(40, 60)).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="does not answer upscale"):
        bench_upscale(tiny_system(upscale=False), UpscaleSettings(tmp_path))
