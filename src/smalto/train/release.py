"""From trained networks to what ships: frozen, placed on the quality scale, written with a record; and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from smalto.codecs.elic import Elic
from smalto.codecs.elic_context import ElicScalePath
from smalto.codecs.freeze import freeze
from smalto.codecs.hyperprior import NUM_LEVELS, MeanScaleHyperprior
from smalto.codecs.scale_path import BIAS_UNIT, SHIFT_BITS, ScalePath
from smalto.errors import UsageError
from smalto.systems.multitask_codec import codec_digest, decoder_digest, load_shipped, shipped_arrays
from smalto.train.image_codec import CodecObjective
from smalto.train.release_files import write_part
from smalto.train.run import Objective
from smalto.train.super_resolution import UpscaleObjective
from smalto.weights import system_record
from smalto.weights.store import read_installed, under

RATE_CURVE = ((0, 0.08), (20, 0.15), (40, 0.30), (60, 0.50), (100, 1.20))
_PROBES = tuple(range(0, NUM_LEVELS, 15))


def place_levels(rates: Sequence[tuple[float, float]], curve: Sequence[tuple[float, float]] = RATE_CURVE) -> Tensor:
    """Where each quality level lies on the trained scale, so that ``--quality`` means the same rate in every release.

    Math: invert the measured rate curve at the wanted one, both log-linear.

    Args:
        rates: (trained level, mean bits per pixel), rising.
        curve: (quality 0..100, bits per pixel) to reach.

    Returns:
        (256,) positions in 0..255; outside the measured range the ends are stretched evenly.
    """
    levels = np.array([level for level, _ in rates], dtype=np.float64)
    measured = np.maximum.accumulate(np.log([rate for _, rate in rates])) + 1e-9 * np.arange(len(rates))
    quality = np.linspace(0, 100, NUM_LEVELS)
    wanted = np.interp(quality, [q for q, _ in curve], np.log([rate for _, rate in curve]))
    low, high = max(wanted[0], measured[0]), min(wanted[-1], measured[-1])
    wanted = np.clip(wanted, low, high)
    positions = np.interp(wanted, measured, levels)
    return torch.from_numpy(_strictly_rising(positions)).float()


def _strictly_rising(positions: np.ndarray, least: float = 0.02) -> np.ndarray:
    """Raise or lower flat ends a little, so that every level differs from its neighbours."""
    out = positions.copy()
    for k in range(1, len(out)):
        out[k] = max(out[k], out[k - 1] + least)
    if out[-1] > NUM_LEVELS - 1:
        ceiling = NUM_LEVELS - 1 - least * np.arange(len(out))[::-1]
        out = np.minimum(out, ceiling)
    return np.clip(out, 0, NUM_LEVELS - 1)


@torch.no_grad()
def rate_curve(
    codec: MeanScaleHyperprior,
    analyse: Callable[[Tensor], Tensor],
    batches: Iterator[Tensor],
    num_batches: int = 12,
) -> list[tuple[float, float]]:
    """(level, mean bits per pixel) of a trained codec at every fifteenth level.

    Args:
        codec: of the latent.
        analyse: pictures (B, 3, S, S) -> latent.
        batches: of pictures.
        num_batches: how many are measured.
    """
    sums = np.zeros(len(_PROBES))
    for _ in range(num_batches):
        batch = next(batches)
        y = analyse(batch)
        for k, level in enumerate(_PROBES):
            q = torch.full((batch.shape[0],), float(level), device=batch.device)
            estimate = codec.estimate(y, q)
            sums[k] += float((estimate.y_bits + estimate.z_bits).mean()) / (batch.shape[2] * batch.shape[3])
    return [(float(level), float(total / num_batches)) for level, total in zip(_PROBES, sums, strict=True)]


def publish_codec(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``codec.safetensors`` and ``codec.json`` (digests, rates) for a trained image codec."""
    if not isinstance(objective, CodecObjective):
        raise UsageError(f"{type(objective).__name__} is not an image codec; publish it with its own recipe")
    rates = rate_curve(objective.codec, objective.encoder, batches)
    positions = place_levels(rates) if objective.config.fixed_q is None else None
    codec = freeze(objective.codec, positions)
    arrays = {f"encoder.{name}": array for name, array in shipped_arrays(objective.encoder).items()}
    arrays |= {f"decoder.{name}": array for name, array in shipped_arrays(objective.decoder).items()}
    arrays |= {f"codec.{name}": array for name, array in {**codec.decode_arrays(), **codec.encode_arrays()}.items()}
    arrays |= training_state(objective.codec)
    facts = {
        "decoder_digest": decoder_digest(objective.decoder).hex(),
        "codec_digest": codec_digest(codec).hex(),
        "rates": rates,
    }
    write_part(folder, "codec", arrays, objective.parameters(), facts)


def publish_upscale(objective: Objective, batches: Iterator[Tensor], folder: Path) -> None:
    """Write ``upscale.safetensors`` and ``upscale.json`` for a trained super-resolution head."""
    if not isinstance(objective, UpscaleObjective):
        raise UsageError(f"{type(objective).__name__} is not a super-resolution head; publish it with its own recipe")
    facts = {"decoder_digest": decoder_digest(objective.frozen.decoder).hex()}
    resolver = objective.resolver
    write_part(folder, "upscale", shipped_arrays(resolver), resolver.parameters(), facts)


_TRAINED_PARTS = ("prior", "gain", "inverse_gain")


def training_state(codec: MeanScaleHyperprior | Elic) -> dict[str, np.ndarray]:
    """What training goes on from and the frozen form does not hold: the prior's network and the gains at anchors."""
    state = {}
    for part in _TRAINED_PARTS:
        for name, tensor in getattr(codec, part).state_dict().items():
            state[f"training.{part}.{name}"] = tensor.cpu().float().numpy()
    return state


@torch.no_grad()
def load_training_state(objective: CodecObjective, system: str) -> None:
    """Fill an objective from an installed system's weights.

    Raises:
        UsageError: no such system is installed, or its weights are of another configuration.
    """
    arrays = read_installed(system_record(system).files["codec"])
    try:
        load_shipped(objective.encoder, under(arrays, "encoder"))
        load_shipped(objective.decoder, under(arrays, "decoder"))
        load_hyperprior(objective.codec, arrays)
    except (RuntimeError, KeyError) as error:
        raise UsageError(
            f"system {system}: its weights are of another configuration ({str(error).splitlines()[0]})"
        ) from error


@torch.no_grad()
def load_hyperprior(codec: MeanScaleHyperprior | Elic, arrays: Mapping[str, np.ndarray]) -> None:
    """Fill an entropy model's training form from the arrays ``codec.*`` and ``training.*`` that were published.

    Raises:
        KeyError, RuntimeError: the arrays are of another configuration.
    """
    load_shipped(codec.analysis, under(arrays, "codec.analysis"))
    load_shipped(codec.mean_path, under(arrays, "codec.mean_path"))
    for part in _TRAINED_PARTS:
        load_shipped(getattr(codec, part), under(arrays, f"training.{part}"))
    own = under(arrays, "codec.scale_path")
    if isinstance(codec.scale_path, ElicScalePath):
        for name, path in codec.scale_path.parts().items():
            if isinstance(path, ScalePath):
                _load_scale_path(path, under(own, name))
    else:
        _load_scale_path(codec.scale_path, own)


def _load_scale_path(path: ScalePath, arrays: dict[str, np.ndarray]) -> None:
    unit = 2.0**SHIFT_BITS
    for k, layer in enumerate(path.layers):
        rows = torch.from_numpy(arrays[f"weight{k}"].astype(np.float32)) / unit  # (k k Cin, Cout up^2)
        side = layer.kernel
        weight = rows.reshape(side, side, layer.channels_in, -1).permute(3, 2, 0, 1)
        path.weights[k].copy_(weight)
        path.biases[k].copy_(torch.from_numpy(arrays[f"bias{k}"].astype(np.float32)) / (unit * BIAS_UNIT))
