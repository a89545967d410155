"""A miniature system: the lite networks with a few channels and random weights. It codes badly, at once, for real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from smalto.codecs.freeze import freeze
from smalto.codecs.hyperprior import HyperpriorConfig, MeanScaleHyperprior
from smalto.encoders.hific import LITE as LITE_ENCODER
from smalto.encoders.hific import Encoder
from smalto.heads.image import LITE as LITE_DECODER
from smalto.heads.image import Decoder
from smalto.systems.engine import Engine
from smalto.systems.multitask_codec import codec_digest, decoder_digest
from smalto.systems.system import Parts, System
from smalto.types import LatentSpec, PlaneSpec

NAME = "miniature-0"
CHANNELS = 8
ENCODER = replace(LITE_ENCODER, widths=(12, 16), blocks=(1, 1), latent_channels=CHANNELS)
DECODER = replace(LITE_DECODER, latent_channels=CHANNELS, width=16, trunk_blocks=1, widths=(12,), blocks=(1,))
CODEC = HyperpriorConfig(
    latent_channels=CHANNELS, hyper_channels=4, analysis_widths=(8, 8), mean_widths=(8, 6), scale_widths=(8, 6)
)
_CONTRAST = 12.0


def miniature_system(seed: int = 0) -> System:
    """A miniature system, in float32 on the CPU, that answers ``reconstruct``.

    Args:
        seed: of the weights; another seed, another space.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder, trained = Encoder(ENCODER), Decoder(DECODER), MeanScaleHyperprior(CODEC)
        with torch.no_grad():
            encoder.linear.weight.mul_(_CONTRAST)  # type: ignore[union-attr]  # latents of several symbols' width
    codec = freeze(trained)
    spec = LatentSpec(NAME, (PlaneSpec("y", "grid", CHANNELS, ENCODER.stride),))
    parts = Parts(
        spec, {"base": encoder}, codec, {"reconstruct": decoder}, decoder_digest(decoder), codec_digest(codec)
    )
    return System(NAME, parts, Engine(torch.device("cpu"), torch.float32))


def scene(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A drawn picture with slow and fast waves, an edge and noise, (H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    phase = generator.uniform(0, 6, 3)
    waves = np.stack([np.sin(rows / (9.0 + 8 * k) + phase[k]) * np.cos(columns / 23.0) for k in range(3)], axis=2)
    edge = np.where(rows + 2 * columns < height, 0.5, -0.5)[:, :, None]
    noise = generator.normal(0, 0.05, (height, width, 3))
    return np.clip((waves + edge + noise) * 70 + 128, 0, 255).astype(np.uint8)
