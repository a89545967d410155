"""What a training run is: an objective, its data, its schedule."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from smalto.data.batches import BatchSource
from smalto.data.crops import CropConfig
from smalto.errors import UsageError


@dataclass(frozen=True)
class StepResult:
    """What one batch gives.

    Args:
        loss: scalar, differentiable.
        measures: figures for the log by name (``bpp``, ``psnr_db``, ...), detached scalars.
    """

    loss: Tensor
    measures: Mapping[str, Tensor]


class Objective(nn.Module, abc.ABC):
    """Networks together with the loss they are trained by."""

    @abc.abstractmethod
    def start(self, batches: Iterator[Tensor]) -> None:
        """Initialise a cold start from a few batches (B, 3, S, S) in [0, 1]."""

    @abc.abstractmethod
    def forward(self, batch: Tensor) -> StepResult:
        """The loss of a batch (B, 3, S, S) in [0, 1]."""

    @abc.abstractmethod
    def preview(self, batch: Tensor) -> Tensor:
        """A picture (3, H, W) in [0, 1] that shows a person how far training is."""

    @abc.abstractmethod
    def load_installed(self, system: str) -> None:
        """Start from the weights of an installed system.

        Raises:
            UsageError: there is no such system.
        """


@dataclass(frozen=True)
class Plateau:
    """When the rate falls by the ``plateau`` schedule.

    Source: PyTorch's ReduceLROnPlateau, whose defaults these are. DT-UFC, section 5.2: from 1e-4 to 1e-8, then 20
    epochs more.

    Args:
        factor: the rate is multiplied by this.
        patience: rounds of validation without a lower loss that are waited for before it falls.
        threshold: a loss counts as lower when it is so by this share.
        floor: the rate falls no further than this.
        last_rounds: rounds at the floor, after which training ends.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    floor: float = 1e-8
    last_rounds: int = 20


@dataclass(frozen=True)
class Validation:
    """Pictures held out of training, whose loss says which weights are the best.

    Args:
        every: each so-manieth picture is held out, at least one.
        interval_steps: steps between two rounds; None is an epoch, as many crops as cover the training pictures once,
            but no fewer than 100 steps.
        num_batches: batches of crops in a round, always the same ones.
    """

    every: int = 16
    interval_steps: int | None = None
    num_batches: int = 8


@dataclass(frozen=True)
class Optimisation:
    """How weights are updated.

    Args:
        learning_rate: peak rate.
        method: ``adam``, or ``soap`` (see ``smalto.train.soap``).
        slow_names: parameters whose name contains one of these learn ``slow_factor`` times as fast.
        slow_factor: see above.
        betas: decay of the gradient's average and of its square's.
        clip_norm: largest norm of the gradient.
        warmup_steps: linear rise at the start of every slice.
        final_factor: the rate falls along a cosine to this share of its peak at the end of the time budget.
        ema_decay: of the averaged weights, which are the ones that ship.
        schedule: ``cosine`` over the time budget of the slice, or ``plateau``, which needs a run with validation.
        plateau: how the plateau schedule falls; it knows no slices.
    """

    learning_rate: float = 1e-3
    method: Literal["adam", "soap"] = "adam"
    slow_names: tuple[str, ...] = ()
    slow_factor: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    warmup_steps: int = 300
    final_factor: float = 0.02
    ema_decay: float = 0.999
    schedule: Literal["cosine", "plateau"] = "cosine"
    plateau: Plateau = field(default_factory=Plateau)


@dataclass(frozen=True)
class Run:
    """A frozen description of a training run; what a recipe returns.

    Args:
        name: of the recipe.
        objective: builds the networks and their loss.
        crops: how training crops are drawn.
        batch_size: crops a step and device.
        optimisation: see there.
        validation: which pictures are held out; their loss chooses the weights that ship. None trains on all of them.
        publish: writes the weights that ship from a trained objective into a folder.
        settings: the recipe's arguments, for the record.
        source: opens data that is not plain pictures, from (--data, a file for its cache, ``crops``); its batches
            (B, C, S, S) then carry more than colours. None is crops of pictures. Not together with ``validation``.
    """

    name: str
    objective: Callable[[], Objective]
    crops: CropConfig
    batch_size: int = 8
    optimisation: Optimisation = field(default_factory=Optimisation)
    validation: Validation | None = None
    publish: Callable[[Objective, Iterator[Tensor], Path], None] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    source: Callable[[Path, Path, CropConfig], BatchSource] | None = None

    def __post_init__(self) -> None:
        if self.source is not None and self.validation is not None:
            raise UsageError(f"recipe {self.name}: only pictures can be held out; give the run no validation")
        if self.optimisation.schedule == "plateau" and self.validation is None:
            raise UsageError(f"recipe {self.name}: schedule plateau needs pictures held out; give the run a validation")

    @property
    def pixels_a_step(self) -> int:
        """Pixels that one process sees a step."""
        return self.batch_size * self.crops.size_px**2


def to_unit_range(crops: Tensor) -> Tensor:
    """uint8 (B, C, S, S) -> float32 in [0, 1], channels last."""
    return crops.to(memory_format=torch.channels_last).float().div_(255.0)
