"""What a run writes down while it trains: ``log.csv`` and ``validation.csv``."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from smalto.errors import TrainingError

_LOG_STEPS = 100


def is_first_process() -> bool:
    """Whether this process is the one that writes files; see ``torchrun``."""
    return int(os.environ.get("RANK", "0")) == 0


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add a row to a CSV file, with a heading when the file is new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if is_new:
            writer.writerow(row)
        writer.writerow(row.values())


class TrainingLog:
    """Means over the last steps, as CSV and as lines to say."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._sums: dict[str, float] = {}
        self._count = 0
        self._not_finite = 0

    def add(self, step: int, seconds: float, loss: Tensor, norm: Tensor, measures: Mapping[str, Tensor]) -> None:
        """Count one step.

        Raises:
            TrainingError: every loss of the last hundred steps was no finite number.
        """
        row = {"loss": float(loss.detach()), "grad_norm": float(norm), **{k: float(v) for k, v in measures.items()}}
        if all(math.isfinite(value) for value in row.values()):
            for name, value in row.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._count += 1
            self._not_finite = 0
        else:
            self._not_finite += 1
            if self._not_finite >= _LOG_STEPS:
                raise TrainingError(
                    f"step {step}: the loss has not been finite for {_LOG_STEPS} steps; lower learning_rate"
                )
        if step % _LOG_STEPS == 0 and self._count:
            means = {name: total / self._count for name, total in self._sums.items()}
            self._write(step, seconds, means)
            self._sums, self._count = {}, 0

    def _write(self, step: int, seconds: float, means: dict[str, float]) -> None:
        if not is_first_process():
            return
        row = {"step": step, "seconds": f"{seconds:.1f}", **{name: f"{value:.6g}" for name, value in means.items()}}
        append_row(self._path, row)
        self._say(f"step {step}, {seconds / 60:.1f} min: " + ", ".join(f"{k} {v:.4g}" for k, v in means.items()))
