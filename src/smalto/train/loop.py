"""The training loop: one for every recipe. Read it top to bottom.

Stops at its time budget or when its schedule is over, resumes from a checkpoint or from installed weights, averages
weights, logs to CSV and saves sample pictures. Several devices:
``torchrun --nproc-per-node N -m smalto train RECIPE ...``.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from smalto.data.batches import BatchSource
from smalto.data.crops import CropConfig, Crops, cache_pictures
from smalto.data.photographs import tensor_image
from smalto.train.checkpoint import CHECKPOINT, Progress, load_checkpoint, save_checkpoint
from smalto.train.log import TrainingLog, is_first_process
from smalto.train.plateau import PlateauState
from smalto.train.run import Objective, Optimisation, Run, StepResult, to_unit_range
from smalto.train.soap import Soap
from smalto.train.validation import Validator, has_bfloat16

_RATE_CROP_PX = 512
_LEAST_ROUND_STEPS = 100


@dataclass(frozen=True)
class Budget:
    """Where and for how long a slice of a run trains.

    Args:
        data: folder of pictures, or a packed .tar.
        folder: the run's folder: checkpoint, log, samples, weights.
        minutes: time budget of this slice.
        resume: None starts anew; ``checkpoint`` continues the run in ``folder``; any other word is the name of an
            installed system to start from.
        device: torch device, None for the fastest there is.
        max_steps: stop after this many steps, whatever the time.
        checkpoint_minutes: how often to save.
    """

    data: Path
    folder: Path
    minutes: float
    resume: str | None = None
    device: str | None = None
    max_steps: int | None = None
    checkpoint_minutes: float = 5.0


def train(run: Run, budget: Budget, say: Callable[[str], None]) -> Progress:
    """Train one slice.

    Args:
        run: what a recipe returned.
        budget: data, folder and time.
        say: receives a line of progress now and then.

    Returns:
        How far the run is now. ``folder`` then holds ``checkpoint/``, ``log.csv``, ``samples/`` and, when the recipe
        publishes, ``weights/``; of a run with validation also ``validation.csv`` and ``best/``, the weights of the
        lowest validation loss, which are then the ones published.

    Raises:
        TrainingError: the run cannot resume, or its loss is no number.
    """
    rank, world, device = _devices(budget.device)
    torch.manual_seed(run.crops.seed + 7919 * rank)
    pictures = _pictures(run, budget, rank)
    crops, validator = _with_validation(pictures, run, budget, world, device)
    objective = run.objective().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = _optimiser(objective, run, device)
    average = copy.deepcopy(objective).requires_grad_(False)
    progress = Progress(run.name, 0, 0.0, run.settings)
    if budget.resume is None:
        objective.start(_tensor_batches(crops, run, device, 10_000_000))
        average.load_state_dict(objective.state_dict())
    elif budget.resume == "checkpoint":
        progress = load_checkpoint(budget.folder / CHECKPOINT, objective, average, optimiser)
    else:
        objective.load_installed(budget.resume)
        average.load_state_dict(objective.state_dict())
    parallel = _parallel(objective, world, device)
    batches = crops.batches(run.batch_size, first_step=progress.step * world + rank, depth=4)
    try:
        progress = _slice(
            run, budget, _Networks(objective, parallel, average, optimiser, device, validator), batches, progress, say
        )
    finally:
        batches.close()  # type: ignore[attr-defined]
    if run.publish is not None and rank == 0:
        if validator is not None:
            validator.load_best(average)
        run.publish(average, _large_batches(pictures, run, device), budget.folder / "weights")
        say(f"weights in {budget.folder / 'weights'}")
    return progress


@dataclass(frozen=True)
class _Networks:
    objective: Objective
    parallel: nn.Module
    average: Objective
    optimiser: torch.optim.Optimizer
    device: torch.device
    validator: Validator | None


def _slice(
    run: Run,
    budget: Budget,
    networks: _Networks,
    batches: Iterator[np.ndarray],
    progress: Progress,
    say: Callable[[str], None],
) -> Progress:
    """The loop itself: from ``progress`` until the budget is spent or the schedule is over."""
    options, device, validator = run.optimisation, networks.device, networks.validator
    start, first, step, last_save = time.monotonic(), progress.step, progress.step, time.monotonic()
    plateau = PlateauState.from_mapping(progress.schedule)
    log = TrainingLog(budget.folder / "log.csv", say)
    while True:
        seconds = time.monotonic() - start
        share = min(seconds / (60 * budget.minutes), 1.0)
        _set_learning_rate(networks.optimiser, options, step - first, _falling(options, share, plateau))
        batch = to_unit_range(torch.from_numpy(next(batches)).to(device))
        result, norm = _update(networks, batch, options)
        step += 1
        log.add(step, progress.seconds + seconds, result.loss, norm, result.measures)
        _average(networks.average, networks.objective, min(options.ema_decay, (1 + step) / (10 + step)))
        over = share >= 1.0 or (budget.max_steps is not None and step - first >= budget.max_steps)
        if validator is not None and (over or validator.is_due(step)):
            loss = validator.measure(networks.average, step, networks.optimiser.param_groups[0]["lr"])
            say(f"step {step}: validation loss {loss:.5g}, lowest {validator.best_loss:.5g}")
            if validator.is_due(step) and options.schedule == "plateau":
                plateau = plateau.after(loss, options.plateau, options.learning_rate)
                over = over or plateau.is_over(options.plateau)
        if over or time.monotonic() - last_save > 60 * budget.checkpoint_minutes:
            now = replace(
                progress,
                step=step,
                seconds=progress.seconds + time.monotonic() - start,
                schedule=plateau.to_mapping() if options.schedule == "plateau" else {},
            )
            if is_first_process():
                _save(budget.folder, now, networks, batch)
            last_save = time.monotonic()
            if over:
                return now


def _update(networks: _Networks, batch: Tensor, options: Optimisation) -> tuple[StepResult, Tensor]:
    """One step of the optimiser; the step's result and the norm of its gradient, which must be finite to count."""
    with torch.autocast(networks.device.type, torch.bfloat16, enabled=has_bfloat16(networks.device)):
        result = networks.parallel(batch)
    networks.optimiser.zero_grad(set_to_none=True)
    result.loss.backward()
    norm = nn.utils.clip_grad_norm_(networks.objective.parameters(), options.clip_norm)
    if bool(torch.isfinite(norm)):
        networks.optimiser.step()
    return result, norm


def _save(folder: Path, progress: Progress, networks: _Networks, batch: Tensor) -> None:
    """Best weights, checkpoint and a sample picture."""
    if networks.validator is not None:
        networks.validator.save()
    save_checkpoint(folder / CHECKPOINT, progress, networks.objective, networks.average, networks.optimiser)
    _sample(networks.average, batch, networks.device, folder / "samples" / f"step-{progress.step:07d}.png")


def _pictures(run: Run, budget: Budget, rank: int) -> BatchSource:
    """What batches are drawn from: crops of pictures, or what the run opens instead."""
    cache = budget.folder / f"pictures-{rank}.u8"
    if run.source is not None:
        return run.source(budget.data, cache, run.crops)
    return Crops(cache_pictures(budget.data, cache), run.crops)


def _with_validation(
    pictures: BatchSource, run: Run, budget: Budget, world: int, device: torch.device
) -> tuple[BatchSource, Validator | None]:
    """The crops to train on, and who measures on the others."""
    if run.validation is None or not isinstance(pictures, Crops):
        return pictures, None
    plain = CropConfig(size_px=run.crops.size_px, seed=run.crops.seed, is_flipped=False)
    crops, held = pictures.split(run.validation.every, plain)
    epoch_steps = max(crops.num_pixels // (run.pixels_a_step * world), _LEAST_ROUND_STEPS)
    validator = Validator(run, held, device, budget.folder, epoch_steps)
    if budget.resume == "checkpoint":
        validator.resume()
    return crops, validator


def _optimiser(objective: nn.Module, run: Run, device: torch.device) -> torch.optim.Optimizer:
    options = run.optimisation
    named = [(name, p) for name, p in objective.named_parameters() if p.requires_grad]
    slow = [p for name, p in named if any(part in name for part in options.slow_names)]
    fast = [p for name, p in named if not any(part in name for part in options.slow_names)]
    groups = [{"params": fast, "factor": 1.0}, {"params": slow, "factor": options.slow_factor}]
    groups = [group for group in groups if group["params"]]
    if options.method == "soap":
        return Soap(groups, options.learning_rate, options.betas, is_low_precision=has_bfloat16(device))
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, weight_decay=0.0, fused=True)


def _falling(options: Optimisation, share: float, plateau: PlateauState) -> float:
    """The rate as a share of its peak: a cosine over the time budget of the slice, or the plateau's."""
    if options.schedule == "plateau":
        return plateau.share
    return options.final_factor + (1 - options.final_factor) * 0.5 * (1 + math.cos(math.pi * share))


def _set_learning_rate(optimiser: torch.optim.Optimizer, options: Optimisation, steps: int, falling: float) -> None:
    """Linear warm-up of the slice, times what the schedule says."""
    rate = options.learning_rate * min(1.0, (steps + 1) / max(options.warmup_steps, 1)) * falling
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


@torch.no_grad()
def _average(average: nn.Module, network: nn.Module, decay: float) -> None:
    weights: list[Tensor] = list(average.parameters())
    moving: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(weights, moving, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
    for kept, current in zip(average.modules(), network.modules(), strict=True):
        if isinstance(kept, nn.modules.batchnorm._BatchNorm) and kept.running_mean is not None:
            for name in ("running_mean", "running_var"):
                getattr(kept, name).lerp_(getattr(current, name), 1 - decay)


def _tensor_batches(crops: BatchSource, run: Run, device: torch.device, first: int) -> Iterator[Tensor]:
    step = first
    while True:
        yield to_unit_range(torch.from_numpy(crops.batch(step, run.batch_size)).to(device))
        step += 1


def _large_batches(crops: BatchSource, run: Run, device: torch.device) -> Iterator[Tensor]:
    """Batches for measuring: crops of up to 512 px as the pictures are, neither reduced nor turned."""
    if not isinstance(crops, Crops):
        return _tensor_batches(crops, run, device, 20_000_000)
    longest = max(min(crops.cache.shapes[k]) for k in crops.usable)
    side = max(min(longest, _RATE_CROP_PX) // 64 * 64, run.crops.size_px)
    large = CropConfig(size_px=side, seed=run.crops.seed, is_flipped=False)
    return _tensor_batches(Crops(crops.cache, large), run, device, 20_000_000)


def _sample(average: Objective, batch: Tensor, device: torch.device, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        tensor_image(average.preview(batch[:4]).float()).save(path)


def _devices(wanted: str | None) -> tuple[int, int, torch.device]:
    """Rank, number of processes and this process' device."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if wanted is None:
        wanted = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return rank, world, device


def _parallel(objective: Objective, world: int, device: torch.device) -> nn.Module:
    if world == 1:
        return objective
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(objective, device_ids=ids)
