"""A miniature system: the lite networks with a few channels and random weights. It codes badly, at once, for real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from smalto.codecs.factorized_codec import FactorizedCodec, FactorizedConfig, FrozenFactorized, freeze_factorized
from smalto.codecs.freeze import freeze
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.codecs.hyperprior_frozen import FrozenHyperprior
from smalto.encoders.hific import LITE as LITE_ENCODER
from smalto.encoders.hific import Encoder
from smalto.heads.image import LITE as LITE_DECODER
from smalto.heads.image import Decoder
from smalto.systems.engine import Engine
from smalto.systems.multitask_codec import codec_digest, decoder_digest
from smalto.systems.system import Parts, System
from smalto.types import LatentSpec, PlaneSpec

NAME, FACTORIZED_NAME = "miniature-0", "miniature-factorized-0"
CHANNELS = 8
ENCODER = replace(LITE_ENCODER, widths=(12, 16), blocks=(1, 1), latent_channels=CHANNELS)
DECODER = replace(LITE_DECODER, latent_channels=CHANNELS, width=16, trunk_blocks=1, widths=(12,), blocks=(1,))
CODEC = HyperpriorConfig(
    latent_channels=CHANNELS, hyper_channels=4, analysis_widths=(8, 8), mean_widths=(8, 6), scale_widths=(8, 6)
)
_CONTRAST = 12.0


def miniature_system(seed: int = 0) -> System:
    """A miniature system with the hyperprior, in float32 on the CPU, that answers ``reconstruct``.

    Args:
        seed: of the weights; another seed, another space.
    """
    with _seeded(seed):
        codec = freeze(MeanScaleHyperprior(CODEC))
    return _system(NAME, codec, seed)


def miniature_factorized_system(seed: int = 0) -> System:
    """The same with the factorised codec."""
    with _seeded(seed):
        codec = freeze_factorized(FactorizedCodec(FactorizedConfig(latent_channels=CHANNELS)))
    return _system(FACTORIZED_NAME, codec, seed)


def _system(name: str, codec: FrozenHyperprior | FrozenFactorized, seed: int) -> System:
    with _seeded(seed), torch.no_grad():
        encoder, decoder = Encoder(ENCODER), Decoder(DECODER)
        encoder.linear.weight.mul_(_CONTRAST)  # type: ignore[union-attr]  # latents of several symbols' width
    spec = LatentSpec(name, (PlaneSpec("y", "grid", CHANNELS, ENCODER.stride),))
    parts = Parts(
        spec, {"base": encoder}, codec, {"reconstruct": decoder}, decoder_digest(decoder), codec_digest(codec)
    )
    return System(name, parts, Engine(torch.device("cpu"), torch.float32))


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A drawn picture with slow and fast waves, an edge and noise, (H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    phase = generator.uniform(0, 6, 3)
    waves = np.stack([np.sin(rows / (9.0 + 8 * k) + phase[k]) * np.cos(columns / 23.0) for k in range(3)], axis=2)
    edge = np.where(rows + 2 * columns < height, 0.5, -0.5)[:, :, None]
    noise = generator.normal(0, 0.05, (height, width, 3))
    return np.clip((waves + edge + noise) * 70 + 128, 0, 255).astype(np.uint8)
