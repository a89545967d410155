"""The loop: it learns, stops, saves, resumes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from smalto.errors import TrainingError
from smalto.train.loop import Budget, train
from smalto.train.run import Objective
from tests.train.small import pictures, small_run


def _budget(tmp_path: Path, **changes: object) -> Budget:
    base = Budget(pictures(tmp_path / "data"), tmp_path / "run", minutes=5.0, device="cpu", max_steps=4)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_slice_leaves_checkpoint_log_and_sample(tmp_path: Path) -> None:
    said: list[str] = []
    progress = train(small_run(), _budget(tmp_path), said.append)
    assert progress.step == 4
    assert (tmp_path / "run" / "checkpoint" / "state.json").is_file()
    assert list((tmp_path / "run" / "samples").glob("*.png"))


def test_resume_goes_on_where_it_stopped(tmp_path: Path) -> None:
    train(small_run(), _budget(tmp_path), print_nothing)
    progress = train(small_run(), _budget(tmp_path, resume="checkpoint", max_steps=3), print_nothing)
    assert progress.step == 7
    assert progress.seconds > 0


def test_the_log_holds_loss_rate_and_psnr(tmp_path: Path) -> None:
    said: list[str] = []
    train(small_run(), _budget(tmp_path, max_steps=100), said.append)
    with (tmp_path / "run" / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["100"]
    assert {"loss", "bpp", "psnr_db"} <= set(rows[0])
    assert len(said) == 1
    assert "psnr_db" in said[0]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    run = small_run()
    train(run, _budget(tmp_path, max_steps=300), print_nothing)
    with (tmp_path / "run" / "log.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < losses[0]


def test_a_time_budget_of_nothing_still_saves(tmp_path: Path) -> None:
    progress = train(small_run(), _budget(tmp_path, minutes=1e-9, max_steps=None), print_nothing)
    assert progress.step == 1
    assert (tmp_path / "run" / "checkpoint" / "state.json").is_file()


def test_resume_without_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no checkpoint here"):
        train(small_run(), _budget(tmp_path, resume="checkpoint"), print_nothing)


def test_equal_seeds_give_equal_first_losses(tmp_path: Path) -> None:
    torch.manual_seed(5)
    train(small_run(), _budget(tmp_path, folder=tmp_path / "a", max_steps=100), print_nothing)
    train(small_run(), _budget(tmp_path, folder=tmp_path / "b", max_steps=100), print_nothing)
    first, second = ((tmp_path / name / "log.csv").read_text().splitlines()[1].split(",") for name in ("a", "b"))
    assert float(first[2]) == pytest.approx(float(second[2]), rel=1e-3)


def print_nothing(line: str) -> None:
    """A reporter that keeps still."""


def test_rates_are_measured_on_large_crops(tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    def publish(objective: Objective, batches: Iterator[torch.Tensor], folder: Path) -> None:
        seen.append(tuple(next(batches).shape))

    budget = _budget(tmp_path, data=pictures(tmp_path / "large", side=200), max_steps=1)
    train(replace(small_run(), publish=publish), budget, print_nothing)
    assert seen == [(2, 3, 192, 192)]
