"""What sharing an encoding saves: break-even by hand, sums in every order, all measured once in miniature."""

from __future__ import annotations

import pytest
import torch

from smalto.bench.space_sharing import (
    ENCODER,
    LARGE,
    NOT_REACHED,
    STORED,
    SharingCosts,
    SourceCost,
    TaskCost,
    bench_sharing,
    break_even,
    sharing_tables,
    spent,
)
from smalto.heads.segment import SIZES as SEGMENT_SIZES
from smalto.heads.segment import SegmenterConfig
from smalto.heads.stereo import SIZES as STEREO_SIZES
from smalto.systems.engine import Engine
from smalto.types import Image
from tests.bench.space_systems import TINY_STEREO, space_system
from tests.tiny_models import scene

DENOISE, SEGMENT, DEPTH = TaskCost("denoise", 1.0, 5.0), TaskCost("segment", 3.0, 3.5), TaskCost("depth", 4.0, 4.0, 2)
SOURCE = SourceCost(ENCODER, 3.0)


@pytest.mark.parametrize(
    ("source", "tasks", "expected"),
    [
        (SOURCE, [DENOISE], 1),  # 3 + 1 < 5
        (SOURCE, [SEGMENT], 7),  # 3 + 7 x 3 < 7 x 3.5, and 3 + 6 x 3 = 6 x 3.5
        (SOURCE, [DEPTH], None),
        (SOURCE, [TaskCost("worse", 2.0, 1.0)], None),
        (SOURCE, [DENOISE, SEGMENT, DEPTH], 2),  # two views: 6 + 2 x 8 < 2 x 12.5
        (SourceCost(STORED, 1.0, 2.0), [DEPTH], 1),  # planes are there sooner than pixels
    ],
)
def test_break_even_by_hand(source: SourceCost, tasks: list[TaskCost], expected: int | None) -> None:
    assert break_even(source, tasks) == expected
    for rounds in (1, 2, 3, 6, 7, 8):
        on_planes, on_pixels = spent(source, tasks * rounds)
        assert (on_planes < on_pixels) == (expected is not None and rounds >= expected)


def test_tables_by_hand() -> None:
    tasks = (DENOISE, SEGMENT, DEPTH)
    costs = SharingCosts((SOURCE,), tasks, SOURCE, tasks, 0.25)
    tables = {table.name: table for table in sharing_tables(costs, "settings")}
    sums = {row[0]: row[1:] for row in tables["shared encoding"].rows}
    assert sums["denoise + segment + depth from the encoder"] == (14.0, 12.5, 1.5)
    assert sums["denoise + segment from the encoder"] == (7.0, 8.5, -1.5)
    orders = tables["orders"].rows
    assert len({row[1] for row in orders}) == 6
    assert all(row[-2:] == (14.0, 12.5) for row in orders)
    assert (ENCODER, "depth, denoise, segment", 10.0, 4.0, 11.0, 9.0, 14.0, 12.5) in orders
    copies = {row[1]: row[2:] for row in tables["copies"].rows}
    assert copies["denoise"][0] == 4 / 5
    assert copies["depth"][-1] > 1
    verdicts = {row[1]: row[2:] for row in tables["break even"].rows}
    assert verdicts["denoise"] == (3.0, 4.0, "1", "1")
    assert verdicts["depth"] == (6.0, 0.0, NOT_REACHED, NOT_REACHED)
    assert verdicts["the mean of denoise, segment, depth"] == (6.0, 1.5, "6", "6")


def test_everything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEGMENT_SIZES, "s", SegmenterConfig(8, 2, 3, 6, 8))
    monkeypatch.setitem(SEGMENT_SIZES, "l", SegmenterConfig(8, 1, 1, 6, 8, is_large=True))
    monkeypatch.setitem(STEREO_SIZES, "S", TINY_STEREO)
    engine = Engine.on("cpu", torch.float32)
    stored = (space_system(), Image(scene(32, 48)))
    tables = {table.name: table for table in bench_sharing(engine, (32, 48), 1, stored)}
    rows = tables["break even"].rows
    assert [row[0] for row in rows] == [ENCODER] * 6 + [STORED] * 6
    assert LARGE in {row[1] for row in rows}
    assert {row[5] for row in rows[6:]} == {None}
    parts = {row[0]: row[1:] for row in tables["shared encoding"].rows}
    assert parts["a view from a stored file"][0] > 0
    assert parts["a view from a stored file"][1] > 0
    few = bench_sharing(engine, (32, 48), 1, with_large=False)
    assert LARGE not in few[3].column("task")
