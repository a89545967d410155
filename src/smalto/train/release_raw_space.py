"""The RAW encoder's surroundings: the space it is trained on, the file that ships, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from smalto.encoders.shared_cnn import SharedEncoder
from smalto.errors import UsageError, WeightsError
from smalto.heads.shared_decoder import SharedDecoder
from smalto.systems.multitask_codec import shipped_arrays
from smalto.systems.shared_space import shared_decoder_digest, shared_networks
from smalto.systems.space_heads import RAW_PREFIX, raw_networks
from smalto.train.raw_space import RawSpaceObjective
from smalto.train.release_files import write_part
from smalto.train.release_shared_space import PART as SPACE_PART
from smalto.train.run import Objective
from smalto.weights import system_record
from smalto.weights.store import read_arrays, read_installed

PART = "raw"  # of the record's files; also the name of the file a run leaves


def space_networks(source: str) -> tuple[SharedEncoder, SharedDecoder]:
    """Encoder and decoder of a shared space, to be frozen.

    Args:
        source: a run's folder, its ``weights`` folder, a ``space.safetensors``, or an installed system's name.

    Raises:
        UsageError: it is none of these.
        WeightsError: the file is damaged or of other networks.
    """
    path = Path(source)
    for place in (path, path / f"{SPACE_PART}.safetensors", path / "weights" / f"{SPACE_PART}.safetensors"):
        if place.is_file():
            return shared_networks(read_arrays(place), str(place))
    if path.is_dir():
        raise UsageError(f"{source}: no {SPACE_PART}.safetensors inside; name the folder of a neural-space run")
    try:
        files = system_record(source).files
    except UsageError as error:
        raise UsageError(
            f"{source}: neither a folder of a neural-space run nor an installed system; give one with --set space=RUN"
        ) from error
    if SPACE_PART not in files:
        raise UsageError(f"system {source} is not a shared space; name a neural-space run with --set space=RUN")
    return shared_networks(read_installed(files[SPACE_PART]), source)


def raw_encoder_of(source: str, decoder: SharedDecoder) -> SharedEncoder:
    """The RAW encoder that a run left, checked to belong to a decoder.

    Args:
        source: a ``neural-space-raw`` run's folder or its ``weights`` folder.
        decoder: as the run was trained against.

    Raises:
        UsageError: there is none in ``source``, or it was trained against another decoder.
        WeightsError: the file is damaged or of another network.
    """
    for folder in (Path(source), Path(source) / "weights"):
        path, record = folder / f"{PART}.safetensors", folder / f"{PART}.json"
        if path.is_file() and record.is_file():
            digest = shared_decoder_digest(decoder).hex()
            try:
                recorded = json.loads(record.read_bytes())["decoder_digest"]
            except (ValueError, KeyError, TypeError) as error:
                raise WeightsError(f"{record}: names no decoder; publish the run again") from error
            if recorded != digest:
                raise UsageError(f"{path}: trained against decoder {recorded}, not {digest}; name its own space")
            return raw_networks(read_arrays(path), str(path))
    raise UsageError(f"{source}: no {PART}.safetensors inside; name the folder of a neural-space-raw run")


def publish_raw_encoder(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``raw.safetensors`` and ``raw.json`` (digest, decoder it belongs to, sizes, what it was trained for).

    Args:
        objective: a trained ``RawSpaceObjective``.
        batches: not needed.
        folder: made when it is not there.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, RawSpaceObjective):
        raise UsageError(f"{type(objective).__name__} holds no RAW encoder; publish it with its own recipe")
    arrays = {f"{RAW_PREFIX}.{name}": array for name, array in shipped_arrays(objective.encoder).items()}
    digest = shared_decoder_digest(objective.frozen.decoder).hex()
    facts = {"decoder_digest": digest, "objective": asdict(objective.config)}
    write_part(folder, PART, arrays, objective.encoder.parameters(), facts)


@torch.no_grad()
def load_raw_encoder(objective: RawSpaceObjective, system: str) -> None:
    """Fill an objective with an installed system's RAW encoder.

    Raises:
        UsageError: no such system is installed, or it has no RAW encoder.
    """
    files = system_record(system).files
    if PART not in files:
        raise UsageError(f"system {system} has no RAW encoder to start from; leave --resume out")
    try:
        encoder = raw_networks(read_installed(files[PART]), system)
    except WeightsError as error:
        raise UsageError(f"system {system}: {error}") from error
    objective.encoder.load_state_dict(encoder.state_dict())
