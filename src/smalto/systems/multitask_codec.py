"""The multi-task codec, wired: one encoder, one hyperprior, the frozen decoder, and heads on the same latent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from smalto.codecs.factorized_codec import FrozenFactorized
from smalto.codecs.hyperprior import LITE as LITE_CODEC
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.data.photographs import MAX_PIXELS
from smalto.encoders.hific import LITE as LITE_ENCODER
from smalto.encoders.hific import Encoder
from smalto.heads.image import LITE as LITE_DECODER
from smalto.heads.image import Decoder
from smalto.heads.super_resolve import LITE as LITE_SUPER
from smalto.heads.super_resolve import SuperResolver
from smalto.systems.engine import Engine
from smalto.systems.system import Parts, System
from smalto.types import LatentSpec, PlaneSpec
from smalto.weights import system_record
from smalto.weights.store import DIGEST_BYTES, digest, read_installed, under

LITE_NAME = "lite-0"
LITE_SPEC = LatentSpec(LITE_NAME, (PlaneSpec("y", "grid", LITE_ENCODER.latent_channels, LITE_ENCODER.stride),))


def shipped_arrays(network: nn.Module) -> dict[str, np.ndarray]:
    """A network's tensors as they ship: half precision."""
    return {name: tensor.detach().cpu().half().numpy() for name, tensor in network.state_dict().items()}


def load_shipped(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> nn.Module:
    """Fill a network from arrays as they ship; every tensor must be there."""
    network.load_state_dict({name: torch.from_numpy(array).float() for name, array in arrays.items()})
    return network


def decoder_digest(decoder: Decoder) -> bytes:
    """The 8 bytes that name a frozen decoder in files."""
    return digest(shipped_arrays(decoder), json.dumps(asdict(decoder.config), sort_keys=True))[:DIGEST_BYTES]


def codec_digest(codec: FrozenHyperprior | FrozenFactorized) -> bytes:
    """The 8 bytes that name a codec's decode side in files."""
    return digest(codec.decode_arrays(), json.dumps(asdict(codec.config), sort_keys=True))[:DIGEST_BYTES]


def lite_parts(encoder: Encoder, codec: FrozenHyperprior, decoder: Decoder, upscale: SuperResolver | None) -> Parts:
    """Parts of a lite system from its networks, digests computed from them."""
    heads: dict[str, nn.Module] = {"reconstruct": decoder}
    if upscale is not None:
        heads["upscale"] = upscale
    return Parts(LITE_SPEC, {"base": encoder}, codec, heads, decoder_digest(decoder), codec_digest(codec))


class LiteNetworks(NamedTuple):
    """What a lite codec file holds."""

    encoder: Encoder
    codec: FrozenHyperprior
    decoder: Decoder

    @property
    def digests(self) -> tuple[bytes, bytes]:
        """The 8 bytes each that name decoder and codec in files."""
        return decoder_digest(self.decoder), codec_digest(self.codec)


class _Unset(TorchFunctionMode):
    """Networks built within keep whatever their memory holds: for those that are filled at once."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Leave out ``torch.nn.init``."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def lite_networks(arrays: Mapping[str, np.ndarray]) -> LiteNetworks:
    """The networks in the arrays of a lite codec file.

    Raises:
        RuntimeError, KeyError: the arrays are of another configuration.
    """
    with torch.device("cpu"), _Unset():
        encoder, decoder = Encoder(LITE_ENCODER), Decoder(LITE_DECODER)
        codec = FrozenHyperprior.from_arrays(LITE_CODEC, under(arrays, "codec"))
    load_shipped(encoder, under(arrays, "encoder"))
    load_shipped(decoder, under(arrays, "decoder"))
    return LiteNetworks(encoder, codec, decoder)


def load_lite(device: str = "cpu", dtype: torch.dtype | None = None, max_pixels: int = MAX_PIXELS) -> System:
    """The lite system with the installed weights."""
    record = system_record(LITE_NAME)
    encoder, codec, decoder = lite_networks(read_installed(record.files["codec"]))
    upscale = None
    if "upscale" in record.files:
        with torch.device("cpu"), _Unset():
            upscale = SuperResolver(LITE_SUPER)
        load_shipped(upscale, read_installed(record.files["upscale"]))
    return System(LITE_NAME, lite_parts(encoder, codec, decoder, upscale), Engine.on(device, dtype), max_pixels)
