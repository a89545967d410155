"""Rates and task loss: exact planes lose nothing, coded ones what is counted by hand, verdicts in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from smalto.bench.results import Table
from smalto.bench.space_rates import (
    RateSettings,
    coded_pictures,
    png_bytes,
    rate_tables,
    verdict_table,
)
from smalto.errors import UsageError
from smalto.heads.segment import SIZES as SEGMENT_SIZES
from smalto.heads.segment import SegmenterConfig
from smalto.measure.classical import AVIF
from smalto.systems.system import System
from smalto.types import Image
from tests.bench.space_systems import space_system
from tests.data.labelled_trees import camvid_tree
from tests.data.stereo_trees import scaled_pair
from tests.tiny_models import scene


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SEGMENT_SIZES, "s", SegmenterConfig(8, 2, 3, 6, 8))
        yield space_system()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "kodak").mkdir()
    for number in range(2):
        Image(scene(48, 64, number)).save(tmp_path / "kodak" / f"{number}.png")
    camvid_tree(tmp_path / "camvid")
    scaled_pair(tmp_path / "middlebury" / "a", 32, 48)
    return tmp_path


def test_a_picture_in_every_coding(system: System) -> None:
    pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
    picture = Image(scene(48, 64))
    coded = list(coded_pictures(system, picture, (0.0, 100.0)))
    assert [(one.coding, one.quality) for one in coded] == [
        ("PNG", "-"), ("neural-space", "0"), ("AVIF", "0"), ("neural-space", "100"), ("AVIF", "100"),
    ]  # fmt: skip
    assert coded[0].num_bytes == png_bytes(picture.pixels)
    shown = system.run("reconstruct", coded[0].latent).pixels
    assert np.abs(shown.astype(int) - picture.pixels).max() <= 1
    least = len(AVIF.encode(picture.pixels, 0))
    for ours, avif in (coded[1:3], coded[3:5]):
        assert avif.num_bytes <= max(ours.num_bytes, least)


def test_exact_planes_lose_nothing_and_every_task_has_its_rows(system: System, data: Path) -> None:
    seen: list[str] = []
    settings = RateSettings(data / "kodak", data / "camvid", data / "middlebury", (50.0,), count=1)
    tables = rate_tables(system, settings, lambda done, total, what: seen.append(f"{done}/{total} {what}"))
    rates, losses, verdicts = tables
    assert [row[0] for row in rates.rows][:2] == ["PNG", "neural-space"]
    png = dict(zip(rates.columns, rates.rows[0], strict=True))
    assert (png["z_b_error"], png["z_t_error"], png["larger_than_png"]) == (0.0, 0.0, 0)
    assert png["bpp"] == png["png_bpp"]
    ours = dict(zip(rates.columns, rates.rows[1], strict=True))
    assert ours["z_b_error"] > 0  # type: ignore[operator]
    held = {(row[0], row[1]): row[3:] for row in losses.rows}
    assert {task for task, _ in held} == {"denoise", "segment", "depth"}
    assert held["denoise", "PNG"][1:] == (held["denoise", "PNG"][2],) * 2 + (0.0, 100.0)
    assert held["segment", "PNG"][4] == 100.0
    assert held["depth", "PNG"][4] == 0.0
    assert held["denoise", "neural-space"][4] < 100.0
    assert {row[1] for row in verdicts.rows if row[0] == "neural-space"} == {
        "denoise", "segment", "depth", "all of them",
    }  # fmt: skip
    assert seen == ["1/1 0.png", "1/1 denoise 0.png", "1/1 segment 0005", "1/1 depth a"]


def test_what_is_not_there_is_left_out(system: System, data: Path) -> None:
    tables = rate_tables(system, RateSettings(data / "kodak", qualities=(50.0,), count=1))
    assert set(tables[1].column("task")) == {"denoise"}
    with pytest.raises(UsageError, match="at least one quality"):
        RateSettings(data, qualities=())


def _losses(*rows: tuple[str, str, str, float, float | None]) -> Table:
    columns = ("task", "coding", "quality", "bpp", "score", "exact_score", "loss_percent", "difference")
    return Table("task loss", columns, tuple((*row[:4], 1.0, 1.0, row[4], 0.0) for row in rows))


def test_verdicts_in_words() -> None:
    losses = _losses(
        ("denoise", "PNG", "-", 15.0, 0.0),
        ("denoise", "ours", "20", 0.5, 3.0),
        ("denoise", "ours", "60", 1.5, 0.5),
        ("denoise", "ours", "100", 3.0, 0.1),
        ("depth", "ours", "20", 0.6, 0.2),
        ("depth", "ours", "60", 1.7, 2.0),
        ("depth", "ours", "100", 3.5, 0.9),
        ("denoise", "AVIF", "20", 0.5, 4.0),
        ("denoise", "AVIF", "60", 1.5, None),
        ("depth", "AVIF", "20", 0.5, 0.0),
        ("depth", "AVIF", "60", 1.5, -0.5),
    )
    found = {(row[0], row[1]): row[2:] for row in verdict_table(losses).rows}
    assert found["ours", "denoise"] == ("60", 1.5, "under 1 % from 1.50 bpp")
    assert found["ours", "depth"] == ("100", 3.5, "under 1 % from 3.50 bpp: the price is above the aim")
    assert found["ours", "all of them"][:2] == ("100", 3.25)
    assert found["AVIF", "denoise"][2].startswith("not under 1 %")  # type: ignore[union-attr]
    assert found["AVIF", "depth"] == ("20", 0.5, "under 1 % from 0.50 bpp")
    assert ("PNG", "denoise") not in found
