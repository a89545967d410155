"""From a trained feature codec to what ships, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from smalto.codecs.elic_planes import ElicPlaneCodec, freeze_elic_planes
from smalto.codecs.hyperprior import NUM_LEVELS
from smalto.codecs.index_planes import FrozenPlaneCodec, IndexPlaneCodec, freeze_index_planes
from smalto.errors import UsageError
from smalto.systems.multitask_codec import load_shipped
from smalto.train.index_planes import IndexPlaneObjective
from smalto.train.release import load_hyperprior, place_levels, training_state
from smalto.train.release_files import write_part
from smalto.train.run import Objective
from smalto.weights import installed_feature_codecs
from smalto.weights.store import read_installed, under

RATE_CURVE = ((0, 0.05), (20, 0.3), (40, 0.8), (60, 1.5), (100, 4.0))
_PROBES = tuple(range(0, NUM_LEVELS, 15))
_ELIC_PX = 256  # ELIC's rates are measured on one plane of this size a batch: larger ones take minutes without a GPU


@torch.no_grad()
def plane_rates(
    objective: IndexPlaneObjective, batches: Iterator[Tensor], num_batches: int = 12
) -> list[tuple[float, float]]:
    """(level, mean bits an index) of the trained codec, at every fifteenth level or at the one it is trained for."""
    fixed, codec = objective.config.fixed_q, objective.codec
    probes = _PROBES if fixed is None else (fixed,)
    sums = [0.0] * len(probes)
    for _ in range(num_batches):
        planes = next(batches)[:, :1]
        if isinstance(codec, ElicPlaneCodec):
            planes = planes[:1, :, :_ELIC_PX, :_ELIC_PX]
        y = codec.analysis(planes - 0.5).float()
        for k, level in enumerate(probes):
            coded = codec.codec.estimate(y, torch.full((len(planes),), float(level), device=planes.device))
            sums[k] += float((coded.y_bits + coded.z_bits).mean()) / planes[0].numel()
    return [(float(level), total / num_batches) for level, total in zip(probes, sums, strict=True)]


def part_of(codec: IndexPlaneCodec | ElicPlaneCodec) -> str:
    """The name of a codec's weights, in files and in a system's record."""
    return "elic" if isinstance(codec, ElicPlaneCodec) else "planes"


def publish_index_planes(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``planes.safetensors`` or ``elic.safetensors`` and a .json (digest, rates) for a trained feature codec."""
    if not isinstance(objective, IndexPlaneObjective):
        raise UsageError(f"{type(objective).__name__} is not a feature codec; publish it with its own recipe")
    rates = plane_rates(objective, batches)
    positions = place_levels(rates, RATE_CURVE) if objective.config.fixed_q is None else None
    trained = objective.codec
    arrays = training_state(trained.codec)
    if isinstance(trained, ElicPlaneCodec):
        codec: FrozenPlaneCodec = freeze_elic_planes(trained, positions)
        arrays["configuration"] = trained.config.to_array()
    else:
        codec = freeze_index_planes(trained, positions)
    arrays |= {**codec.decode_arrays(), **codec.encode_arrays()}
    facts = {"codec_digest": codec.digest.hex(), "rates": rates}
    write_part(folder, part_of(trained), arrays, objective.parameters(), facts)


@torch.no_grad()
def load_planes_training_state(objective: IndexPlaneObjective, system: str) -> None:
    """Fill an objective from installed weights of a learned feature codec.

    Raises:
        UsageError: no such weights are installed, or they are of another configuration.
    """
    files = {record.name: record.files for record in installed_feature_codecs()}.get(system, {})
    part = part_of(objective.codec)
    if part not in files:
        raise UsageError(f"{system}: is no feature codec of this kind; name one of smalto systems, or start anew")
    arrays = read_installed(files[part])
    try:
        load_shipped(objective.codec.analysis, under(arrays, "analysis"))
        load_shipped(objective.codec.synthesis, under(arrays, "synthesis"))
        load_hyperprior(objective.codec.codec, arrays)
    except (RuntimeError, KeyError) as error:
        raise UsageError(
            f"{system}: its weights are of another configuration ({str(error).splitlines()[0]})"
        ) from error
