"""From a trained stereo network to the file that ships, and back to something that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from smalto.errors import UsageError, WeightsError
from smalto.files import replace_file
from smalto.heads.stereo import PixelStereo
from smalto.systems.shared_space import SPACE, shared_decoder_digest
from smalto.systems.stereo_depth import StereoDepth, stereo_arrays, stereo_network
from smalto.train.release_raw_space import space_networks
from smalto.train.run import Objective
from smalto.train.stereo_depth import SpaceSource, StereoObjective
from smalto.weights.store import read_arrays, write_arrays

PART = "stereo"  # the name of the file a run leaves
PIXELS = "pixels"


def space_source(source: str) -> SpaceSource:
    """The frozen space of a head: a ``neural-space`` run's folder, its weights file, or an installed system's name.

    Raises:
        UsageError: it is none of these.
        WeightsError: the file is damaged or of other networks.
    """
    encoder, decoder = space_networks(source)
    return SpaceSource(encoder, shared_decoder_digest(decoder).hex())


def publish_stereo(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``stereo.safetensors`` and ``stereo.json`` (digest, space, the decoder it belongs to, sizes).

    Args:
        objective: a trained ``StereoObjective``.
        batches: not needed.
        folder: made when it is not there.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, StereoObjective):
        raise UsageError(f"{type(objective).__name__} holds no stereo network; publish it with its own recipe")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PART}.safetensors"
    record = {
        "sha256": write_arrays(path, stereo_arrays(objective.network)),
        "space": PIXELS if objective.space is None else SPACE,
        "decoder_digest": None if objective.space is None else objective.space.decoder_digest,
        "size": objective.size,
        "num_bytes": path.stat().st_size,
        "num_parameters": sum(p.numel() for p in objective.network.parameters()),
        "coarse_weight": objective.coarse_weight,
    }
    replace_file(folder / f"{PART}.json", (json.dumps(record, indent=1) + "\n").encode())


def open_stereo(run: Path, space: str | None, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StereoDepth:
    """What a run left, ready to answer.

    Args:
        run: a run's folder, its ``weights`` folder, or a ``stereo.safetensors``.
        space: of a network on planes: what ``space_source`` takes.
        device: torch device.
        dtype: float32 or bfloat16.

    Raises:
        UsageError: no weights there, no space named where one is needed, or another one than it was trained on.
        WeightsError: the file is damaged or of another network.
    """
    name = f"{PART}.safetensors"
    path = next((place for place in (run, run / name, run / "weights" / name) if place.is_file()), None)
    if path is None:
        raise UsageError(f"{run}: no {name} here; name the folder of a neural-space-stereo run")
    network, _ = stereo_network(read_arrays(path), str(path))
    if isinstance(network, PixelStereo):
        return StereoDepth(network, None, device, dtype)
    if space is None:
        raise UsageError(f"{path}: reads the planes of a space; name the neural-space run that it was trained on")
    source = space_source(space)
    wanted = _decoder_digest(path.with_suffix(".json"))
    if wanted != source.decoder_digest:
        raise UsageError(f"{path}: was trained on decoder {wanted}, {space} has {source.decoder_digest}")
    return StereoDepth(network, source.encoder, device, dtype)


def _decoder_digest(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())["decoder_digest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not the record of a stereo network; get a fresh copy") from error
