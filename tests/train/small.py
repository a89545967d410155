"""A codec small enough to train for a few steps in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pil

from smalto.codecs.hyperprior import HyperpriorConfig
from smalto.data.crops import CropConfig
from smalto.encoders.hific import EncoderConfig
from smalto.heads.image import DecoderConfig
from smalto.train.image_codec import CodecObjective, CodecObjectiveConfig
from smalto.train.run import Optimisation, Run

CHANNELS = 24

SMALL = CodecObjectiveConfig(
    encoder=EncoderConfig(
        widths=(16, 24),
        blocks=(1, 1),
        latent_channels=CHANNELS,
        patch=8,
        stem_kernel=1,
        down_kernel=2,
        out_kernel=1,
        norm=False,
        linear=True,
    ),
    decoder=DecoderConfig(
        latent_channels=CHANNELS,
        width=24,
        trunk_blocks=1,
        widths=(16,),
        blocks=(1,),
        head_kernel=1,
        out_kernel=1,
        patch=8,
        norm=False,
        linear=True,
    ),
    codec=HyperpriorConfig(
        latent_channels=CHANNELS,
        hyper_channels=8,
        analysis_widths=(16, 16),
        mean_widths=(8, 8),
        scale_widths=(8, 8),
    ),
)


def small_run(**settings: object) -> Run:
    """A run over 64 px crops."""
    return Run(
        name="small",
        objective=lambda: CodecObjective(SMALL),
        crops=CropConfig(size_px=64, seed=1),
        batch_size=2,
        optimisation=Optimisation(learning_rate=1e-3, slow_names=(".linear.",), warmup_steps=2),
        settings=settings,
    )


def pictures(folder: Path, count: int = 3, side: int = 96) -> Path:
    """Smooth random pictures as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Pil.fromarray(coarse).resize((side, side), Pil.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder
