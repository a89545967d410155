"""From trained heads of the shared space, or their twins on pixels, to files, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from smalto.errors import UsageError
from smalto.systems.multitask_codec import shipped_arrays
from smalto.systems.shared_space import shared_decoder_digest
from smalto.systems.space_heads import DenoiseHead, SegmentHead, denoise_network, segment_network
from smalto.train.denoising import DenoiseObjective
from smalto.train.release_files import write_part
from smalto.train.run import Objective
from smalto.train.segmentation import SegmentObjective
from smalto.train.space_head import PIXELS, SpaceHeadObjective, settle_norms
from smalto.weights import system_record
from smalto.weights.store import read_arrays, read_installed

DENOISE, SEGMENT = "denoise", "segment"  # parts of a system's record; also the names of the files that runs leave
_TRAINING_ONLY = ("network.detail_out.", "network.boundary_out.")
_NORM_BATCHES = 24
_NORM_PX = 128


def publish_denoise(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``denoise.safetensors`` and ``denoise.json`` for a trained denoising head.

    Args:
        objective: a trained ``DenoiseObjective``.
        batches: pictures, over which norms settle.
        folder: made when it is not there.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, DenoiseObjective):
        raise UsageError(f"{type(objective).__name__} is not a denoising head; publish it with its own recipe")
    small = (batch[:, :, :_NORM_PX, :_NORM_PX] for batch in batches)
    settle_norms(objective.head, lambda batch: objective.cleaned(objective.noisy(batch)), small, _NORM_BATCHES)
    _write(objective, objective.head, DENOISE, folder)


def publish_segment(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``segment.safetensors`` and ``segment.json`` for a trained segmentation head, without training's heads.

    Args:
        objective: a trained ``SegmentObjective``.
        batches: labelled pictures, over which norms settle.
        folder: made when it is not there.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, SegmentObjective):
        raise UsageError(f"{type(objective).__name__} is not a segmentation head; publish it with its own recipe")
    settle_norms(objective.head, objective.see, batches, _NORM_BATCHES)
    _write(objective, objective.head, SEGMENT, folder)


def read_denoise(run: str | Path) -> DenoiseHead:
    """The denoising head that a run left; see ``read_head``."""
    path = _published(Path(run), DENOISE)
    return denoise_network(read_arrays(path), str(path))


def read_segment(run: str | Path) -> SegmentHead:
    """The segmentation head that a run left: from its folder, its ``weights`` folder or the file itself.

    Raises:
        UsageError: there is none.
        WeightsError: the file is damaged or of another network.
    """
    path = _published(Path(run), SEGMENT)
    return segment_network(read_arrays(path), str(path))


@torch.no_grad()
def load_installed_head(head: nn.Module, system: str, part: str) -> None:
    """Fill a head with an installed system's.

    Raises:
        UsageError: no such system is installed, it has no such head, or one of another kind.
    """
    files = system_record(system).files
    if part not in files:
        raise UsageError(f"system {system} has no {part} head to start from; leave --resume out")
    arrays = {name: torch.from_numpy(array).float() for name, array in read_installed(files[part]).items()}
    own = {name for name in head.state_dict() if not name.startswith(_TRAINING_ONLY)}
    try:
        if own != set(arrays):
            raise RuntimeError("names differ")
        head.load_state_dict(arrays, strict=False)
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"system {system}: its {part} head is of another kind ({line}); start anew") from error


def _published(run: Path, part: str) -> Path:
    for place in (run, run / f"{part}.safetensors", run / "weights" / f"{part}.safetensors"):
        if place.is_file():
            return place
    raise UsageError(f"{run}: no {part}.safetensors here; name the folder of a finished neural-space-{part} run")


def _write(objective: SpaceHeadObjective, head: nn.Module, part: str, folder: Path) -> None:
    arrays = {n: array for n, array in shipped_arrays(head).items() if not n.startswith(_TRAINING_ONLY)}
    kept = [p for n, p in head.named_parameters() if not n.startswith(_TRAINING_ONLY)]
    space = PIXELS if objective.frozen is None else shared_decoder_digest(objective.frozen.decoder).hex()
    write_part(folder, part, arrays, kept, {"space": space, "head": type(head).__name__})
