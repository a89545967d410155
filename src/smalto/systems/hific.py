"""HiFiC exactly as published, wired: encoder, hyperprior, generator. No weights ship; the user brings them in one file.

::

    picture ─► pad to 64 ─► encoder ─► y ─► HiFiC hyperprior ─► packet ─► y_hat ─► generator ─► picture

One rate: the quality level changes nothing. The weights file is safetensors with the arrays of ``encoder``, ``decoder``
and ``codec`` as they ship and, as bytes of JSON, ``configuration``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from smalto.codecs.hific_hyperprior import HificHyperpriorConfig, hific_from_arrays
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.data.photographs import MAX_PIXELS
from smalto.encoders.hific import Encoder, EncoderConfig
from smalto.errors import WeightsError
from smalto.heads.image import Decoder, DecoderConfig
from smalto.systems.engine import Engine
from smalto.systems.multitask_codec import codec_digest, decoder_digest, load_shipped, shipped_arrays
from smalto.systems.system import Parts, System
from smalto.types import LatentSpec, PlaneSpec
from smalto.weights.store import read_arrays, under, write_arrays

HIFIC_NAME = "hific"
SPACE = "hific-0"
HYPER_STRIDE = 4
_PARTS = ("encoder", "decoder", "codec")


@dataclass(frozen=True)
class HificNetworks:
    """The networks of one HiFiC system."""

    encoder: Encoder
    codec: FrozenHyperprior
    decoder: Decoder


def hific_spec(encoder: EncoderConfig) -> LatentSpec:
    """The space: one plane, padded so that the hyper-latent covers whole cells."""
    return LatentSpec(SPACE, (PlaneSpec("y", "grid", encoder.latent_channels, encoder.stride, HYPER_STRIDE),))


def hific_system(networks: HificNetworks, engine: Engine, max_pixels: int = MAX_PIXELS) -> System:
    """A System from its networks, digests computed from them."""
    parts = Parts(
        hific_spec(networks.encoder.config),
        {"base": networks.encoder},
        networks.codec,
        {"reconstruct": networks.decoder},
        decoder_digest(networks.decoder),
        codec_digest(networks.codec),
    )
    return System(HIFIC_NAME, parts, engine, max_pixels)


def save_hific(path: str | Path, networks: HificNetworks) -> str:
    """Write the weights file atomically; returns its SHA-256, hexadecimal."""
    configuration = {name: asdict(getattr(networks, name).config) for name in _PARTS}  # type: ignore[call-overload]
    arrays = {"configuration": np.frombuffer(json.dumps(configuration).encode(), np.uint8)}
    for name in ("encoder", "decoder"):
        for key, array in shipped_arrays(getattr(networks, name)).items():
            arrays[f"{name}.{key}"] = array
    for key, array in {**networks.codec.decode_arrays(), **networks.codec.encode_arrays()}.items():
        arrays[f"codec.{key}"] = array
    return write_arrays(path, arrays)


def load_hific(
    path: str | Path, device: str = "cpu", dtype: torch.dtype | None = None, max_pixels: int = MAX_PIXELS
) -> System:
    """The HiFiC system with the weights of a file that ``save_hific`` wrote.

    Raises:
        WeightsError: the file is missing, damaged, or not one of HiFiC weights.
    """
    arrays = read_arrays(path)
    try:
        configuration = json.loads(arrays["configuration"].tobytes())
        encoder = Encoder(EncoderConfig(**_tuples(configuration["encoder"])))
        decoder = Decoder(DecoderConfig(**_tuples(configuration["decoder"])))
        load_shipped(encoder, under(arrays, "encoder"))
        load_shipped(decoder, under(arrays, "decoder"))
        codec = hific_from_arrays(HificHyperpriorConfig(**configuration["codec"]), under(arrays, "codec"))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise WeightsError(
            f"{path}: not HiFiC weights as save_hific writes them ({line}); convert them again"
        ) from error
    return hific_system(HificNetworks(encoder, codec, decoder), Engine.on(device, dtype), max_pixels)


def _tuples(fields: Mapping[str, object]) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
