"""Held-out pictures: their loss, and the weights at which it was lowest."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from smalto.data.crops import Crops
from smalto.train.checkpoint import BEST, load_weights, read_weights_facts, save_weights
from smalto.train.log import append_row, is_first_process
from smalto.train.run import Objective, Run, Validation, to_unit_range

_FIRST_BATCH = 30_000_000


class Validator:
    """Measures averaged weights on pictures held out of training and keeps the best of them.

    A round always sees the same crops with the same quality levels and noise, so that losses compare.

    Args:
        run: gives the size of batches, and what validation is.
        crops: of the pictures held out.
        device: of the networks.
        folder: the run's; ``validation.csv`` and ``best/`` are written there.
        epoch_steps: steps between two rounds where the run does not say.
    """

    def __init__(self, run: Run, crops: Crops, device: torch.device, folder: Path, epoch_steps: int) -> None:
        self._options = run.validation or Validation()
        self._crops = crops
        self._batch_size = run.batch_size
        self._device = device
        self._folder = folder
        self.interval_steps = self._options.interval_steps or epoch_steps
        self.best_loss = float("inf")
        self._best: dict[str, Tensor] | None = None  # on the CPU, None when best/ holds them
        self._best_step = 0

    def resume(self) -> None:
        """Go on from what ``best/`` holds, if it is there."""
        facts = read_weights_facts(self._folder / BEST)
        if facts is not None:
            self.best_loss, self._best_step = float(facts["loss"]), int(facts["step"])

    def is_due(self, step: int) -> bool:
        """Whether a round follows this step."""
        return step % self.interval_steps == 0

    def measure(self, average: Objective, step: int, learning_rate: float) -> float:
        """The mean loss of the held-out crops; weights that lower it are kept."""
        loss = _agreed(self._loss(average), self._device)
        is_best = loss < self.best_loss
        if is_best:
            self.best_loss, self._best_step = loss, step
            self._best = {
                name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                for name, value in average.state_dict().items()
            }
        if is_first_process():
            row = {"step": step, "learning_rate": f"{learning_rate:.4g}", "validation_loss": f"{loss:.6g}"}
            append_row(self._folder / "validation.csv", {**row, "is_best": int(is_best)})
        return loss

    def save(self) -> None:
        """Write the best weights, unless they are written already."""
        if self._best is not None:
            save_weights(self._folder / BEST, self._best, {"loss": self.best_loss, "step": self._best_step})
            self._best = None

    def load_best(self, average: Objective) -> None:
        """Fill an objective with the best weights; it stays as it is when no round gave a finite loss."""
        self.save()
        if read_weights_facts(self._folder / BEST) is not None:
            load_weights(self._folder / BEST, average)

    @torch.no_grad()
    def _loss(self, average: Objective) -> float:
        devices = [self._device] if self._device.type == "cuda" else []
        total = 0.0
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(0)
            for number in range(self._options.num_batches):
                pixels = torch.from_numpy(self._crops.batch(_FIRST_BATCH + number, self._batch_size))
                batch = to_unit_range(pixels.to(self._device))
                with torch.autocast(self._device.type, torch.bfloat16, enabled=has_bfloat16(self._device)):
                    total += float(average(batch).loss)
        return total / self._options.num_batches


def has_bfloat16(device: torch.device) -> bool:
    """Whether networks train in bfloat16 on a device."""
    from smalto.systems.engine import fast_dtype

    return fast_dtype(device) == torch.bfloat16


def _agreed(loss: float, device: torch.device) -> float:
    """The first process' loss, in all of them."""
    if not torch.distributed.is_initialized():
        return loss
    shared = torch.tensor([loss], dtype=torch.float64, device=device)
    torch.distributed.broadcast(shared, 0)
    return float(shared)
