"""Validation: the same loss for the same weights, the best weights kept and found again."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image as Pil
from torch import Tensor

from smalto.data.crops import CropConfig, Crops, cache_pictures
from smalto.errors import UsageError
from smalto.train.checkpoint import load_run, read_progress
from smalto.train.loop import Budget, train
from smalto.train.run import Objective, Optimisation, Plateau, Run, StepResult, Validation
from smalto.train.validation import Validator
from tests.train.small import pictures, small_run

CPU = torch.device("cpu")


def _run(**changes: object) -> Run:
    base = replace(small_run(), validation=Validation(every=3, interval_steps=2, num_batches=2))
    return replace(base, **changes)  # type: ignore[arg-type]


def _validator(run: Run, tmp_path: Path) -> Validator:
    crops = Crops(cache_pictures(pictures(tmp_path / "data"), tmp_path / "cache.u8"), run.crops)
    return Validator(run, crops, CPU, tmp_path / "run", 7)


def _budget(tmp_path: Path, **changes: object) -> Budget:
    base = Budget(pictures(tmp_path / "data"), tmp_path / "run", minutes=5.0, device="cpu", max_steps=8)
    return replace(base, **changes)  # type: ignore[arg-type]


def _rows(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "run" / "validation.csv").open() as stream:
        return list(csv.DictReader(stream))


def _keep_still(line: str) -> None:
    """A reporter that keeps still."""


def test_equal_weights_have_equal_losses_and_the_generator_is_left_alone(tmp_path: Path) -> None:
    run = _run()
    torch.manual_seed(0)
    objective, validator = run.objective(), _validator(run, tmp_path)
    before = torch.get_rng_state()
    first = validator.measure(objective, 2, 1e-3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(9)
    assert validator.measure(objective, 4, 1e-3) == first
    assert [row["is_best"] for row in _rows(tmp_path)] == ["1", "0"]


def test_the_best_weights_are_kept(tmp_path: Path) -> None:
    run = _run()
    torch.manual_seed(0)
    objective, validator = run.objective(), _validator(run, tmp_path)
    best = {name: value.clone() for name, value in objective.state_dict().items()}
    loss = validator.measure(objective, 2, 1e-3)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.mul_(3.0)
    assert validator.measure(objective, 4, 1e-3) > loss
    validator.save()
    again = _validator(run, tmp_path)
    again.resume()
    assert again.best_loss == loss
    again.load_best(objective)
    assert all(torch.equal(value, best[name]) for name, value in objective.state_dict().items())


def test_rounds_come_at_their_interval_or_once_an_epoch(tmp_path: Path) -> None:
    assert [step for step in range(1, 7) if _validator(_run(), tmp_path).is_due(step)] == [2, 4, 6]
    epochs = _validator(_run(validation=Validation(every=3)), tmp_path)
    assert [step for step in range(1, 22) if epochs.is_due(step)] == [7, 14, 21]


class Grey(Objective):
    """Learns one number, the mean of what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor([0.5]))

    def start(self, batches: Iterator[Tensor]) -> None:
        """Nothing."""

    def forward(self, batch: Tensor) -> StepResult:
        """Squared error."""
        return StepResult((self.level - batch.float()).square().mean(), {})

    def preview(self, batch: Tensor) -> Tensor:
        """A grey picture."""
        return self.level.clamp(0, 1).expand(3, 8, 8)

    def load_installed(self, system: str) -> None:
        """Nothing."""


def test_what_is_published_is_the_best_and_not_the_last(tmp_path: Path) -> None:
    """Training pictures are white and the one held out is black: every step makes validation worse."""
    folder = pictures(tmp_path / "data", count=2)
    held = Crops(cache_pictures(folder, tmp_path / "cache.u8"), CropConfig(64)).split(2, CropConfig(64))[1].usable[0]
    for number in range(2):
        Pil.new("RGB", (96, 96), "black" if number == held else "white").save(folder / f"{number}.png")
    published: list[float] = []

    def publish(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
        assert isinstance(objective, Grey)
        published.append(float(objective.level))

    run = _run(
        objective=Grey,
        publish=publish,
        validation=Validation(every=2, interval_steps=2, num_batches=1),
        optimisation=Optimisation(learning_rate=0.05, warmup_steps=0),
    )
    budget = Budget(folder, tmp_path / "run", minutes=5.0, device="cpu", max_steps=8)
    train(run, budget, _keep_still)
    losses = [float(row["validation_loss"]) for row in _rows(tmp_path)]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0]
    assert published[0] ** 2 == pytest.approx(losses[0], rel=1e-3)
    found = Grey()
    assert load_run(tmp_path / "run", found).step == 8
    assert float(found.level.detach()) == published[0]
    train(run, replace(budget, resume="checkpoint", max_steps=2), _keep_still)
    assert published[1] == published[0]


def test_a_plateau_lowers_the_rate_and_resume_keeps_it(tmp_path: Path) -> None:
    flat = Plateau(factor=0.5, patience=1, threshold=0.9, floor=1e-8, last_rounds=5)  # no loss is lower by 90 %
    optimisation = Optimisation(learning_rate=1e-4, warmup_steps=0, schedule="plateau", plateau=flat)
    run = _run(optimisation=optimisation)
    progress = train(run, _budget(tmp_path), _keep_still)
    assert progress.schedule["share"] == 0.5
    assert progress.schedule["bad_rounds"] == 1
    assert read_progress(tmp_path / "run" / "checkpoint").schedule == progress.schedule
    progress = train(run, _budget(tmp_path, resume="checkpoint", max_steps=4), _keep_still)
    assert progress.schedule["share"] == 0.25
    rates = [float(row["learning_rate"]) for row in _rows(tmp_path)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5][: len(rates)])


def test_training_ends_when_the_schedule_is_over(tmp_path: Path) -> None:
    over = Plateau(factor=0.1, patience=0, threshold=0.9, floor=1e-6, last_rounds=2)
    optimisation = Optimisation(learning_rate=1e-4, warmup_steps=0, schedule="plateau", plateau=over)
    progress = train(_run(optimisation=optimisation), _budget(tmp_path, max_steps=100), _keep_still)
    assert progress.step == 2 * (1 + 2 + 2)
    rows = _rows(tmp_path)
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6, 1e-6])


def test_a_slice_shorter_than_a_round_is_still_measured(tmp_path: Path) -> None:
    progress = train(_run(), _budget(tmp_path, max_steps=1), _keep_still)
    assert progress.step == 1
    assert [row["step"] for row in _rows(tmp_path)] == ["1"]
    assert (tmp_path / "run" / "best" / "state.json").is_file()


def test_a_plateau_needs_pictures_held_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs pictures held out"):
        _run(validation=None, optimisation=Optimisation(schedule="plateau"))
    one = pictures(tmp_path / "one", count=1)
    with pytest.raises(UsageError, match="needs two"):
        train(_run(), _budget(tmp_path, data=one), _keep_still)
