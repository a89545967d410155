"""Costs of networks: published multiply-adds, times where they are wanted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smalto.bench import space_costs
from smalto.bench.space_costs import PAPER_GMAC, CostPart, CostSettings, cost_parts, cost_table, counted
from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError
from smalto.heads.denoise import LightDenoiser
from smalto.systems.engine import Engine

ENGINE = Engine.on("cpu", torch.float32)
PARTS = {part.name: part for part in cost_parts()}


def test_every_network_is_there() -> None:
    sizes = [
        f"{task} {size} on {kind}" for task in ("segment", "stereo") for size in "SML" for kind in ("planes", "pixels")
    ]
    assert sorted(PARTS) == sorted(
        ["encoder", "decoder", "denoise, exact head", "denoise, light head", "DnCNN on pixels", *sizes]
    )


@pytest.mark.parametrize(("name", "height"), [("encoder", 720), ("encoder", 1080), ("segment L on planes", 720)])
def test_printed_figures_are_the_papers(name: str, height: int) -> None:
    counts = counted(PARTS[name], height, height * 16 // 9)
    assert round(counts.printed / 1e9, 2) == PAPER_GMAC[name, height]
    assert counts.parameters == {"encoder": 754_304, "segment L on planes": 36_937_651}[name]
    if name == "encoder":
        assert counts.computed / 1e9 == pytest.approx({720: 72.902, 1080: 164.030}[height], abs=6e-4)


def _layers() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 2, 2, stride=2), nn.AvgPool2d(2))


def test_layers_are_counted_by_both_conventions() -> None:
    printed, computed = 64 * 3 * 4 + 4 * 4 * 64 + 256 * 4 * 2 * 4 + 2 * 64, 64 * 3 * 4 + 64 * 4 * 4 * 2
    assert counted(CostPart("layers", _layers, False), 8, 8) == (printed, computed, 16 + 8 + 34)


def test_the_table_times_what_is_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (CostPart("encoder", SharedEncoder, False), CostPart("light", LightDenoiser, True, is_large=True))
    monkeypatch.setattr(space_costs, "cost_parts", lambda: parts)
    table = cost_table(CostSettings(ENGINE, ((16, 24), (32, 32)), 1, quick=True))
    assert table.column("size") == ("24x16", "24x16", "32x32", "32x32")
    taken = table.column("milliseconds")
    assert taken[0] > 0  # type: ignore[operator]
    assert taken[1] is None
    monkeypatch.setitem(space_costs.PAPER_SECONDS, ("encoder", 16), 0.5)
    assert cost_table(CostSettings(ENGINE, ((16, 24),), 1)).column("paper_a100_ms")[0] == 500.0


@pytest.mark.parametrize(("sizes", "rounds"), [(((10, 16),), 1), (((16, 16),), 0)])
def test_what_cannot_be_timed(sizes: tuple[tuple[int, int], ...], rounds: int) -> None:
    with pytest.raises(UsageError, match="multiples of 4"):
        CostSettings(ENGINE, sizes, rounds)
