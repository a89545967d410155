"""Times in turns, and the table of denoising: known ratios, work by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import nn

from smalto.bench.denoising_speed import BASELINE
from smalto.bench.space_speed import (
    SpaceSpeedSettings,
    multiply_adds,
    seconds_in_turns,
    shapes_only,
    space_speed_table,
)
from smalto.errors import UsageError
from smalto.systems.engine import Engine

ENGINE = Engine.on("cpu", torch.float32)


def test_parts_take_turns_after_one_round_to_warm_up() -> None:
    called: list[str] = []
    parts = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    taken = seconds_in_turns(parts, 3, ENGINE)
    assert called == ["a", "b"] * 4
    assert {name: seconds.shape for name, seconds in taken.items()} == {"a": (3,), "b": (3,)}
    slept = seconds_in_turns({"slow": lambda: time.sleep(0.01)}, 1, ENGINE)
    assert float(slept["slow"][0]) >= 0.01


def test_multiply_adds_by_hand() -> None:
    with shapes_only():
        down, up = nn.Conv2d(3, 8, 3, padding=1), nn.ConvTranspose2d(8, 2, 4, stride=2, padding=1)
        x = torch.empty(1, 3, 10, 12)
        assert multiply_adds(lambda: down(x)) == 120 * 27 * 8
        assert multiply_adds(lambda: up(down(x))) == 120 * 27 * 8 + 120 * 16 * 8 * 2  # over the input
        rows = torch.empty(5, 7)
        assert multiply_adds(lambda: rows @ rows.T) == 5 * 7 * 5


def test_the_table_has_medians_and_the_ratio_of_multiply_adds() -> None:
    table = space_speed_table(SpaceSpeedSettings(ENGINE, 16, 2))
    fewer = dict(zip(table.column("part"), table.column("fewer_multiply_adds"), strict=True))
    faster = dict(zip(table.column("part"), table.column("times_faster_than_dncnn"), strict=True))
    assert faster[BASELINE] == fewer[BASELINE] == fewer["folded DnCNN"] == 1.0
    assert round(float(fewer["exact head"]), 2) == 5.03  # type: ignore[arg-type]
    assert round(float(fewer["light head"]), 2) == 7.79  # type: ignore[arg-type]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert all(row["low"] <= row["times_faster_than_dncnn"] <= row["high"] for row in rows)
    assert np.isfinite([row["milliseconds"] for row in rows]).all()


@pytest.mark.parametrize(("side", "rounds"), [(0, 1), (18, 1), (16, 0)])
def test_what_cannot_be_timed(side: int, rounds: int) -> None:
    with pytest.raises(UsageError, match="multiple of 4"):
        SpaceSpeedSettings(ENGINE, side, rounds)
