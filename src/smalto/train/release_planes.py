"""From a trained feature codec to what ships, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from smalto.codecs.hyperprior import NUM_LEVELS
from smalto.codecs.index_planes import freeze_index_planes
from smalto.errors import UsageError
from smalto.files import replace_file
from smalto.systems.multitask_codec import load_shipped
from smalto.train.index_planes import IndexPlaneObjective
from smalto.train.release import load_hyperprior, place_levels, training_state
from smalto.train.run import Objective
from smalto.weights import installed_feature_codecs
from smalto.weights.store import read_installed, under, write_arrays

RATE_CURVE = ((0, 0.05), (20, 0.3), (40, 0.8), (60, 1.5), (100, 4.0))
_PROBES = tuple(range(0, NUM_LEVELS, 15))


@torch.no_grad()
def plane_rates(
    objective: IndexPlaneObjective, batches: Iterator[Tensor], num_batches: int = 12
) -> list[tuple[float, float]]:
    """(level, mean bits an index) of the trained codec at every fifteenth level."""
    sums = [0.0] * len(_PROBES)
    for _ in range(num_batches):
        planes = next(batches)[:, :1]
        for k, level in enumerate(_PROBES):
            q = torch.full((len(planes),), float(level), device=planes.device)
            estimate = objective.codec.estimate(planes, q)
            sums[k] += float(estimate.bits.mean()) / planes[0].numel()
    return [(float(level), total / num_batches) for level, total in zip(_PROBES, sums, strict=True)]


def publish_index_planes(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``planes.safetensors`` and ``planes.json`` (digest, rates) for a trained feature codec."""
    if not isinstance(objective, IndexPlaneObjective):
        raise UsageError(f"{type(objective).__name__} is not a feature codec; publish it with its own recipe")
    rates = plane_rates(objective, batches)
    positions = place_levels(rates, RATE_CURVE) if objective.config.fixed_q is None else None
    codec = freeze_index_planes(objective.codec, positions)
    arrays = {**codec.decode_arrays(), **codec.encode_arrays(), **training_state(objective.codec.codec)}
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "codec_digest": codec.digest.hex(),
        "sha256": write_arrays(folder / "planes.safetensors", arrays),
        "num_bytes": (folder / "planes.safetensors").stat().st_size,
        "num_parameters": sum(p.numel() for p in objective.parameters()),
        "rates": rates,
    }
    replace_file(folder / "planes.json", (json.dumps(record, indent=1) + "\n").encode())


@torch.no_grad()
def load_planes_training_state(objective: IndexPlaneObjective, system: str) -> None:
    """Fill an objective from installed weights of a learned feature codec.

    Raises:
        UsageError: no such weights are installed, or they are of another configuration.
    """
    files = {record.name: record.files for record in installed_feature_codecs()}.get(system, {})
    if "planes" not in files:
        raise UsageError(f"{system}: is no feature codec of this kind; name one of smalto systems, or start anew")
    arrays = read_installed(files["planes"])
    try:
        load_shipped(objective.codec.analysis, under(arrays, "analysis"))
        load_shipped(objective.codec.synthesis, under(arrays, "synthesis"))
        load_hyperprior(objective.codec.codec, arrays)
    except (RuntimeError, KeyError) as error:
        raise UsageError(
            f"system {system}: its weights are of another configuration ({str(error).splitlines()[0]})"
        ) from error
