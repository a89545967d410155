"""From a trained stereo network to the file that ships, and back to something that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from smalto.errors import UsageError, WeightsError
from smalto.heads.stereo import PixelStereo
from smalto.systems.shared_space import shared_decoder_digest
from smalto.systems.stereo_depth import StereoDepth, stereo_arrays, stereo_network
from smalto.train.release_files import write_part
from smalto.train.release_raw_space import space_networks
from smalto.train.run import Objective
from smalto.train.space_head import PIXELS, settle_norms
from smalto.train.stereo_depth import StereoObjective, unpacked
from smalto.weights import system_record
from smalto.weights.store import read_arrays, read_installed

PART = "stereo"  # the name of the file a run leaves
_NORM_BATCHES = 16


def publish_stereo(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``stereo.safetensors`` and ``stereo.json`` (digest, the space's decoder, sizes).

    Args:
        objective: a trained ``StereoObjective``.
        batches: packed pairs, over which norms settle.
        folder: made when it is not there.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, StereoObjective):
        raise UsageError(f"{type(objective).__name__} holds no stereo network; publish it with its own recipe")
    settle_norms(objective.head, lambda batch: objective.matched(*unpacked(batch)[:2]), batches, _NORM_BATCHES)
    frozen, head = objective.frozen, objective.head
    facts = {
        "space": PIXELS if frozen is None else shared_decoder_digest(frozen.decoder).hex(),
        "head": type(head).__name__,
        "size": objective.size,
    }
    write_part(folder, PART, stereo_arrays(head), head.parameters(), facts)


def open_stereo(run: Path, space: str | None, device: str = "cpu", dtype: torch.dtype = torch.float32) -> StereoDepth:
    """What a run left, ready to answer.

    Args:
        run: a run's folder, its ``weights`` folder, or a ``stereo.safetensors``.
        space: of a network on planes: a ``neural-space`` run's folder, its weights file, or an installed system's name.
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
    encoder, decoder = space_networks(space)
    wanted, held = _decoder_digest(path.with_suffix(".json")), shared_decoder_digest(decoder).hex()
    if wanted != held:
        raise UsageError(f"{path}: was trained on decoder {wanted}, {space} has {held}; name its own space")
    return StereoDepth(network, encoder, device, dtype)


@torch.no_grad()
def load_installed_stereo(objective: StereoObjective, system: str) -> None:
    """Fill an objective with an installed system's stereo network.

    Raises:
        UsageError: no such system is installed, it has no stereo network, or one of another kind or size.
    """
    files = system_record(system).files
    if PART not in files:
        raise UsageError(f"system {system} has no stereo network to start from; leave --resume out")
    network, size = stereo_network(read_installed(files[PART]), system)
    found, wanted = (type(network).__name__, size), (type(objective.head).__name__, objective.size)
    if found != wanted:
        raise UsageError(
            f"system {system}: its stereo network is {found[0]} {found[1]}, not {wanted[0]} {wanted[1]}; start anew"
        )
    objective.head.load_state_dict(network.state_dict())


def _decoder_digest(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())["space"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not the record of a stereo network; get a fresh copy") from error
