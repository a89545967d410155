"""Checkpoints: small, in pieces, whole or not there."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from smalto.errors import TrainingError
from smalto.train import checkpoint
from smalto.train.checkpoint import (
    Progress,
    load_average,
    load_checkpoint,
    load_weights,
    read_progress,
    read_weights_facts,
    save_checkpoint,
    save_weights,
)
from smalto.train.recipes import build
from smalto.train.soap import Soap

PROGRESS = Progress("small", 12, 34.5, {"seed": 1})


def _trained() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 3))
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad()
        network(torch.randn(8, 40)).square().mean().backward()
        optimiser.step()
    return network, average, optimiser


def test_everything_comes_back_at_its_precision(tmp_path: Path) -> None:
    network, average, optimiser = _trained()
    save_checkpoint(tmp_path / "checkpoint", PROGRESS, network, average, optimiser)
    fresh, fresh_average, fresh_optimiser = _trained()
    for parameter in (*fresh.parameters(), *fresh_average.parameters()):
        nn.init.zeros_(parameter)
    fresh_optimiser = torch.optim.AdamW(fresh.parameters(), lr=1e-2)
    progress = load_checkpoint(tmp_path / "checkpoint", fresh, fresh_average, fresh_optimiser)
    assert progress == PROGRESS
    for before, after in zip(network.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-6)
        moments, restored = optimiser.state[before], fresh_optimiser.state[after]
        assert float(restored["step"]) == float(moments["step"])
        torch.testing.assert_close(restored["exp_avg"], moments["exp_avg"], rtol=1e-2, atol=1e-8)
        torch.testing.assert_close(restored["exp_avg_sq"], moments["exp_avg_sq"], rtol=1e-2, atol=1e-12)
    for before, after in zip(average.parameters(), fresh_average.parameters(), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-3)


def test_pieces_stay_under_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", 5000)
    network, average, optimiser = _trained()
    save_checkpoint(tmp_path / "checkpoint", PROGRESS, network, average, optimiser)
    pieces = sorted((tmp_path / "checkpoint").glob("piece-*.safetensors"))
    assert len(pieces) > 2
    load_checkpoint(tmp_path / "checkpoint", network, average, optimiser)


@pytest.mark.parametrize("name", ["image-codec", "fixed-lambda-mse", "fixed-lambda-ms-ssim"])
def test_the_lite_codec_fits_forty_mebibytes(name: str) -> None:
    run = build(name, {})
    with torch.device("meta"):
        count = sum(p.numel() for p in run.objective().parameters())
    num_bytes = {"soap": 3, "adam": 7}[run.optimisation.method]  # weight, average; Adam's moments besides
    assert count <= 10_000_000
    assert num_bytes * count <= 40 * 2**20


def test_another_optimiser_leaves_moments_alone(tmp_path: Path) -> None:
    network, average, optimiser = _trained()
    save_checkpoint(tmp_path / "checkpoint", PROGRESS, network, average, optimiser)
    soap = Soap(network.parameters())
    load_checkpoint(tmp_path / "checkpoint", network, average, soap)
    assert not soap.state
    before = sum(piece.stat().st_size for piece in (tmp_path / "checkpoint").iterdir())
    save_checkpoint(tmp_path / "checkpoint", PROGRESS, network, average, soap)
    assert sum(piece.stat().st_size for piece in (tmp_path / "checkpoint").iterdir()) < 0.7 * before


def test_the_old_checkpoint_serves_when_the_new_one_is_not_whole(tmp_path: Path) -> None:
    network, average, optimiser = _trained()
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, PROGRESS, network, average, optimiser)
    folder.rename(tmp_path / "checkpoint.old")
    assert read_progress(folder) == PROGRESS


def test_the_schedule_comes_back_and_old_checkpoints_have_none(tmp_path: Path) -> None:
    network, average, optimiser = _trained()
    folder = tmp_path / "checkpoint"
    progress = replace(PROGRESS, schedule={"share": 0.1, "best_loss": None, "bad_rounds": 3})
    save_checkpoint(folder, progress, network, average, optimiser)
    assert read_progress(folder) == progress
    state = json.loads((folder / "state.json").read_text())
    del state["schedule"]
    (folder / "state.json").write_text(json.dumps(state))
    assert load_checkpoint(folder, network, average, optimiser) == PROGRESS


def test_averages_alone_come_back(tmp_path: Path) -> None:
    network, average, optimiser = _trained()
    save_checkpoint(tmp_path / "checkpoint", PROGRESS, network, average, optimiser)
    fresh = copy.deepcopy(network)
    assert load_average(tmp_path / "checkpoint", fresh) == PROGRESS
    for before, after in zip(average.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-2, atol=1e-3)


def test_weights_come_back_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PIECE_BYTES", 5000)
    network, average, _ = _trained()
    assert read_weights_facts(tmp_path / "best") is None
    save_weights(tmp_path / "best", network.state_dict(), {"loss": 0.25, "step": 7})
    facts = read_weights_facts(tmp_path / "best")
    assert facts is not None
    assert (facts["loss"], facts["step"]) == (0.25, 7)
    load_weights(tmp_path / "best", average)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), average.parameters(), strict=True))
    with pytest.raises(TrainingError, match="not weights of this recipe"):
        load_weights(tmp_path / "best", nn.Linear(2, 2))


def test_damage_is_named(tmp_path: Path) -> None:
    network, average, optimiser = _trained()
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, PROGRESS, network, average, optimiser)
    (folder / "piece-000.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(TrainingError, match=r"piece-000\.safetensors"):
        load_checkpoint(folder, network, average, optimiser)
    save_checkpoint(folder, PROGRESS, network, average, optimiser)
    with pytest.raises(TrainingError, match="not a checkpoint of this recipe"):
        load_checkpoint(folder, nn.Linear(2, 2), nn.Linear(2, 2), optimiser)
