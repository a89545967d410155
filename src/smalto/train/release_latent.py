"""From a trained codec of the shared space's planes to what ships, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from smalto.codecs.freeze import freeze
from smalto.errors import UsageError, WeightsError
from smalto.systems.multitask_codec import load_shipped
from smalto.systems.plane_latent import (
    LatentNetworks,
    base_networks,
    changed_arrays,
    image_arrays,
    image_networks,
    latent_networks,
)
from smalto.systems.shared_space import shared_decoder_digest
from smalto.train.plane_codec import PlaneCodecObjective
from smalto.train.release import load_hyperprior, place_levels, rate_curve, training_state
from smalto.train.release_files import write_part
from smalto.train.release_heads import read_denoise, read_segment
from smalto.train.run import Objective
from smalto.weights import system_record
from smalto.weights.store import read_installed, under

PART = "latent"  # of the record's files; also the name of the file a run leaves
RATE_CURVE = ((0, 0.10), (20, 0.30), (40, 0.60), (60, 1.00), (100, 2.00))
_READERS = {"denoise": read_denoise, "segment": read_segment}


def heads_of(runs: Sequence[str]) -> dict[str, nn.Module]:
    """Heads by task, from the folders of their runs.

    Raises:
        UsageError: a folder holds no head of the space.
    """
    heads: dict[str, nn.Module] = {}
    for run in runs:
        for task, read in _READERS.items():
            if any((Path(run) / place / f"{task}.safetensors").is_file() for place in ("", "weights")):
                heads[task] = read(run)
                break
        else:
            raise UsageError(f"{run}: no {' or '.join(_READERS)} head inside; name the folder of a finished run")
    return heads


def publish_latent(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``latent.safetensors`` and ``latent.json`` (digests, rates) for a trained codec of planes.

    Raises:
        UsageError: another objective.
    """
    if not isinstance(objective, PlaneCodecObjective):
        raise UsageError(f"{type(objective).__name__} is not a codec of planes; publish it with its own recipe")
    rates = rate_curve(objective.codec, lambda batch: objective.analysis(objective.space.planes(batch)), batches)
    image = image_networks()
    base = base_networks(image, objective.space.encoder)
    codec = freeze(objective.codec, place_levels(rates, RATE_CURVE))
    networks = LatentNetworks(objective.analysis, codec, objective.synthesis)
    arrays = changed_arrays(networks, base)
    if objective.config.trained == "all":
        arrays |= training_state(objective.codec)
    for part in ("whiten_b", "whiten_t"):
        held = getattr(objective, part).state_dict()
        arrays |= {f"training.{part}.{name}": tensor.cpu().numpy() for name, tensor in held.items()}
    num = sum(array.size for name, array in arrays.items() if not name.startswith("training."))
    facts = {
        "num_changed": num,
        "image_codec_digest": image.digests[1].hex(),
        "decoder_digest": shared_decoder_digest(objective.space.decoder).hex(),
        "codec_digest": networks.digest.hex(),
        "rates": rates,
    }
    write_part(folder, PART, arrays, objective.trained_parameters(), facts)


@torch.no_grad()
def load_latent(objective: PlaneCodecObjective, system: str) -> None:
    """Fill an objective with an installed system's codec of planes.

    Raises:
        UsageError: no such system is installed, or it has no such codec.
    """
    files = system_record(system).files
    if PART not in files:
        raise UsageError(f"system {system} has no codec of planes to start from; leave --resume out")
    arrays = read_installed(files[PART])
    image = image_arrays()
    try:
        networks = latent_networks(arrays, base_networks(image_networks(), objective.space.encoder), system)
        objective.analysis.load_state_dict(networks.analysis.state_dict())
        objective.synthesis.load_state_dict(networks.synthesis.state_dict())
        load_hyperprior(objective.codec, {**image, **arrays})
        for part in ("whiten_b", "whiten_t"):
            load_shipped(getattr(objective, part), under(arrays, f"training.{part}"))
    except (RuntimeError, KeyError, WeightsError) as error:
        line = str(error).splitlines()[0]
        raise UsageError(f"system {system}: its codec is of another configuration ({line})") from error
