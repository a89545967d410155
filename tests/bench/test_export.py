"""Sizes, times and the accuracy that int8 costs, on a miniature system and drawn pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as PilImages

from smalto.bench.export import ExportSettings, bench_export, export_text, source_networks
from smalto.bench.miniature import miniature_system, scene
from smalto.errors import UsageError
from smalto.export.device_networks import system_networks
from tests.export.onnx_examples import need_onnx


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(4):
        PilImages.fromarray(scene(64, 96, number)).save(tmp_path / f"{number}.png")
    return tmp_path


def test_every_table_of_a_small_system(pictures: Path) -> None:
    need_onnx()
    networks = system_networks(miniature_system())
    settings = ExportSettings(pictures, num_pieces=3, side_px=64, size_px=(48, 64), rounds=2)
    result = bench_export(networks, settings)
    files = result.table("files")
    assert files.column("network") == ("encoder", "decoder")
    assert all(isinstance(size, int) and size > 1000 for size in files.column("float_bytes"))
    assert all(isinstance(snr, float) and 0 < snr < 60 for snr in files.column("all_int8_snr_db"))
    times = result.table("times")
    for column in ("onnx_float32_ms", "torch_float32_ms", "torch_bfloat16_ms"):
        assert all(isinstance(cell, float) and cell > 0 for cell in times.column(column))
    costs = result.table("accuracy")
    for answer, before, after, cost in zip(*map(costs.column, ("answer", "float", "int8", "cost")), strict=True):
        assert answer == "reconstruct"
        assert before - after == pytest.approx(cost)  # type: ignore[operator]
    has_int8 = [size is not None for size in files.column("int8_bytes")]
    assert bool(costs.rows) == any(has_int8)
    assert [cell is not None for cell in times.column("onnx_int8_ms")] == has_int8
    text = export_text(result)
    assert all(f"## {name}" in text for name in ("files", "accuracy", "times"))


def test_what_cannot_be_measured_is_refused(pictures: Path) -> None:
    networks = system_networks(miniature_system())
    with pytest.raises(UsageError, match="has no 'encoder' to export"):
        bench_export(networks[1:], ExportSettings(pictures))
    for path in sorted(pictures.glob("*.png"))[1:]:
        path.unlink()
    with pytest.raises(UsageError, match="one picture cannot calibrate and judge"):
        bench_export(networks, ExportSettings(pictures))


def test_sources_are_systems_or_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no system is called 'nowhere-9'"):
        source_networks("nowhere-9", None, None)
    with pytest.raises(UsageError, match="go with the folder of a neural-space run"):
        source_networks("lite-0", "run", None)
    with pytest.raises(UsageError, match=r"no space\.safetensors inside"):
        source_networks(str(tmp_path), None, None)
