"""From a trained shared neural space to what ships, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from smalto.errors import UsageError, WeightsError
from smalto.systems.shared_space import shared_arrays, shared_decoder_digest, shared_networks
from smalto.train.release_files import write_part
from smalto.train.run import Objective
from smalto.train.shared_space import SharedSpaceObjective
from smalto.weights import system_record
from smalto.weights.store import read_installed

PART = "space"  # of the record's files; also the name of the file a run leaves


def publish_shared_space(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``space.safetensors`` and ``space.json`` (digest, sizes, what it was trained for).

    Args:
        objective: a trained ``SharedSpaceObjective``.
        batches: not needed.
        folder: made when it is not there.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, SharedSpaceObjective):
        raise UsageError(f"{type(objective).__name__} is not a shared space; publish it with its own recipe")
    arrays = shared_arrays(objective.encoder, objective.decoder)
    digest = shared_decoder_digest(objective.decoder).hex()
    facts = {"decoder_digest": digest, "objective": asdict(objective.config)}
    write_part(folder, PART, arrays, objective.parameters(), facts)


@torch.no_grad()
def load_shared_space(objective: SharedSpaceObjective, system: str) -> None:
    """Fill an objective with an installed system's encoder and decoder.

    Raises:
        UsageError: no such system is installed, or it is not a shared space.
    """
    files = system_record(system).files
    if PART not in files:
        raise UsageError(f"system {system} is not a shared space to start from; leave --resume out")
    try:
        encoder, decoder = shared_networks(read_installed(files[PART]), system)
    except WeightsError as error:
        raise UsageError(f"system {system}: {error}") from error
    objective.encoder.load_state_dict(encoder.state_dict())
    objective.decoder.load_state_dict(decoder.state_dict())
