"""Checkpoints small enough to travel: half-precision weights and moments in pieces of at most 16 MB.

A checkpoint is a folder: ``state.json`` and ``piece-000.safetensors`` ... For each parameter it holds the weight
(float16), how far the averaged weight is from the weight (int8 and a scale), and Adam's two moments (bfloat16) when
Adam trains it: three or seven bytes a parameter.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smalto.errors import TrainingError

PIECE_BYTES = 16_000_000
CHECKPOINT, BEST = "checkpoint", "best"  # folders of a run
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        recipe: its name.
        step: steps done.
        seconds: time spent training, over all slices.
        settings: the recipe's arguments.
        schedule: where a learning rate that follows the loss stands; empty where it follows the clock.
    """

    recipe: str
    step: int
    seconds: float
    settings: Mapping[str, object]
    schedule: Mapping[str, float | int | None] = field(default_factory=dict)


def save_checkpoint(
    folder: Path, progress: Progress, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    """Write a checkpoint; the one that was there stays until the new one is whole."""
    _write_pieces(folder, _tensors(network, average, optimiser), asdict(progress))


def save_weights(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, float]) -> None:
    """Write a network's state as it is, with figures about it; what was there stays until it is whole."""
    _write_pieces(folder, tensors, facts)


def read_weights_facts(folder: Path) -> dict[str, float] | None:
    """The figures that ``save_weights`` wrote; None when it wrote nothing here."""
    try:
        return json.loads((_whole(folder) / "state.json").read_text())
    except TrainingError:
        return None


def load_weights(folder: Path, network: nn.Module) -> None:
    """Fill a network with what ``save_weights`` wrote.

    Raises:
        TrainingError: it is absent, damaged, or of another network.
    """
    try:
        network.load_state_dict(_read_pieces(_whole(folder)))
    except RuntimeError as error:
        raise TrainingError(f"{folder}: not weights of this recipe ({str(error).splitlines()[0]})") from error


def _write_pieces(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """A folder of pieces and ``state.json``, put in place when it is whole."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    pieces = _in_pieces(tensors)
    for number, piece in enumerate(pieces):
        save_file(piece, fresh / f"piece-{number:03d}.safetensors")
    state = {**facts, "num_pieces": len(pieces)}
    (fresh / "state.json").write_text(json.dumps(state, indent=1, default=str) + "\n")
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_progress(folder: Path) -> Progress:
    """The progress of a checkpoint, or of the one it was replacing when the machine stopped.

    Raises:
        TrainingError: there is none.
    """
    state = json.loads((_whole(folder) / "state.json").read_text())
    return Progress(
        state["recipe"], int(state["step"]), float(state["seconds"]), state["settings"], state.get("schedule", {})
    )


def load_checkpoint(folder: Path, network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
    """Restore networks and optimiser.

    Raises:
        TrainingError: the checkpoint is absent, damaged, or of other networks.
    """
    tensors = _load_networks(folder, network, average)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            moments = {key: tensors.get(f"{key}.{name}") for key in _MOMENTS}
            is_whole = all(value is not None for value in moments.values())
            if is_whole and parameter.requires_grad and isinstance(optimiser, torch.optim.AdamW):
                optimiser.state[parameter] = {
                    "step": torch.tensor(float(tensors["adam_step"].item())),
                    **{key: _like(value, parameter) for key, value in moments.items() if value is not None},
                }
    return read_progress(folder)


def load_average(folder: Path, network: nn.Module) -> Progress:
    """Fill a network with a checkpoint's averaged weights.

    Raises:
        TrainingError: the checkpoint is absent, damaged, or of another network.
    """
    _load_networks(folder, copy.deepcopy(network), network)
    return read_progress(folder)


def load_run(folder: Path, network: nn.Module) -> Progress:
    """Fill a network with the weights that a run publishes: the best where it has them, else the averaged ones.

    Raises:
        TrainingError: there is no run, or it is damaged or of another network.
    """
    if read_weights_facts(folder / BEST) is None:
        return load_average(folder / CHECKPOINT, network)
    load_weights(folder / BEST, network)
    return read_progress(folder / CHECKPOINT)


def _load_networks(folder: Path, network: nn.Module, average: nn.Module) -> dict[str, Tensor]:
    """Restore both networks; all tensors of the checkpoint."""
    tensors = _read_pieces(_whole(folder))
    state = {name[len("weight.") :]: value.float() for name, value in tensors.items() if name.startswith("weight.")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise TrainingError(f"{folder}: not a checkpoint of this recipe ({str(error).splitlines()[0]})") from error
    average.load_state_dict(network.state_dict())
    averages = dict(average.named_parameters())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            delta = tensors[f"average.{name}"].to(parameter.device).float() * tensors[f"scale.{name}"].item()
            averages[name].copy_(parameter + delta)
    return tensors


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    return torch.empty_like(parameter).copy_(value.float())


def _tensors(network: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    averages = dict(average.named_parameters())
    for name, value in network.state_dict().items():
        tensors[f"weight.{name}"] = value.detach().cpu().half().contiguous()
    adam_step = 0.0
    for name, parameter in network.named_parameters():
        delta = (averages[name] - parameter.detach().half().float()).detach().cpu()
        scale = max(float(delta.abs().max()) / 127, 1e-12)
        tensors[f"average.{name}"] = (delta / scale).round().to(torch.int8).contiguous()
        tensors[f"scale.{name}"] = torch.tensor([scale])
        state = optimiser.state.get(parameter, {})
        for key in _MOMENTS:
            if key in state:
                tensors[f"{key}.{name}"] = state[key].detach().cpu().bfloat16().contiguous()
                adam_step = max(adam_step, float(state["step"]))
    tensors["adam_step"] = torch.tensor([adam_step])
    return tensors


def _in_pieces(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    pieces: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        num_bytes = value.numel() * value.element_size() + len(name) + 128
        if size + num_bytes > PIECE_BYTES and pieces[-1]:
            pieces.append({})
            size = 0
        pieces[-1][name] = value
        size += num_bytes
    return pieces


def _read_pieces(folder: Path) -> dict[str, Tensor]:
    count = json.loads((folder / "state.json").read_text())["num_pieces"]
    tensors: dict[str, Tensor] = {}
    for number in range(count):
        path = folder / f"piece-{number:03d}.safetensors"
        try:
            tensors.update(load_file(path))
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{path}: cannot be read ({error}); restore the checkpoint or start anew") from error
    return tensors


def _whole(folder: Path) -> Path:
    for candidate in (folder, folder.with_name(folder.name + ".old")):
        if (candidate / "state.json").is_file():
            return candidate
    raise TrainingError(f"{folder}: no checkpoint here; name the folder of a run, or leave --resume out")
